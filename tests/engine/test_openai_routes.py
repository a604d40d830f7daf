"""/v1/chat/completions and /v1/responses for a model of any dialect: each upstream has the one path
that its dialect promises, and answers 404 at any other.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import httpx
import psutil
import pytest

from tests import dialects
from tests.dialects import KEYS, MODELS, check, received
from tests.gateways import AUTHENTICATION, CLIENT, STRAYS, events, worker_pids
from tests.ledgers import House
from tests.upstream import Behaviour, Json, Tool, Usage

pytestmark = pytest.mark.timeout(300)

LOGIN = "sk-ant-oat01-login-of-the-user"
MORE = """
  login: max/claude-opus-4-5-20251101
  small: {model: zai/small, context: 32768}
  dropping: {model: zai/dropping, drop: [temperature]}
  two-keys: {model: zai/two, keys: [ZAI_API_KEY, SECOND_KEY]}
  from-messages: {model: zai/first, fallbacks: [chat]}
  from-chat: {model: mine/first, fallbacks: [messages]}
  from-login: {model: max/first, fallbacks: [messages]}
  dear: {model: zai/dear, price: {input: 1000000, output: 0}, budget: {usd: 1, per: day}}
  messages-of-openai: zai/openai/gpt-5
  messages-of-claude: zai/anthropic/claude-opus-4-5
  chat-of-openai: mine/openai/gpt-oss-120b
  chat-of-claude: mine/anthropic/claude-opus-4-5
  responses-of-claude: oai/anthropic/claude-opus-4-5
  responses-of-google: oai/google/gemini-3-pro-preview
"""
PROFILE = dialects.PROFILE.replace("{more}", MORE.replace("{", "{{").replace("}", "}}"))
SCHEMA: Json = {"type": "object", "properties": {"command": {"type": "string"}}}
BASH = Tool("Bash", {"command": "echo ü; ls"})


class Route(ABC):
    """One of the two routes: how it is asked, and what of an answer is what."""

    path: str

    def __init__(self, house: House) -> None:
        self.house = house

    def send(self, body: Json, headers: Json | None = None) -> httpx.Response:
        """A body as it is, with the gateway's key."""
        carried = headers or {"authorization": f"Bearer {self.house.gateway.key}"}
        return self.house.gateway.send("POST", self.path, json=body, headers=carried)

    def ask(
        self, model: str, *, stream: bool = False, headers: Json | None = None, **more: Any
    ) -> httpx.Response:
        """A question, with the tool that may be called."""
        return self.send({**self.body(model), "stream": stream, **more}, headers)

    @abstractmethod
    def body(self, model: str) -> Json:
        """A question."""

    @abstractmethod
    def said(self, response: httpx.Response) -> str:
        """The text of an answer, streamed or not."""

    @abstractmethod
    def called(self, response: httpx.Response) -> tuple[str, Any, Sequence[Json]]:
        """The tool that an answer calls, its input, and what of the answer goes back with the
        tool's result.
        """


