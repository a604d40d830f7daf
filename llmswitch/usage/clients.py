"""Clients with keys of their own: one file with a digest of each key. The gateway reads it at every
request, so what is done here holds for the next one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.budgets import period
from llmswitch.errors import LlmswitchError
from llmswitch.ledger import OWN_CLIENT
from llmswitch.paths import Home, locked, write_private
from llmswitch.profile.schema import client_name
from llmswitch.profile.secrets import new_key
from llmswitch.usage.spent import reading

_LATEST = 2**35  # seconds; a time that can be shown


class Client(NamedTuple):
    """One client; `made` is when it got its key, in seconds since 1970."""

    name: str
    made: float


class Usage(NamedTuple):
    """What a client has used: `last` in seconds since 1970, the USD of this month's tries whose
    price is known, and the number of those whose price is not.
    """

    last: float | None = None
    cost: float = 0.0
    unknown: int = 0


def add(home: Home, name: str, now: float) -> str:
    """Give a new client its key, which is returned and kept nowhere."""
    try:
        client_name(name)
    except ValueError as error:
        raise LlmswitchError(
            f"invalid client name {name!r}: it {error}", "llmswitch client add laptop"
        ) from error
    if name == OWN_CLIENT:
        raise LlmswitchError(
            f"{OWN_CLIENT!r} is reserved for the gateway's own key", "choose another name"
        )
    with locked(_lock(home)):
        found = _read(home.client_keys)
        if name in found:
            raise LlmswitchError(
                f"{name} already has a key, which cannot be shown again",
                f"for a new one: llmswitch client remove {name} && llmswitch client add {name}",
            )
        key = new_key()
        digest = hashlib.sha256(key.encode()).hexdigest()
        _write(home.client_keys, found | {name: {"sha256": digest, "made": int(now)}})
    return key


def remove(home: Home, name: str) -> None:
    """Take a client's key away."""
    with locked(_lock(home)):
        found = _read(home.client_keys)
        if name not in found:
            there = f"; there are: {', '.join(found)}" if found else ""
            raise LlmswitchError(f"there is no client {name!r}{there}", "llmswitch client list")
        del found[name]
        _write(home.client_keys, found)


def all_clients(home: Home) -> list[Client]:
    """Those that have a key, by name."""
    found = _read(home.client_keys)
    return [Client(name, found[name]["made"]) for name in sorted(found)]


def notes(home: Home, wanted: Collection[str]) -> list[str]:
    """What to know of the clients that a profile names."""
    if not wanted:
        return []
    try:
        found = _read(home.client_keys)
    except LlmswitchError as error:
        return [f"{error.message}, so no client can connect"]
    return [
        f"the client {name} has no key yet; create it: llmswitch client add {name}"
        for name in wanted
        if name not in found
    ]


def usage(ledger: Path, now: float) -> dict[str, Usage]:
    """What each client has used of one profile; a ledger that is not there has nothing."""
    with reading(ledger) as connection:
        if connection is None:
            return {}
        rows = connection.execute(
            "SELECT client, MAX(ended), TOTAL(cost) FILTER (WHERE ended >= :start), "
            "COUNT(*) FILTER (WHERE ended >= :start AND cost IS NULL) "
            "FROM tries GROUP BY client",
            {"start": period("month", now).start},
        )
        return {client: Usage(*used) for client, *used in rows}


def data(client: Client, used: Usage) -> dict[str, Any]:
    """A client for scripts."""
    return {
        **client._asdict(),
        "last_used": used.last,
        "month_usd": used.cost,
        "month_unknown": used.unknown,
    }


def _lock(home: Home) -> Path:
    return home.client_keys.with_name("clients.json.lock")


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """The file's content, the very form that the gateway believes."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        _check(found)
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LlmswitchError(
            f"the file {file} is damaged",
            f"move it away and add the clients again: {_move_away(file)}",
        ) from error
    clients: dict[str, dict[str, Any]] = found
    return clients


def _check(found: Any) -> None:
    """Raises for anything that we have not written."""
    for name, client in found.items():
        if client_name(name) == OWN_CLIENT:
            raise ValueError("the gateway's own name")
        if len(bytes.fromhex(client["sha256"])) != hashlib.sha256().digest_size:
            raise ValueError("not a SHA-256")
        if type(client["made"]) is not int or not 0 <= client["made"] < _LATEST:
            raise ValueError("not a time")


def _write(file: Path, clients: dict[str, dict[str, Any]]) -> None:
    write_private(file, json.dumps(clients, indent=1) + "\n")


def _move_away(file: Path) -> str:
    return shlex.join(["mv", str(file), f"{file}.old"])
