"""The answers of the gateway: our own, and what LiteLLM answers, on its way to the client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmswitch.engine.asgi import Message, Send
from llmswitch.engine.recorder import OK
from llmswitch.engine.request import RequestContext
from llmswitch.engine.streams import observe

Headers = Sequence[tuple[bytes, bytes]]

_UNAUTHORIZED = 401
_BAD_GATEWAY = 502
_AN_ERROR = b'{"type":"error"'
_STATUSES = (*range(200, 204), *range(400, 600))  # of what has a body
_SERVER = 500
_OF_OPENAI = ("/v1/chat/completions", "/v1/responses")
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


def error(status: int, kind: str, message: str) -> dict[str, Any]:
    """A refusal in a form that clients of Anthropic and of OpenAI understand."""
    said = {"type": kind, "message": message, "param": None, "code": str(status)}
    return {"type": "error", "error": said}


_EMPTY = error(_BAD_GATEWAY, "api_error", "llmswitch: the answer was empty")


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


def watched(send: Send, context: RequestContext) -> Send:
    """The same `send`, seeing when an answer begins; a refusal for good says so to clients. What is
    no answer, but comes as one (LiteLLM takes its own error's status from an upstream that said
    200), is a 502.
    """
    held: list[Message] = []

    async def see(message: Message) -> None:
        observe(message, context)
        if message["type"] == "http.response.start":
            if context.asked and message["status"] not in _STATUSES:
                # An upstream's: a redirect, which is not followed, or none that HTTP has.
                message["status"] = _BAD_GATEWAY
            lacks_login = context.lacks_login and message["status"] == _UNAUTHORIZED
            if context.is_final or lacks_login:
                message["headers"] = [*message["headers"], (b"x-should-retry", b"false")]
            held.append(message)  # until it is known what comes
            return
        body = message.get("body", b"")
        if held and (body or not message.get("more_body")):
            start = held.pop()
            if context.asked and start["status"] == OK and not body:
                await answer(send, _BAD_GATEWAY, _EMPTY)
                return
            if context.asked and start["status"] == OK and body.startswith(_AN_ERROR):
                start["status"] = _BAD_GATEWAY
            context.is_answered = start["status"] == OK
            await send(start)
        if body and context.is_answered:
            context.note_first_byte()
        if not held:
            await send(message)

    return see
