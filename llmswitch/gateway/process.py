"""The process of a gateway: its files, its start and its end. `lifecycle` decides when."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from llmswitch import health
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.log import failure_reason, size
from llmswitch.gateway.state import (
    State,
    command,
    is_ours,
    process_start,
    running,
    write_state,
)
from llmswitch.paths import make_private_folder, write_private
from llmswitch.render.claude_settings import MENU_SUPPORTS, make_client
from llmswitch.render.menu import row_data
from llmswitch.render.plan import Plan, environment, identity
from llmswitch.run_files import (
    BOUND,
    CONFIG,
    GUNICORN,
    HANDOVER,
    LOG,
    PROVEN,
    PROVING,
    SERVED,
    STATE,
    STOP_SECONDS,
    WORKERS,
)

UMASK = 0o077  # also for what gunicorn and LiteLLM write
START_SECONDS = 120.0  # importing LiteLLM takes seconds, on a slow disk many
_ROOM = 100_000  # bytes, for the state and the beginning of the log
Progress = Callable[[str], None]


def state_of(plan: Plan, pid: int, keys: dict[str, str]) -> State:
    """What is kept of a process that runs by a plan with these fingerprints of keys."""
    host, port, own, engine = identity(plan)
    state = State(
        pid=pid,
        started=process_start(pid) or "",
        host=host,
        port=port,
        profile=plan.rendered.ref.name,
        profile_file=str(plan.rendered.ref.file),
        profile_sha256=plan.rendered.profile_sha256,
        config_sha256=plan.rendered.config_sha256,
        version=own,
        engine=engine,
        log=str(plan.run / LOG),
        models=[row_data(row) for row in plan.rendered.menu.rows],
        roles=plan.rendered.menu.roles,
        clients={},
        keys=keys,
    )
    clients = {str(one): make_client(plan.rendered.menu, one, state.url) for one in MENU_SUPPORTS}
    return state._replace(clients=clients)


def write_files(plan: Plan) -> None:
    """Write the configuration, and remove what an earlier process left."""
    make_private_folder(plan.run)
    workers = plan.run / WORKERS
    # Compiled from gunicorn.conf.py: one that was rewritten within a second would not be noticed.
    shutil.rmtree(plan.run / "__pycache__", ignore_errors=True)
    shutil.rmtree(workers, ignore_errors=True)
    make_private_folder(workers)
    (plan.run / HANDOVER).unlink(missing_ok=True)
    write_private(plan.run / CONFIG, plan.rendered.config)
    write_private(plan.run / GUNICORN, plan.rendered.conf)
    # Until it has served again it is not relied on: the worker puts this in its place.
    (plan.run / PROVEN).unlink(missing_ok=True)
    write_private(plan.run / PROVING, proof(plan))


def proof(plan: Plan) -> str:
    """What identifies a configuration that has served."""
    return f"{plan.rendered.config_sha256} {identity(plan)}"


def has_served(plan: Plan) -> bool:
    """Whether this very configuration has answered before."""
    try:
        return (plan.run / PROVEN).read_text(errors="replace") == proof(plan)
    except OSError:
        return False


def check_port(plan: Plan, ours: int | None = None) -> None:
    """Refuse a port that another process holds, and say which, and whether it is one of ours."""
    gateway = plan.listens
    if gateway.port == ours:
        return
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((gateway.host, gateway.port))
        except PermissionError as error:
            raise LlmswitchError(
                f"cannot listen on port {gateway.port}: {error.strerror}",
                "set `gateway: {port: 4000}` in the profile (any port from 1024 on)",
            ) from error
        except OSError as error:
            owner = describe_owner(gateway.port, plan.run.parent)
            raise LlmswitchError(
                f"{gateway.address} is in use by {owner}"
                if owner
                else f"{gateway.address} cannot be used: {error.strerror}",
                "stop it, or set another `gateway: {port: ...}` in the profile",
            ) from error


def describe_owner(port: int, runs: Path) -> str | None:
    """The holder of a TCP port: another profile's gateway (`runs` holds their folders), else the
    program's name and pid. None where the system does not tell.

    The command line is not shown: people put keys there.
    """
    import psutil

    for folder in runs.iterdir() if runs.is_dir() else ():
        with suppress(LlmswitchError):
            if (state := running(folder)) and state.port == port:
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
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        name = process.name()
        folder, parent = Path(process.cwd()), process.parent()
        if folder.parent == runs.resolve():
            # Master and worker share the port; the master is the one to stop.
            master = parent if parent and Path(parent.cwd()) == folder else process
            return f"a gateway of llmswitch whose state file was lost (pid {master.pid})"
    return f"{name} (pid {pid})"


def check_room(plan: Plan) -> None:
    """Raise OSError where the disk has no room for what a start writes, before the gateway that
    runs is stopped.
    """
    trial = plan.run / ".room"
    try:
        write_private(trial, plan.rendered.config + plan.rendered.conf + " " * _ROOM)
    except OSError as error:
        error.filename = str(plan.run)
        raise
    finally:
        trial.unlink(missing_ok=True)


def start(
    plan: Plan,
    environ: Mapping[str, str],
    progress: Progress,
    early: bool = False,
    verbose: bool = False,
) -> State:
    """Start a process and wait until it answers, or, if `early`, until it holds the port.
    `verbose`: LiteLLM logs everything.

    Raises LlmswitchError where it does not start; then nothing of it is left.
    """
    check_port(plan)
    check_room(plan)
    write_files(plan)
    log = plan.run / LOG
    offset = size(log)
    progress(f"starting {plan.rendered.ref.name} on {plan.listens.address}")
    process = None
    try:
        with log.open("ab") as stream, _signals_held():
            log.chmod(0o600)
            process = subprocess.Popen(
                command(),
                cwd=plan.run,
                env=environment(plan, environ, verbose),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                umask=UMASK,
            )
        state = state_of(plan, process.pid, plan.fingerprints())
        write_state(plan.run, state)
        wait_for_answer(plan, process.pid, progress, process, early, offset)
    except BaseException:  # also Ctrl-C: nothing of ours is left behind
        if process is not None:
            _kill(process.pid)
            process.wait()
        (plan.run / STATE).unlink(missing_ok=True)
        raise
    return state


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back until the started process is known: it would be left running."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def wait_for_answer(
    plan: Plan,
    pid: int | None,
    progress: Progress,
    process: subprocess.Popen[bytes] | None = None,
    early: bool = False,
    offset: int | None = None,
) -> None:
    """Wait until the gateway answers; `early`: until it holds its port. The reason why it does not
    is read from its log, after `offset` bytes or from now on.
    """
    gateway = plan.listens
    log = plan.run / LOG
    served = plan.run / SERVED
    offset = size(log) if offset is None else offset

    def ended() -> bool:
        return process_start(pid or 0) is None if process is None else process.poll() is not None

    def settled() -> bool:
        if ended():
            return True
        if early:
            return (plan.run / BOUND).exists()
        # Who answers may be another gateway that took the port between our look and our start.
        return served.exists() and health.answers(gateway.host, gateway.port, 1.0)

    answered = health.wait_until(
        settled,
        START_SECONDS,
        lambda: progress(
            f"starting {plan.rendered.ref.name} on {gateway.address} (LiteLLM takes a few seconds)"
        ),
    )
    if ended():
        raise LlmswitchError(
            f"the gateway failed to start: {failure_reason(log, offset)}",
            f"llmswitch logs --profile {plan.rendered.ref.typed}",
        )
    if not answered:
        raise LlmswitchError(
            f"the gateway (pid {pid}) does not answer on {gateway.address}: "
            f"{failure_reason(log, offset)}",
            f"llmswitch restart --profile {plan.rendered.ref.typed}",
        )


def stop(run: Path, state: State, progress: Progress) -> None:
    """Stop a gateway of ours: open streams get time, then it is killed."""
    master = state.pid or 0
    with suppress(ProcessLookupError):
        os.kill(master, signal.SIGTERM)
        os.killpg(os.getpgid(master), signal.SIGCONT)  # one that is stopped could not end
    gone = health.wait_until(
        lambda: not is_ours(state), STOP_SECONDS, lambda: progress("waiting for open requests")
    )
    if not gone:
        _kill(master)
        health.wait_until(lambda: not is_ours(state), 5.0, lambda: None)
    with suppress(OSError):  # a full disk: a pid that is gone is known to be gone
        write_state(run, state._replace(pid=None, started=""))


def _kill(pid: int) -> None:
    """Kill a gateway and its workers, whose process group it leads. In the foreground it may lead
    none, and its workers leave when it is gone.
    """
    with suppress(ProcessLookupError, PermissionError):  # macOS: the latter of a group of zombies
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
