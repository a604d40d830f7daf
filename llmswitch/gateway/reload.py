"""The workers behind a gunicorn master, and how one takes over from another."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llmswitch import health
from llmswitch.gateway.state import State, is_ours
from llmswitch.run_files import CONFIG, CRASHED, FAILED, FORKED, WANTED, WORKERS, dismissed

_SECONDS_TO_CLOSE = 2.0  # a worker notices within 0.1 s that it is to stop
_SECONDS_TO_SHOW = 5.0  # a worker looks for its file every second
START_SECONDS = 120.0  # a worker needs a quarter of a second on an idle machine


def gave_up(run: Path) -> str | None:
    """Why the last gateway stopped by itself, in words; None where it did not."""
    try:
        return (run / CRASHED).read_text(errors="replace").strip()
    except OSError:
        return None


class Workers:
    """The workers behind a master, seen through the files that its hooks leave in its run folder.

    A worker is new if it has started with the configuration as it is now. One that died by itself
    may be replaced at any time, and its successor may have read the old configuration.
    """

    def __init__(self, run: Path, state: State, progress: Callable[[str], None]) -> None:
        self.run = run
        self.state = state
        self.progress = progress
        self.replaced = False
        # There may be none: when one has just died, or when the folder was removed.
        health.wait_until(lambda: bool(self._serving()), _SECONDS_TO_SHOW, lambda: None)
        self.before = self._serving()

    def replace(self) -> bool:
        """Start one more worker; returns whether it serves.

        A worker that still finishes old requests counts for the master, so it is told to keep one
        more until it has really forked one.
        """
        (self.run / FAILED).unlink(missing_ok=True)
        forked = self._number(FORKED)
        for _ in range(20):
            self._tell(signal.SIGTTIN, self._number(WANTED) + 1)
            if health.wait_until(lambda: self._number(FORKED) > forked, 0.5, lambda: None):
                break
        return self._wait_for_new()

    def give_up(self) -> None:
        """Have the new worker start again, after its configuration was put back."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.state.pid).children() if self._alive() else []
            # These started with the wrong configuration, or hang in it.
            lost = [child for child in children if str(child.pid) not in self._serving()]
            for child in lost:
                (self.run / dismissed(child.pid)).touch(mode=0o600)
                child.kill()
            psutil.wait_procs(lost, 5.0)
        (self.run / FAILED).unlink(missing_ok=True)
        self._wait_for_new()

    def _wait_for_new(self) -> bool:
        """Wait until a worker serves that did not before; False when it could not start."""

        def settled() -> bool:
            self.replaced = bool(self._new())
            return self.replaced or self._text(FAILED) == self._wanted() or not self._alive()

        health.wait_until(settled, START_SECONDS, lambda: self.progress("reloading the gateway"))
        return self.replaced

    def _new(self) -> set[str]:
        wanted = self._wanted()
        return {
            name for name in self._serving() - self.before if self._text(WORKERS / name) == wanted
        }

    def _wanted(self) -> str:
        return hashlib.sha256((self.run / CONFIG).read_bytes()).hexdigest()

    def settle(self) -> None:
        """Back to one worker: the master stops the oldest, which finish their requests.

        Where no new one serves, the old ones stay: they are all there is.
        """
        if self.replaced:  # it may have died since
            health.wait_until(lambda: bool(self._new()), START_SECONDS, lambda: None)
        if self.before and not self._new():
            return
        (self.run / FAILED).unlink(missing_ok=True)
        while (wanted := self._number(WANTED)) > 1 and self._alive():
            self._tell(signal.SIGTTOU, wanted - 1)
        if served := self._new():  # until then a new connection may still come to an old one
            gone = [int(pid) for pid in (self.before | self._serving()) - served]
            health.wait_until(lambda: not any(map(_accepts, gone)), _SECONDS_TO_CLOSE, lambda: None)

    def _tell(self, number: signal.Signals, wanted: int) -> None:
        if not self._alive():
            return
        os.kill(self.state.pid or 0, number)
        health.wait_until(
            lambda: self._number(WANTED) == wanted or not self._alive(), 10.0, lambda: None
        )

    def _alive(self) -> bool:
        return is_ours(self.state)

    def _serving(self) -> set[str]:
        with suppress(FileNotFoundError):
            return {file.name for file in (self.run / WORKERS).iterdir() if file.name.isdigit()}
        return set()

    def _text(self, file: Path) -> str:
        with suppress(OSError):
            return (self.run / file).read_text(errors="replace")
        return ""

    def _number(self, file: Path) -> int:
        try:
            return int(self._text(file))
        except ValueError:
            return 0 if file == FORKED else 1


def _accepts(pid: int) -> bool:
    """Whether a worker still takes connections."""
    import psutil

    with suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_LISTEN
            for connection in psutil.Process(pid).net_connections("tcp")
        )
    return False
