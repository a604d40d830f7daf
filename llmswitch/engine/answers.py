"""The answers of the gateway: our own, and what LiteLLM answers, on its way to the client.

LiteLLM's words of an error are replaced by the provider's (provider_errors.py), whatever has come
of the answer by then: its status while nothing was sent, else the event that breaks off a stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from llmswitch.engine.asgi import Message, Send
from llmswitch.engine.error_words import error_in, loaded, words_of
from llmswitch.engine.provider_errors import noted, refusal
from llmswitch.engine.recorder import OK
from llmswitch.engine.request import Failure, RequestContext
from llmswitch.engine.streams import observe

Headers = Sequence[tuple[bytes, bytes]]

_SERVER = 500
_API = ("/v1/messages", "/v1/chat/completions", "/v1/responses")
_OF_OPENAI = _API[1:]
_RESPONSES = _API[2]
_UNAUTHORIZED = 401
# The type of an error by its status. https://docs.anthropic.com/en/api/errors (2026-11)
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
# Type and code, as api.openai.com answers them.
_OPENAI_TYPES = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
}
_LARGEST = 100_000  # bytes of an answer that may be an error
_LITELLMS = (b'{"type":"error"', b'{"error":')  # how it begins its own, with the upstream's status
# A line that begins an event which is an error: Anthropic's, and those of OpenAI's two APIs.
_ERROR = re.compile(
    rb"^(?:event: ?(?:error|response\.failed)\b"
    rb'|data: ?\{"(?:error": ?[{"]|type": ?"(?:error|response\.failed)"))',
    re.MULTILINE,
)
# A line that begins an event which comes of an upstream; LiteLLM sends the others before it asks.
_TOLD = re.compile(
    rb"^(?:event: ?(?!message_start|response\.created|response\.in_progress)\S"
    rb'|data: ?(?!\{"type": ?"(?:message_start|response\.created|response\.in_progress)")\S)',
    re.MULTILINE,
)
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")


def error_body(path: str, status: int, message: str, kind: str | None = None) -> dict[str, Any]:
    """An error in the form of the API that the path belongs to: OpenAI's on its two routes, else
    Anthropic's. `kind` is its type where the status does not say it.
    """
    is_server = status >= _SERVER
    if path.startswith(_OF_OPENAI):
        usual = ("server_error" if is_server else "invalid_request_error", None)
        known, code = _OPENAI_TYPES.get(status, usual)
        said = {"message": message, "type": kind or known, "param": None, "code": code}
        return {"error": said}
    return {"type": "error", "error": {"type": kind or error_kind(status), "message": message}}


def error_kind(status: int) -> str:
    """Anthropic's type of an error with that status."""
    usual = "api_error" if status >= _SERVER else "invalid_request_error"
    return _ANTHROPIC_TYPES.get(status, usual)