class ChatCompletions(Route):
    """POST /v1/chat/completions."""

    path = "/v1/chat/completions"
    field = "messages"
    tools: ClassVar[list[Json]] = [
        {
            "type": "function",
            "function": {"name": "Bash", "description": "runs it", "parameters": SCHEMA},
        }
    ]

    def body(self, model: str) -> Json:
        asked = [{"role": "user", "content": "hi"}]
        return {"model": model, "messages": asked, "tools": self.tools}

    def said(self, response: httpx.Response) -> str:
        assert response.status_code == 200, response.text
        return str(self._message(response)["content"])

    def called(self, response: httpx.Response) -> tuple[str, Any, Sequence[Json]]:
        assert response.status_code == 200, response.text
        message = self._message(response)
        [call] = message["tool_calls"]
        function = call["function"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": "a-file"}
        return function["name"], json.loads(function["arguments"]), [message, result]

    def _message(self, response: httpx.Response) -> Json:
        if not response.headers["content-type"].startswith("text/event-stream"):
            message: Json = response.json()["choices"][0]["message"]
            return message
        assert response.text.rstrip().endswith("data: [DONE]")
        text, call, arguments = "", None, ""
        for chunk in events(response.text):
            for choice in chunk["choices"]:
                text += choice["delta"].get("content") or ""
                for part in choice["delta"].get("tool_calls") or []:
                    call = call or part
                    arguments += part["function"].get("arguments") or ""
        calls = []
        if call:
            function = {"name": call["function"]["name"], "arguments": arguments}
            calls = [{"id": call["id"], "type": "function", "function": function}]
        return {"role": "assistant", "content": text, "tool_calls": calls}


class Responses(Route):
    """POST /v1/responses."""

    path = "/v1/responses"
    field = "input"
    tools: ClassVar[list[Json]] = [
        {"type": "function", "name": "Bash", "description": "runs it", "parameters": SCHEMA}
    ]

    def body(self, model: str) -> Json:
        asked = [{"role": "user", "content": "hi"}]
        return {"model": model, "input": asked, "tools": self.tools, "store": False}

    def said(self, response: httpx.Response) -> str:
        parts = [part for item in self._output(response) for part in item.get("content") or []]
        return "".join(part.get("text", "") for part in parts)

    def called(self, response: httpx.Response) -> tuple[str, Any, Sequence[Json]]:
        [call] = [item for item in self._output(response) if item["type"] == "function_call"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "a-file"}
        return call["name"], json.loads(call["arguments"]), [call, result]

    def _output(self, response: httpx.Response) -> list[Json]:
        assert response.status_code == 200, response.text
        if not response.headers["content-type"].startswith("text/event-stream"):
            output: list[Json] = response.json()["output"]
            return output
        last = [*events(response.text)][-1]
        assert last["type"] == "response.completed", last
        found: list[Json] = last["response"]["output"]
        return found


ROUTES = (ChatCompletions, Responses)


@pytest.fixture(params=ROUTES, ids=["chat/completions", "responses"])
def route(house: House, request: pytest.FixtureRequest) -> Route:
    """Each of the two routes."""
    found: Route = request.param(house)
    return found


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_any_dialect_answers(house: House, route: Route, model: str) -> None:
    """One request of the client is one to the path that the model's provider has, with its own key,
    streamed or not; the answer comes back, and one row of the ledger says whose it was and what it
    took.
    """
    expected = MODELS[model]
    house.upstreams[expected.upstream].behave(Behaviour(usage=Usage(input=11, output=7)))
    for stream in (False, True):
        answer = route.ask(model, stream=stream)
        assert route.said(answer) == f"I am {expected.id} at {expected.upstream}"
    [(name, requests)] = received(house).items()
    assert name == expected.upstream
    for request in requests:
        assert request.body is not None
        assert request.body["model"] == expected.id
        check(request, model)
    assert [bool((request.body or {}).get("stream")) for request in requests] == [False, True]
    rows = house.rows(2)
    assert {row.streamed for row in rows} == {False, True}
    for row in rows:
        assert (row.asked, row.model, row.provider) == (model, model, expected.upstream)
        assert (row.key, row.status, row.upstream) == (expected.variable, 200, expected.id)
        assert (row.input, row.output) == (11, 7)
        assert model != "messages" or row.cost == pytest.approx((11 + 2 * 7) / 1_000_000)


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_is_called_and_its_result_comes_back(house: House, route: Any, model: str) -> None:
    """The call reaches the client in the form of its route, and the result the upstream in its."""
    house.upstreams[MODELS[model].upstream].behave(Behaviour(tool=BASH))
    for stream in (False, True):
        name, arguments, back = route.called(route.ask(model, stream=stream))
        assert (name, arguments) == (BASH.name, BASH.input)
        conversation = [*route.body(model)[route.field], *back]
        answer = route.ask(model, stream=stream, **{route.field: conversation})
        assert route.said(answer).endswith("and the tool said: a-file")


IDS = {
    "messages-of-openai": ("zai", "openai/gpt-5"),
    "messages-of-claude": ("zai", "anthropic/claude-opus-4-5"),
    "chat-of-openai": ("mine", "openai/gpt-oss-120b"),
    "chat-of-claude": ("mine", "anthropic/claude-opus-4-5"),
    "responses-of-claude": ("oai", "anthropic/claude-opus-4-5"),
    "responses-of-google": ("oai", "google/gemini-3-pro-preview"),
}


@pytest.mark.parametrize("model", IDS)
def test_an_id_may_look_like_a_prefix_of_litellms(house: House, route: Route, model: str) -> None:
    """Hosts of many vendors name models VENDOR/MODEL; the id arrives as the profile has it."""
    name, upstream_id = IDS[model]
    assert route.said(route.ask(model)) == f"I am {upstream_id} at {name}"
    assert list(received(house)) == [name]


def test_the_answer_of_a_messages_host_has_room(house: House, route: Route) -> None:
    """Where the client sets no limit it is Claude Code's own, or half of a small window; LiteLLM's
    would be 4096. The client's own limit is kept.
    """
    limit = "max_tokens" if route.path.endswith("completions") else "max_output_tokens"
    cases: list[tuple[str, Json, int]] = [
        ("messages", {}, 32_000),
        ("small", {}, 16_384),
        ("messages", {limit: 77}, 77),
    ]
    for model, more, expected in cases:
        route.ask(model, **more)
        body = house.upstreams["zai"].requests[-1].body
        assert body is not None
        assert body["max_tokens"] == expected


def test_what_only_openai_can_do_is_left_out(house: House) -> None:
    """Codex asks for a search of the web on OpenAI's servers with every request, and for a place in
    their cache. A host that cannot do that would refuse it all.
    """
    route = Responses(house)
    more: Json = {"prompt_cache_key": "k", "tools": [*route.tools, {"type": "web_search"}]}
    for model in ("messages", "chat", "responses"):
        upstream = house.upstreams[MODELS[model].upstream]
        upstream.clear()
        assert route.ask(model, headers=_codex(house), **more).status_code == 200
        whole = json.dumps(upstream.requests[0].body)
        assert ("web_search" in whole, "prompt_cache_key" in whole) == (
            (True, True) if model == "responses" else (False, False)
        )
        assert "Bash" in whole
    only: Json = {"tools": [{"type": "web_search"}]}
    for model in ("messages", "chat"):
        assert route.ask(model, headers=_codex(house), **only).status_code == 200


def _codex(house: House) -> Json:
    agent = "codex_exec/0.171.0 (Linux; x86_64)"
    return {"authorization": f"Bearer {house.gateway.key}", "user-agent": agent}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "first", "second"),
    [("from-messages", "messages", "chat"), ("from-chat", "chat", "messages")],
)
def test_a_fallback_goes_its_own_way(
    house: House, route: Route, model: str, first: str, second: str, stream: bool
) -> None:
    """To the path of its own dialect with its own key; the ledger has both tries."""
    failing, healthy = (house.upstreams[MODELS[name].upstream] for name in (first, second))
    failing.behave(Behaviour(status=500), "first")
    answer = route.said(route.ask(model, stream=stream))
    assert answer == f"I am {MODELS[second].id} at {MODELS[second].upstream}"
    check(failing.requests[0], first)
    check(healthy.requests[0], second)
    rows = house.rows(2)
    assert [(row.model, row.status, row.fallback_from) for row in rows] == [
        (model, 500, None),
        (second, 200, model),
    ]


