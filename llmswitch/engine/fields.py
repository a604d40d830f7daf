"""Which fields of a body pass, and what they must not reach from inside.

LiteLLM takes some 400 parameters of its own from a body: with them a client could have a key sent
to another host, another model asked, or its request left out of the ledger. So only the fields of
the API that a route speaks pass; they come from types that follow these APIs.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from llmswitch.engine.asgi import RefusedError
from llmswitch.engine.routes import CHAT, COUNT_TOKENS, MESSAGES, RESPONSES
from llmswitch.engine.settings import settings

# Part of the Messages API, and not (yet) of LiteLLM's type of it.
_TO_MESSAGES = {"service_tier"}
# State that a provider keeps in its owner's account: a client would read or start it there.
_STATEFUL = ("background", "background_options", "conversation", "previous_response_id", "prompt")
_NAME = re.compile(r"[A-Za-z][\w-]{0,60}")
_MOST_NAMES = 100  # a client may make up any number
# LiteLLM's own MCP gateway, by its name and by the path under which it serves.
_OWN_MCP = re.compile(r"\s*litellm_proxy|\s*https?://.+/mcp/[^/]+\s*$", re.IGNORECASE)
_OWN_MCP_NAME = "litellm_proxy"
_ACCOUNT = "the gateway gives no access to what a provider keeps in its owner's account"
_NO_MCP = "the gateway has no MCP servers of its own"
_HOLDERS = ("content", "source", "file", "output", "image_url")  # where a file may be named
_log = logging.getLogger("gunicorn.error")
left_out: Counter[str] = Counter()


@cache
def allowed(route: str) -> frozenset[str]:
    """The fields of the API that a route speaks, as the locked versions of LiteLLM and of OpenAI's
    library have them.
    """
    from litellm.types.llms.anthropic import AnthropicMessagesRequest
    from openai.types.chat import completion_create_params as chat
    from openai.types.responses import response_create_params as responses

    types: dict[str, tuple[type, ...]] = {
        MESSAGES: (AnthropicMessagesRequest,),
        CHAT: (chat.CompletionCreateParamsBase, chat.CompletionCreateParamsStreaming),
        RESPONSES: (responses.ResponseCreateParamsBase, responses.ResponseCreateParamsStreaming),
    }
    types[COUNT_TOKENS] = types[MESSAGES]
    names = {name for one in types[route] for name in one.__annotations__}
    if MESSAGES in route:
        return frozenset((names | _TO_MESSAGES) - {"litellm_metadata"})
    return frozenset(names - {"metadata"})


def passed(route: str, data: dict[str, Any], model: str) -> dict[str, Any]:
    """The fields of a body that pass, for a model of the profile.

    Raises RefusedError for one that steers LiteLLM or reaches the state of the owner's account.
    """
    known = allowed(route) | {*_extensions().get(model, ())}
    kept = {name: value for name, value in data.items() if name in known}
    for name in data:
        if name not in known:
            _note_left_out(name)
    if "metadata" in kept:
        said = kept.pop("metadata")
        user = said.get("user_id") if isinstance(said, dict) else None
        if isinstance(user, str):
            kept["metadata"] = {"user_id": user}
    for where, what in _steering(route, kept):
        raise RefusedError(400, f"{where}: {what}")
    return kept


def steering_extensions() -> str:
    """The first `model: field` of `pass` in the profile that LiteLLM would take for its own."""
    from litellm.types.utils import all_litellm_params

    named = ((model, name) for model, fields in _extensions().items() for name in fields)
    return next((f"{model}: {name}" for model, name in named if name in all_litellm_params), "")


def _extensions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = settings().get("pass", {})
    return found


def _note_left_out(name: str) -> None:
    shown = name if _NAME.fullmatch(name) else "(no name of a field)"
    if shown not in left_out and len(left_out) < _MOST_NAMES:
        _log.warning("the field %s of a request is not passed on: its API has no such field", shown)
        left_out[shown] = 0
    if shown in left_out:
        left_out[shown] += 1


def _steering(route: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a body must not say, as (field, reason)."""
    if route == RESPONSES:
        yield from ((name, _ACCOUNT) for name in _STATEFUL if data.get(name))
    if _has_id(data.get("container")):
        yield "container", _ACCOUNT
    for where, tool in _items(data, "tools"):
        mask = tool.get("input_image_mask")
        if tool.get("vector_store_ids") or _has_id(tool.get("container")) or _has_file(mask):
            yield where, _ACCOUNT
        if _OWN_MCP.match(str(tool.get("server_url"))):
            yield where, _NO_MCP
    for where, server in _items(data, "mcp_servers"):
        if str(server.get("url")).strip().lower().startswith(_OWN_MCP_NAME):
            yield where, _NO_MCP
    for where, item in (*_items(data, "messages"), *_items(data, "input")):
        if item.get("type") == "item_reference" or _has_file(item):
            yield where, _ACCOUNT


def _items(data: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    value = data.get(name)
    for number, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield f"{name}[{number}]", item


def _has_id(container: Any) -> bool:
    """Whether a container is one that exists, or brings along files or skills of the account."""
    if not isinstance(container, dict):
        return bool(container)
    skills = container.get("skills") or []
    if not isinstance(skills, list):
        return True
    own = [one for one in skills if not isinstance(one, dict) or one.get("type") != "anthropic"]
    return bool(container.get("id") or container.get("file_ids") or own)


def _has_file(part: Any) -> bool:
    """Whether a message, or a part of its content, names a file of the account."""
    if isinstance(part, list):
        return any(map(_has_file, part))
    if not isinstance(part, dict):
        return False
    return bool(part.get("file_id")) or any(_has_file(part.get(name)) for name in _HOLDERS)
