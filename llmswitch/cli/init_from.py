"""`init --from`: shows what somebody else's profile does, and asks, before it is written."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import typer

from llmswitch.cli.ask import Screen
from llmswitch.cli.init import leave
from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home
from llmswitch.profile import trust
from llmswitch.setup import write


def copy(
    home: Home, wanted: str, screen: Screen, *, yes: bool
) -> tuple[write.Done, dict[str, Any]]:
    """Copy a ready-made profile or a file to the user's profiles; with what --json says of a file.
    One that exists already is neither asked about nor changed.
    """
    source = write.read(wanted)
    if not source.is_file:
        return write.copy(home, source), {}
    found = trust.look(source.profile)
    if not write.is_there(home, source):
        told = [f"  {one}" for one in trust.lines(found)]
        harmless = [f"{wanted} sends each key only to its provider, and runs no code"]
        screen.tell([f"{wanted}, if you did not write it:", *told] if told else harmless)
        if not yes:
            _confirm(source.name, wanted, asks=screen.asks)
    return write.copy(home, source), {"trust": trust.data(found)}


def _confirm(name: str, wanted: str, *, asks: bool) -> None:
    """Ask; raises LlmswitchError without a terminal."""
    if not (asks and sys.stdin and sys.stdin.isatty()):
        why = "stdin is not a terminal" if asks else "--json does not ask"
        raise LlmswitchError(
            f"{wanted} is used only with your consent, and {why}",
            f"llmswitch init --from {shlex.quote(wanted)} --yes",
        )
    if not typer.confirm(f"use it as the profile {name}?"):
        raise leave(1)
