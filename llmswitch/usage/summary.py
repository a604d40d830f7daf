"""The ledger of a profile, read and summed. Reads alone, and never keeps the gateway from writing.

SQLite does the sums. Tokens are those that a provider worked on: an answer out of LiteLLM's own
cache adds a request, a cache hit and what it saved, and no tokens. Money is in USD.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from llmswitch import ledger
from llmswitch.errors import LlmswitchError

BY = ("model", "provider", "day", "session", "client", "agent", "key")
DEFAULT_SINCE = "30d"
# From here on a prompt cache that never hits is worth a word: Claude Code sends more each time, and
# no provider wants longer prompts before it caches them.
MANY_REQUESTS, LONG_PROMPT = 20, 4096
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_LATEST = 253_370_764_800  # the year 9999; the last days of it cannot be shown in every zone
_LEFT = ledger.CLIENT_LEFT
_QUARTER = 900  # seconds; every time zone is whole quarters of an hour away from UTC


class Period(NamedTuple):
    """From `since` until just before `until`, in seconds since 1970; days are those of `zone`,
    None: of this machine.
    """

    since: float
    until: float
    zone: tzinfo | None

    def at(self, moment: float) -> datetime:
        """A moment as the clock on the wall shows it."""
        return datetime.fromtimestamp(moment, self.zone).astimezone(self.zone)


class Group(NamedTuple):
    """The sums of all tries that have something in common; `name` is what.

    `requests` are requests with a try in this group, so one that fell back counts for both models.
    `failures` are tries that failed, `answered` those that a provider answered; one whose client
    has left is no failure. `refusals`, for which nothing was sent to anybody, are neither requests
    nor tries. `estimated_requests` have tokens that their provider has not told. `cost_usd` is
    what is known of the cost, None where nothing is; `unknown_cost_requests` have no known price.
    `cache_hit_rate` is the share of the prompts that the provider's cache held, None without
    prompts. `first_byte_seconds` is a median. `last` is when the last try ended.
    """

    name: str | None
    requests: int
    tries: int
    failures: int
    answered: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float | None
    unknown_cost_requests: int
    saved_usd: float | None
    prompt_saved_usd: float | None
    cache_hits: int
    cache_hit_rate: float | None
    first_byte_seconds: float | None
    tokens_per_second: float | None
    refusals: int
    estimated_requests: int
    last: float | None

    @property
    def tokens(self) -> int:
        """Tokens of all four kinds."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
        )


class Fallback(NamedTuple):
    """`requests` for the name `asked` were answered by `served_by` after `failed` had failed."""

    asked: str
    failed: str
    served_by: str
    requests: int


class Usage(NamedTuple):
    """What was used in a period. `ever` tells whether the ledger holds anything at all."""

    period: Period
    ever: bool
    total: Group
    groups: dict[str, list[Group]]
    fallbacks: list[Fallback]


_EMPTY = Group(None, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0, None, None, None, 0, 0, None)
# Everything below is summed out of this, which is in memory and has numbers for the long names of
# requests: ten times as fast as the ledger itself with 200,000 rows. A failed try that used
# nothing is not `unpriced`: there is nothing to pay for. NOT INDEXED: reading all is faster.
_GATHER = f"""
    CREATE TEMP TABLE used AS SELECT
        DENSE_RANK() OVER (ORDER BY request) AS request, ended, status, cache_hit,
        local_day(CAST(ended / {_QUARTER} AS INTEGER)) AS day,
        session, agent, client, asked, model, provider, key, fallback_from,
        provider IS NULL AND status >= 400 AND status != {_LEFT} AS refused,
        (status = 200 OR status = {_LEFT} AND output > 0) AND NOT cache_hit AS answered,
        input * NOT cache_hit AS input, output * NOT cache_hit AS output,
        cache_read * NOT cache_hit AS cache_read, cache_write * NOT cache_hit AS cache_write,
        cost, saved, prompt_saved, first_byte, seconds,
        cost IS NULL AND NOT cache_hit
            AND (status = 200 OR input + output + cache_read + cache_write > 0) AS unpriced
        , {{estimated}} AS estimated
    FROM tries NOT INDEXED WHERE ended >= ? AND ended < ?
"""  # noqa: S608 - SQL of ours
# In the order of Group. A sum of money without a known part is 0 only if nothing was to be paid.
_SUMS = f"""
    COUNT(DISTINCT CASE WHEN NOT refused THEN request END), SUM(NOT refused),
    SUM(status NOT IN (200, {_LEFT}) AND NOT refused), SUM(answered),
    SUM(input), SUM(output), SUM(cache_read), SUM(cache_write),
    COALESCE(SUM(cost), CASE WHEN NOT SUM(unpriced) THEN 0.0 END),
    COUNT(DISTINCT CASE WHEN unpriced THEN request END),
    COALESCE(SUM(saved), CASE WHEN NOT SUM(cache_hit) THEN 0.0 END),
    COALESCE(SUM(prompt_saved), CASE WHEN NOT SUM(cache_read + cache_write) THEN 0.0 END),
    SUM(cache_hit), SUM(cache_read) * 1.0 / NULLIF(SUM(input + cache_read + cache_write), 0), NULL,
    SUM(output * answered) / NULLIF(SUM(seconds * answered), 0), SUM(refused),
    COUNT(DISTINCT CASE WHEN estimated THEN request END), MAX(ended)
"""
_FALLBACKS = """
    SELECT asked, fallback_from, model, COUNT(DISTINCT request) AS requests FROM used
    WHERE fallback_from IS NOT NULL AND status = 200
    GROUP BY 1, 2, 3 ORDER BY requests DESC, 1, 2, 3
"""


