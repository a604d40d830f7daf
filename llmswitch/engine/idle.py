"""A gateway on demand goes when nobody has used it for a while: `idle_timeout` of the profile.

It is used by a session that holds a lease (lease.py), by an open request, and by one that was
answered just now: Claude Code's background agents outlive their session. The master loads this
before it holds the port.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from io import FileIO

from llmswitch.run_files import IDLE, LEASES, ON_DEMAND, WORKERS


class Use:
    """What a worker knows of who uses the gateway. Times are those of the monotonic clock."""

    every = 1.0  # seconds between two looks
    gap = 5.0  # longer without a look, and the machine or the worker has slept

    def __init__(self) -> None:
        self.lease: FileIO | None = None
        self.requests = 0  # that are open
        self.last = self.looked = time.monotonic()

    def open_lease(self) -> None:
        """In the master: a lock that a worker takes by this file is held until both have ended."""
        self.lease = FileIO(os.open(LEASES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")

    def start_clock(self) -> None:
        """In a worker that begins to serve: the time runs from now on."""
        self.requests = 0
        self.last = self.looked = time.monotonic()

    def open_request(self) -> None:
        """A request has come."""
        self.requests += 1

    def close_request(self) -> None:
        """A request was answered, or given up."""
        self.requests -= 1
        self.last = time.monotonic()

    def is_over(self, timeout: float) -> bool:
        """Whether nobody has used the gateway for `timeout` seconds (0: it stays).

        After a yes the lease is ours alone, so whoever comes now waits until we are gone. What
        cannot be known counts as use.
        """
        now = time.monotonic()
        if not timeout or now - self.looked < self.every:
            return False
        slept, self.looked = now - self.looked > self.gap, now
        try:
            if slept or self.requests or not ON_DEMAND.exists() or self._is_leased():
                self.last = now
            return now - self.last >= timeout and self._take()
        except OSError:
            return False

    def _is_leased(self) -> bool:
        with LEASES.open("rb") as mine:  # a lock by the master's file would be everyone's here
            if self.lease is None or not os.path.sameopenfile(mine.fileno(), self.lease.fileno()):
                return True  # it was removed: sessions may hold the old one
            return not _locked(mine.fileno())

    def _take(self) -> bool:
        """Take the lease for good, unless a session, `up` or another worker came in between."""
        if self.lease is None or not _locked(self.lease.fileno()):
            return False
        others = {file.name for file in WORKERS.iterdir() if file.name.isdigit()}
        if not ON_DEMAND.exists() or others != {str(os.getpid())}:
            fcntl.flock(self.lease, fcntl.LOCK_UN)
            return False
        with suppress(OSError):
            IDLE.touch(mode=0o600)
        return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


use = Use()
