"""A gateway with a model of every dialect, in front of upstreams that have the one path which their
dialect promises, and answer 404 at any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import gateways
from tests.gateways import AUTHENTICATION
from tests.ledgers import HAS, House, open_house
from tests.upstream import Request

KEYS = {**gateways.KEYS, "SECOND_KEY": "second-of-zai"}
PROFILE = """
models:
  anthropic: an/claude-opus-4-5-20251101
  messages: {{model: zai/glm-4.7, price: {{input: 1, output: 2}}}}
  chat: mine/qwen3
  responses: oai/gpt-x
  litellm: grok/grok-4
  keyless-messages: lm/phi
  keyless-chat: local/llama
  keyless-responses: lr/oss
{more}
providers:
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  max: {{dialect: anthropic, base_url: "{max}", auth: subscription, prices: ""}}
  zai: {{base_url: "{zai}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: OAI_KEY}}
  grok: {{dialect: litellm, prefix: xai, base_url: "{grok}/v1", key: GROK_KEY}}
  lm: {{dialect: messages, base_url: "{lm}", key: null}}
  local: {{dialect: chat, base_url: "{local}/v1", key: null}}
  lr: {{dialect: responses, base_url: "{lr}/v1", key: null}}
gateway: {{port: {port}}}
"""
_BELOW = {"zai": "/api/anthropic", **dict.fromkeys(("mine", "oai", "grok", "local", "lr"), "/v1")}
"""What the base URL of an upstream ends in."""


@dataclass
class Model:
    """Its upstream, its id there, the one credential that belongs there, and its variable."""

    upstream: str
    id: str
    credential: tuple[str, str]
    variable: str | None


def _bearer(key: str) -> tuple[str, str]:
    return "authorization", f"Bearer {key}"


MODELS = {
    "anthropic": Model("an", "claude-opus-4-5-20251101", ("x-api-key", KEYS["AN_KEY"]), "AN_KEY"),
    "messages": Model("zai", "glm-4.7", _bearer(KEYS["ZAI_API_KEY"]), "ZAI_API_KEY"),
    "chat": Model("mine", "qwen3", _bearer(KEYS["MINE_KEY"]), "MINE_KEY"),
    "responses": Model("oai", "gpt-x", _bearer(KEYS["OAI_KEY"]), "OAI_KEY"),
    "litellm": Model("grok", "grok-4", _bearer(KEYS["GROK_KEY"]), "GROK_KEY"),
    "keyless-messages": Model("lm", "phi", _bearer("none"), None),
    "keyless-chat": Model("local", "llama", _bearer("none"), None),
    "keyless-responses": Model("lr", "oss", _bearer("none"), None),
}
DIALECTS = [name for name, model in MODELS.items() if model.variable]


def open_dialects(root: Path, more: str = "") -> Iterator[House]:
    """The gateway, with `more` models, started from a shell full of other keys and an address."""
    for house in open_house(root):
        yield house.bring(PROFILE, KEYS, more=more)
        house.user.run("down")


def received(house: House) -> dict[str, list[Request]]:
    """What each upstream was asked, those left out that were not."""
    return {name: up.requests for name, up in house.upstreams.items() if up.requests}


def check(request: Request, model: str) -> None:
    """A request came to the path of its dialect, with the model's credential and no other."""
    expected = MODELS[model]
    sent = {name: value for name, value in request.headers.items() if name in AUTHENTICATION}
    assert sent == dict([expected.credential])
    below = _BELOW.get(expected.upstream, "")
    assert request.path in [below + path for path in HAS[expected.upstream]]
