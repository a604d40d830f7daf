"""The worker process: uvicorn under gunicorn, with a word to the outside when it is ready."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from contextlib import suppress
from typing import Any

from llmswitch.callbacks.idle import use
from llmswitch.callbacks.master import FAILED, PROVEN, PROVING, SERVED, WORKERS

with warnings.catch_warnings():  # uvicorn deprecates its own worker in favour of a copy of it
    warnings.simplefilter("ignore", DeprecationWarning)
    from uvicorn.workers import UvicornWorker
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_BOOT_ERROR = 3  # gunicorn's: the master gives up altogether
_EXIT_AND_RETRY = 1
_PATIENCE = 1.0  # seconds that an idle connection of a leaving worker gets


class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # which one is known at run time
    """A connection that is not closed the moment its worker is told to leave: a request that is on
    its way would be answered by a reset. uvicorn closes those without a request at once.
    """

    def shutdown(self) -> None:
        """Called when the worker is to leave."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_PATIENCE, self._shut_down)
        else:
            super().shutdown()

    def _shut_down(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()


class Worker(UvicornWorker):
    """Writes workers/<pid> once it serves, and leaves when its master has died."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "auto", "http": Patient}  # noqa: RUF012 - as uvicorn has it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready = False
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
                FAILED.touch(mode=0o600)
                sys.exit(_EXIT_AND_RETRY)
            raise

    def load_wsgi(self) -> None:
        """LiteLLM's application, behind the door.

        The master loads this module before it holds the port, so what needs LiteLLM waits.
        """
        from llmswitch.callbacks.door import guard
        from llmswitch.callbacks.outgoing import confine

        confine()
        self.wsgi = guard(self.app.wsgi())

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGQUIT: the master was told to stop at once (Ctrl-C). uvicorn itself does not listen to
        it and would be killed after graceful_timeout; it leaves at its second SIGINT.
        """
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    async def callback_notify(self) -> None:
        """Called by uvicorn on every tick (0.1 s) from the moment that it serves."""
        await super().callback_notify()
        if not self.ready:
            self.ready = True
            gc.freeze()
            gc.enable()
            (WORKERS / str(os.getpid())).touch(mode=0o600)
            SERVED.touch(mode=0o600)
            with suppress(FileNotFoundError):  # of a worker that is not the first
                PROVING.replace(PROVEN)
            from llmswitch.callbacks.settings import settings

            self.idle_timeout = settings().get("idle_timeout", 0)
            use.begin()
        if os.getppid() != self.ppid:
            self.log.error("the gunicorn master is gone; leaving")
            os._exit(_EXIT_AND_RETRY)
        if use.is_over(self.idle_timeout):
            self.log.info("nobody has used the gateway for %s seconds; leaving", self.idle_timeout)
            os.kill(self.ppid, signal.SIGTERM)