async def answer(send: Send, status: int, data: Any, headers: Headers = ()) -> None:
    """Answer with JSON of ours, under these headers beside its own."""
    body = json.dumps(data).encode()
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    start = {"type": "http.response.start", "status": status, "headers": [*own, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def watched(send: Send, context: RequestContext, path: str) -> Send:
    """The same `send`, which tells a failure in the provider's words, and sees an answer begin."""
    return _Answer(send, context, path).see if path.startswith(_API) else send


def failure_body(failure: Failure, path: str) -> dict[str, Any]:
    """A failure in the form of a route, with what the upstream's error has in the same form."""
    is_openai = path.startswith(_OF_OPENAI)
    kind = failure.kind if failure.is_anthropic != is_openai else None
    data = error_body(path, failure.status, failure.message, kind)
    if is_openai and failure.code and not failure.is_anthropic:
        data["error"]["code"] = failure.code
    if failure.request_id and not is_openai:
        data["request_id"] = failure.request_id
    return data


class _Answer:
    """One answer of LiteLLM's, held back until it is known whether it is one."""

    def __init__(self, send: Send, context: RequestContext, path: str) -> None:
        self._send, self._context, self._path = send, context, path
        self._start: Message | None = None  # while it is held
        self._held = b""  # of its body: all of it so far, later a line that is not whole yet
        self._is_told = False  # as a failure: whatever else comes is LiteLLM's
        self._is_stream = False

    async def see(self, message: Message) -> None:
        """Take a part of the answer from LiteLLM."""
        observe(message, self._context)
        if message["type"] == "http.response.start":
            self._start = message
            kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
            self._is_stream = any(b"event-stream" in kind for kind in kinds)
            return
        body, more = message.get("body", b""), bool(message.get("more_body"))
        if self._start is None:
            await self._forward(body, more=more)
            return
        self._held += body
        if self._is_known(self._start["status"], more=more):
            start, self._start = self._start, None
            if failure := self._failure(start["status"]):
                self._is_told = True
                await self._tell(failure)
                return
            self._context.is_answered = start["status"] == OK
            await self._send(start)
            held, self._held = self._held, b""
            await self._forward(held, more=more)

    def _is_known(self, status: int, *, more: bool) -> bool:
        """Whether enough is held to see what it is."""
        if not more:
            return True
        if status != OK:
            return False
        if self._is_stream and not self._held.startswith((b"{", b"<")):
            return _event(self._held) is not None or len(self._held) > _LARGEST
        return len(self._held) > _LARGEST

    def _failure(self, status: int) -> Failure | None:
        """What to tell in place of what is held: of several tries the first of the model that was
        asked for. None for an answer.
        """
        failures = self._context.failures
        if status != OK and not failures:
            return refusal(status, words_of(loaded(self._text())))
        if status == OK:
            error = self._error()
            if error is None:
                return None
            noted(error, self._context)
        asked = [one for one in failures if one.model == self._context.asked]
        return (asked or failures)[0]

    def _error(self) -> Any:
        """The error that an answer with 200 is: its JSON, its event, or what is in its place."""
        if not self._held or self._held.startswith(b"<"):
            return self._text()
        if self._is_stream and not self._held.startswith(b"{"):
            found = _TOLD.search(self._held)
            begin = found.start() if found else 0
            return loaded(self._text(begin)) if _ERROR.match(self._held, begin) else None
        if len(self._held) > _LARGEST and not self._held.startswith(_LITELLMS):
            return None
        data = loaded(self._text())
        return data if error_in(data) else None

    def _text(self, begin: int = 0) -> str:
        return self._held[begin:].decode(errors="replace")

    async def _tell(self, failure: Failure) -> None:
        context, headers = self._context, [*failure.headers]
        if context.is_final or (context.lacks_login and failure.status == _UNAUTHORIZED):
            headers.append((b"x-should-retry", b"false"))
        data = failure_body(failure, self._path)
        await answer(self._send, failure.status, data, headers)

    async def _forward(self, body: bytes, *, more: bool) -> None:
        """Send a part of an answer on; each one comes this way."""
        if self._is_told:
            return
        if self._is_stream:
            body = self._reworded(self._held + body, more=more)
        if body and self._context.is_answered:
            self._context.note_first_byte()
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _reworded(self, data: bytes, *, more: bool) -> bytes:
        """The lines of a stream that are whole, an error among them in the provider's words."""
        cut = data.rfind(b"\n") + 1
        # A line that is longer than any error is passed on in parts.
        lines = data[:cut] if more and len(data) - cut <= _LARGEST else data
        self._held = data[len(lines) :]
        found = _ERROR.search(lines)
        if found is None:
            return lines
        end = _END_OF_EVENT.search(lines, found.end())
        if end is None and more:
            self._held = data[found.start() :]
            return lines[: found.start()]
        stop = end.end() if end else len(lines)
        told = _told(lines[found.start() : stop], self._context, self._path)
        return lines[: found.start()] + told + self._reworded(data[stop:], more=more)


def _event(held: bytes) -> int | None:
    """Where the first event begins that an upstream has sent; None while none has, or while it is
    an error that is not whole.
    """
    found = _TOLD.search(held, 0, held.rfind(b"\n") + 1)
    if found and _ERROR.match(held, found.start()) and not _END_OF_EVENT.search(held, found.end()):
        return None
    return found.start() if found else None


def _told(event: bytes, context: RequestContext, path: str) -> bytes:
    """An event that is an error, in the provider's words and the form of the route."""
    data = loaded(event.decode(errors="replace"))
    failure = noted(data, context)
    if not path.startswith(_RESPONSES):
        data = failure_body(failure, path)
    elif error := error_in(data):
        error["message"] = failure.message
    else:
        data = {"type": "error", "code": None, "message": failure.message, "param": None}
    name = f"event: {data['type']}\n" if data.get("type") else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()
