"""The gateway's process: start, stop, reload.

A gunicorn master holds the port, and behind it runs one LiteLLM worker. Nothing is said to run
that has not answered.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from llmswitch import gateway_log, health, lease
from llmswitch.claude import RUNGS, make_settings, wants_login, wire_ids
from llmswitch.errors import LlmswitchError
from llmswitch.keys import kept_keys, open_keys
from llmswitch.menu import row_data
from llmswitch.paths import Home, ProfileRef, locked, make_private_folder, write_private
from llmswitch.plan import CONFIG, Plan, draw, environment, identity, secrets_inside
from llmswitch.port_owner import describe_owner
from llmswitch.secrets import gateway_key
from llmswitch.state import STATE_FILE, State, is_ours, process_start, read_state, write_state
from llmswitch.units import Service, handed_over, installed
from llmswitch.workers import Workers

CONF = "gunicorn.conf.py"
WORKERS = "workers"  # these are named in callbacks/master.py too
HANDOVER = "handover.json"
PROVEN = "proven"
_UMASK = 0o077  # also for what gunicorn and LiteLLM write
START_SECONDS = 120.0  # importing LiteLLM takes seconds, on a slow disk many
STOP_SECONDS = 40.0  # graceful_timeout of gunicorn.conf.py, and a little
Progress = Callable[[str], None]


class Outcome(NamedTuple):
    """What `up` did, and the gateway as it runs now. "starting" is one that holds its port and has
    not answered yet; `stays` means that it would have gone by itself until now.
    """

    did: Literal["started", "starting", "reloaded", "restarted", "nothing"]
    state: State
    stays: bool = False


def running(run: Path) -> State | None:
    """The state of the gateway that runs for a profile; None where none does."""
    state = read_state(run)
    return state if is_ours(state) else None


def up(
    ref: ProfileRef,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    on_demand: bool = False,
    at_once: bool = False,
) -> Outcome:
    """Make the gateway run with the profile as it stands: start it, reload it, or do nothing.

    Returns when it has answered. Two at once start one gateway. What is started `on_demand` goes
    when nobody uses it any more; without that, one that runs stays from now on. With `at_once` a
    start is not waited for where this very configuration has served before: the port is held, and
    requests wait for their answer.
    """
    run = home.run(ref)
    service = _of_service(ref, home, environ)
    woken = service is not None and _wake(service, run, ref, home, progress)
    with _alone(run, progress), lease.hold(run):
        state = _running_or_damaged(run)
        stays = state is not None and lease.goes_by_itself(run) and not on_demand
        held = state.keys if state else {}
        keys = open_keys(environ, home)
        plan = Plan(draw(ref, keys, held), home, gateway_key(home))
        if state is None or not on_demand:
            lease.mark(run, on_demand=on_demand)
        if state is None:
            early = at_once and _has_served(plan)
            state = _start(plan, environ, progress, early)
            return Outcome("starting" if early else "started", state)
        if (state.host, state.port, state.version, state.engine) != identity(plan):
            # A new process holds no keys but those that are set now.
            plan = plan._replace(drawing=draw(ref, keys))
            if service is not None:
                raise LlmswitchError(
                    f"the service {service.name} runs this gateway, and has to start it anew",
                    f"llmswitch service install --profile {ref.typed}",
                )
            _check_port(plan, state.port)
            _stop(run, state, progress)
            return Outcome("restarted", _start(plan, environ, progress), stays)
        changed = {k: v for k, v in plan.fingerprints().items() if state.keys.get(k) != v}
        if state.config_sha256 == plan.drawing.config_sha256 and not changed:
            _wait_for_answer(plan, state.pid, progress)
            fresh = _state(plan, state.pid or 0, state.keys)
            if fresh != state:  # a comment in the profile, a role: nothing of the engine's
                write_state(run, fresh)
            return Outcome("started" if woken else "nothing", fresh, stays)
        return Outcome("reloaded", _reload(plan, state, progress), stays)


def down(run: Path, progress: Progress) -> State | None:
    """Stop the gateway of a profile; returns what ran, None where nothing did."""
    if not run.is_dir():
        return None
    with _alone(run, progress):
        state = running(run)
        if state is not None:
            _stop(run, state, progress)
        return state


def restart(ref: ProfileRef, home: Home, environ: Mapping[str, str], progress: Progress) -> Outcome:
    """Stop the gateway and start it anew, with the keys that are set now alone.

    A profile that cannot be used, or a port that is taken, leaves the old one running.
    """
    run = home.run(ref)
    if service := _of_service(ref, home, environ):
        draw(ref, kept_keys(home))
        progress("restarting the service")
        before = running(run)
        service.restart()
        done = up(ref, home, environ, progress)
        return done._replace(did="restarted" if before else "started")
    with _alone(run, progress):
        plan = Plan(draw(ref, open_keys(environ, home)), home, gateway_key(home))
        lease.mark(run, on_demand=False)
        state = _running_or_damaged(run)
        if state is None:
            return Outcome("started", _start(plan, environ, progress))
        _check_port(plan, state.port)
        _stop(run, state, progress)
        return Outcome("restarted", _start(plan, environ, progress))


def run_in_foreground(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> NoReturn:
    """Become the gateway: its output on this terminal, until Ctrl-C. Never returns."""
    run = home.run(ref)
    with _alone(run, lambda _text: None):
        plan = Plan(draw(ref, open_keys(environ, home)), home, gateway_key(home))
        if state := _running_or_damaged(run):
            raise LlmswitchError(
                f"already running on {state.url.removeprefix('http://')}, pid {state.pid}",
                f"llmswitch down --profile {ref.typed}",
            )
        handed = handed_over(environ, os.getpid(), plan.listens)
        if not handed:
            _check_port(plan)
        _write_files(plan)
        lease.mark(run, on_demand=False)
        write_state(run, _state(plan, os.getpid(), plan.fingerprints()))
    os.umask(_UMASK)
    os.chdir(run)
    inside = environment(plan, environ) | handed
    os.execve(sys.executable, _command(), inside)  # noqa: S606 - no shell


def _of_service(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """The service that a gateway is started by, where one is installed and its manager is there."""
    service = installed(ref, home, environ)
    return service if service is not None and service.seen() is not None else None


def _wake(service: Service, run: Path, ref: ProfileRef, home: Home, progress: Progress) -> bool:
    """Have the service start its gateway, if none runs; without the lock, which that one takes."""
    with suppress(LlmswitchError):
        if running(run) is not None:
            return False
    # What keeps it from starting would else stand in the journal alone.
    gateway = draw(ref, kept_keys(home)).profile.gateway
    if not service.listens_at(gateway):
        raise LlmswitchError(
            f"the service {service.name} holds another address than {gateway.address}",
            f"llmswitch service install --profile {ref.typed}",
        )
    progress("starting the service")
    service.start()
    return True


@contextmanager
def _alone(run: Path, progress: Progress) -> Iterator[None]:
    """One command at a time for one gateway."""
    progress("waiting for another llmswitch command")
    with locked(run / "lock"):
        yield


def _state(plan: Plan, pid: int, keys: dict[str, str]) -> State:
    host, port, own, engine = identity(plan)
    state = State(
        pid=pid,
        started=process_start(pid) or "",
        host=host,
        port=port,
        profile=plan.drawing.ref.name,
        profile_file=str(plan.drawing.ref.file),
        profile_sha256=plan.drawing.profile_sha256,
        config_sha256=plan.drawing.config_sha256,
        version=own,
        engine=engine,
        log=str(plan.run / gateway_log.NAME),
        models=[row_data(row) for row in plan.drawing.menu.rows],
        roles=plan.drawing.menu.roles,
        clients={},
        keys=keys,
    )
    clients: dict[str, dict[str, Any]] = {
        rung: {
            "settings": make_settings(plan.drawing.menu, rung, state.url),
            "ids": wire_ids(plan.drawing.menu, rung),
            "login": wants_login(plan.drawing.menu),
        }
        for rung in RUNGS
    }
    return state._replace(clients=clients)


def _running_or_damaged(run: Path) -> State | None:
    """As `running`, but a damaged state file is no state: it is about to be written anew."""
    try:
        return running(run)
    except LlmswitchError:
        return None


def _command() -> list[str]:
    return [sys.executable, "-E", "-P", "-m", "gunicorn", "-c", CONF]


def _write_files(plan: Plan) -> None:
    make_private_folder(plan.run)
    workers = plan.run / WORKERS
    # Compiled from gunicorn.conf.py: one that was rewritten within a second would not be noticed.
    shutil.rmtree(plan.run / "__pycache__", ignore_errors=True)
    shutil.rmtree(workers, ignore_errors=True)
    make_private_folder(workers)
    (plan.run / HANDOVER).unlink(missing_ok=True)
    write_private(plan.run / CONFIG, plan.drawing.config)
    write_private(plan.run / CONF, plan.drawing.conf)
    # Until it has served again it is not relied on: the worker puts this in its place.
    (plan.run / PROVEN).unlink(missing_ok=True)
    write_private(workers / "proving", _proof(plan))


def _proof(plan: Plan) -> str:
    """What must be the same for a start to go as one that went well."""
    return f"{plan.drawing.config_sha256} {identity(plan)}"


def _has_served(plan: Plan) -> bool:
    try:
        return (plan.run / PROVEN).read_text(errors="replace") == _proof(plan)
    except OSError:
        return False


def _check_port(plan: Plan, ours: int | None = None) -> None:
    """Refuse a port that someone else holds, and name who."""
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
                f"port {gateway.port} may not be used: {error.strerror}",
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


def _start(
    plan: Plan, environ: Mapping[str, str], progress: Progress, early: bool = False
) -> State:
    _check_port(plan)
    _write_files(plan)
    log = plan.run / gateway_log.NAME
    gateway_log.rotate(log)
    progress("starting the gateway")
    process = None
    try:
        with log.open("ab") as stream, _signals_held():
            log.chmod(0o600)
            process = subprocess.Popen(
                _command(),
                cwd=plan.run,
                env=environment(plan, environ),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                umask=_UMASK,
            )
        state = _state(plan, process.pid, plan.fingerprints())
        write_state(plan.run, state)
        _wait_for_answer(plan, process.pid, progress, process, early)
    except BaseException:  # also Ctrl-C: nothing of ours is left behind
        if process is not None:
            _kill(process.pid)
            process.wait()
        (plan.run / STATE_FILE).unlink(missing_ok=True)
        raise
    return state


@contextmanager
def _signals_held() -> Iterator[None]:
    """What would end us waits until we know the process that we start: it would be left over."""
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


def _wait_for_answer(
    plan: Plan,
    pid: int | None,
    progress: Progress,
    process: subprocess.Popen[bytes] | None = None,
    early: bool = False,
) -> None:
    """Wait until the gateway answers; `early`: until it holds its port."""
    gateway = plan.listens
    log = plan.run / gateway_log.NAME
    served = plan.run / WORKERS / "served"
    offset = 0 if process else gateway_log.size(log)

    def settled() -> bool:
        if process is not None and process.poll() is not None:
            return True
        if early:
            return (plan.run / WORKERS / "bound").exists()
        # Who answers may be another gateway that took the port between our look and our start.
        return served.exists() and health.answers(gateway.host, gateway.port, 1.0)

    answered = health.wait_until(
        settled,
        START_SECONDS,
        lambda: progress("starting the gateway (LiteLLM takes a few seconds)"),
    )
    if process is not None and process.poll() is not None:
        raise LlmswitchError(
            f"the gateway stopped while it started: {gateway_log.failure_reason(log, offset)}",
            f"llmswitch logs --profile {plan.drawing.ref.typed}",
        )
    if not answered:
        raise LlmswitchError(
            f"the gateway (pid {pid}) does not answer on {gateway.address}: "
            f"{gateway_log.failure_reason(log, offset)}",
            f"llmswitch restart --profile {plan.drawing.ref.typed}",
        )


def _stop(run: Path, state: State, progress: Progress) -> None:
    """End a gateway that is ours: open streams are given time, then it is killed."""
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
    write_state(run, state._replace(pid=None, started=""))


def _kill(pid: int) -> None:
    """End a gateway at once, workers and all: it leads its own process group.

    One in the foreground may not; its workers leave when it is gone.
    """
    with suppress(ProcessLookupError, PermissionError):  # macOS: the latter of a group of zombies
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def _reload(plan: Plan, state: State, progress: Progress) -> State:
    """Bring a running gateway to the plan without losing a request.

    A second worker starts with the new configuration; when it serves, the old one finishes what
    it has and leaves. If the new one cannot start, the old configuration is put back.
    """
    progress("reloading the gateway")
    config = plan.run / CONFIG
    before = config.read_text(encoding="utf-8")
    log = plan.run / gateway_log.NAME
    offset = gateway_log.size(log)
    held = state.keys | plan.fingerprints()
    if held != state.keys:
        write_private(plan.run / HANDOVER, json.dumps(secrets_inside(plan)))
    write_private(config, plan.drawing.config)
    workers = Workers(plan.run / WORKERS, state, progress)
    served = False
    reason = ""
    try:
        served = workers.replace()
        reason = gateway_log.failure_reason(log, offset)
    finally:  # also on Ctrl-C: one worker stays, with a configuration that starts
        (plan.run / HANDOVER).unlink(missing_ok=True)
        if not served:
            write_private(config, before)
            workers.give_up()
        workers.settle()
    if not served:
        said = (
            "the new configuration does not start, so the gateway goes on with the old one"
            if is_ours(state)
            else "the gateway stopped while it was reloaded"
        )
        raise LlmswitchError(
            f"{said}: {reason}",
            f"correct the profile, then: llmswitch up --profile {plan.drawing.ref.typed}",
        )
    fresh = _state(plan, state.pid or 0, held)
    write_private(plan.run / CONF, plan.drawing.conf)
    write_private(plan.run / PROVEN, _proof(plan))
    write_state(plan.run, fresh)
    return fresh
