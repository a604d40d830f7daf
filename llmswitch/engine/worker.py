"""The worker process: uvicorn under gunicorn, with a word to the outside when it is ready."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import select
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmswitch.engine.idle import use
from llmswitch.engine.logging import tend
from llmswitch.engine.master import FAILED, PROVEN, PROVING, SERVED, WORKERS, note

with warnings.catch_warnings():  # uvicorn deprecates its own worker in favour of a copy of it
    warnings.simplefilter("ignore", DeprecationWarning)
    from uvicorn.workers import UvicornWorker
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_BOOT_ERROR = 3  # gunicorn's: the master gives up altogether
_EXIT_AND_RETRY = 1
_PATIENCE = 1.0  # seconds that an idle connection of a leaving worker gets
_AGAIN = 0.05  # seconds
_CLOSE = (b"connection", b"close")
_HEAD_SECONDS = 60.0  # until the headers of a request are complete
_LARGEST_HEAD = 65_536  # bytes
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # which one is known at run time
    """A connection that is not closed the moment its worker is told to leave, nor when its answer
    has ended: a request that is on its way would be answered by a reset. uvicorn does both.

    Instead each answer that begins now says that it is the last one, so a client that keeps its
    connections asks elsewhere the next time. One whose answer had begun gets the same time again.
    """

    leaving = False
    head = 0  # bytes of a request whose headers are not complete
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called when a client has connected."""
        super().connection_made(transport)
        self._wait_for_head(0)

    def data_received(self, data: bytes) -> None:
        """Called with whatever a client sends. uvicorn would wait for headers for ever, and keep
        any number of them.
        """
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head(len(data))
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait_for_head(self, length: int) -> None:
        self.head += length
        if self.head > _LARGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        self.head = 0
        if self.head_timer:
            self.head_timer.cancel()
            self.head_timer = None

    def shutdown(self) -> None:
        """Called when the worker is to leave."""
        self.leaving = True
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_PATIENCE, self._leave)
        elif not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, _CLOSE]

    def on_response_complete(self) -> None:
        """Called at the end of each answer."""
        super().on_response_complete()
        if self.leaving and not self.transport.is_closing():
            self.loop.call_later(_PATIENCE, self._leave)

    def _leave(self) -> None:
        """Close it, unless a request has come, or lies there unread."""
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.response_complete):
            return
        unread = select.poll()
        unread.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        if unread.poll(0):
            self.loop.call_later(_AGAIN, self._leave)
        else:
            super().shutdown()


class Worker(UvicornWorker):
    """Writes workers/<pid> once it serves, with the digest of the configuration that it started
    with, and leaves when its master has died.
    """

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012 - as uvicorn has it
        "loop": "auto",
        "http": Patient,
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
        from llmswitch.engine.log import logged
        from llmswitch.engine.outgoing import confine
        from llmswitch.engine.routes import is_quiet

        confine()
        # Before anything reads it: where it is changed meanwhile, this worker is of the old one.
        with suppress(OSError):
            text = Path(os.environ["CONFIG_FILE_PATH"]).read_bytes()
            self.config_sha256 = hashlib.sha256(text).hexdigest()
        self.wsgi = logged(guard(self.app.wsgi()), is_quiet)

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
        """What the ledger and the log have not written yet."""
        if self.ready:
            from llmswitch.engine.log import write_down

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
            from llmswitch.engine.settings import settings

            self.idle_timeout = settings().get("idle_timeout", 0)
            use.begin()
        if os.getppid() != self.ppid:
            self.log.error("the gunicorn master is gone; leaving")
            self._write_down()
            os._exit(_EXIT_AND_RETRY)
        tend(self.ppid)
        if use.is_over(self.idle_timeout):
            self.log.info("nobody has used the gateway for %s seconds; leaving", self.idle_timeout)
            os.kill(self.ppid, signal.SIGTERM)