def period(since: str | None, until: str | None, now: float, zone: tzinfo | None) -> Period:
    """The period that --since and --until name; `until` takes in the whole day that it names."""
    start = moment("--since", since or DEFAULT_SINCE, now, zone)
    end = moment("--until", until, now, zone, end=True) if until else max(now, start) + 1
    if start >= end:
        raise LlmswitchError(
            f"--since {since or DEFAULT_SINCE} is not before --until {until}", "swap them"
        )
    return Period(start, end, zone)


def moment(option: str, text: str, now: float, zone: tzinfo | None, *, end: bool = False) -> float:
    """Seconds since 1970 of `today`, `yesterday`, `7d` or `24h` ago, a date, a date with a time.

    A day is its first moment, with `end` the first of the next day.
    """
    if ago := re.fullmatch(r"(\d{1,4})([hdw])", text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        day = _day(text, datetime.fromtimestamp(now, zone).date())
        if day is None:
            given = datetime.fromisoformat(text)
            found = (given if given.tzinfo else given.replace(tzinfo=zone)).timestamp()
        else:
            found = datetime.combine(day + timedelta(days=end), time(), zone).timestamp()
        return min(found, _LATEST)
    except (ValueError, OverflowError, OSError) as error:
        raise LlmswitchError(
            f"invalid time {text!r} for {option}",
            f"such as: {option} today, yesterday, 7d, 24h, 2026-11-01 or 2026-11-01T09:30",
        ) from error


def _day(text: str, today: date) -> date | None:
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    if text in named:
        return named[text]
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def read(file: Path, wanted: Period, by: Sequence[str]) -> Usage:
    """Sum a ledger for each of `by`, all from the same moment; empty where there is no ledger."""
    with explained(file), ledger.reading(file) as connection:
        if connection is None:
            return Usage(wanted, False, _EMPTY, {name: [] for name in by}, [])
        return _sum(connection, wanted, by)


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Say what is wrong with a ledger, and what to do."""
    try:
        yield
    except ledger.NewerError as error:
        raise LlmswitchError(
            f"the ledger {file} was written by a newer llmswitch", "update llmswitch"
        ) from error
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorname", "")
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LlmswitchError(
                f"another program has locked the ledger {file}", "try again in a moment"
            ) from error
        cannot = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_IOERR")
        if not kind or kind.startswith(cannot):  # without a kind: no file at all
            raise LlmswitchError(
                f"the ledger {file} cannot be read: {error}",
                "make the file and its folder readable and writable for you",
            ) from error
        if not kind.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")):
            raise LlmswitchError(
                f"the ledger {file} cannot be used: {error}", "llmswitch doctor"
            ) from error
        raise LlmswitchError(
            f"the ledger {file} is damaged: {error}",
            f"mv {shlex.quote(str(file))} {shlex.quote(str(file))}.old    (a new one is started)",
        ) from error


def _sum(connection: sqlite3.Connection, wanted: Period, by: Sequence[str]) -> Usage:
    @cache
    def local_day(quarter: int) -> str:
        return datetime.fromtimestamp(quarter * _QUARTER, wanted.zone).date().isoformat()

    connection.create_function("local_day", 1, local_day, deterministic=True)
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    connection.execute("PRAGMA temp_store = MEMORY")
    estimated = "estimated" if "estimated" in ledger.columns(connection) else "0"
    gather = _GATHER.format(estimated=estimated)
    connection.execute(gather, (wanted.since, wanted.until))  # one statement: of one moment
    ever = connection.execute("SELECT EXISTS (SELECT 1 FROM tries)").fetchone()[0]
    total = next(iter(_groups(connection, "NULL")), _EMPTY)
    groups = {name: _ordered(name, _groups(connection, name)) for name in by}
    fallbacks = [Fallback(*row) for row in connection.execute(_FALLBACKS)]
    return Usage(wanted, bool(ever), total, groups, fallbacks)


def _groups(connection: sqlite3.Connection, by: str) -> list[Group]:
    waits: dict[str | None, list[float]] = {}
    for name, seconds in connection.execute(
        f"SELECT {by}, first_byte FROM used WHERE answered AND first_byte IS NOT NULL"  # noqa: S608
    ):
        waits.setdefault(name, []).append(seconds)
    rows = connection.execute(f"SELECT {by} AS name, {_SUMS} FROM used GROUP BY name")  # noqa: S608
    medians = {name: median(seconds) for name, seconds in waits.items()}
    found = [Group(*row)._replace(first_byte_seconds=medians.get(row[0])) for row in rows]
    # What was refused before anything was known of it has no model, provider or key.
    return [group for group in found if group.tries or group.name or by == "NULL"]


def _ordered(by: str, groups: list[Group]) -> list[Group]:
    """Days as they come, sessions the newest first, the rest the dearest first."""
    if by == "day":
        return sorted(groups, key=lambda group: group.name or "")
    if by == "session":
        return sorted(groups, key=lambda group: -(group.last or 0))
    return sorted(groups, key=lambda g: (-(g.cost_usd or 0), -g.tokens, -g.tries, g.name or ""))


def never_cached(models: Sequence[Group]) -> list[Group]:
    """The models whose prompt cache never hit, though there was much to hit."""
    return [
        group
        for group in models
        if group.cache_hit_rate == 0
        and group.answered >= MANY_REQUESTS
        and group.input_tokens >= group.answered * LONG_PROMPT
    ]
