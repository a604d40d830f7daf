"""The last requests of a ledger, each with what came of its tries."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.budgets import dollars
from llmswitch.columns import columns
from llmswitch.ledger import CLIENT_LEFT, OWN_CLIENT, reading
from llmswitch.usage.summary import Period, explained
from llmswitch.usage.tables import count, plain

_OK = 200
_TRIES = f"""
    SELECT request, ended, client, session, asked, model, provider, status, seconds, error,
        input, output, cache_read, cache_write, cost
    FROM tries WHERE request IN (
        SELECT request FROM tries WHERE ended >= :since AND ended < :until GROUP BY request
        HAVING (:model IS NULL OR SUM(asked = :model OR model = :model))
            AND NOT (:errors AND SUM(status IN ({_OK}, {CLIENT_LEFT})))
        ORDER BY MAX(id) DESC LIMIT :number
    ) ORDER BY id
"""  # noqa: S608 - numbers of ours


class Request(NamedTuple):
    """One request. `ended` is in seconds since 1970. `model` is what the client asked for, `served`
    the model that answered or, where all failed, was tried last; both are empty for what was
    refused before they were known. Tokens and `cost` (USD, None: unknown) are of all `tries`
    together. `error` names the kind of the failure.
    """

    ended: float
    client: str
    session: str | None
    model: str
    served: str
    provider: str | None
    status: int
    tries: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cost: float | None
    seconds: float
    error: str | None


def last(file: Path, period: Period, number: int, model: str | None, errors: bool) -> list[Request]:
    """The last requests in a period, the newest last: of `model`, asked for or answering, where one
    is named; with `errors` those that got no answer.
    """
    wanted = {
        "since": period.since,
        "until": period.until,
        "number": number,
        "model": model,
        "errors": errors,
    }
    with explained(file), reading(file) as connection:
        if connection is None:
            return []
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        rows = connection.execute(_TRIES, wanted).fetchall()
    grouped: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        grouped.setdefault(row["request"], []).append(row)
    return sorted(map(_request, grouped.values()))


def _request(tries: Sequence[sqlite3.Row]) -> Request:
    answered = [row for row in tries if row["status"] == _OK]
    final = (answered or tries)[-1]
    costs = [row["cost"] for row in tries]
    ended = max(row["ended"] for row in tries)
    return Request(
        ended=ended,
        client=final["client"],
        session=final["session"],
        model=final["asked"],
        served=final["model"],
        provider=final["provider"],
        status=final["status"],
        tries=len(tries),
        input=sum(row["input"] for row in tries),
        output=sum(row["output"] for row in tries),
        cache_read=sum(row["cache_read"] for row in tries),
        cache_write=sum(row["cache_write"] for row in tries),
        cost=None if None in costs else sum(costs),
        seconds=ended - min(row["ended"] - row["seconds"] for row in tries),
        error=final["error"],
    )


def data(requests: Sequence[Request], period: Period) -> list[dict[str, Any]]:
    """`usage --requests --json`."""
    return [
        {"time": period.at(one.ended).isoformat(timespec="milliseconds")}
        | {name: value for name, value in one._asdict().items() if name != "ended"}
        | {"seconds": round(one.seconds, 3)}
        for one in requests
    ]


def table(requests: Sequence[Request], period: Period) -> list[str]:
    """A line for each request; a session of the gateway's own client by the beginning of its id."""
    if not requests:
        return ["no requests found"]
    head = ("ENDED", "CLIENT", "MODEL", "PROVIDER", "STATUS", "TOKENS", "COST", "TOOK", "ERROR")
    return columns([head, *(_cells(one, period.at(one.ended)) for one in requests)])


def _cells(one: Request, at: datetime) -> tuple[str, ...]:
    own = one.session is not None and one.client == OWN_CLIENT
    model = one.model if one.served == one.model else f"{one.model} -> {one.served}"
    return (
        f"{at:%m-%d %H:%M:%S}",
        plain((one.session or "")[:8] if own else one.client),
        plain(model) or "-",
        plain(one.provider or "-"),
        str(one.status),
        count(one.input + one.output + one.cache_read + one.cache_write),
        dollars(one.cost),
        f"{one.seconds:.1f}s",
        plain(one.error or ""),
    )
