"""What is said to Claude Code on its command line: which of its commands are sessions, and the
user's own `--settings` among the rest. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmswitch.errors import LlmswitchError

# What the client does without a model of ours: nothing is started, and nothing is told to it.
WITHOUT_MODEL = {
    "auth",
    "config",
    "daemon",
    "doctor",
    "gateway",
    "import",
    "install",
    "kill",
    "logs",
    "mcp",
    "migrate-installer",
    "plugin",
    "plugins",
    "project",
    "purge",
    "remote-control",
    "rm",
    "setup-token",
    "stop",
    "ultrareview",
    "update",
    "upgrade",
    "-v",
    "--version",
    "-h",
    "--help",
}
# These go on with a session that was given our settings when it began, and take no others.
GOES_ON = {"attach", "respawn"}
# What may stand before a subcommand (in an alias, say), with one value and with none.
_WITH_VALUE = {
    "--agent",
    "--effort",
    "--model",
    "--permission-mode",
    "--setting-sources",
    "--settings",
}
_WITHOUT_VALUE = {
    "--allow-dangerously-skip-permissions",
    "--dangerously-skip-permissions",
    "--ide",
    "--safe-mode",
    "--strict-mcp-config",
    "--verbose",
}


def command_of(arguments: list[str]) -> str | None:
    """The client's subcommand, None where it is a session."""
    waiting = iter(arguments)
    for argument in waiting:
        if argument in _WITH_VALUE:
            next(waiting, None)
        elif argument not in _WITHOUT_VALUE and argument.partition("=")[0] not in _WITH_VALUE:
            return argument
    return None


def change_model(arguments: list[str], change: Callable[[str], str]) -> list[str]:
    """The arguments with the value of `--model` changed."""
    changed: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        changed.append(argument)
        if argument == "--":
            changed += waiting
        elif argument == "--model":
            value = next(waiting, None)
            changed += [] if value is None else [change(value)]
        elif argument.startswith("--model="):
            changed[-1] = "--model=" + change(argument.partition("=")[2])
    return changed


def split_settings(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The user's own `--settings` (a file or JSON, as the client takes it), and the rest.

    Raises LlmswitchError for what is neither.
    """
    rest: list[str] = []
    given: str | None = None
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += ["--", *waiting]
        elif argument == "--settings":
            given = next(waiting, None)
            if given is None:
                rest.append(argument)  # the client says that its value is missing
        elif argument.startswith("--settings="):
            given = argument.partition("=")[2]
        else:
            rest.append(argument)
    if given is None:
        return {}, rest
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError) as error:
        raise _unreadable(given, str(error)) from error
    if not isinstance(data, dict):
        raise _unreadable(given, "it is not a JSON object")
    return data, rest


def _unreadable(given: str, why: str) -> LlmswitchError:
    return LlmswitchError(
        f"--settings {given[:80]} cannot be read: {why}", "give a JSON file or a JSON object"
    )
