"""From what an upstream refused to the line of the profile that cures it.

Each cure was tried: the tests apply the printed line and ask again.
"""

from __future__ import annotations

import http
import re
from typing import Any

import yaml

from llmswitch.claude import PLAIN_BEHAVIOUR, behaves_as
from llmswitch.menu import Row
from llmswitch.probe_bodies import form_of
from llmswitch.probe_wire import AnswerError

# What the client can go without. The order is that of preference.
_DROPPABLE = ("context_management", "output_config", "thinking", "metadata")


def cure_of(row: Row, failure: AnswerError) -> str | None:
    """The line for the profile, None where no line of it would help."""
    words = failure.words or ""
    if failure.status == http.HTTPStatus.NOT_FOUND:
        return _other_dialect(row, words)
    if failure.status not in (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNPROCESSABLE_ENTITY):
        return None
    form = form_of(behaves_as(row))
    named = set(re.findall(r"\w+", words))
    newer = form.thinking == "adaptive" and named & {"adaptive", "thinking", "effort"}
    if newer or (form.system_message and {"role", "system"} <= named):
        return _model_line(row, behaves_as=PLAIN_BEHAVIOUR)
    for field in _DROPPABLE:
        if field in named and field not in (row.model.drop or ()):
            return _model_line(row, drop=[*(row.model.drop or ()), field])
    return None


def _other_dialect(row: Row, words: str) -> str | None:
    """For a host that has Chat Completions only; not where it is the model that is not found."""
    provider = row.provider
    if provider.dialect not in ("messages", "responses") or not provider.base_url:
        return None
    if row.model.id.lower() in words.lower() or "model" in words.lower():
        return None
    base = provider.base_url
    fields: dict[str, Any] = provider.model_dump(
        exclude_defaults=True, exclude={"key_page", "source"}
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
