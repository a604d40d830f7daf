"""The connections of clients: how long one may take to send its headers, and how one ends."""

from __future__ import annotations

import asyncio
import select
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_PATIENCE = 1.0  # seconds that an idle connection of a leaving worker gets
_AGAIN = 0.05  # seconds
_CLOSE = (b"connection", b"close")
_HEAD_SECONDS = 60.0  # until the headers of a request are complete
LARGEST_HEAD = 65_536  # bytes
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class PatientProtocol(H11Protocol):
    """A connection that is not closed the moment its worker is told to leave, nor when its answer
    has ended: a request that is on its way would be answered by a reset. uvicorn does both.

    Instead each answer that begins now says that it is the last one, so a client that keeps its
    connections asks elsewhere the next time. One whose answer had begun gets the same time again.
    """

    leaving = False
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when a client has connected."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Called with whatever a client sends. uvicorn would wait for headers for ever, and for the
        rest of a body that was refused.
        """
        super().data_received(data)
        if self._is_answered():
            self._wait()
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._wait_no_more()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called for what is no HTTP, and for headers that are too large. uvicorn would fail where
        an answer has begun.
        """
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
        elif len(self.conn.trailing_data[0]) > LARGEST_HEAD:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _is_answered(self) -> bool:
        cycle: Any = self.cycle  # None until the first request
        return cycle is None or bool(cycle.response_complete)

    def _wait(self) -> None:
        """Give the client a limited time for the headers of its next request."""
        if self.timer is None:
            self.timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

    def shutdown(self) -> None:
        """Called when the worker is to leave."""
        self.leaving = True
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        if self._is_answered():
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
        if self.transport.is_closing() or not (self._is_answered()):
            return
        unread = select.poll()
        unread.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        if unread.poll(0):
            self.loop.call_later(_AGAIN, self._leave)
        else:
            super().shutdown()
