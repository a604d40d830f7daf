"""Checks of the gateway: its files, its process, its port, and what it says of itself."""

from __future__ import annotations

import hashlib
import shlex
import socket
from contextlib import suppress

from llmswitch import __version__, health
from llmswitch.columns import counted
from llmswitch.doctor.context import Context, NotAskedError, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import service
from llmswitch.gateway.lease import stops
from llmswitch.gateway.process import describe_owner
from llmswitch.gateway.reload import gave_up
from llmswitch.gateway.state import State
from llmswitch.profile.secrets import fingerprint
from llmswitch.run_files import CONFIG, GUNICORN
from llmswitch.usage.clients import all_clients
from llmswitch.usage.spent import reading


def check_state(context: Context) -> Verdict:
    """The state file of the gateway can be read."""
    state = context.noted
    if isinstance(state, LlmswitchError):
        unreadable = isinstance(state.__cause__, OSError)  # `up` cannot write it anew
        return Verdict("error", state.message, state.hint if unreadable else context.command("up"))
    if state is None:
        return Verdict("ok", "the gateway was never started")
    return Verdict("ok", f"written by llmswitch {state.version} for {state.profile}")


def check_files_generated(context: Context) -> Verdict:
    """The generated files are as they were written."""
    state = _noted(context)
    if state is None or not (context.run / CONFIG).exists():
        raise NotAskedError("no configuration has been generated yet")
    restart = context.command("restart")
    try:
        texts = [(context.run / name).read_text(encoding="utf-8") for name in (CONFIG, GUNICORN)]
    except (OSError, UnicodeDecodeError) as error:
        return Verdict("warning", f"the generated files cannot be read: {error}", restart)
    if hashlib.sha256("\0".join(texts).encode()).hexdigest() == state.config_sha256:
        return Verdict("ok", f"{CONFIG} has not been edited by hand")
    return Verdict(
        "warning",
        f"{CONFIG} or {GUNICORN} in {context.run} was edited by hand; the next change of the "
        "profile overwrites it",
        f"{restart}    (then put the setting under `litellm:` in the profile)",
    )


def check_service(context: Context) -> Verdict | None:
    """The service is of this version and profile, and its manager has it."""
    found = context.service
    if found is None:
        return None
    cure = context.command("service install")
    if not service.is_current(found, context.ref):
        said = f"{found.name} was written by another version of llmswitch"
        return Verdict("warning", said, cure)
    seen = found.seen()
    if seen is None:
        return Verdict("warning", f"{found.name} is installed, but no service manager runs", cure)
    if seen.failed:
        said = f"{found.name} failed: {seen.failed}"
        return Verdict("error", said, f"{context.command('up')}    (why: {found.log_command()})")
    if seen.pid is None:
        said = f"{found.name} is stopped until the next login"
        return Verdict("info", said, context.command("up"))
    return Verdict("ok", f"{found.name} runs, pid {seen.pid}")


def check_process(context: Context) -> Verdict:
    """The process is alive, and the one that was started."""
    up = context.command("up")
    if context.running is not None:
        return Verdict("ok", f"pid {context.running.pid}, LiteLLM {context.running.engine}")
    state = _noted(context)
    if reason := gave_up(context.run):
        cure = f"{up}    (why: {context.command('logs')})"
        return Verdict("error", f"the gateway stopped unexpectedly: {reason}", cure)
    if state is None or state.pid is None:
        return Verdict("info", "not running; claude-multi starts it", up)
    return Verdict("warning", f"the gateway (pid {state.pid}) crashed or was killed", up)


def check_port(context: Context) -> Verdict:
    """The gateway has the port of the profile, or can have it."""
    if context.running is not None:
        return Verdict("ok", f"{health.address_of(context.running.url)} is the gateway's")
    gateway = context.profile.gateway
    owner = describe_owner(gateway.port, context.home.state / "run")
    if owner is None and _can_be_reached(gateway.host, gateway.port):
        owner = "another program"
    if owner is None:
        return Verdict("ok", f"{gateway.address} is free")
    cure = "stop it, or set another `gateway: {port: ...}` in the profile"
    return Verdict("error", f"{gateway.address} is in use by {owner}", cure)


def _can_be_reached(host: str, port: int) -> bool:
    try:
        with socket.create_connection((health.connect_host(host), port), 0.5):
            return True
    except OSError:
        return False


