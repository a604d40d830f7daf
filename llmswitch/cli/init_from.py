"""`init --from`: shows what somebody else's profile does, and asks, before it is written."""

from __future__ import annotations

from typing import Any

from llmswitch.cli.ask import Screen
from llmswitch.cli.common import confirm
from llmswitch.paths import Home
from llmswitch.profile import trust
from llmswitch.setup import write


def copy(home: Home, wanted: str, screen: Screen, yes: bool) -> tuple[write.Done, dict[str, Any]]:
    """Copy a ready-made profile or a file to the user's profiles; with what --json says of a file.
    One that exists already is neither asked about nor changed.
    """
    source = write.read(home, wanted)
    data: dict[str, Any] = {}
    if source.is_file:
        found = trust.look(source.profile)
        data["trust"] = trust.data(found)
        if not write.exists(source.target):
            told = [f"  {one}" for one in trust.lines(found)]
            harmless = [f"{wanted} sends each key only to its provider, and runs no code"]
            screen.tell([f"{wanted}, if you did not write it:", *told] if told else harmless)
            if not yes:
                question = f"this makes {wanted} your profile {source.target.stem}"
                confirm(question, as_json=screen.silent)
    return write.write(home, source.target, source.content, {}), data
