"""POST /v1/messages/count_tokens: the provider is asked where it has that, else it is an estimate.

LiteLLM asks every provider that it takes for OpenAI at a path that few of them have, and takes an
answer in any form for a count.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import litellm
from litellm.constants import DEFAULT_IMAGE_TOKEN_COUNT
from litellm.llms.custom_httpx.http_handler import get_async_httpx_client
from litellm.types.utils import LlmProviders

from llmswitch.engine.answers import failure_body
from llmswitch.engine.asgi import Headers
from llmswitch.engine.provider_errors import of_response
from llmswitch.engine.request import RequestContext, settings
from llmswitch.engine.routes import COUNT_TOKENS

ESTIMATED = (b"x-llmswitch-estimated", b"true")

_PATIENCE = 10.0  # seconds; a client that waits for a count has not sent its question yet
_VERSION = b"2023-06-01"
_LOGIN_BETA = b"oauth-2025-04-20"
_LOGIN = "sk-ant-oat"
_OK = 200
# What the provider says of the request, the key or the plan: the question itself would be answered
# like that. Anything else says of the counting alone that it does not work.
_TOLD = (400, 401, 402, 403, 413, 422, 429)
_PER_MESSAGE = 3  # tokens around the text of each
_MEDIA = ("image", "document")
_OPAQUE = {("thinking", "signature"), ("redacted_thinking", "data")}


class Answer(NamedTuple):
    """What the client gets: HTTP's status, a JSON object in Anthropic's form, more headers."""

    status: int
    data: dict[str, Any]
    headers: Headers = []  # noqa: RUF012 - never changed


async def count(body: dict[str, Any], headers: Headers, context: RequestContext) -> Answer:
    """How many tokens the prompt of a request has, given what passes of its body and its headers.

    A provider's refusal (of the request, the key, the plan) is told in its words. Where it does not
    count, cannot be reached or does not answer, the number is an estimate, and a header says so.
    """
    from litellm.proxy.proxy_server import llm_router

    deployment = await _counting(llm_router, body["model"], context.login)
    if deployment and (said := await _ask(deployment, body, headers, context)):
        return said
    return Answer(_OK, {"input_tokens": await asyncio.to_thread(estimate, body)}, [ESTIMATED])


async def _counting(router: Any, name: str, login: bytes | None) -> dict[str, Any] | None:
    """A deployment whose provider counts, with the client's login for its key where that pays. None
    where the model has none, or no login came.
    """
    items = router.get_model_list(model_name=name)
    needs_login = any(item["model_name"] in settings().get("logins", []) for item in items)
    if not all(item["model_info"].get("llmswitch_counts_tokens") for item in items):
        return None
    if needs_login and login is None:
        return None
    try:
        chosen = await router.async_get_available_deployment(model=name, request_kwargs={})
    except (litellm.exceptions.RateLimitError, ValueError):  # no budget, which counting needs not
        return None
    params = chosen["litellm_params"]
    if needs_login and login:
        params = {**params, "api_key": login.decode("latin-1")}
    return {**chosen, "litellm_params": params}


async def _ask(
    deployment: dict[str, Any], body: dict[str, Any], headers: Headers, context: RequestContext
) -> Answer | None:
    """What the provider answers; None where that is no count."""
    params = deployment["litellm_params"]
    dropped = params.get("additional_drop_params") or ()
    wanted = {field: value for field, value in body.items() if field not in dropped}
    client = get_async_httpx_client(llm_provider=LlmProviders.ANTHROPIC).client
    try:
        async with asyncio.timeout(_PATIENCE):
            response = await client.post(
                params["api_base"] + COUNT_TOKENS,
                json={**wanted, "model": params["model"].partition("/")[2]},
                headers=_sent(params, headers),
            )
    except (httpx.HTTPError, TimeoutError):
        return None
    if response.status_code in _TOLD:
        failure = of_response(deployment, response, context)
        data = failure_body(failure, COUNT_TOKENS)
        return Answer(failure.status, data, [*failure.headers])
    said = _json(response)
    number = said.get("input_tokens")
    is_count = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    return Answer(_OK, said) if response.status_code == _OK and is_count else None


def _sent(params: dict[str, Any], headers: Headers) -> dict[bytes, bytes]:
    """The headers of our request: the client's API version and betas, and the deployment's key."""
    key = params["api_key"]
    given = dict(headers)
    betas = [given[b"anthropic-beta"]] if given.get(b"anthropic-beta") else []
    sent = {b"anthropic-version": given.get(b"anthropic-version", _VERSION)}
    if params["model"].startswith("anthropic/") and not key.startswith(_LOGIN):
        sent[b"x-api-key"] = key.encode()
    else:
        sent[b"authorization"] = b"Bearer " + key.encode()
    if key.startswith(_LOGIN) and not any(_LOGIN_BETA in beta for beta in betas):
        betas.append(_LOGIN_BETA)
    return sent | ({b"anthropic-beta": b",".join(betas)} if betas else {})


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        said = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def estimate(body: dict[str, Any]) -> int:
    """About how many tokens a prompt has, by LiteLLM's tokenizer of GPT-4: 1 MB of text takes about
    0.1 s. It fetches nothing and opens no file: an image or a document counts as one image.
    """
    messages = body.get("messages")
    parts = [body.get("system"), messages, body.get("tools")]
    texts: list[str] = []
    media = 0
    for part in _leaves(parts):
        if isinstance(part, str):
            texts.append(part)
        else:
            media += 1
    around = _PER_MESSAGE * (len(messages) if isinstance(messages, list) else 1)
    counted = litellm.token_counter(model="", text="\n".join(texts))
    return counted + around + media * DEFAULT_IMAGE_TOKEN_COUNT


def _leaves(value: Any) -> Iterator[str | None]:
    """Each text of a prompt, names of fields included; None for what is no text. As deep as it may
    be: the depth is the client's.
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, bool | int | float):
            yield str(value)
        elif isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            kind, source = value.get("type"), value.get("source")
            is_media = kind in _MEDIA and isinstance(source, dict) and source.get("type") != "text"
            if is_media:
                yield None
            for key, item in reversed(value.items()):
                if not (is_media and key == "source") and (kind, key) not in _OPAQUE:
                    waiting += [item, key]
