"""`pass` of a model: fields that its provider has beyond those of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import free_port, make_user
from tests.gateways import NO_WAY_OUT, Lab
from tests.upstream import Behaviour, FakeUpstream, Json

pytestmark = [pytest.mark.xdist_group("gate pass"), pytest.mark.timeout(300)]

PROFILE = """
models:
  chat: {{model: mine/qwen3, pass: [repetition_penalty]}}
  responses: {{model: oai/gpt-x, pass: [repetition_penalty]}}
  messages: {{model: zai/glm-4.7, pass: [repetition_penalty]}}
  plain: mine/llama
  first: {{model: mine/first, pass: [repetition_penalty], fallbacks: [second]}}
  second: {{model: other/second, pass: [min_p]}}
providers:
  mine: {{dialect: chat, base_url: "{mine}/v1", key: null}}
  other: {{dialect: chat, base_url: "{other}/v1", key: null}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: null}}
  zai: {{dialect: messages, base_url: "{zai}", key: null}}
gateway: {{port: {port}}}
"""
ROUTES = ("/v1/messages", "/v1/chat/completions", "/v1/responses")
BEYOND = {"repetition_penalty": 1.1, "min_p": 0.1, "top_a": 1}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running gateway whose models let fields pass."""
    user = make_user(tmp_path_factory.mktemp("pass"))
    user.keys = NO_WAY_OUT
    with ExitStack() as stack:
        names = ("mine", "other", "oai", "zai")
        upstreams = {name: stack.enter_context(FakeUpstream(name)) for name in names}
        lab = Lab(user, upstreams, free_port())
        urls = {name: upstream.url for name, upstream in upstreams.items()}
        user.write_profile(PROFILE.format(port=lab.port, **urls))
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        yield lab
        user.run("down")
        user.stop_everything()


def received(lab: Lab, route: str, model: str) -> dict[str, Json]:
    """Which of the fields beyond the API each upstream received, with its path."""
    lab.clear()
    body: Json = {"model": model, **BEYOND}
    body |= (
        {"input": "hi"}
        if route == "/v1/responses"
        else {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    )
    response = lab.gateway.send("POST", route, json=body)
    assert response.status_code == 200, response.text
    return {
        name: {field: (one.body or {})[field] for field in BEYOND if field in (one.body or {})}
        for name, upstream in lab.upstreams.items()
        for one in upstream.requests
    }


@pytest.mark.parametrize("route", ROUTES)
def test_what_a_model_lets_pass_reaches_its_provider(lab: Lab, route: str) -> None:
    """On every route, where the provider is asked by Chat Completions or Responses; none reaches
    one that is asked by the Messages API. Other fields, and other models', do not pass.
    """
    assert received(lab, route, "chat") == {"mine": {"repetition_penalty": 1.1}}
    assert received(lab, route, "responses") == {"oai": {"repetition_penalty": 1.1}}
    assert received(lab, route, "plain") == {"mine": {}}
    if route == "/v1/messages":
        assert received(lab, route, "messages") == {"zai": {}}


@pytest.mark.parametrize("route", ROUTES)
def test_a_fallback_gets_its_own_fields(lab: Lab, route: str) -> None:
    """The provider of a fallback receives what its own model lets pass, and not the first one's."""
    lab.upstreams["mine"].behave(Behaviour(status=500), "first")
    assert received(lab, route, "first") == {
        "mine": {"repetition_penalty": 1.1},
        "other": {"min_p": 0.1},
    }


@pytest.mark.parametrize(
    "field", ["api_base", "custom_llm_provider", "mock_response", "my_api_key"]
)
def test_what_steers_litellm_is_refused_by_validate(tmp_path: Path, field: str) -> None:
    """A mistake of the profile like any other, with its line."""
    user = make_user(tmp_path)
    file = user.write_profile(f"models:\n  a: {{model: zai/glm-4.7, pass: [{field}]}}\n")
    done = user.run("validate")
    assert done.returncode == 1
    said = f"models.a.pass[0] is {field!r}, but must not be a parameter of LiteLLM; remove it"
    assert done.stderr.splitlines()[0] == f"{file}:2: {said}"


def test_what_litellm_alone_knows_is_refused_by_the_start(tmp_path: Path) -> None:
    """A name that only LiteLLM's own list of parameters has: the gateway does not start."""
    user = make_user(tmp_path)
    user.keys = {**NO_WAY_OUT, "ZAI_API_KEY": "own-zai"}
    port = free_port()
    user.write_profile(
        f"models:\n  a: {{model: zai/glm-4.7, pass: [caching]}}\ngateway: {{port: {port}}}\n"
    )
    done = user.run("up")
    user.stop_everything()
    assert done.returncode == 1
    assert "`pass` of a: caching names a parameter of LiteLLM's own" in done.stderr
