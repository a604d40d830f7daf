"""The gateway's life: up, down, reload, one command at a time.

A gunicorn master holds the port, and behind it runs one LiteLLM worker. Nothing is said to run
that has not answered.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from llmswitch import health
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lease
from llmswitch.gateway.log import failure_reason, size
from llmswitch.gateway.manager import Service, managed
from llmswitch.gateway.process import (
    START_SECONDS,
    UMASK,
    Progress,
    check_port,
    check_room,
    has_served,
    proof,
    start,
    state_of,
    stop,
    wait_for_answer,
    write_files,
)
from llmswitch.gateway.reload import Workers
from llmswitch.gateway.state import State, command, is_ours, running, write_state
from llmswitch.health import address_of
from llmswitch.paths import Home, ProfileRef, locked, write_private
from llmswitch.profile.keys import kept_keys, open_keys
from llmswitch.profile.secrets import gateway_key
from llmswitch.render.plan import Plan, environment, identity, render, secrets_inside
from llmswitch.run_files import CONFIG, GUNICORN, HANDOVER, LOG, PROVEN


class Outcome(NamedTuple):
    """What `up` did, and the gateway as it runs now. "starting": it holds its port and has not
    answered yet. `stays`: until now it would have stopped by itself.
    """

    did: Literal["started", "starting", "reloaded", "restarted", "nothing"]
    state: State
    stays: bool = False


def up(
    ref: ProfileRef,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    on_demand: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Make the gateway run with the profile as it stands: start it, reload it, or do nothing.

    Returns when it has answered. Two calls at once start one gateway. A gateway that is started
    `on_demand` stops when nobody uses it any more, and where this configuration has served before,
    this returns as soon as the port is held, and requests wait; without it, one that runs stays
    from now on. `verbose` makes LiteLLM log everything, in a process that this starts.
    """
    run = home.run(ref)
    service = managed(ref, home, environ)
    if service and verbose:
        raise _not_of_a_service(service, ref)
    woken = service is not None and _wake(service, ref, home, progress)
    with _alone(run, progress), lease.hold(run):
        state = _running_or_damaged(run)
        stays = state is not None and lease.stops_by_itself(run) and not on_demand
        held = state.keys if state else {}
        keys = open_keys(environ, home)
        plan = Plan(render(ref, keys, held), home, gateway_key(home))
        if state is None or not on_demand:
            lease.mark(run, on_demand=on_demand)
        if state is None:
            early = on_demand and has_served(plan)
            state = start(plan, environ, progress, early, verbose)
            return Outcome("starting" if early else "started", state)
        if (state.host, state.port, state.version, state.engine) != identity(plan):
            # A new process holds no keys but those that are set now.
            plan = plan._replace(rendered=render(ref, keys))
            if service is not None:
                raise LlmswitchError(
                    f"the service {service.name} has to be restarted: the address or the version "
                    "of its gateway has changed",
                    f"llmswitch restart --profile {ref.typed}",
                )
            fresh = _start_anew(plan, state, environ, progress, verbose)
            return Outcome("restarted", fresh, stays)
        did, fresh = _brought_up_to_date(plan, state, progress)
        return Outcome("started" if woken else did, fresh, stays)


def _brought_up_to_date(
    plan: Plan, state: State, progress: Progress
) -> tuple[Literal["nothing", "reloaded"], State]:
    changed = {k: v for k, v in plan.fingerprints().items() if state.keys.get(k) != v}
    if state.config_sha256 == plan.rendered.config_sha256 and not changed:
        wait_for_answer(plan, state.pid, progress)
        fresh = state_of(plan, state.pid or 0, state.keys)
        if fresh != state:  # a comment in the profile, a role: nothing of the engine's
            write_state(plan.run, fresh)
        return "nothing", fresh
    check_room(plan)
    return "reloaded", _reload(plan, state, progress)


def down(run: Path, progress: Progress) -> State | None:
    """Stop the gateway of a profile; returns what ran, None where nothing did."""
    if not run.is_dir():
        return None
    with _alone(run, progress):
        state = running(run)
        if state is not None:
            stop(run, state, progress)
        return state


def restart(
    ref: ProfileRef,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    verbose: bool = False,
) -> Outcome:
    """Stop the gateway and start it with the keys that are set now.

    A profile that cannot be used, or a port that is taken, leaves the old one running.
    """
    run = home.run(ref)
    if service := managed(ref, home, environ):
        if verbose:
            raise _not_of_a_service(service, ref)
        render(ref, kept_keys(home))
        progress("restarting the service")
        before = _running_or_damaged(run)
        service.restart()
        _wait_for(service, before, progress)
        done = up(ref, home, environ, progress)
        return done._replace(did="restarted" if before else "started")
    with _alone(run, progress):
        plan = Plan(render(ref, open_keys(environ, home)), home, gateway_key(home))
        lease.mark(run, on_demand=False)
        state = _running_or_damaged(run)
        if state is None:
            return Outcome("started", start(plan, environ, progress, verbose=verbose))
        return Outcome("restarted", _start_anew(plan, state, environ, progress, verbose))