def check_liveliness(context: Context) -> Verdict:
    """The gateway answers."""
    if context.running is None:
        raise NotAskedError("the gateway is not running")
    if not context.answers:
        cure = f"{context.command('restart')}    (why: {context.command('logs')})"
        return Verdict("error", "the gateway does not answer", cure)
    with suppress(NotAskedError):
        if (seconds := context.own_state.get("goes_after")) is not None:
            return Verdict("ok", f"the gateway answers; it {stops(seconds)}")
    return Verdict("ok", "the gateway answers")


def check_readiness(context: Context) -> Verdict:
    """LiteLLM says that it is ready."""
    state = context.gateway
    restart = context.command("restart")
    try:
        said = health.ask(state.host, state.port, "/health/readiness")
    except (OSError, ValueError) as error:
        return Verdict("error", f"LiteLLM is not ready: {error}", restart)
    status = said.get("status") if isinstance(said, dict) else None
    if status not in {"healthy", "connected"}:
        return Verdict("error", f"LiteLLM is not ready: its status is {status!r}", restart)
    return Verdict("ok", "LiteLLM is ready")


def check_models(context: Context) -> Verdict:
    """Every model that is served, and so each role and fallback, is in the gateway's own list."""
    state = context.gateway
    restart = context.command("restart")
    try:
        answer = health.ask(state.host, state.port, "/v1/models", context.own_key)
        listed = {item["id"] for item in answer["data"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Verdict("error", f"the gateway does not list its models: {error}", restart)
    served = [row["name"] for row in state.models if row["available"]]
    lacking = [name for name in served if name not in listed]
    if lacking:
        return Verdict("error", f"the gateway does not serve {', '.join(lacking)}", restart)
    models = counted(len(served), "model")
    return Verdict("ok", f"{models}, {len(state.roles)} roles, all in the gateway's own list")


def check_current(context: Context) -> Verdict:
    """What runs is what the profile and this shell's keys would make."""
    state, rendered, up = context.gateway, context.rendered, context.command("up")
    if state.version != __version__:
        said = f"the gateway was started by llmswitch {state.version}, this is {__version__}"
        return Verdict("warning", said, up)
    if state.config_sha256 != rendered.config_sha256 or state.roles != rendered.menu.roles:
        return Verdict("warning", "the profile has changed since the gateway loaded it", up)
    others = [
        name
        for name, key in rendered.keys.items()
        if state.keys.get(name) != fingerprint(key, context.own_key)
    ]
    if others:
        differ = "differs" if len(others) == 1 else "differ"
        said = f"{', '.join(others)} in this shell {differ} from the gateway's"
        return Verdict("warning", said, up)
    return Verdict("ok", "the gateway has loaded the current profile")


def check_ledger(context: Context) -> Verdict:
    """The ledger can be read, and the gateway can write to it."""
    file = context.home.ledger(context.ref)
    rows, state = 0, "ok"
    with reading(file) as connection:
        if connection is not None:
            [rows] = connection.execute("SELECT COUNT(*) FROM tries").fetchone()
            [state] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        away = f"mv {shlex.quote(str(file))} {shlex.quote(str(file))}.old"
        return Verdict("error", f"the ledger {file} is damaged: {state}", away)
    if context.running is not None and context.answers:
        writer = context.own_state["ledger"]
        if writer["trouble"] or writer["lost"]:
            why = writer["trouble"] or "rows that no ledger can hold"
            said = f"{why}; {writer['waiting']} rows are waiting, {writer['lost']} are lost"
            cure = "free some space or make the folder writable; the gateway tries again"
            return Verdict("error", f"the gateway cannot write {file}: {said}", cure)
    return Verdict("ok", f"{rows} tries are recorded" if rows else "nothing is recorded yet")


def check_clients(context: Context) -> Verdict:
    """The keys of clients can be read, and each client of the profile has one."""
    names = [client.name for client in all_clients(context.home)]
    lacking = [name for name in context.profile.clients if name not in names]
    if lacking:
        said = f"no key yet for {', '.join(lacking)} of the profile's `clients`"
        return Verdict("warning", said, f"llmswitch client add {lacking[0]}")
    return Verdict("ok", ", ".join(names) or "no client keys; only the gateway's own key")


def _noted(context: Context) -> State | None:
    if isinstance(context.noted, LlmswitchError):
        raise NotAskedError("the state file is damaged")
    return context.noted
