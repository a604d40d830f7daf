"""What each dialect's upstream is sent, and what comes back: the contract with LiteLLM."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.gateways import DIALECTS, MODELS, Gateway, Reply
from tests.ledgers import House
from tests.upstream import Behaviour, Json, Tool, Usage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture
def gateway(lab: House) -> Gateway:
    """The gateway as a client sees it."""
    return lab.gateway


PATHS = {
    "anthropic": "/v1/messages",
    "messages": "/api/anthropic/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "litellm": "/v1/chat/completions",
    "keyless": "/v1/chat/completions",
    "keyless-messages": "/v1/messages",
    "keyless-responses": "/v1/responses",
}
IDS = {
    "anthropic": "claude-opus-4-5-20251101",
    "messages": "glm-4.7",
    "chat": "qwen3",
    "responses": "gpt-x",
    "litellm": "grok-4",
    "keyless": "llama",
    "keyless-messages": "phi",
    "keyless-responses": "oss",
}
SCHEMA: Json = {"type": "object", "properties": {"command": {"type": "string"}}}
TOOLS: list[Json] = [{"name": "Bash", "description": "runs it", "input_schema": SCHEMA}]
# Everything that Claude Code puts into a request.
FULL: Json = {
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "tools": TOOLS,
    "tool_choice": {"type": "auto"},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "user_1"},
    "context_management": {"edits": []},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_path_model_and_answer(gateway: Gateway, lab: House, model: str, stream: bool) -> None:
    """One request of the client is one request to the right path, with the provider's own name of
    the model, and the answer comes back under the name that the client asked for.
    """
    answer = gateway.ask(model, stream=stream, **FULL)
    upstream = lab.of(model)
    assert answer.said == f"I am {IDS[model]} at {upstream.name}"
    assert named(answer) == model
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", PATHS[model])
    assert request.body is not None
    assert request.body["model"] == IDS[model]
    assert lab.received == {upstream.name: 1}


def named(answer: Reply) -> str:
    """The model that an answer says it is from."""
    message: Json = answer.events[0]["message"] if answer.events else answer.json
    model: str = message["model"]
    return model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic", "messages", "keyless-messages"])
def test_native_dialects_are_not_translated(
    gateway: Gateway, lab: House, model: str, stream: bool
) -> None:
    """An Anthropic-compatible provider receives what the client wrote: cache marks, tools, thinking
    with its signature and results of tools; only fields that no one knows are dropped.
    """
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a  b\n\tc ü"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": [thinking, use]},
        {"role": "user", "content": [result]},
    ]
    sent = {**FULL, "messages": messages}
    assert gateway.ask(model, stream=stream, **sent, made_up=1).status == 200
    body = lab.of(model).requests[0].body
    assert body == {"model": IDS[model], "max_tokens": 100, "stream": stream, **sent}


CHAT_TOOL = {
    "type": "function",
    "function": {"name": "Bash", "parameters": SCHEMA, "description": "runs it"},
}


@pytest.mark.parametrize("model", ["chat", "keyless"])
def test_chat_translation(gateway: Gateway, lab: House, model: str) -> None:
    """Chat Completions receive messages, tools and limits in OpenAI's words, and are asked for the
    usage of a stream.
    """
    gateway.ask(model, stream=True, **FULL)
    body = lab.of(model).requests[0].body
    assert body == {
        "model": IDS[model],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": "hi"},
        ],
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["END"],
        "tools": [CHAT_TOOL],
        "tool_choice": "auto",
    }


THINKING = {"type": "enabled", "budget_tokens": 1024}
HEARD = {
    "anthropic": {"thinking": THINKING},
    "messages": {"thinking": THINKING},
    "chat": {"reasoning_effort": "low"},
    "responses": {},
    "litellm": {},
}


@pytest.mark.parametrize("model", DIALECTS)
def test_thinking(gateway: Gateway, lab: House, model: str) -> None:
    """That Claude Code asks to think reaches who understands it, and is dropped, not refused, for
    models that LiteLLM does not know to reason. It does so for Claude Code's user agent only.
    """
    assert gateway.ask(model, stream=True, thinking=THINKING).status == 200
    body = lab.of(model).requests[0].body or {}
    names = ("thinking", "reasoning", "reasoning_effort")
    assert {name: body[name] for name in names if name in body} == HEARD[model]


def test_responses_translation(gateway: Gateway, lab: House) -> None:
    """Responses receive input items, instructions and tools in OpenAI's words."""
    gateway.ask("responses", stream=True, **FULL)
    body = lab.of("responses").requests[0].body
    assert body is not None
    assert body["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    ]
    assert body["instructions"] == "be brief"
    assert body["max_output_tokens"] == 100
    assert [tool["name"] for tool in body["tools"]] == ["Bash"]
    assert body["stream"] is True


BASH = Tool("Bash", {"command": "echo ü; ls"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_tool_round_trip(gateway: Gateway, lab: House, model: str, stream: bool) -> None:
    """A tool call of any dialect reaches the client as `tool_use`, and its result goes back."""
    lab.of(model).behave(Behaviour(tool=BASH))
    first = gateway.ask(model, stream=stream, tools=TOOLS)
    assert first.status == 200, first.text
    use, reason = tool_use(first)
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "Bash", BASH.input)
    assert reason == "tool_use"
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [use]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "a-file"}],
        },
    ]
    second = gateway.ask(model, stream=stream, tools=TOOLS, messages=messages)
    assert second.said.endswith("and the tool said: a-file")


