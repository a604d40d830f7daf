"""Who uses a gateway. Each session holds a lease while it runs: a shared lock on one file, which
the system releases however the session ends. A gateway that stops by itself (engine/idle.py) takes
an exclusive lock on it and keeps that until its last process has ended.

Standard library only: the wrapper needs it on every start.
"""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from pathlib import Path

from llmswitch import health
from llmswitch.errors import LlmswitchError
from llmswitch.paths import make_private_folder, open_own
from llmswitch.run_files import EXIT_SECONDS, LEASES, ON_DEMAND


def hold(run: Path) -> FileIO:
    """A lease on the gateway of a folder, until the returned file is closed or its process ends.

    Waits for a gateway that is shutting down. Other programs do not inherit the file: what a
    session leaves running would keep the gateway.
    """
    make_private_folder(run)
    lease = FileIO(open_own(run / LEASES, os.O_RDWR | os.O_CREAT), "r+")

    def held() -> bool:
        try:
            fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if not health.wait_until(held, EXIT_SECONDS, lambda: None):
        lease.close()
        raise LlmswitchError(
            f"the gateway is shutting down and did not exit within {EXIT_SECONDS} s",
            "llmswitch down, then try again",
        )
    return lease


def stops_by_itself(run: Path) -> bool:
    """Whether the gateway of a folder stops when nobody uses it any more."""
    return (run / ON_DEMAND).exists()


def stops(seconds: int) -> str:
    """When a gateway stops that may be unused for so many seconds (0: it stays)."""
    if not seconds:
        return "stays until llmswitch down"
    minutes, rest = divmod(seconds, 60)
    time = f"{minutes} minutes" if minutes > 1 and not rest else f"{seconds} seconds"
    return f"stops {time} after the last session"


def mark(run: Path, *, on_demand: bool) -> None:
    """Note whether the gateway of a folder stops by itself, or stays."""
    if on_demand:
        (run / ON_DEMAND).touch(mode=0o600)
    else:
        (run / ON_DEMAND).unlink(missing_ok=True)
