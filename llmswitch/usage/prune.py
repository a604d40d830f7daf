"""Old rows of a ledger, counted and deleted while the gateway goes on writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from llmswitch import ledger
from llmswitch.errors import LlmswitchError
from llmswitch.usage.summary import explained

KEPT_DAYS = 32  # no month is longer, and budgets count the month that runs
_AT_ONCE = 2000  # rows; a transaction takes some ms, and the gateway's own rows wait no longer


def check(before: float, now: float, file: Path) -> None:
    """Refuse to delete what budgets still count. Both moments are in seconds since 1970."""
    if before > now - KEPT_DAYS * 86400:
        raise LlmswitchError(
            f"cannot delete the last {KEPT_DAYS} days: monthly budgets need them",
            f"--older-than {KEPT_DAYS}d    (or llmswitch down, and delete {file})",
        )


def count(file: Path, before: float) -> int:
    """How many rows are older than a moment."""
    with explained(file), ledger.reading(file) as connection:
        if connection is None:
            return 0
        older = connection.execute("SELECT COUNT(*) FROM tries WHERE ended < ?", (before,))
        number: int = older.fetchone()[0]
        return number


def delete(file: Path, before: float, pause: Callable[[float], None] = time.sleep) -> int:
    """Delete the rows older than a moment, and return how many.

    The file does not shrink, since VACUUM would hold up the gateway for as long as it copies the
    rest; new rows take the room. Rows that are deleted are overwritten.
    """
    deleted = 0
    with explained(file), closing(ledger.open_to_write(file)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        while True:
            done = connection.execute(
                "DELETE FROM tries WHERE id IN (SELECT id FROM tries WHERE ended < ? LIMIT ?)",
                (before, _AT_ONCE),
            ).rowcount
            deleted += done
            if done < _AT_ONCE:
                break
            pause(0.01)  # SQLite's lock has no queue: let the gateway in
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # waits for nobody
    return deleted
