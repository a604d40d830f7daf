"""Who holds a port, for the sentence that says why a gateway cannot start."""

from __future__ import annotations

import contextlib
from pathlib import Path

from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import is_ours, read_state


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
        bound = connection.laddr.port if connection.laddr else None
        if connection.status == psutil.CONN_LISTEN and bound == port:
            if connection.pid is None:
                return "another user's program"
            return _describe(connection.pid, runs)
    return None


def _describe(pid: int, runs: Path) -> str:
    import psutil

    name = "another program"
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        name = process.name()
        folder, parent = Path(process.cwd()), process.parent()
        if folder.parent == runs.resolve():
            # Master and worker share the port; the master is the one to stop.
            master = parent if parent and Path(parent.cwd()) == folder else process
            return f"a gateway whose state file was lost (pid {master.pid})"
    return f"{name} (pid {pid})"
