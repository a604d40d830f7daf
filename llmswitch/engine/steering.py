"""What the allowed fields of a body must not reach: LiteLLM's own MCP gateway, skills and second
model, and what a provider keeps in its owner's account (files, containers, conversations …).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmswitch.engine.routes import RESPONSES

# State that a provider keeps in its owner's account: a client would read or start it there.
_STATEFUL = ("background", "background_options", "conversation", "previous_response_id", "prompt")
# The names under which it is referred to, in whatever tool, message or item.
_REFERENCES = (
    "container_id",
    "file_id",
    "file_ids",
    "previous_response_id",
    "vector_store_id",
    "vector_store_ids",
)
_URLS = ("file_data", "file_uri", "file_url", "image_url", "uri", "url", "video_url")
# Buckets and files that open to the gateway's credentials, and files of this machine.
_OWNERS_URL = re.compile(
    r"\s*(gs:|s3:|file:|https?://generativelanguage\.googleapis\.com/.*files/)", re.IGNORECASE
)
# LiteLLM's own MCP gateway, by its name and by the path under which it serves.
_OWN_MCP = re.compile(r"\s*litellm_proxy|\s*https?://.+/mcp/[^/]+\s*$", re.IGNORECASE)
_OWN_MCP_NAME = "litellm_proxy"
_OWN_SKILL = "litellm_"
# What a client makes up itself, such as schemas of its tools: its names mean nothing to others.
_FREE = frozenset({"arguments", "input_examples", "input_schema", "parameters", "schema"})
_ACCOUNT = "the gateway gives no access to what a provider keeps in its owner's account"
_NO_MCP = "the gateway has no MCP servers of its own"
# LiteLLM would ask the model that the tool names, past the profile and its budgets.
_NO_ADVISOR = "the gateway asks no second model for an answer"


def steering(route: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a body must not say, as (place, reason)."""
    if route == RESPONSES:
        yield from ((name, _ACCOUNT) for name in _STATEFUL if data.get(name))
    for where, item in _parts(data):
        if str(item.get("url")).strip().lower().startswith(_OWN_MCP_NAME):
            yield where, _NO_MCP
        if _OWN_MCP.match(str(item.get("server_url"))):
            yield where, _NO_MCP
        if str(item.get("type")).startswith("advisor_"):
            yield where, _NO_ADVISOR
        if _is_reference(item):
            yield where, _ACCOUNT
    for number, item in enumerate(_list(data.get("input"))):
        # An item without a type is a reference too, if it is nothing else.
        if isinstance(item, dict) and item.get("id") and not (item.get("type") or "role" in item):
            yield f"input[{number}]", _ACCOUNT


def _parts(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a body, with the field (and the item of it) that it stands in."""
    for name, value in data.items():
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from ((f"{name}[{number}]", part) for part in _below(item))
        else:
            yield from ((name, part) for part in _below({name: value}))


def _below(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            yield part
            waiting.extend(inner for name, inner in part.items() if not _is_free(name, inner))


def _is_free(name: str, value: Any) -> bool:
    """Whether a client makes up what is in there; `input` as an object is that of a tool call."""
    return name in _FREE or (name == "input" and isinstance(value, dict))


def _is_reference(item: dict[str, Any]) -> bool:
    """Whether an object refers to what a provider keeps in its owner's account."""
    kind = item.get("type")
    return bool(
        kind == "item_reference"
        or (kind == "image_generation_call" and not item.get("result"))
        or any(item.get(name) for name in _REFERENCES)
        or _has_id(item.get("container"))
        or ("role" in item and isinstance(item.get("audio"), dict))
        or ("skill_id" in item and not _is_anthropics(item))
        or any(_is_owners(item.get(name)) for name in _URLS)
    )


def _has_id(container: Any) -> bool:
    """Whether a container is one that exists; else it is the mapping of a new one."""
    return bool(container.get("id") if isinstance(container, dict) else container)


def _is_anthropics(skill: dict[str, Any]) -> bool:
    """Whether a skill is one that Anthropic itself has, for everybody."""
    name = skill["skill_id"]
    named = isinstance(name, str) and not name.startswith(_OWN_SKILL)
    return named and skill.get("type") == "anthropic"


def _is_owners(url: Any) -> bool:
    return isinstance(url, str) and bool(_OWNERS_URL.match(url))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
