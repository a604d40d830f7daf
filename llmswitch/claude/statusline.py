"""`llmswitch statusline`: one line for Claude Code's status line. It is run after every answer and
has 50 ms: standard library only, and nothing that loads more.

    ~/.claude/settings.json: {"statusLine": {"type": "command", "command": "llmswitch statusline"}}
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmswitch import health
from llmswitch.budgets import dollars
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import State, read_state
from llmswitch.ledger import NewerError, reading
from llmswitch.paths import find_home, find_profile
from llmswitch.profile.secrets import read_gateway_key
from llmswitch.render.claude_settings import plain_name

_PATIENCE = 0.2  # seconds for the gateway's word


def main(arguments: Sequence[str]) -> None:
    """Print the line for what Claude Code tells on standard input. Never fails: a status line that
    does shows nothing at all.
    """
    said: Any = None
    with suppress(ValueError, RecursionError):
        said = json.load(sys.stdin)
    parts = line(said if isinstance(said, dict) else {}, _profile(arguments), os.environ)
    sys.stdout.write("".join(c for c in " · ".join(parts) if c.isprintable()) + "\n")


def _profile(arguments: Sequence[str]) -> str | None:
    match arguments:
        case ["--profile" | "-p", name, *_]:
            return name
        case [one, *_] if one.startswith("--profile="):
            return one.partition("=")[2]
    return None


def line(said: Mapping[str, Any], wanted: str | None, environ: Mapping[str, str]) -> list[str]:
    """Model, provider, what this session has cost, and what is left of the budget that is nearest
    to its end; of a model that is not ours the name alone.
    """
    model = said.get("model")
    if not isinstance(model, dict):
        return []
    name = str(model.get("id") or "")
    plain = [str(model.get("display_name") or name)]
    try:
        home = find_home(environ)
        ref = find_profile(home, wanted, environ)
        state = read_state(home.run(ref))
        key = read_gateway_key(home) or ""
    except (LlmswitchError, OSError):
        return plain
    row = (
        next((row for row in state.models if row["name"] == plain_name(name)), None)
        if state
        else None
    )
    if state is None or row is None:
        return plain
    provider = str(row["description"]).partition(" · ")[0]
    cost = _cost(home.ledger(ref), str(said.get("session_id") or ""))
    return [str(row["label"]), provider, *cost, *_left(state, key)]


def _cost(file: Path, session: str) -> list[str]:
    try:
        with reading(file) as connection:
            if connection is None:
                return []
            sums = "SELECT TOTAL(cost), COUNT(*) - COUNT(cost) FROM tries WHERE session = ?"
            cost, unknown = connection.execute(sums, (session,)).fetchone()
    except (sqlite3.Error, OSError, NewerError):
        return []
    return [dollars(cost) + (" and more, of unknown price" if unknown else "")]


def _left(state: State, key: str) -> list[str]:
    try:
        said = health.ask(state.host, state.port, health.OWN_STATE, key, _PATIENCE)
        budgets = [(item["limit_usd"] - item["spent_usd"], item) for item in said["budgets"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not budgets:
        return []
    left, nearest = min(budgets, key=lambda pair: pair[0] / pair[1]["limit_usd"])
    return [f"{dollars(max(left, 0.0))} left of {nearest['name']}"]
