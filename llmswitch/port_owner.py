"""Who holds a port, for the sentence that says why a gateway cannot start."""

from __future__ import annotations

from pathlib import Path

from llmswitch.errors import LlmswitchError
from llmswitch.state import is_ours, read_state


def describe_owner(port: int, runs: Path) -> str | None:
    """The holder of a TCP port: another profile's gateway (`runs` holds their folders), else the
    program's name and pid. None where the system does not tell.

    The command line is not shown: people put keys there.
    """
    import psutil

    for folder in runs.iterdir() if runs.is_dir() else ():
        try:
            state = read_state(folder)
        except LlmswitchError:
            continue
        if state is not None and state.port == port and is_ours(state):
            return f"the gateway of the profile {state.profile} (pid {state.pid})"
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:  # macOS shows only root the sockets of others
        return "another program"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            if connection.pid is None:
                return "another user's program"
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None
