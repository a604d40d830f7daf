"""`llmswitch doctor --report`: one Markdown text that a person can put into a public issue."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llmswitch.doctor.checks import Result
from llmswitch.doctor.context import Context, NotAskedError
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.log import tail
from llmswitch.profile.keys import kept_keys
from llmswitch.profile.providers import catalogue_data
from llmswitch.redact import in_url, is_secret, redact
from llmswitch.run_files import LOG

_LOG_LINES = 40


def markdown(context: Context, results: Sequence[Result]) -> str:
    """What `--report` prints: system, checks, configuration, end of the log; all of it redacted."""
    lines = [
        *("### llmswitch doctor", "", f"{platform.platform()}, {platform.machine()}", ""),
        *("| result | check | message | cure |", "|---|---|---|---|"),
        *(f"| {r.level} | {r.name} | {_cell(r.message)} | {_cell(r.hint)} |" for r in results),
        *("", "### litellm_config.yaml, as it would be written now", ""),
        *_fenced("yaml", _config(context)),
        *("", f"### The last {_LOG_LINES} lines of the gateway's log", ""),
        *_fenced("text", _log(context)),
    ]
    return redact("\n".join(lines), _secrets(context), context.user_home, _who(context))


def _secrets(context: Context) -> list[str]:
    """Every value that this machine is known to keep secret: of variables that the profile names,
    valid or not, and of those that are called like it; and what stands in URLs.
    """
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", _profile_text(context)))
    catalogue = {entry.get("key") for entry in catalogue_data().values()}
    values = []
    for name, value in context.environ.items():
        if is_secret(name) or name in named or name in catalogue:
            values.append(value)
        values += in_url(value)
    with suppress(LlmswitchError, OSError):  # where the file of the keys is damaged
        values += kept_keys(context.home).values()
    with suppress(NotAskedError):  # where no gateway was ever started
        values.append(context.own_key)
    return values


def _profile_text(context: Context) -> str:
    try:
        return context.ref.file.read_text(errors="replace")
    except (NotAskedError, OSError):
        return ""


def _who(context: Context) -> dict[str, str]:
    names = (context.environ.get("USER"), context.environ.get("LOGNAME"), context.user_home.name)
    return {name: "USER" for name in names if name} | {platform.node(): "HOST"}


def _config(context: Context) -> str:
    try:
        return context.rendered.config
    except NotAskedError as reason:
        return f"not there: {reason}"


def _log(context: Context) -> str:
    try:
        log: Path = context.run / LOG
    except NotAskedError as reason:
        return f"not there: {reason}"
    return "\n".join(tail(log, _LOG_LINES)) or "empty"


def _cell(text: str | None) -> str:
    """Text for a cell of a Markdown table, with what GitHub would read as markup escaped."""
    text = text or ""
    for live in ("\\", "|", "<", "@", "#"):
        text = text.replace(live, f"\\{live}")
    return text


def _fenced(kind: str, text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + kind, text.rstrip("\n"), fence]
