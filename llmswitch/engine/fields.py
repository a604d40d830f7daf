"""Which fields of a body pass.

LiteLLM takes some 400 parameters of its own from a body: with them a client could have a key sent
to another host, another model asked, or its request left out of the ledger. So only the fields of
the API that a route speaks pass (shapes.py), and what they hold is looked at too (steering.py).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from llmswitch.engine.asgi import RefusedError
from llmswitch.engine.request import settings
from llmswitch.engine.shapes import check, kinds
from llmswitch.engine.steering import steering

_NAME = re.compile(r"[A-Za-z][\w-]{0,60}")
_MOST_NAMES = 100  # a client may make up any number
_log = logging.getLogger("gunicorn.error")
left_out: Counter[str] = Counter()


def passed(route: str, data: dict[str, Any], model: str) -> dict[str, Any]:
    """The fields of a body that pass, without the extensions of the model's provider.

    Raises RefusedError for one that is malformed, that steers LiteLLM, or that reaches the state of
    the owner's account.
    """
    kept = {name: value for name, value in data.items() if name in kinds(route)}
    for name in {*data} - {*kept} - {*_extensions().get(model, ())}:
        _note_left_out(name)
    check(route, kept)
    if "metadata" in kept:
        user = (kept.pop("metadata") or {}).get("user_id")
        if isinstance(user, str):
            kept["metadata"] = {"user_id": user}
    for where, what in steering(route, kept):
        raise RefusedError(400, f"{where}: {what}")
    return kept


def extensions(data: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Those fields of a body that `pass` of a model of the profile names."""
    return {name: data[name] for name in _extensions().get(model, ()) if name in data}


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
