"""`llmswitch doctor --report`: one Markdown text that a person can put into a public issue."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llmswitch.doctor.checks import Result
from llmswitch.doctor.facts import Facts, NotAskedError
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.log import tail
from llmswitch.profile.keys import kept_keys
from llmswitch.profile.providers import catalogue_data
from llmswitch.redact import in_url, is_secret, redact
from llmswitch.run_files import LOG

_LOG_LINES = 40


def case(facts: Facts, results: Sequence[Result]) -> str:
    """What `--report` prints: system, checks, configuration, end of the log; all of it redacted."""
    rows = [
        f"| {r.level} | {r.name} | {_cell(r.message)} | {_cell(r.hint or '')} |" for r in results
    ]
    text = "\n".join(
        [
            "### llmswitch doctor",
            "",
            f"{platform.platform()}, {platform.machine()}",
            "",
            "| result | check | message | cure |",
            "|---|---|---|---|",
            *rows,
            "",
            "### litellm_config.yaml, as it would be written now",
            "",
            *_fenced("yaml", _config(facts)),
            "",
            f"### The last {_LOG_LINES} lines of the gateway's log",
            "",
            *_fenced("text", _log(facts)),
        ]
    )
    return redact(text, _secrets(facts), facts.user_home, _who(facts))


def _secrets(facts: Facts) -> list[str]:
    """Every value that this machine is known to keep secret: of variables that the profile names,
    valid or not, and of those that are called like it; and what stands in URLs.
    """
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", _profile_text(facts)))
    catalogue = {entry.get("key") for entry in catalogue_data().values()}
    values = []
    for name, value in facts.environ.items():
        if is_secret(name) or name in named or name in catalogue:
            values.append(value)
        values += in_url(value)
    with suppress(LlmswitchError, OSError):  # where the file of the keys is damaged
        values += kept_keys(facts.home).values()
    with suppress(NotAskedError):  # where no gateway was ever started
        values.append(facts.own_key)
    return values


def _profile_text(facts: Facts) -> str:
    try:
        return facts.ref.file.read_text(errors="replace")
    except (NotAskedError, OSError):
        return ""


def _who(facts: Facts) -> dict[str, str]:
    names = (facts.environ.get("USER"), facts.environ.get("LOGNAME"), facts.user_home.name)
    return {name: "USER" for name in names if name} | {platform.node(): "HOST"}


def _config(facts: Facts) -> str:
    try:
        return facts.drawing.config
    except NotAskedError as reason:
        return f"not there: {reason}"


def _log(facts: Facts) -> str:
    try:
        log: Path = facts.run / LOG
    except NotAskedError as reason:
        return f"not there: {reason}"
    return "\n".join(tail(log, _LOG_LINES)) or "empty"


def _cell(text: str) -> str:
    """Text that ends no cell, names no one and makes no tag on the page where it is posted."""
    for live in ("\\", "|", "<", "@", "#"):
        text = text.replace(live, f"\\{live}")
    return text


def _fenced(kind: str, text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + kind, text.rstrip("\n"), fence]