def run_in_foreground(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], *, verbose: bool = False
) -> NoReturn:
    """Become the gateway: its output on this terminal, until Ctrl-C. Never returns."""
    run = home.run(ref)
    with _alone(run, lambda _text: None):
        plan = Plan(render(ref, open_keys(environ, home)), home, gateway_key(home))
        if state := _running_or_damaged(run):
            raise LlmswitchError(
                f"already running on {address_of(state.url)}, pid {state.pid}",
                f"llmswitch down --profile {ref.typed}",
            )
        check_port(plan)
        write_files(plan)
        lease.mark(run, on_demand=False)
        write_state(run, state_of(plan, os.getpid(), plan.fingerprints()))
    os.umask(UMASK)
    os.chdir(run)
    os.execve(sys.executable, command(), environment(plan, environ, verbose))  # noqa: S606 - no shell


def _start_anew(
    plan: Plan, state: State, environ: Mapping[str, str], progress: Progress, verbose: bool
) -> State:
    """Replace the process that runs; where the new one could not start, the old one stays."""
    check_port(plan, state.port)
    check_room(plan)
    stop(plan.run, state, progress)
    return start(plan, environ, progress, verbose=verbose)


def _not_of_a_service(service: Service, ref: ProfileRef) -> LlmswitchError:
    return LlmswitchError(
        f"-v does not work with the service {service.name}",
        f"llmswitch down --profile {ref.typed}, then: "
        f"llmswitch up --foreground -v --profile {ref.typed}",
    )


def _wake(service: Service, ref: ProfileRef, home: Home, progress: Progress) -> bool:
    """Have the service start its gateway, if none runs; without the lock, which that one takes."""
    if _running_or_damaged(service.run) is not None:
        return False
    # Otherwise only the journal would say what keeps it from starting.
    check_port(Plan(render(ref, kept_keys(home)), home, own_key=""))
    progress("starting the service")
    service.start()
    _wait_for(service, None, progress)
    return True


def _wait_for(service: Service, before: State | None, progress: Progress) -> None:
    """Wait until the gateway of the service, another than `before`, has written its state: until
    then a command would start one of its own.
    """

    def settled() -> bool:
        state = _running_or_damaged(service.run)
        return (state is not None and state != before) or service.asked().pid is None

    health.wait_until(settled, START_SECONDS, lambda: progress("starting the service"))
    if _running_or_damaged(service.run) is None:
        raise LlmswitchError(
            f"the service {service.name} did not start the gateway", service.log_command()
        )


@contextmanager
def _alone(run: Path, progress: Progress) -> Iterator[None]:
    """One command at a time for one gateway."""
    progress("waiting for another llmswitch command")
    with locked(run / "lock"):
        yield


def _running_or_damaged(run: Path) -> State | None:
    """As `running`, but a damaged state file is no state: it is about to be written anew."""
    try:
        return running(run)
    except LlmswitchError:
        return None


def _reload(plan: Plan, state: State, progress: Progress) -> State:
    """Bring a running gateway to the plan without losing a request.

    A second worker starts with the new configuration; when it serves, the old one finishes what
    it has and leaves. If the new one cannot start, the old configuration is put back.
    """
    progress("reloading the gateway")
    config = plan.run / CONFIG
    try:
        before = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # lost: there is nothing to go back to
        before = plan.rendered.config
    log = plan.run / LOG
    offset = size(log)
    held = state.keys | plan.fingerprints()
    workers = Workers(plan.run, state, progress)
    served = False
    reason = ""
    try:
        if held != state.keys:
            write_private(plan.run / HANDOVER, json.dumps(secrets_inside(plan)))
        write_private(config, plan.rendered.config)
        served = workers.replace()
        reason = failure_reason(log, offset)
    finally:  # also on Ctrl-C: one worker stays, with a configuration that starts
        (plan.run / HANDOVER).unlink(missing_ok=True)
        if not served:
            write_private(config, before)
            workers.give_up()
        workers.settle()
    if not served:
        said = (
            "the new configuration does not start, so the gateway keeps the old one"
            if is_ours(state)
            else "the gateway stopped during the reload"
        )
        raise LlmswitchError(
            f"{said}: {reason}",
            f"correct the profile, then: llmswitch up --profile {plan.rendered.ref.typed}",
        )
    fresh = state_of(plan, state.pid or 0, held)
    write_private(plan.run / GUNICORN, plan.rendered.conf)
    write_private(plan.run / PROVEN, proof(plan))
    write_state(plan.run, fresh)
    return fresh
