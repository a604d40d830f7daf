"""Which names of models a client may say: those of the profile, and nothing that LiteLLM would
make of another (ids of its deployments, names of providers).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from llmswitch.engine.request import config, settings

_CLAUDE_CODES = re.compile(r"claude-router-((?:[0-9a-f]{2})+)")


@cache
def names() -> tuple[str, ...]:
    """The models of the profile, then those of its `litellm:` part."""
    listed = [item["model_name"] for item in config()["model_list"] if _is_users(item)]
    ours = [row["name"] for row in settings().get("menu", [])]
    return tuple(dict.fromkeys([*ours, *listed, *_aliases()]))


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile(".*".join(map(re.escape, name.split("*")))) for name in names() if "*" in name
    )


@cache
def shown() -> tuple[str, ...]:
    """The same without the aliases that the profile hides."""
    hidden = {name for name, to in _aliases().items() if isinstance(to, dict) and to.get("hidden")}
    return tuple(name for name in names() if name not in hidden)


def _aliases() -> dict[str, Any]:
    router = config().get("router_settings") or {}
    found: dict[str, Any] = router.get("model_group_alias") or {}
    return found


def _is_users(deployment: dict[str, Any]) -> bool:
    """Whether a deployment is from `litellm:`; ours are known by what we write beside them."""
    return "llmswitch_provider" not in (deployment.get("model_info") or {})


def known(asked: str) -> str | None:
    """The name of the profile that a client means; None for any other. Claude Code in an editor
    knows models by a name that the list of models has made for it, and a mark of the window.
    """
    for name in (asked, _decoded(asked), _decoded(asked.removesuffix("[1m]"))):
        if name in names() or any(pattern.fullmatch(name) for pattern in _patterns()):
            return name
    return None


def _decoded(asked: str) -> str:
    match = _CLAUDE_CODES.fullmatch(asked)
    return bytes.fromhex(match[1]).decode(errors="replace") if match else asked
