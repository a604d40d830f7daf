"""The ledger: one SQLite file for each profile, one row for each try of a request.

The gateway writes it, the commands read it; both find its form here. Standard library only, and
nothing of llmswitch, since this is also loaded inside LiteLLM. No prompt and no answer is in it.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

OWN_CLIENT = "gateway"  # who came with the gateway's own key
NO_CLIENT = "(no key)"  # who came with no key, or a wrong one
CLIENT_LEFT = 499  # nginx' status of an answer that its client has not waited for
BUSY_SECONDS = 5.0
# `raises`: what a budget has got on top, in the period that the moment `at` is in.
# One step for each version of the form, the oldest first; PRAGMA user_version counts them.
_STEPS = (
    """
    CREATE TABLE tries (
        id INTEGER PRIMARY KEY,
        ended REAL NOT NULL,
        request TEXT NOT NULL,
        session TEXT,
        agent TEXT,
        client TEXT NOT NULL,
        asked TEXT NOT NULL,
        model TEXT NOT NULL,
        provider TEXT,
        upstream TEXT,
        key TEXT,
        streamed INTEGER NOT NULL,
        input INTEGER NOT NULL,
        output INTEGER NOT NULL,
        cache_read INTEGER NOT NULL,
        cache_write INTEGER NOT NULL,
        cost REAL,
        prompt_saved REAL,
        first_byte REAL,
        seconds REAL NOT NULL,
        status INTEGER NOT NULL,
        error TEXT,
        cache_hit INTEGER NOT NULL,
        saved REAL,
        fallback_from TEXT,
        worker TEXT NOT NULL
    );
    CREATE INDEX tries_ended ON tries (ended);
    CREATE TABLE raises (
        budget TEXT NOT NULL,
        start REAL NOT NULL,
        usd REAL NOT NULL,
        PRIMARY KEY (budget, start)
    );
    """,
    "CREATE INDEX tries_session ON tries (session); ALTER TABLE raises RENAME COLUMN start TO at",
    "ALTER TABLE tries ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0",
)


class Try(NamedTuple):
    """One finished try, as the table `tries` has it.

    `ended` is in seconds since 1970, `first_byte` and `seconds` are seconds from the request's
    arrival and the try's start. `request` is one id for all tries of a request. `asked` is the
    name that the client sent, `model` the name in the profile that was tried, `upstream` the
    provider's id of it, `key` the name of the variable that holds the key. `input` is without the
    tokens that the provider's cache held. Money is in USD; None: nobody knows, which is not 0.
    `prompt_saved` is what the provider's cache made cheaper (below 0: dearer), `saved` what an
    answer from LiteLLM's cache would have cost. `status` is HTTP's. `fallback_from` is the model
    asked for, where another was tried. A refusal, for which nothing was sent to anybody, has no
    provider; its names of models are empty where none was known. `worker` tells the gateway's
    processes apart. `estimated`: the provider has not told all of the tokens, so LiteLLM has
    counted some.
    """

    ended: float
    request: str
    session: str | None = None
    agent: str | None = None
    client: str = OWN_CLIENT
    asked: str = ""
    model: str = ""
    provider: str | None = None
    upstream: str | None = None
    key: str | None = None
    streamed: bool = False
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float | None = 0.0
    prompt_saved: float | None = None
    first_byte: float | None = None
    seconds: float = 0.0
    status: int = 200
    error: str | None = None
    cache_hit: bool = False
    saved: float | None = None
    fallback_from: str | None = None
    worker: str = ""
    estimated: bool = False


_INSERT = (
    f"INSERT INTO tries ({', '.join(Try._fields)}) "  # noqa: S608 - names of ours
    f"VALUES ({', '.join('?' * len(Try._fields))})"
)


def new_worker() -> str:
    """What marks the rows of one worker."""
    return uuid.uuid4().hex


class NewerError(Exception):
    """The file was written by a newer llmswitch."""


def open_to_write(file: Path) -> sqlite3.Connection:
    """The ledger, made or brought to this version's form. The folder must be there.

    Raises sqlite3.Error, and NewerError.
    """
    file.touch(mode=0o600)  # SQLite gives its other two files the same mode
    with ExitStack() as opened:
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
        opened.enter_context(closing(connection))
        connection.isolation_level = None  # transactions are written out
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode: a power failure may lose the last rows, a killed process none.
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection)
        opened.pop_all()
    return connection


def open_to_read(file: Path) -> sqlite3.Connection | None:
    """The ledger for reading, None where there is none yet.

    Raises sqlite3.Error, and NewerError.
    """
    if not file.exists():
        return None
    if not file.is_file():  # to open a pipe would wait for ever
        raise sqlite3.OperationalError("it is no file")
    uri = f"{file.absolute().as_uri()}?mode=ro"
    with ExitStack() as opened:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
        opened.enter_context(closing(connection))
        if not _version(connection):  # just being made
            return None
        opened.pop_all()
    return connection


def columns(connection: sqlite3.Connection) -> set[str]:
    """What `tries` has; a ledger that no newer gateway has written lacks some."""
    return {row[1] for row in connection.execute("PRAGMA table_info(tries)")}


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection | None]:
    """As open_to_read, closed at the end."""
    connection = open_to_read(file)
    with closing(connection) if connection else nullcontext():
        yield connection


def insert(connection: sqlite3.Connection, tries: Iterable[Try]) -> None:
    """Write rows in one transaction: all or none."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, tries)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_STEPS):
        raise NewerError
    return version


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(_STEPS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # two workers of a reload may both be here
        for number, step in enumerate(_STEPS[_version(connection) :], _version(connection) + 1):
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
