"""One line for each request, when its answer is over (request_line.py), on standard error."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from llmswitch.engine.asgi import App, Message, Receive, Send
from llmswitch.engine.recorder import OK, ended, finish_all, writer
from llmswitch.engine.refusals import strangers
from llmswitch.engine.request import RequestContext, current
from llmswitch.ledger import Try
from llmswitch.request_line import FAILED, LEFT, Request, formatted, now

# Seconds after the end of an answer: LiteLLM counts its tokens and its cost when it is sent.
_COUNTED = 0.4
_PATIENCE = 3.0  # seconds that LiteLLM gets for it when the worker leaves
# What a client may call a model. Anything else may be a prompt, or a key in the wrong place.
_NAME = re.compile(r"(?!sk-)[\w.:/@+\[\]-]{1,100}")
_KIND = re.compile(rb'"type":\s*"([a-z_]{1,40}_error)"')
_lines = logging.getLogger("llmswitch.requests")


def logged(app: App, is_quiet: Callable[[Message], bool]) -> App:
    """The application, with a line for each request but the quiet ones."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    _lines.handlers = [handler]
    _lines.propagate = False
    _lines.setLevel(logging.INFO)

    async def log(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_quiet(scope):
            await app(scope, receive, send)
            return
        current.set(None)
        visit = Visit(scope["method"], scope["path"], send)
        try:
            await app(scope, receive, visit.send)
        except BaseException as error:
            visit.end(type(error).__name__)
            raise
        visit.end(None)

    return log


class Visit:
    """A request on its way, as one sees it from outside."""

    def __init__(self, method: str, path: str, send: Send) -> None:
        self.method, self.path = method, path
        self.arrived = time.monotonic()
        self.ended = ""
        self.status: int | None = None
        self.first_byte: float | None = None
        self.seconds = 0.0
        self.is_whole = False
        self.left = False
        self.error: str | None = None
        self.context: RequestContext | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if body and self.first_byte is None:
                self.first_byte = time.monotonic() - self.arrived
                self._note_error(body)
            if not message.get("more_body"):
                self.is_whole, self.left = True, self._is_gone()
        await self._send(message)

    def _note_error(self, body: bytes) -> None:
        if self.status is not None and self.status >= FAILED:
            kinds = _KIND.search(body)
            self.error = kinds[1].decode() if kinds else None

    def _is_gone(self) -> bool:
        """Whether the client has closed its connection. uvicorn passes over what is sent then, and
        tells only those that listen.
        """
        return bool(getattr(getattr(self._send, "__self__", None), "disconnected", False))

    def end(self, error: str | None) -> None:
        """It is over: its line comes when it is known what it took; others wait as long, so that
        lines come in their order.
        """
        self.ended = now()
        self.seconds = time.monotonic() - self.arrived
        self.context = current.get()
        if not self.is_whole:
            self.left = self._is_gone()
            if not self.left:
                self.status = self.status or 500
                self.error = error
        if self.context:
            ended(self.context, left=self.left)
        _pending[self] = asyncio.get_running_loop().call_later(_COUNTED, self.write)

    def write(self) -> None:
        """Write the line."""
        if timer := _pending.pop(self, None):
            timer.cancel()
            _lines.info(formatted(self.request()))

    def request(self) -> Request:
        """What is known of it."""
        known = self.context
        rows = known.rows if known else []
        return Request(
            time=self.ended,
            method=self.method,
            path=self.path,
            status=self.status or LEFT,
            model=_model(known) if known else None,
            client=known.client if known else None,
            session=known.session if known else None,
            first_byte=None if self.first_byte is None else round(self.first_byte, 3),
            seconds=round(self.seconds, 3),
            left=self.left or None,
            error=None if self.left else _error(rows, self.status or 0) or self.error,
            **_tried(rows),
        )


_pending: dict[Visit, asyncio.TimerHandle] = {}


def _model(context: RequestContext) -> str | None:
    unknown = context.unknown
    return context.asked or (unknown if unknown and _NAME.fullmatch(unknown) else None)


def _answered(rows: list[Try]) -> Try | None:
    return next((row for row in rows if row.status == OK), None)


def _error(rows: list[Try], status: int) -> str | None:
    """Why nothing was answered, or why an answer broke off; a try that failed before another went
    well is none.
    """
    if not rows or (status == OK and _answered(rows)):
        return None
    return rows[-1].error


def _tried(rows: list[Try]) -> dict[str, Any]:
    if not rows:
        return {}
    last = _answered(rows) or rows[-1]
    costs = [row.cost for row in rows]
    return {
        "served": last.model,
        "provider": last.provider,
        "upstream": last.upstream,
        "tries": len(rows),
        "input": sum(row.input for row in rows),
        "output": sum(row.output for row in rows),
        "cache_read": sum(row.cache_read for row in rows),
        "cache_write": sum(row.cache_write for row in rows),
        "cost": None if None in costs else sum(cost for cost in costs if cost is not None),
    }


async def finish() -> None:
    """When a worker leaves, its last answers sent: have LiteLLM count them, and write it down."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    if _pending:
        await asyncio.sleep(0.1)  # it begins to count a stream in a task of its own
        with suppress(TimeoutError):
            await asyncio.wait_for(GLOBAL_LOGGING_WORKER.flush(), _PATIENCE)
    finish_all()
    strangers.sum_up()
    _write_lines()
    await asyncio.to_thread(writer().stop)


def write_down() -> None:
    """Write what has waited, lines and rows of the ledger, from outside of the event loop."""
    finish_all()
    strangers.sum_up()
    _write_lines()
    writer().stop()


def _write_lines() -> None:
    for visit in [*_pending]:
        visit.write()
