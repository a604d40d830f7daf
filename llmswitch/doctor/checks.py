"""`llmswitch doctor`: one flat list of checks in the order of the data flow. It changes nothing,
asks nothing beyond this machine, and works whatever else is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from llmswitch.doctor import checks_client as client
from llmswitch.doctor import checks_engine as engine
from llmswitch.doctor import checks_gateway as gateway
from llmswitch.doctor import checks_installation as installation
from llmswitch.doctor import checks_profile as profile
from llmswitch.doctor.facts import LEVELS, Facts, Level, NotAskedError, Verdict
from llmswitch.profile import trust
from llmswitch.redact import with_tilde

_LONGEST = 500  # characters of a message


class Check(NamedTuple):
    """One row: what it is called, and who finds out."""

    name: str
    run: Callable[[Facts], Verdict]


class Result(NamedTuple):
    """What a check found."""

    name: str
    level: Level
    message: str
    hint: str | None


def checks(facts: Facts) -> Iterator[Check]:
    """The list; each key of the profile has a row of its own."""
    yield Check("versions", installation.check_versions)
    yield Check("litellm", engine.check_engine)
    yield Check("files", installation.check_files)
    yield Check("disk", installation.check_disk)
    yield Check("profile", profile.check_profile)
    yield Check("advice", profile.check_advice)
    if profile.trust_of(facts) != trust.Trust((), ()):
        yield Check("trust", profile.check_trust)
    if profile.retiring(facts):
        yield Check("retirement", profile.check_retirement)
    yield Check("prices", profile.check_prices)
    for name in profile.key_names(facts):
        yield Check(name, partial(profile.check_key, name=name))
    if profile.check_kept_keys(facts).level != "ok":
        yield Check("kept keys", profile.check_kept_keys)
    yield Check("variables", profile.check_variables)
    yield Check("state", gateway.check_state)
    yield Check("generated files", gateway.check_files_generated)
    if gateway.has_service(facts):
        yield Check("service", gateway.check_service)
    yield Check("process", gateway.check_process)
    yield Check("port", gateway.check_port)
    yield Check("liveliness", gateway.check_liveliness)
    yield Check("readiness", gateway.check_readiness)
    yield Check("models", gateway.check_models)
    yield Check("current", gateway.check_current)
    yield Check("ledger", gateway.check_ledger)
    yield Check("clients", gateway.check_clients)
    yield Check("claude", client.check_client)
    if profile.has_subscription(facts):
        yield Check("login", client.check_login)
    yield Check("wrapper", client.check_wrapper)
    yield Check("plain claude", client.check_plain_claude)
    yield Check("saved default", client.check_saved_default)
    yield Check("proxy", client.check_proxy)


def examine(facts: Facts) -> list[Result]:
    """Run every check; one that breaks is told as `failed`, and the others go on."""
    return [_run(check, facts) for check in checks(facts)]


def _run(check: Check, facts: Facts) -> Result:
    try:
        level, message, hint = check.run(facts)
    except NotAskedError as reason:
        level, message, hint = "skipped", str(reason), None
    except Exception as error:  # noqa: BLE001 - whatever is broken, the doctor tells the rest
        level, message, hint = (
            "failed",
            f"could not be asked: {type(error).__name__}: {error}",
            None,
        )
    return Result(check.name, level, _line(message, facts), hint and _line(hint, facts))


def _line(text: str, facts: Facts) -> str:
    """One line, whatever a file or a program has put into it."""
    shown = "".join(part if part.isprintable() else "?" for part in text)
    cut = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return with_tilde(cut, facts.user_home)


def worst(results: list[Result]) -> Level:
    """The highest level there is."""
    return max((result.level for result in results), key=LEVELS.index)


def data(results: list[Result], facts: Facts) -> dict[str, Any]:
    """`doctor --json`."""
    checks = [result._asdict() for result in results]
    known = trust.data(profile.trust_of(facts))
    retiring = [one._asdict() for one in profile.retiring(facts)]
    return {"worst": worst(results), "checks": checks, "retiring": retiring, "trust": known}
