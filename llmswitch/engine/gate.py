"""The gate: what stands between its port and LiteLLM's application.

LiteLLM answers some forty of its routes without a key (sign-in pages, catalogues, code exchanges),
and leaves out models that it cannot make sense of. Here nothing but the two health probes is open,
and a worker that lacks a model does not start.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

from llmswitch.engine.answers import answer, error, watched
from llmswitch.engine.budget import spending
from llmswitch.engine.client_keys import owner
from llmswitch.engine.idle import ON_DEMAND, use
from llmswitch.engine.log import App, Message, Receive, Send, finish
from llmswitch.engine.logging import be_quiet
from llmswitch.engine.recorder import writer
from llmswitch.engine.request import begin
from llmswitch.engine.settings import config, settings
from llmswitch.ledger import OWN_CLIENT

Headers = list[tuple[bytes, bytes]]

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
            await answer(send, 404, error(404, "not_found_error", "llmswitch: nothing is here"))
            return
        if scope["path"] == STATE:
            await answer(send, 200, state())
            return
        context = begin(client or OWN_CLIENT, headers)
        context.login = _login(headers)
        inner = {**scope, "headers": _with_our_key_alone(headers)}
        use.requests += 1
        try:
            await app(inner, receive, watched(send, context))
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
    await answer(send, 401, error(401, "authentication_error", reason))


def state() -> dict[str, Any]:
    """What only the gateway knows: how the ledger is, what is left of each budget, and how many
    seconds after its last use it goes (0: it stays).
    """
    ledger = {"trouble": writer().trouble, "waiting": writer().waiting, "lost": writer().lost}
    budgets = [account.data() for account in spending().accounts()]
    goes_after = settings().get("idle_timeout", 0) if ON_DEMAND.exists() else 0
    return {"ledger": ledger, "budgets": budgets, "goes_after": goes_after}


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