def tool_use(answer: Reply) -> tuple[Json, Any]:
    """The tool call of an answer, streamed or not, and why the message ended."""
    if not answer.events:
        (block,) = (block for block in answer.json["content"] if block["type"] == "tool_use")
        return block, answer.json["stop_reason"]
    use: Json = {}
    written = ""
    reason = None
    for event in answer.events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            use = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            written += event["delta"].get("partial_json", "")
        elif event["type"] == "message_delta":
            reason = event["delta"]["stop_reason"]
    return {**use, "input": json.loads(written)}, reason


@pytest.mark.parametrize("model", DIALECTS)
def test_usage(gateway: Gateway, lab: House, model: str) -> None:
    """The tokens that the provider counted reach the client, of a stream at its end."""
    lab.of(model).behave(Behaviour(usage=Usage(input=11, output=7)))
    whole = gateway.ask(model).json["usage"]
    assert (whole["input_tokens"], whole["output_tokens"]) == (11, 7)
    streamed = gateway.ask(model, stream=True).events
    (delta,) = (event for event in streamed if event["type"] == "message_delta")
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (11, 7)


@pytest.mark.parametrize("model", DIALECTS)
def test_streams_are_not_held_back(gateway: Gateway, lab: House, model: str) -> None:
    """The first words arrive while the provider still thinks about the others."""
    lab.of(model).behave(Behaviour(events=4, delay=0.5))
    with gateway.streaming(model) as lines:
        arrived = [time.monotonic() for line in lines if "text_delta" in line]
    assert len(arrived) >= 4
    assert arrived[-1] - arrived[0] > 0.7  # of three pauses of half a second


def test_discovery_names(gateway: Gateway, lab: House) -> None:
    """An older Claude Code that discovers models gets names that it accepts, and LiteLLM takes them
    back for the models that they stand for.
    """
    headers = {
        "authorization": f"Bearer {gateway.key}",
        "anthropic-version": "2023-06-01",
        "user-agent": "claude-code/2.1.197",
    }
    rows = gateway.send("GET", "/v1/models?limit=1000", headers=headers).json()["data"]
    shown = {row["display_name"].partition(" ")[0]: row["id"] for row in rows}
    assert shown["Qwen3"] == "claude-router-63686174"
    assert all(row["id"].startswith("claude-") or "anthropic" in row["id"] for row in rows)
    assert gateway.ask(shown["Qwen3"]).said == "I am qwen3 at mine"
    assert lab.received == {"mine": 1}
