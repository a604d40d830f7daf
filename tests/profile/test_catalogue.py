"""Every provider of the catalogue behind one real gateway: its path, its key, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from llmswitch.render.litellm_config import engine_config, named_variables
from llmswitch.render.menu import make_menu
from tests.conftest import free_port, make_user
from tests.gateways import AUTHENTICATION, NO_WAY_OUT, STRAYS, Lab, secrets_in
from tests.upstream import Behaviour, FakeUpstream, Tool, _Exchange

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("catalogue"), pytest.mark.timeout(300)]

# They sign requests or fetch tokens with a cloud's own credentials, from hosts that are made of a
# region or a project: no fake upstream on this machine can take their place.
CLOUDS = ("bedrock", "vertex_ai", "azure_ai")
PROVIDERS = [name for name in catalogue_data() if name not in (*CLOUDS, "demo")]
TOOL = Tool("Read", {"file_path": "/etc/hostname"})
OFFERED = {"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object"}}


class FakeGemini(FakeUpstream):
    """Google's own dialect, as far as one streamed tool call goes."""

    async def _route(self, exchange: _Exchange) -> None:
        if not exchange.request.path.endswith(":streamGenerateContent"):
            await exchange.missing()
            return
        call = {"functionCall": {"name": TOOL.name, "args": TOOL.input}}
        candidate = {"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
        answer = {"candidates": [candidate], "usageMetadata": usage}
        await exchange.start(200, "text/event-stream")
        await exchange.body(f"data: {json.dumps(answer)}\r\n\r\n".encode(), more=False)


def model_of(name: str) -> str:
    """A model id of a provider: the first that is known, or whatever is loaded."""
    known = catalogue_data()[name].get("models") or ["loaded"]
    return str(known[0]["id"] if isinstance(known[0], dict) else known[0])


def path_of(name: str) -> str:
    """The path of a provider's base URL; for Gemini, which has none, that of Google's API."""
    base: str = catalogue_data()[name].get("base_url", "https://g/v1beta")
    return urlsplit(base).path


def key_of(name: str) -> str | None:
    """The made-up key of a provider; None where it needs none."""
    return f"own-key-of-{name}" if catalogue_data()[name]["key"] else None


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running gateway with a model of every provider, each at an upstream of its own."""
    user = make_user(tmp_path_factory.mktemp("catalogue"))
    own = {catalogue_data()[name]["key"]: key_of(name) for name in PROVIDERS}
    user.keys = STRAYS | NO_WAY_OUT | {name: key for name, key in own.items() if name and key}
    with ExitStack() as stack:
        upstreams = {
            name: stack.enter_context(FakeGemini(name) if name == "gemini" else FakeUpstream(name))
            for name in PROVIDERS
        }
        port = free_port()
        profile = {
            "models": {name: f"{name}/{model_of(name)}" for name in PROVIDERS},
            "providers": {
                name: {"base_url": upstreams[name].url + path_of(name)} for name in PROVIDERS
            },
            "gateway": {"port": port},
        }
        user.write_profile(yaml.safe_dump(profile, sort_keys=False))
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        yield Lab(user, upstreams, port)
        user.run("down")
        user.stop_everything()


WAY = {
    "anthropic": "/v1/messages",
    "messages": "/v1/messages",
    "chat": "/chat/completions",
    "responses": "/responses",
    "litellm": f"/models/{model_of('gemini')}:streamGenerateContent",
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_streamed_tool_call_of_every_provider(lab: Lab, name: str) -> None:
    """The upstream gets one request, at its own path, with its own key and no other; its tool call
    comes through; every other upstream gets nothing.
    """
    lab.clear()
    upstream = lab.upstreams[name]
    upstream.behave(Behaviour(tool=TOOL))
    reply = lab.gateway.ask(name, stream=True, tools=[OFFERED])
    assert reply.status == 200, reply.text
    assert tool_call(reply.events) == (TOOL.name, TOOL.input)
    assert lab.received == {name: 1}
    (request,) = upstream.requests
    assert request.path == path_of(name) + WAY[catalogue_data()[name]["dialect"]]
    sent = {key: value for key, value in request.headers.items() if key in AUTHENTICATION}
    own = key_of(name)
    if own:
        assert list(sent.values()) in ([own], [f"Bearer {own}"])
    else:
        assert sent in ({}, {"authorization": "Bearer none"})
    whole = json.dumps([request.query, request.headers, request.body])
    others = {key for key in lab.user.keys.values() if key != own}
    assert not secrets_in(whole, *others, lab.user.gateway_key())


def tool_call(events: tuple[Any, ...]) -> tuple[str, Any]:
    """The one tool call of a stream: its name and its input."""
    (name,) = (
        event["content_block"]["name"]
        for event in events
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use"
    )
    parts = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    return name, json.loads("".join(part.get("partial_json", "") for part in parts))


ENV = {
    "bedrock": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION_NAME"},
    "vertex_ai": {"GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_PROJECT", "VERTEXAI_LOCATION"},
    "azure_ai": {"AZURE_AI_API_BASE"},
}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_is_configured_and_given_its_own_variables(name: str) -> None:
    """Requests to a cloud cannot be tested here; what LiteLLM is given for one can: the model under
    the cloud's own prefix, its price, and the variables that it reads.
    """
    profile = parse_profile(f"models: {{opus: {name}/{model_of(name)}}}", "p")
    menu = make_menu(profile, ["AZURE_AI_API_KEY"])
    (deployment,) = engine_config(profile, menu)["model_list"]
    params = {"model": f"{name}/{model_of(name)}"}
    if name == "azure_ai":
        params["api_key"] = "os.environ/LLMSWITCH_KEY_AZURE_AI_API_KEY"
    assert deployment["litellm_params"] == params
    assert deployment["model_info"]["input_cost_per_token"] > 0
    assert named_variables(profile, menu) == ENV[name]
