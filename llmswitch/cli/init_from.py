"""`init --from`: what a profile of somebody else's does is shown, and asked about, before it is
written.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from llmswitch.errors import LlmswitchError

if TYPE_CHECKING:
    from llmswitch.cli.ask import Screen
    from llmswitch.paths import Home
    from llmswitch.setup.write import Done


def take(home: Home, wanted: str, screen: Screen, *, yes: bool) -> tuple[Done, dict[str, Any]]:
    """Make a profile of the user's from a ready-made one, or from a file; with what is to be known
    of a file for --json. One that is there already is neither asked about nor changed.
    """
    from llmswitch.cli import text_init
    from llmswitch.profile import trust
    from llmswitch.setup import write

    source = write.read(wanted)
    if not source.is_file:
        return write.copy(home, source), {}
    found = trust.look(source.profile)
    if not write.is_there(home, source):
        screen.tell(text_init.of_a_file(wanted, trust.lines(found)))
        if not yes:
            _confirm(source.name, wanted, asks=screen.asks)
    return write.copy(home, source), {"trust": trust.data(found)}


def _confirm(name: str, wanted: str, *, asks: bool) -> None:
    """Ask; without anybody to answer that is a mistake."""
    from llmswitch.cli import text_init

    if not (asks and sys.stdin and sys.stdin.isatty()):
        why = "stdin is not a terminal" if asks else "--json asks nothing"
        raise LlmswitchError(
            f"{wanted} is used only when you say so, and {why}",
            f"llmswitch init --from {shlex.quote(wanted)} --yes",
        )
    if not typer.confirm(text_init.use(name)):
        sys.stderr.write(f"{text_init.NOTHING}\n")
        raise typer.Exit(1)
