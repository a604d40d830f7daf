"""The one thread that writes the ledger, so that no request ever waits for a disk.

What cannot be written stays in memory and is tried again; the trouble is told once in the log, and
to whoever asks (`trouble`).
"""

from __future__ import annotations

import atexit
import logging
import sqlite3
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from llmswitch.ledger import NewerError, Try, insert, open_to_write

KEPT = 20_000  # rows in memory while the file cannot be written; the oldest are lost after that
_BATCH = 500
# Seconds in which rows gather. Each by itself cost a request 0.5 ms of CPU, or 3 % of its time; a
# killed process may lose what is younger than a second.
_GATHERED = 0.25
_AGAIN = 1.0  # seconds
# What SQLite says of a row, not of the file.
_UNFIT = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)
_log = logging.getLogger("gunicorn.error")


class Writer:
    """Writes rows soon after they are put. Never raises, never waits."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.trouble: str | None = None
        self.lost = 0
        self._rows: deque[Try] = deque()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to write; also finds out at once whether the file can be written."""
        self._wake.set()
        self._thread.start()
        atexit.register(self.stop)

    def put(self, row: Try) -> None:
        """Have a row written."""
        if len(self._rows) >= KEPT:
            with suppress(IndexError):
                self._rows.popleft()
            self.lost += 1
        self._rows.append(row)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._rows)

    def stop(self, seconds: float = 3.0) -> None:
        """Write what is left and end."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._ended.wait(_GATHERED)
            self._wake.clear()
            ended = self._ended.is_set()
            while self._write_some():
                pass
            if ended:
                self._close()
                return
            if self.trouble and not self._ended.wait(_AGAIN):
                self._wake.set()

    def _write_some(self) -> bool:
        """Write one batch; whether there may be more to write now."""
        batch = [self._rows[index] for index in range(min(len(self._rows), _BATCH))]
        try:
            connection = self._open()
            if batch:
                self._insert(connection, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next rows are to be written
            self._close()
            self._tell(_said(error))
            return False
        for row in batch:  # `put` may have dropped some of them meanwhile
            if self._rows and self._rows[0] is row:
                self._rows.popleft()
        self._tell(None)
        return bool(self._rows)

    def _insert(self, connection: sqlite3.Connection, batch: list[Try]) -> None:
        """Write a batch; a row that no table can hold is lost, and not those around it."""
        try:
            insert(connection, batch)
        except _UNFIT:
            for row in batch:
                try:
                    insert(connection, [row])
                except _UNFIT as error:
                    self.lost += 1
                    _log.error("a row of the ledger is lost: %s", error)

    def _open(self) -> sqlite3.Connection:
        """The file that is there now: one that was moved or removed is not written on."""
        try:
            there = self.file.stat().st_ino
        except FileNotFoundError:
            there = None
        if self._connection is None or there != self._inode:
            self._close()
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = open_to_write(self.file)
            self._inode = self.file.stat().st_ino
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _tell(self, trouble: str | None) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            _log.error("the ledger %s cannot be written: %s; requests go on", self.file, trouble)
        else:
            _log.info("the ledger %s is written again", self.file)


def _said(error: Exception) -> str:
    if isinstance(error, NewerError):
        return "it was written by a newer llmswitch"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
