"""The worker process: uvicorn under gunicorn, with a word to the outside when it is ready."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from uvicorn_worker import UvicornWorker

from llmswitch.engine.connections import LARGEST_HEAD, PatientProtocol
from llmswitch.engine.idle import use
from llmswitch.engine.logging import limit_log
from llmswitch.engine.master import note
from llmswitch.run_files import FAILED, PROVEN, PROVING, SERVED, WORKERS

_BOOT_ERROR = 3  # gunicorn's: the master gives up altogether
_EXIT_AND_RETRY = 1


class Worker(UvicornWorker):
    """Writes workers/<pid> once it serves, with the digest of the configuration that it started
    with, and leaves when its master has died.
    """

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012 - as uvicorn has it
        "loop": "auto",
        "http": PatientProtocol,
        "h11_max_incomplete_event_size": LARGEST_HEAD,
        # uvicorn measures by the clock of the day: set back by a day, it would not call for a day.
        "timeout_notify": float("-inf"),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready = False
        self.config_sha256 = ""
        self.idle_timeout = 0.0  # seconds; known once it serves

    def init_process(self) -> None:
        """Boot. A worker that cannot stops the gateway only if none has ever served: a bad
        reload must not take a gateway down that works.
        """
        gc.disable()
        try:
            super().init_process()
        except SystemExit as stop:
            if stop.code == _BOOT_ERROR and SERVED.exists():
                note(FAILED, self.config_sha256)
                sys.exit(_EXIT_AND_RETRY)
            raise

    def load_wsgi(self) -> None:
        """LiteLLM's application, behind the gate.

        The master loads this module before it holds the port, so what needs LiteLLM waits.
        """
        from llmswitch.engine.gate import guard
        from llmswitch.engine.outgoing import mask_keys

        mask_keys()
        # Before anything reads it: where it is changed meanwhile, this worker is of the old one.
        with suppress(OSError):
            text = Path(os.environ["CONFIG_FILE_PATH"]).read_bytes()
            self.config_sha256 = hashlib.sha256(text).hexdigest()
        self.wsgi = guard(self.app.wsgi())

    def init_signals(self) -> None:
        """The signal that ended uvicorn is raised once more by it, and a worker dies at once."""
        super().init_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._die)

    def _die(self, number: int, frame: Any) -> None:
        self._write_down()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _write_down(self) -> None:
        """What the ledger has not yet."""
        if self.ready:
            from llmswitch.engine.completion import write_down

            write_down()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGQUIT: the master was told to stop at once (Ctrl-C). uvicorn itself does not listen to
        it and would be killed after graceful_timeout; it leaves at its second SIGINT.
        """
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    async def callback_notify(self) -> None:
        """Called by uvicorn every second from the moment that it serves."""
        await super().callback_notify()
        mine = WORKERS / str(os.getpid())
        if not self.ready or not mine.exists():  # also when someone has emptied the folder
            note(SERVED)
            note(mine, self.config_sha256)
        if not self.ready:
            self.ready = True
            gc.freeze()
            gc.enable()
            with suppress(OSError):  # of a worker that is not the first
                PROVING.replace(PROVEN)
            from llmswitch.engine.request import settings

            self.idle_timeout = settings().get("idle_timeout", 0)
            use.start_clock()
        if os.getppid() != self.ppid:
            self.log.error("the gunicorn master is gone; leaving")
            self._write_down()
            os._exit(_EXIT_AND_RETRY)
        limit_log()
        if use.is_over(self.idle_timeout):
            self.log.info("nobody has used the gateway for %s seconds; leaving", self.idle_timeout)
            os.kill(self.ppid, signal.SIGTERM)
