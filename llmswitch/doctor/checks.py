"""`llmswitch doctor`: one flat list of checks in the order of the data flow. It changes nothing,
asks nothing beyond this machine, and works whatever else is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from llmswitch.doctor import checks_client as client
from llmswitch.doctor import checks_gateway as gateway
from llmswitch.doctor import checks_installation as installation
from llmswitch.doctor import checks_profile as profile
from llmswitch.doctor.checks_engine import check_engine
from llmswitch.doctor.context import LEVELS, Context, Level, NotAskedError, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.profile import trust
from llmswitch.redact import with_tilde

Check = Callable[
    [Context], Verdict | None
]  # None: there is nothing to say, not even that all is well
_LONGEST = 500  # characters of a message


class Result(NamedTuple):
    """What a check found."""

    name: str
    level: Level
    message: str
    hint: str | None


def _checks(context: Context) -> list[tuple[str, Check]]:
    """Every check under its name; each key of the profile has one of its own."""
    return [
        ("versions", installation.check_versions),
        ("litellm", check_engine),
        ("files", installation.check_files),
        ("disk", installation.check_disk),
        ("profile", profile.check_profile),
        ("advice", profile.check_advice),
        ("trust", profile.check_trust),
        ("retirement", profile.check_retirement),
        ("prices", profile.check_prices),
        *((name, partial(profile.check_key, name=name)) for name in context.key_names),
        ("kept keys", profile.check_kept_keys),
        ("variables", profile.check_variables),
        ("state", gateway.check_state),
        ("generated files", gateway.check_files_generated),
        ("service", gateway.check_service),
        ("process", gateway.check_process),
        ("port", gateway.check_port),
        ("liveliness", gateway.check_liveliness),
        ("readiness", gateway.check_readiness),
        ("models", gateway.check_models),
        ("current", gateway.check_current),
        ("ledger", gateway.check_ledger),
        ("clients", gateway.check_clients),
        ("claude", client.check_client),
        ("login", client.check_login),
        ("wrapper", client.check_wrapper),
        ("plain claude", client.check_plain_claude),
        ("saved default", client.check_saved_default),
        ("proxy", client.check_proxy),
    ]


def examine(context: Context) -> list[Result]:
    """Run every check; one that breaks is reported as `failed`, and the others go on."""
    results = (run(name, check, context) for name, check in _checks(context))
    return [result for result in results if result is not None]


def run(name: str, check: Check, context: Context) -> Result | None:
    """Run one check; None where it has nothing to say. What it raises is what it has found."""
    try:
        found = check(context)
    except NotAskedError as reason:
        found = Verdict("skipped", str(reason))
    except LlmswitchError as error:
        found = Verdict("error", error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - whatever is broken, the doctor reports the rest
        found = Verdict("failed", f"this check crashed: {type(error).__name__}: {error}")
    if found is None:
        return None
    hint = found.hint and _line(found.hint, context)
    return Result(name, found.level, _line(found.message, context), hint)


def _line(text: str, context: Context) -> str:
    """One line, whatever a file or a program has put into it."""
    shown = "".join(part if part.isprintable() else "?" for part in text)
    cut = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return with_tilde(cut, context.user_home)


def worst(results: list[Result]) -> Level:
    """The highest level there is."""
    return max((result.level for result in results), key=LEVELS.index)


def data(results: list[Result], context: Context) -> dict[str, Any]:
    """`doctor --json`."""
    return {
        "worst": worst(results),
        "checks": [result._asdict() for result in results],
        "retiring": [one._asdict() for one in context.retiring],
        "trust": trust.data(context.trust),
    }
