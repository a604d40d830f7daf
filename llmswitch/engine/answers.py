"""The answers of the gateway: our own, and what LiteLLM answers, on its way to the client."""

from __future__ import annotations

import json
from typing import Any

from llmswitch.engine.log import Message, Send
from llmswitch.engine.recorder import OK
from llmswitch.engine.request import RequestContext

_UNAUTHORIZED = 401
_BAD_GATEWAY = 502
_AN_ERROR = b'{"type":"error"'
_STATUSES = (*range(200, 204), *range(400, 600))  # of what has a body


def error(status: int, kind: str, message: str) -> dict[str, Any]:
    """A refusal in a form that clients of Anthropic and of OpenAI understand."""
    said = {"type": kind, "message": message, "param": None, "code": str(status)}
    return {"type": "error", "error": said}


_EMPTY = error(_BAD_GATEWAY, "api_error", "llmswitch: the answer was empty")


async def answer(send: Send, status: int, data: Any) -> None:
    """Answer with JSON of ours."""
    body = json.dumps(data).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def watched(send: Send, context: RequestContext) -> Send:
    """The same `send`, seeing when an answer begins; a refusal for good says so to clients. What is
    no answer, but comes as one (LiteLLM takes its own error's status from an upstream that said
    200), is a 502.
    """
    held: list[Message] = []

    async def see(message: Message) -> None:
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