def test_a_second_key_is_tried(house: House, route: Route) -> None:
    """As on /v1/messages: a key that is refused is followed by the other one."""
    upstream = house.upstreams["zai"]
    upstream.behave(Behaviour(status=401, key=KEYS["ZAI_API_KEY"]), "two")
    for _ in range(4):
        assert route.said(route.ask("two-keys")) == "I am two at zai"
    sent = [request.headers["authorization"] for request in upstream.requests]
    assert sent.count("Bearer second-of-zai") == 4
    assert all("x-api-key" not in request.headers for request in upstream.requests)
    house.rows(len(sent))


def test_a_budget_holds(route: Route) -> None:
    """What these routes spend counts, and what is spent closes them."""
    seen = [route.ask("dear").status_code for _ in range(3)]
    assert seen in ([200, 429, 429], [429, 429, 429])  # spent by the other route already
    assert "budget model:dear/day: " in route.ask("dear").text


def test_a_field_that_a_model_drops_is_dropped(house: House, route: Route) -> None:
    """`drop` of a model works on these routes too."""
    assert route.ask("dropping", temperature=0.5).status_code == 200
    assert route.ask("messages", temperature=0.5).status_code == 200
    dropped, kept = (request.body or {} for request in house.upstreams["zai"].requests)
    assert "temperature" not in dropped
    assert kept["temperature"] == 0.5


