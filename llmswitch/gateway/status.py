"""Whether a gateway runs, whether it is up to date, and what it serves."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from llmswitch import __version__, health
from llmswitch.budgets import period
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.manager import installed
from llmswitch.gateway.reload import gave_up
from llmswitch.gateway.state import State, is_ours, read_state
from llmswitch.ledger import NewerError, reading
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.secrets import known_keys, read_gateway_key
from llmswitch.render.retirement import retirements
from llmswitch.run_files import SERVED

# 499: the client has left, and what had come until then is paid for.
_SERVED = """
    SELECT model, key, fallback_from, COUNT(*), COALESCE(SUM(cost), 0), SUM(cost IS NULL)
    FROM tries WHERE ended >= ? AND ended < ? AND status IN (200, 499)
    GROUP BY model, key, fallback_from ORDER BY model, key
"""
_NOTHING: dict[str, Any] = {"ledger": None, "budgets": [], "goes_after": None}


def find(ref: ProfileRef, home: Home, environ: Mapping[str, str], now: float) -> dict[str, Any]:
    """The status as `status --json` shows it; `now` is in seconds since 1970. `retiring` are those
    of the models that their providers are about to retire, or have retired.
    """
    found = _find(ref, home, environ, now)
    retiring = retirements(found["models"], now)
    return found | {"retiring": [one._asdict() for one in retiring]}


def _find(ref: ProfileRef, home: Home, environ: Mapping[str, str], now: float) -> dict[str, Any]:
    """The same without `retiring`.

    `running` means that the gateway has answered just now; one that has a `pid` alone does not, and
    `starting` says that it has not yet. `current` is that it has the profile as the file stands.
    `models` are those of the running gateway, else of the profile. `ledger` and `budgets` are what
    the gateway says of them, `goes_after` is how many seconds after its last use it stops by
    itself (0: it stays). `today` is what each model has answered today.
    """
    run = home.run(ref)
    state = read_state(run)
    here = state if is_ours(state) else None
    running = here is not None and health.answers(here.host, here.port)
    same = state is not None and state.profile_sha256 == _sha256(ref.file)
    result: dict[str, Any] = {
        "running": running,
        "starting": bool(here and not running and not (run / SERVED).exists()),
        "current": bool(running and same and state and state.version == __version__),
        "service": _service(ref, home, environ),
        "profile": ref.name,
        "profile_file": str(ref.file),
        "default": None,
        "log": None,
        "stopped": None,
        **_NOTHING,
        "today": _today(home.ledger(ref), now),
    }
    if here is not None and running:
        return result | {
            **_gateway_says(here, home),
            "url": here.url,
            "pid": here.pid,
            "models": here.models,
            "default": here.roles["default"],
            "log": here.log,
        }
    set_names = known_keys(environ, home).names
    rows, url = _of_profile(ref, set_names)
    return result | {
        "url": here.url if here else url,
        "models": rows,
        "pid": here.pid if here else None,
        "stopped": None if here else gave_up(run),
    }


def _service(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The service of the profile; None where none is installed or nothing runs it here."""
    found = installed(ref, home, environ)
    seen = found.seen() if found else None
    return {"name": found.name, **seen._asdict()} if found and seen else None


def _gateway_says(state: State, home: Home) -> dict[str, Any]:
    """What only the gateway knows; nothing where it is an older one, or the key is gone or
    cannot be used (the doctor says why).
    """
    try:
        key = read_gateway_key(home) or ""
        said: dict[str, Any] = health.ask(state.host, state.port, health.OWN_STATE, key)
    except (LlmswitchError, OSError, ValueError):
        return _NOTHING
    return {name: said.get(name, empty) for name, empty in _NOTHING.items()}


def _today(file: Path, now: float) -> list[dict[str, Any]]:
    """Of each model: its answers, their cost, by which keys, and in place of which other models.
    Nothing where the ledger cannot be read: the doctor says why.
    """
    try:
        with reading(file) as connection:
            today = period("day", now)
            rows = connection.execute(_SERVED, today).fetchall() if connection else []
    except (sqlite3.Error, OSError, NewerError):
        return []
    found: dict[str, dict[str, Any]] = {}
    for model, key, fallback_from, answers, cost, unknown in rows:
        row = found.setdefault(
            model, {"model": model, "answers": 0, "cost_usd": 0.0, "keys": {}, "in_place_of": {}}
        )
        row["answers"] += answers
        row["keys"][key or ""] = row["keys"].get(key or "", 0) + answers
        if fallback_from:
            others = row["in_place_of"]
            others[fallback_from] = others.get(fallback_from, 0) + answers
        row["cost_usd"] = None if unknown or row["cost_usd"] is None else row["cost_usd"] + cost
    return list(found.values())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _of_profile(ref: ProfileRef, set_names: Container[str]) -> tuple[list[dict[str, Any]], str]:
    """The models as this shell could serve them, and where."""
    from llmswitch.profile.load import load_profile
    from llmswitch.render.menu import make_rows, row_data
    from llmswitch.render.plan import shown_path

    profile = load_profile(ref.file, shown_path(ref.file))
    rows = [row_data(row) for row in make_rows(profile, set_names)]
    return rows, health.url_of(profile.gateway.host, profile.gateway.port)
