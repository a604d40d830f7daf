"""Checks of the gateway: its files, its process, its port, and what it says of itself."""

from __future__ import annotations

import hashlib
import shlex
import socket
from contextlib import suppress
from typing import Any

from llmswitch import __version__, health
from llmswitch.doctor.facts import Facts, NotAskedError, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import service
from llmswitch.gateway.lease import stops
from llmswitch.gateway.manager import Service, installed
from llmswitch.gateway.process import describe_owner
from llmswitch.gateway.reload import gave_up
from llmswitch.gateway.state import State
from llmswitch.profile.secrets import fingerprint
from llmswitch.run_files import CONFIG, GUNICORN
from llmswitch.usage.clients import all_clients
from llmswitch.usage.spent import reading

_PROFILE_PATCH = "change the profile instead (`litellm:` reaches all of LiteLLM), then: "


def check_state(facts: Facts) -> Verdict:
    """What is written down of the gateway can be read."""
    state = facts.noted
    if isinstance(state, LlmswitchError):
        unreadable = isinstance(state.__cause__, OSError)  # `up` cannot write it anew
        return Verdict("error", state.message, state.hint if unreadable else _up(facts))
    if state is None:
        return Verdict("ok", "the gateway was never started")
    return Verdict("ok", f"of {state.profile}, written by llmswitch {state.version}")


def has_service(facts: Facts) -> bool:
    """Whether a service is installed for the profile."""
    return _service(facts) is not None


def check_service(facts: Facts) -> Verdict:
    """The service is of this version and profile, and its manager has it."""
    found = _service(facts)
    if found is None:
        raise NotAskedError("no service is installed")
    cure = f"llmswitch service install --profile {facts.ref.typed}"
    if not service.is_current(found, facts.ref):
        said = f"the file of {found.name} was written by another version of llmswitch"
        return Verdict("warning", said, cure)
    seen = found.seen()
    if seen is None:
        return Verdict("warning", f"{found.name} is installed, but no service manager runs", cure)
    if seen.failed:
        said = f"{found.name} failed: {seen.failed}"
        return Verdict("error", said, f"{_up(facts)}    (why: {found.log_command()})")
    if seen.pid is None:
        said = f"{found.name} is stopped until the next login"
        return Verdict("info", said, _up(facts))
    return Verdict("ok", f"{found.name} runs, pid {seen.pid}")


def check_process(facts: Facts) -> Verdict:
    """The process is alive, and the very one that was started."""
    if facts.running is not None:
        return Verdict("ok", f"pid {facts.running.pid}, LiteLLM {facts.running.engine}")
    state = _noted(facts)
    if reason := gave_up(facts.run):
        cure = f"llmswitch logs --profile {facts.ref.typed}    (why), then: {_up(facts)}"
        return Verdict("error", f"it stopped by itself: {reason}", cure)
    if state is None or state.pid is None:
        return Verdict("info", "not running; claude-multi starts it", _up(facts))
    return Verdict("warning", f"pid {state.pid} is gone without `llmswitch down`", _up(facts))


def check_port(facts: Facts) -> Verdict:
    """The port of the profile is ours, or free to be."""
    if facts.running is not None:
        return Verdict("ok", f"{facts.running.url.removeprefix('http://')} is our gateway's")
    gateway = facts.profile.gateway
    owner = describe_owner(gateway.port, facts.home.state / "run")
    if owner is None and _can_be_reached(gateway.host, gateway.port):
        owner = "another program"
    if owner is None:
        return Verdict("ok", f"{gateway.address} is free")
    cure = "stop it, or set another `gateway: {port: ...}` in the profile"
    return Verdict("error", f"{gateway.address} is in use by {owner}", cure)


def check_liveliness(facts: Facts) -> Verdict:
    """The gateway answers."""
    if facts.running is None:
        raise NotAskedError("the gateway is not running")
    if facts.answers:
        with suppress(NotAskedError):
            if (seconds := _own_state(facts).get("goes_after")) is not None:
                return Verdict("ok", f"it answers; it {stops(seconds)}")
        return Verdict("ok", "it answers")
    log = f"    (why: llmswitch logs --profile {facts.ref.typed})"
    return Verdict("error", "it does not answer", _restart(facts) + log)


def check_readiness(facts: Facts) -> Verdict:
    """LiteLLM says that it is ready."""
    state = facts.gateway
    try:
        said = health.ask(state.host, state.port, "/health/readiness")
    except (OSError, ValueError) as error:
        return Verdict("error", f"it is not ready: {error}", _restart(facts))
    status = said.get("status") if isinstance(said, dict) else None
    if status not in {"healthy", "connected"}:
        return Verdict("error", f"it is not ready: it says {status!r}", _restart(facts))
    return Verdict("ok", "LiteLLM is ready")


