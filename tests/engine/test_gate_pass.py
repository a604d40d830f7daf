"""`pass` of a model: fields that its provider has beyond those of the API."""

from __future__ import annotations

import asyncio

import pytest

from llmswitch.engine import fields
from llmswitch.engine.asgi import Message
from llmswitch.engine.startup import ModelError, checked
from llmswitch.errors import ProfileError
from llmswitch.profile.load import parse_profile
from tests.engine.gate import CHAT, MESSAGES, RESPONSES, body
from tests.ledgers import House
from tests.upstream import Behaviour, Json

pytestmark = pytest.mark.timeout(300)

PROFILE = """
models:
  chat: {{model: mine/qwen3, pass: [repetition_penalty]}}
  responses: {{model: oai/gpt-x, pass: [repetition_penalty]}}
  messages: {{model: zai/glm-4.7, pass: [repetition_penalty]}}
  plain: mine/llama
  first: {{model: mine/first, pass: [repetition_penalty], fallbacks: [second]}}
  second: {{model: local/second, pass: [min_p]}}
providers:
  mine: {{dialect: chat, base_url: "{mine}/v1", key: null}}
  local: {{dialect: chat, base_url: "{local}/v1", key: null}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: null}}
  zai: {{dialect: messages, base_url: "{zai}", key: null}}
gateway: {{port: {port}}}
"""
BEYOND = {"repetition_penalty": 1.1, "min_p": 0.1, "top_a": 1}


def received(lab: House, route: str, model: str) -> dict[str, Json]:
    """Which of the fields beyond the API each upstream received."""
    lab.clear()
    response = lab.gateway.send("POST", route, json=body(route, model) | BEYOND)
    assert response.status_code == 200, response.text
    return {
        name: {field: (one.body or {})[field] for field in BEYOND if field in (one.body or {})}
        for name, upstream in lab.upstreams.items()
        for one in upstream.requests
    }


@pytest.mark.parametrize("route", [MESSAGES, CHAT, RESPONSES])
def test_what_a_model_lets_pass_reaches_its_provider(lab: House, route: str) -> None:
    """On every route, where the provider is asked by Chat Completions or Responses; none reaches
    one that is asked by the Messages API. Other fields, and other models', do not pass; a fallback
    gets what its own model lets pass.
    """
    assert received(lab, route, "chat") == {"mine": {"repetition_penalty": 1.1}}
    assert received(lab, route, "responses") == {"oai": {"repetition_penalty": 1.1}}
    assert received(lab, route, "plain") == {"mine": {}}
    if route == MESSAGES:
        assert received(lab, route, "messages") == {"zai": {}}
    lab.upstreams["mine"].behave(Behaviour(status=500), "first")
    assert received(lab, route, "first") == {
        "mine": {"repetition_penalty": 1.1},
        "local": {"min_p": 0.1},
    }


@pytest.mark.parametrize(
    "field", ["api_base", "custom_llm_provider", "mock_response", "my_api_key"]
)
def test_what_steers_litellm_is_a_mistake_of_the_profile(field: str) -> None:
    """Like any other, with its line."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(f"models:\n  a: {{model: zai/glm-4.7, pass: [{field}]}}\n", "p.yaml")
    assert caught.value.message == (
        f"p.yaml:2: models.a.pass[0] is {field!r}, but must not be a parameter of "
        "LiteLLM; remove it"
    )


def test_with_what_litellm_alone_knows_no_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that only LiteLLM's own list of parameters has."""

    async def send(_message: Message) -> None:
        raise AssertionError("it started")

    monkeypatch.setattr("llmswitch.engine.startup._lacking", list)
    monkeypatch.setattr(fields, "settings", lambda: {"pass": {"a": ["caching"]}})

    async def start() -> None:
        await checked(send)({"type": "lifespan.startup.complete"})

    with pytest.raises(ModelError) as caught:
        asyncio.run(start())
    assert str(caught.value) == "`pass` of a: caching names a parameter of LiteLLM's own"
