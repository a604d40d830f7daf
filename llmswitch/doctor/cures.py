"""From what an upstream refused to the line of the profile that cures it.

Each cure was tried: the tests apply the printed line and ask again.
"""

from __future__ import annotations

import http
import re
from typing import Any

import yaml

from llmswitch.doctor.messages_api import AnswerError
from llmswitch.doctor.requests import form_of
from llmswitch.render.claude_settings import PLAIN_BEHAVIOUR, behaves_as
from llmswitch.render.menu import Row

# Fields that a request can go without, as the provider is sent them: what Claude Code writes, and
# what LiteLLM makes of it for OpenAI's dialects. Each was seen to be gone with `drop` (1.106).
_WRITTEN = ("context_management", "output_config", "thinking", "metadata")
_TRANSLATED = (
    "reasoning_effort",
    "prompt_cache_key",
    "stream_options",
    "reasoning",
    "include",
    "user",
)
_DROPPABLE = {
    "anthropic": _WRITTEN,
    "messages": _WRITTEN,
    "chat": _TRANSLATED,
    "responses": _TRANSLATED,
    "litellm": (*_WRITTEN, *_TRANSLATED),
}


def cure_of(row: Row, failure: AnswerError) -> str | None:
    """The line for the profile, None where no line of it would help."""
    words = failure.words or ""
    if failure.status == http.HTTPStatus.NOT_FOUND:
        return _other_dialect(row, words)
    if failure.status not in (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNPROCESSABLE_ENTITY):
        return None
    form = form_of(behaves_as(row))
    said = set(re.findall(r"\w+", words))
    if (form.thinking == "adaptive" and "adaptive" in said) or (
        form.system_message and {"role", "system"} <= said
    ):
        return _model_line(row, behaves_as=PLAIN_BEHAVIOUR)
    dropped = row.model.drop or []
    for field in _DROPPABLE[row.provider.dialect]:
        if field not in dropped and _names(words, field):
            return _model_line(row, drop=[*dropped, field])
    return None


def _names(words: str, field: str) -> bool:
    """Whether a refusal names a field; one that is a plain word must be marked as a name."""
    if "_" in field:
        return re.search(rf"\b{field}\b", words) is not None
    return re.search(rf"[`'\"]{field}[`'\"]|^{field}[:.]|: {field}\b", words) is not None


# What it says of a provider beside how to reach it.
_OF_THE_CATALOGUE = (
    "key_page",
    "source",
    "read",
    "models",
    "models_url",
    "unverified",
    "roles",
    "wrapper",
)


def _other_dialect(row: Row, words: str) -> str | None:
    """For a host that has Chat Completions only; not where it is the model that is not found."""
    provider = row.provider
    if provider.dialect not in ("messages", "responses") or not provider.base_url:
        return None
    if row.model.id.lower() in words.lower() or "model" in words.lower():
        return None
    base = provider.base_url
    fields: dict[str, Any] = provider.model_dump(
        exclude_defaults=True, exclude=set(_OF_THE_CATALOGUE)
    )
    fields |= {"dialect": "chat", "base_url": base if base.endswith("/v1") else f"{base}/v1"}
    return f"providers: {_flow({row.provider_name: fields})}"


def _model_line(row: Row, **changed: Any) -> str:
    fields = row.model.model_dump(exclude_defaults=True) | changed
    return f"models: {_flow({row.name: fields})}"


def _flow(value: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**31
    )
    return text.strip()
