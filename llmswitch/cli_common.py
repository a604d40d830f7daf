"""What the modules of the command line share: options, the chosen profile, printing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_home, find_profile, profile_names

if TYPE_CHECKING:
    from llmswitch.paths import Home, ProfileRef


def _profiles() -> list[str]:
    """What completes `--profile`."""
    return profile_names(find_home(os.environ))


ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="A profile's name, or the path of its YAML file.",
        autocompletion=_profiles,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as JSON, for scripts.")]


def own_home() -> Home:
    """Where the files are."""
    return find_home(os.environ)


def chosen(profile: str | None) -> tuple[Home, ProfileRef]:
    """Where the files are, and the profile that is meant."""
    home = find_home(os.environ)
    return home, find_profile(home, profile, os.environ)


def show(lines: Sequence[str], data: Any, as_json: bool) -> None:
    """Print a result: as lines, or as data."""
    shown = [json.dumps(data, indent=2, ensure_ascii=False)] if as_json else lines
    sys.stdout.write("".join(f"{line}\n" for line in shown))


def confirm(question: str) -> None:
    """Ask before something is spent or gone; without a terminal that is a mistake."""
    if not sys.stdin.isatty():
        raise LlmswitchError(f"{question}; nobody is here to ask", "add --yes")
    typer.confirm(f"{question}; go on?", abort=True, err=True)
