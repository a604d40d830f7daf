"""The gate: what stands between its port and LiteLLM's application.

LiteLLM answers some forty of its routes without a key (sign-in pages, catalogues, code exchanges),
and leaves out models that it cannot make sense of. Here nothing but the two health probes is open,
and a worker that lacks a model does not start.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import Any

from llmswitch.engine.budget import spending
from llmswitch.engine.client_keys import owner
from llmswitch.engine.idle import ON_DEMAND, use
from llmswitch.engine.log import App, Message, Receive, Send, finish
from llmswitch.engine.logging import be_quiet
from llmswitch.engine.recorder import OK, writer
from llmswitch.engine.request import RequestContext, begin
from llmswitch.engine.settings import config, settings
from llmswitch.ledger import OWN_CLIENT

Headers = list[tuple[bytes, bytes]]

_UNAUTHORIZED = 401
_BAD_GATEWAY = 502
_AN_ERROR = b'{"type":"error"'
_STATUSES = (*range(200, 204), *range(400, 600))  # of what has a body
STATE = "/llmswitch/state"  # ours; the commands ask for it, clients have no business there
OPEN = ("/health/liveliness", "/health/liveness", "/health/readiness")
WATCHED = (*OPEN, STATE)  # asked all the time by commands and by whoever watches the gateway
# Every header that LiteLLM takes a key from; any of them may carry the gateway's.
_KEYS = (
    b"x-litellm-api-key",
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
_LITELLMS_OWN = (b"x-litellm-", b"litellm-")
_LOGIN = re.compile(rb"sk-ant-oat[!-~]+")
CREDENTIALS = frozenset((*_KEYS, b"cookie", b"proxy-authorization"))
_NOT_PASSED = CREDENTIALS | {b"accept-encoding"}  # what is packed cannot be looked at


class ModelError(Exception):
    """LiteLLM does not serve a model that its configuration has."""


def guard(app: App) -> App:
    """The application behind the gate."""

    async def gate(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, _checked(send))
            return
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        client = sender(headers)
        if client is None and not (scope["path"] in OPEN and scope["type"] == "http"):
            await _refuse(scope, send, refusal(headers))
            return
        if client is not None and not _is_for(client, scope["path"]):
            await _answer(send, 404, _error(404, "not_found_error", "llmswitch: nothing is here"))
            return
        if scope["path"] == STATE:
            await _answer(send, 200, state())
            return
        context = begin(client or OWN_CLIENT, headers)
        context.login = _login(headers)
        inner = {**scope, "headers": _with_our_key_alone(headers)}
        use.requests += 1
        try:
            await app(inner, receive, _watched(send, context))
        finally:
            use.ended()

    return gate


def _is_for(client: str, path: str) -> bool:
    """Whether a client may go there: to the API alone. Nobody gets `/health`, which sends a prompt
    to every model past all budgets.
    """
    if path in OPEN:
        return True
    if client == OWN_CLIENT:
        return path != "/health" and not path.startswith("/health/")
    return path.startswith("/v1/")


def sender(headers: Headers) -> str | None:
    """The client whose key a request carries; None where it carries none that opens anything."""
    names = (owner(key) for key in _sent(headers))
    return next((name for name in names if name is not None), None)


def refusal(headers: Headers) -> str:
    """Why a request is not let in."""
    if not _sent(headers):
        return "llmswitch: no key was sent; the gateway's key is in llmswitch's file gateway.key"
    return "llmswitch: this is not the gateway's key, nor a client's"


def _sent(headers: Headers) -> list[bytes]:
    return [_bare(value) for name, value in headers if name in _KEYS and value.strip()]


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.strip().partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()


def _login(headers: Headers) -> bytes | None:
    """The token of the client's own Claude login, where it has sent one."""
    sent = (_bare(value) for name, value in headers if name == b"authorization")
    return next((token for token in sent if _LOGIN.fullmatch(token)), None)


def _with_our_key_alone(headers: Headers) -> Headers:
    """The same headers without any credential but the gateway's own key.

    LiteLLM would send a Claude subscription's token to every `anthropic/` deployment in place of
    the configured key. Its own headers would set retries, timeouts and ids.
    """
    own = b"Bearer " + os.environ["LLMSWITCH_GATEWAY_KEY"].encode()
    kept = [
        header
        for header in headers
        if header[0] not in _NOT_PASSED and not header[0].startswith(_LITELLMS_OWN)
    ]
    return [*kept, (b"x-litellm-api-key", own)]


async def _refuse(scope: Message, send: Send, reason: str) -> None:
    """401 in a form that clients of Anthropic and of OpenAI understand."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await _answer(send, 401, _error(401, "authentication_error", reason))


def _error(status: int, kind: str, message: str) -> dict[str, Any]:
    error = {"type": kind, "message": message, "param": None, "code": str(status)}
    return {"type": "error", "error": error}


_EMPTY = _error(_BAD_GATEWAY, "api_error", "llmswitch: the answer was empty")


async def _answer(send: Send, status: int, data: Any) -> None:
    body = json.dumps(data).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def state() -> dict[str, Any]:
    """What only the gateway knows: how the ledger is, what is left of each budget, and how many
    seconds after its last use it goes (0: it stays).
    """
    ledger = {"trouble": writer().trouble, "waiting": writer().waiting, "lost": writer().lost}
    budgets = [account.data() for account in spending().accounts()]
    goes_after = settings().get("idle_timeout", 0) if ON_DEMAND.exists() else 0
    return {"ledger": ledger, "budgets": budgets, "goes_after": goes_after}


def _watched(send: Send, context: RequestContext) -> Send:
    """The same `send`, seeing when an answer begins; a refusal for good says so to clients. What is
    no answer, but comes as one (LiteLLM takes its own error's status from an upstream that said
    200), is a 502.
    """
    held: list[Message] = []

    async def watched(message: Message) -> None:
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
                await _answer(send, _BAD_GATEWAY, _EMPTY)
                return
            if context.asked and start["status"] == OK and body.startswith(_AN_ERROR):
                start["status"] = _BAD_GATEWAY
            context.is_answered = start["status"] == OK
            await send(start)
        if body and context.is_answered:
            context.note_first_byte()
        if not held:
            await send(message)

    return watched


def _checked(send: Send) -> Send:
    """The same `send`, but a start that lacks a model fails."""

    async def checked(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete" and (lacking := _lacking()):
            raise ModelError(f"LiteLLM cannot serve {', '.join(lacking)}; its log says why")
        if message["type"] == "lifespan.startup.complete":
            writer().start()
            spending()
            be_quiet()
        if message["type"] == "lifespan.shutdown.complete":
            await finish()
        await send(message)

    return checked


def _lacking() -> list[str]:
    """The deployments of the configuration that LiteLLM has left out (it goes on without)."""
    from litellm.proxy.proxy_server import llm_router

    wanted = Counter(item["model_name"] for item in config()["model_list"])
    served = Counter(item["model_name"] for item in llm_router.model_list) if llm_router else {}
    return [name for name, number in wanted.items() if served.get(name, 0) < number]
