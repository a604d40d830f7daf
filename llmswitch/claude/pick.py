"""The model that was picked in the last session of a profile: the next session starts with it.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llmswitch.paths import write_private
from llmswitch.render.claude_settings import ALIASES, plain_name


class Pick(NamedTuple):
    """The pick in `file`. `roles` is the model of each role, `ids` are the model ids by name."""

    file: Path
    roles: Mapping[str, str]
    ids: Mapping[str, str]

    def model(self) -> str | None:
        """The id of the remembered model; None if there is none, or if it is no longer served."""
        try:
            name = json.loads(self.file.read_text())["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self.ids.get(self.roles.get(name, name))

    def remember(self, wire: str) -> None:
        """Keep a picked model id; "" is the row Default."""
        write_private(self.file, json.dumps({"model": plain_name(wire)}))

    def wire(self, name: str) -> str:
        """A name after `--model` as the menu has it: with the mark of a million tokens."""
        wire = self.ids.get(name, name)
        return wire if wire.endswith("[1m]") else name

    def names(self) -> set[str]:
        """Every value that a pick from this menu can leave in the user's settings."""
        plain = {*self.ids, *self.ids.values(), *ALIASES}
        return plain | {f"{name}[1m]" for name in plain}