@pytest.mark.parametrize("stream", [False, True])
def test_a_login_goes_to_its_own_host_alone(house: House, route: Route, stream: bool) -> None:
    """Also when the model falls back to a host that LiteLLM's Anthropic client asks. Without one
    the model is refused.
    """
    headers = {
        "x-litellm-api-key": house.gateway.key,
        "authorization": f"Bearer {LOGIN}",
        "x-api-key": "sk-ant-api03-of-the-client",
    }
    assert route.said(route.ask("login", stream=stream, headers=headers)).endswith(" at max")
    house.upstreams["max"].behave(Behaviour(status=529), "first")
    for model, name in (("from-login", "zai"), ("messages", "zai"), ("chat", "mine")):
        house.upstreams[name].clear()
        answer = route.ask(model, stream=stream, headers=headers)
        assert route.said(answer).endswith(f" at {name}")
        check(house.upstreams[name].requests[0], "chat" if name == "mine" else "messages")
    for request in house.upstreams["max"].requests:
        sent = {name: value for name, value in request.headers.items() if name in AUTHENTICATION}
        assert sent == {"authorization": f"Bearer {LOGIN}"}
    before = len(house.upstreams["max"].requests)
    refused = route.ask("login", stream=stream)
    assert refused.status_code == 401
    assert "no Claude login came with the request" in refused.text
    assert len(house.upstreams["max"].requests) == before


def test_a_model_stands_once_in_the_list_and_claude_code_notices_nothing(house: House) -> None:
    """There is one deployment of each key, and /v1/messages is not translated."""
    listed = house.gateway.send("GET", "/v1/models").json()["data"]
    names = [row["id"] for row in listed]
    assert sorted(names) == sorted(set(names))
    assert set(MODELS) <= set(names)
    tools = [{"name": "Bash", "description": "runs it", "input_schema": SCHEMA}]
    house.upstreams["zai"].clear()
    assert house.gateway.ask("messages", tools=tools).status == 200
    [request] = house.upstreams["zai"].requests
    assert (request.body or {})["tools"] == tools
    check(request, "messages")


def test_no_other_key_or_address_is_within_reach(house: House) -> None:
    """LiteLLM's Anthropic client takes a key and an address from its environment where it is given
    none; the workers' environment, built from nothing, has neither.
    """
    workers = worker_pids(house.user)
    assert workers
    for pid in workers:
        environment = psutil.Process(pid).environ()
        assert not [name for name in environment if name.startswith(("ANTHROPIC", "OPENAI"))]
        assert not set(STRAYS.values()) & set(environment.values())


def test_the_user_agent_of_claude_code_is_not_needed(house: House, route: Route) -> None:
    """Nor does it change the way."""
    headers = {**CLIENT, "authorization": f"Bearer {house.gateway.key}"}
    for model in ("messages", "chat", "responses"):
        assert route.said(route.ask(model, headers=headers)).startswith("I am ")
        check(house.upstreams[MODELS[model].upstream].requests[-1], model)
