"""The fields that the API of a route has, and the JSON kind of each: from types that follow the
APIs and move with the lock, LiteLLM's of the Messages API and those of OpenAI's library.

A field of another kind is refused here: LiteLLM would answer 500, or send it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from typing_extensions import get_type_hints

from llmswitch.engine.asgi import RefusedError
from llmswitch.engine.routes import CHAT, COUNT_TOKENS, MESSAGES, RESPONSES

# Part of the Messages API, and not in LiteLLM's type of it before 1.108.
_TO_MESSAGES = {"service_tier": frozenset({"a string"})}
_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}
_ALL = frozenset(_KINDS.values())
_CONTENT = frozenset({"a string", "an array"})


@cache
def kinds(route: str) -> Mapping[str, frozenset[str]]:
    """The fields of the API that a route speaks, and the JSON kinds that each may have."""
    from litellm.types.llms.anthropic import AnthropicMessagesRequest
    from openai.types.chat import completion_create_params as chat
    from openai.types.responses import response_create_params as responses

    types: dict[str, tuple[type, ...]] = {
        MESSAGES: (AnthropicMessagesRequest,),
        CHAT: (chat.CompletionCreateParamsNonStreaming, chat.CompletionCreateParamsStreaming),
        RESPONSES: (
            responses.ResponseCreateParamsNonStreaming,
            responses.ResponseCreateParamsStreaming,
        ),
    }
    types[COUNT_TOKENS] = types[MESSAGES]
    found: dict[str, frozenset[str]] = {}
    for one in types[route]:
        for name, hint in get_type_hints(one).items():
            found[name] = found.get(name, frozenset()) | _kinds(hint)
    if MESSAGES in route:
        found = {**_TO_MESSAGES, **found}
    found.pop("litellm_metadata" if MESSAGES in route else "metadata")
    return found


def _kinds(hint: Any) -> frozenset[str]:
    """The JSON kinds of a type; all where that cannot be said."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return frozenset().union(*map(_kinds, get_args(hint)))
    if origin is Literal:
        return frozenset(_KINDS[type(value)] for value in get_args(hint) if value is not None)
    base = origin or hint
    if base is NoneType:
        return frozenset()
    return frozenset({_KINDS[base]}) if base in _KINDS else _kinds_of_other(base)


def _kinds_of_other(base: Any) -> frozenset[str]:
    if not isinstance(base, type):
        return _ALL
    if issubclass(base, Mapping):  # a TypedDict too
        return frozenset({"an object"})
    return frozenset({"an array"}) if issubclass(base, Iterable) else _ALL


def check(route: str, data: Mapping[str, Any]) -> None:
    """Raises RefusedError for a field of another kind than its API says; null is as if absent."""
    for name, value in data.items():
        _one_of(name, value, kinds(route).get(name, _ALL))
    if route == RESPONSES:
        _objects("input", data.get("input"))
    else:
        if not data.get("messages"):
            raise RefusedError(400, "messages: at least one message is required")
        for number, message in enumerate(_objects("messages", data["messages"])):
            _message(f"messages[{number}]", message)
    if MESSAGES in route:  # there a tool of the client's own needs no type
        _typed("system", data.get("system"))
        _objects("tools", data.get("tools"))
    else:
        _typed("tools", data.get("tools"))


def _message(where: str, message: dict[str, Any]) -> None:
    if not isinstance(message.get("role"), str):
        raise RefusedError(400, f"{where}.role: must be a string")
    _one_of(f"{where}.content", message.get("content"), _CONTENT)
    _typed(f"{where}.content", message.get("content"))


def _one_of(where: str, value: Any, allowed: frozenset[str]) -> None:
    if value is not None and _KINDS[type(value)] not in allowed:
        raise RefusedError(400, f"{where}: must be {' or '.join(sorted(allowed))}")


def _typed(where: str, value: Any) -> None:
    for number, item in enumerate(_objects(where, value)):
        if not isinstance(item.get("type"), str):
            raise RefusedError(400, f"{where}[{number}].type: must be a string")


def _objects(where: str, value: Any) -> list[dict[str, Any]]:
    """The items of an array, which must be objects; none of what is no array."""
    if not isinstance(value, list):
        return []
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise RefusedError(400, f"{where}[{number}]: must be an object")
    return value
