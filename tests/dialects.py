"""A gateway with a model of every dialect, in front of upstreams that have the one path which their
dialect promises, and answer 404 at any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from llmswitch.profile.rules import TEST_HOST
from tests.conftest import free_port, make_user
from tests.gateways import AUTHENTICATION, NO_WAY_OUT, STRAYS, wait_for
from tests.ledgers import House
from tests.upstream import FakeUpstream, Request

KEYS = {
    "AN_KEY": "sk-ant-api03-own-anthropic",
    "ZAI_API_KEY": "own-zai-key",
    "SECOND_KEY": "own-zai-second",
    "MINE_KEY": "own-mine-key",
    "OAI_KEY": "own-oai-key",
    "GROK_KEY": "own-grok-key",
}
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
_MESSAGES, _CHAT, _RESPONSES = "/v1/messages", "/chat/completions", "/responses"
_PATHS = {
    "an": ("", [_MESSAGES]),
    "max": ("", [_MESSAGES]),
    "zai": ("/api/anthropic", [_MESSAGES]),
    "mine": ("/v1", [_CHAT]),
    "oai": ("/v1", [_RESPONSES]),
    "grok": ("/v1", [_CHAT, _RESPONSES]),
    "lm": ("", [_MESSAGES]),
    "local": ("/v1", [_CHAT]),
    "lr": ("/v1", [_RESPONSES]),
}
"""What each upstream's base URL ends in, and the paths that it has below."""


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
    user = make_user(root)
    user.keys = {**STRAYS, **NO_WAY_OUT, **KEYS, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    with ExitStack() as stack:
        upstreams = {
            name: stack.enter_context(FakeUpstream(name, dialects=has))
            for name, (_, has) in _PATHS.items()
        }
        house = House(user, upstreams, free_port())
        urls = {name: upstream.url for name, upstream in upstreams.items()}
        user.keys = {**user.keys, TEST_HOST: urls["max"].removeprefix("http://")}
        user.write_profile(PROFILE.format(port=house.port, more=more, **urls))
        try:
            done = user.run("up")
            assert done.returncode == 0, done.stderr
            assert house.gateway.ask("chat").status == 200  # so that there is a ledger
            wait_for(lambda: [*user.state.rglob("*.db")])
            house.rows(1)
            yield house
            user.run("down")
        finally:
            user.stop_everything()


def received(house: House) -> dict[str, list[Request]]:
    """What each upstream was asked, those left out that were not."""
    return {name: up.requests for name, up in house.upstreams.items() if up.requests}


def check(request: Request, model: str) -> None:
    """A request came to the path of its dialect, with the model's credential and no other."""
    expected = MODELS[model]
    sent = {name: value for name, value in request.headers.items() if name in AUTHENTICATION}
    assert sent == dict([expected.credential])
    prefix, paths = _PATHS[expected.upstream]
    assert request.path in [prefix + path for path in paths]
