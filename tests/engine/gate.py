"""The gate in this process, in front of an application that keeps what would reach LiteLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from llmswitch.engine import client_keys, gate, model_list, request, token_counts
from llmswitch.engine.asgi import Message, Receive, Send
from llmswitch.engine.request import RequestContext, in_context

KEY = "key-of-the-gateway"
MODELS = ("anthropic", "chat", "penalized")
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ROUTES = (MESSAGES, COUNT, CHAT, RESPONSES)
_CONFIG = f"""
model_list: [{{model_name: of-litellm, litellm_params: {{model: openai/x}}}}]
llmswitch:
  menu: [{", ".join(f"{{name: {name}}}" for name in MODELS)}]
  pass: {{penalized: [repetition_penalty]}}
"""
_ANSWER = b'{"type": "message", "content": [{"type": "text", "text": "hi"}]}'


class Passed(NamedTuple):
    """All that reaches LiteLLM of a request, and what its hooks can see beside it."""

    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    beyond: Mapping[str, Any]
    login: bytes | None


@dataclass
class Gate:
    """The gate, and what has passed it."""

    passed: list[Passed] = field(default_factory=list)

    async def behind(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stands for LiteLLM."""
        body = (await receive())["body"] if scope["method"] == "POST" else b""
        self._keep(scope["path"], scope["query_string"], scope["headers"], body)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _ANSWER})

    async def count(
        self, body: dict[str, Any], headers: list[tuple[bytes, bytes]], _context: RequestContext
    ) -> token_counts.Answer:
        """Stands for the counting of tokens, which asks the provider by itself."""
        sent = [one for one in headers if one[0] in (b"anthropic-beta", b"anthropic-version")]
        self._keep(COUNT, b"", sent, repr(body).encode())
        return token_counts.Answer(200, {"input_tokens": 1})

    def _keep(self, path: str, query: bytes, headers: Any, body: bytes) -> None:
        context = in_context()
        beyond = {name: context.beyond[name] for name in ("repetition_penalty",) if
                  name in context.beyond and context.asked == "penalized"}  # fmt: skip
        self.passed.append(Passed(path, query, tuple(headers), body, beyond, context.login))

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request, with the gateway's key unless there are `headers`."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(gate.guard(self.behind))
            async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
                client.headers.clear()
                sent = {"x-api-key": KEY} if headers is None else headers
                return await client.request(method, path, headers=sent, **more)

        return asyncio.run(ask())

    def post(self, path: str, sent: Any, **headers: str) -> httpx.Response:
        """A body, as JSON unless it is bytes, under these headers beside the key."""
        carried = {"x-api-key": KEY, **{n.replace("_", "-"): v for n, v in headers.items()}}
        form = {"content": sent} if isinstance(sent, bytes) else {"json": sent}
        return self.send("POST", path, headers=carried, **form)

    def through(self, path: str, sent: Any, **headers: str) -> Passed:
        """What of a request that is let in reaches LiteLLM."""
        before = len(self.passed)
        answer = self.post(path, sent, **headers)
        assert answer.status_code == 200, answer.text
        [passed] = self.passed[before:]
        return passed


def body(route: str, model: str = "chat", **more: Any) -> dict[str, Any]:
    """A request that is let in."""
    if route == RESPONSES:
        return {"model": model, "input": "hi", **more}
    limit = {} if route == COUNT else {"max_tokens": 9}
    return {"model": model, **limit, "messages": [{"role": "user", "content": "hi"}], **more}


@contextmanager
def in_this_process(folder: Path) -> Iterator[Gate]:
    """The gate of a worker whose configuration has MODELS, for as long as this is open."""
    file = folder / "litellm_config.yaml"
    file.write_text(_CONFIG)
    caches = (request.config, model_list.names, model_list._patterns, model_list.shown)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSWITCH_GATEWAY_KEY", KEY)
        patch.setenv("CONFIG_FILE_PATH", str(file))
        patch.setenv("LLMSWITCH_LEDGER", str(folder / "ledger.db"))
        patch.setattr(client_keys, "_clients", client_keys.Clients(folder / "clients.json"))
        made = Gate()
        patch.setattr(token_counts, "count", made.count)
        for cached in caches:
            cached.cache_clear()
        yield made
    for cached in caches:
        cached.cache_clear()
