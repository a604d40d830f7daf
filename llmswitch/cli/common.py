"""What the modules of the command line share: options, the chosen profile, printing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_home, find_profile, find_profile_if_any, profile_names

if TYPE_CHECKING:
    from llmswitch.paths import Home, ProfileRef
    from llmswitch.profile.keys import Place
    from llmswitch.profile.schema import Profile
    from llmswitch.profile.secrets import Keys


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
BIN = Path("~/.local/bin")  # where the wrappers are
JsonOption = Annotated[bool, typer.Option("--json", help="The same as JSON, for scripts.")]


def own_home() -> Home:
    """Where the files are."""
    return find_home(os.environ)


def chosen(profile: str | None) -> tuple[Home, ProfileRef]:
    """Where the files are, and the profile that is meant."""
    home = find_home(os.environ)
    return home, find_profile(home, profile, os.environ)


def chosen_if_any(profile: str | None) -> tuple[Home, Profile | None]:
    """Where the files are, and the profile, where one is named or is the default."""
    from llmswitch.profile.load import load_profile
    from llmswitch.render.plan import shown_path

    home = find_home(os.environ)
    ref = find_profile_if_any(home, profile, os.environ)
    return home, load_profile(ref.file, shown_path(ref.file)) if ref else None


def keys_here(home: Home) -> Keys:
    """Every key that is set, in this shell or by `key set`."""
    from llmswitch.profile.secrets import known_keys

    return known_keys(os.environ, home)


def opened_keys(home: Home) -> dict[str, str]:
    """The same with their values, those of the system's keyring too."""
    from llmswitch.profile.keys import open_keys

    return open_keys(os.environ, home)


def show(lines: Sequence[str], data: Any, as_json: bool) -> None:
    """Print a result: as lines, or as data."""
    shown = [json.dumps(data, indent=2, ensure_ascii=False)] if as_json else lines
    sys.stdout.write("".join(f"{line}\n" for line in shown))


def places_here(home: Home, names: Sequence[str]) -> dict[str, Place | None]:
    """Where each of these keys comes from."""
    from llmswitch.profile.keys import place_of

    return {name: place_of(name, os.environ, home) for name in names}


def read_secret(question: str) -> str:
    """A secret that is typed unseen on a terminal, or all of standard input."""
    from getpass import getpass  # it asks only when the echo is off; typer's prompt asks before

    return (getpass(f"{question}: ") if sys.stdin.isatty() else sys.stdin.read()).strip()


def confirm(question: str) -> None:
    """Ask before something is spent or gone; without a terminal that is a mistake."""
    if not sys.stdin.isatty():
        raise LlmswitchError(f"{question}; nobody is here to ask", "add --yes")
    typer.confirm(f"{question}; go on?", abort=True, err=True)
