"""What the modules of the command line share: options, the chosen profile, printing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_home, find_profile, find_profile_if_any, profile_names
from llmswitch.redact import with_tilde

if TYPE_CHECKING:
    from llmswitch.paths import Home, ProfileRef
    from llmswitch.profile.keys import Place
    from llmswitch.profile.schema import Price, Profile
    from llmswitch.profile.secrets import Keys

BIN = Path("~/.local/bin")  # where the wrappers are
_WHOLE = 1000  # characters: no description is cut off


class Commands(TyperGroup):
    """A group whose help lists each command with its whole first sentence. `titles` has the names
    of the commands by the title that they stand under.
    """

    titles: ClassVar[Mapping[str, Iterable[str]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lists of commands."""
        del ctx
        width = max(map(len, self.commands))
        for title, names in (self.titles or {"Commands": self.commands}).items():
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str(_WHOLE))
                for name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def group(text: str) -> typer.Typer:
    """A group of commands with its help."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, cls=Commands)


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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


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


def places_here(home: Home, names: Iterable[str]) -> dict[str, Place | None]:
    """Where each of these keys comes from."""
    from llmswitch.profile.keys import place_of

    return {name: place_of(name, os.environ, home) for name in names}


def show(lines: Sequence[str], data: Any = None, as_json: bool = False) -> None:
    """Print a result: as lines, or as data."""
    shown = [json.dumps(data, indent=2, ensure_ascii=False)] if as_json else lines
    sys.stdout.write("".join(f"{line}\n" for line in shown))


def short(path: object) -> str:
    """A path, or a text with some, as every screen shows it: with `~` for the home folder."""
    return with_tilde(str(path), Path.home())


def own_command() -> str:
    """How this llmswitch is called from here: by its name where PATH finds it, else by its file."""
    own = Path(sys.executable).with_name("llmswitch")
    found = shutil.which("llmswitch")
    if not own.exists() or (found and Path(found).resolve() == own.resolve()):
        return "llmswitch"
    with suppress(ValueError):
        own = own.relative_to(Path.cwd())
    return shlex.quote(str(own))


def context_and_price(context: int | None, price: Price | None) -> tuple[str, str]:
    """A window and a price as a table shows them."""
    from llmswitch.render.menu import format_context, format_price

    window = format_context(context).removeprefix("context ")
    return window, format_price(price).removeprefix("price ")


def read_secret(question: str) -> str:
    """A secret that is typed unseen on a terminal, or all of standard input."""
    from getpass import getpass  # it asks only when the echo is off; typer's prompt asks before

    return (getpass(f"{question}: ") if sys.stdin.isatty() else sys.stdin.read()).strip()


def confirm(question: str, *, as_json: bool = False) -> None:
    """Ask before something is spent, deleted or trusted. Raises LlmswitchError where nobody can
    answer.
    """
    if as_json or not (sys.stdin and sys.stdin.isatty()):
        why = "--json does not ask" if as_json else "stdin is not a terminal"
        raise LlmswitchError(f"{question}; {why}", "pass --yes")
    typer.confirm(f"{question}; continue?", abort=True, err=True)