def check_models(facts: Facts) -> Verdict:
    """Every model that is served, each role and each fallback, is in the gateway's own list."""
    state = facts.gateway
    try:
        listed = _names(health.ask(state.host, state.port, "/v1/models", facts.own_key))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Verdict("error", f"the gateway does not list its models: {error}", _restart(facts))
    served = [row["name"] for row in state.models if row["available"]]
    fallbacks = [name for row in facts.drawing.menu.served for name in row.model.fallbacks]
    known = {row["name"] for row in state.models}
    wanted = [*served, *state.roles.values(), *(name for name in fallbacks if name in served)]
    lacking = [name for name in dict.fromkeys(wanted) if name in known and name not in listed]
    if lacking:
        return Verdict("error", f"the gateway does not serve {', '.join(lacking)}", _restart(facts))
    count = f"{len(served)} model" if len(served) == 1 else f"{len(served)} models"
    return Verdict("ok", f"{count}, {len(state.roles)} roles, all in the gateway's own list")


def check_files_generated(facts: Facts) -> Verdict:
    """The generated files are as they were written."""
    state = _noted(facts)
    if state is None or not (facts.run / CONFIG).exists():
        raise NotAskedError("nothing was generated yet")
    try:
        texts = [(facts.run / name).read_text(encoding="utf-8") for name in (CONFIG, GUNICORN)]
    except (OSError, UnicodeDecodeError) as error:
        return Verdict("warning", f"the generated files cannot be read: {error}", _restart(facts))
    if hashlib.sha256("\0".join(texts).encode()).hexdigest() != state.config_sha256:
        return Verdict(
            "warning",
            f"{CONFIG} or {GUNICORN} in {facts.run} was edited by hand; "
            "the next change undoes that",
            _PROFILE_PATCH + _restart(facts),
        )
    return Verdict("ok", f"{CONFIG} is as llmswitch wrote it")


def check_current(facts: Facts) -> Verdict:
    """What runs is what the profile and this shell's keys would make."""
    state = facts.gateway
    drawing = facts.drawing
    if state.version != __version__:
        said = f"it was started by llmswitch {state.version}, this is {__version__}"
        return Verdict("warning", said, _up(facts))
    if state.config_sha256 != drawing.config_sha256 or state.roles != drawing.menu.roles:
        return Verdict("warning", "the profile has changed since it was loaded", _up(facts))
    others = [
        name
        for name, key in drawing.keys.items()
        if state.keys.get(name) != fingerprint(key, facts.own_key)
    ]
    if others:
        was = "is" if len(others) == 1 else "are"
        said = f"{', '.join(others)} {was} another in this shell than in the gateway"
        return Verdict("warning", said, _up(facts))
    return Verdict("ok", "it runs the profile as it stands")


def check_ledger(facts: Facts) -> Verdict:
    """The usage that was written down can be read, and the gateway can write more."""
    file = facts.home.ledger(facts.ref)
    try:
        with reading(file) as connection:
            if connection is None:
                rows, sound = 0, "ok"
            else:
                rows = connection.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
                sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except LlmswitchError as error:
        return Verdict("error", error.message, error.hint)
    if sound != "ok":
        away = f"mv {shlex.quote(str(file))} {shlex.quote(str(file))}.old"
        return Verdict("error", f"the ledger {file} is damaged: {sound}", away)
    if facts.running is not None and facts.answers:
        said = _own_state(facts)["ledger"]
        if said["trouble"] or said["lost"]:
            lost = f"; {said['waiting']} rows wait, {said['lost']} are lost"
            why = said["trouble"] or "rows that no ledger can hold"
            message = f"the gateway cannot write {file}: {why}{lost}"
            return Verdict("error", message, "make room or the folder writable; it tries again")
    return Verdict("ok", f"{rows} tries are written down" if rows else "nothing was used yet")


def check_clients(facts: Facts) -> Verdict:
    """The keys of clients can be read, and each client of the profile has one."""
    try:
        names = [client.name for client in all_clients(facts.home)]
    except LlmswitchError as error:
        return Verdict("error", f"{error.message}: no client is let in", error.hint)
    lacking = [name for name in facts.profile.clients if name not in names]
    if lacking:
        said = (
            f"{', '.join(lacking)} of the profile {'has' if len(lacking) == 1 else 'have'} no key"
        )
        return Verdict("warning", said, f"llmswitch client add {lacking[0]}")
    return Verdict("ok", ", ".join(names) or "none but the gateway's own key")


def _own_state(facts: Facts) -> Any:
    state = facts.gateway
    try:
        return health.ask(state.host, state.port, health.OWN_STATE, facts.own_key)
    except (OSError, ValueError) as error:
        raise NotAskedError(f"the gateway does not tell of its ledger: {error}") from error


def _service(facts: Facts) -> Service | None:
    if isinstance(facts.named, LlmswitchError):
        return None
    return installed(facts.ref, facts.home, facts.environ)


def _noted(facts: Facts) -> State | None:
    if isinstance(facts.noted, LlmswitchError):
        raise NotAskedError("the state file is damaged")
    return facts.noted


def _names(answer: Any) -> set[str]:
    return {item["id"] for item in answer["data"]}


def _can_be_reached(host: str, port: int) -> bool:
    try:
        with socket.create_connection((health.connect_host(host), port), 0.5):
            return True
    except OSError:
        return False


def _up(facts: Facts) -> str:
    return f"llmswitch up --profile {facts.ref.typed}"


def _restart(facts: Facts) -> str:
    return f"llmswitch restart --profile {facts.ref.typed}"
