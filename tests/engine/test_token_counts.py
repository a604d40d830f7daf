"""How many tokens a request has: counted by whose provider can, else estimated."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from llmswitch.profile.rules import TEST_HOST
from tests.gateways import Gateway
from tests.ledgers import House
from tests.upstream import Json

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

KEYS = {
    "AN_KEY": "sk-ant-api03-own",
    "ZAI_API_KEY": "own-zai-key",
    "COUNTING_KEY": "own-counting-key",
    "MINE_KEY": "own-mine-key",
    "OAI_KEY": "own-oai-key",
    "GEMINI_API_KEY": "own-gemini-key",
}
LOGIN = "sk-ant-oat01-login-of-the-user"
PROFILE = """
models:
  anthropic: an/claude-opus-4-5-20251101
  dropping: {{model: an/claude-haiku-4-5, drop: [thinking]}}
  counting: counting/glm-4.7
  login: {{model: max/claude-opus-4-5-20251101, fallbacks: [chat]}}
  messages: zai/glm-4.7
  chat: mine/qwen3
  responses: oai/gpt-x
  gemini: gemini/gemini-2.5-pro
providers:
  an: {{dialect: anthropic, base_url: "{url}", key: AN_KEY}}
  max: {{dialect: anthropic, base_url: "{url}", auth: subscription, prices: ""}}
  counting: {{dialect: messages, base_url: "{url}/ant", key: COUNTING_KEY, counts_tokens: true}}
  zai: {{base_url: "{url}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{url}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{url}/v1", key: OAI_KEY}}
  gemini: {{base_url: "{url}"}}
gateway: {{port: {port}}}
"""
ASKED = ("anthropic", "counting", "login")
NOT_ASKED = ("messages", "chat", "responses", "gemini")
PATHS = {
    "anthropic": "/v1/messages/count_tokens",
    "login": "/v1/messages/count_tokens",
    "counting": "/ant/v1/messages/count_tokens",
}
CREDENTIALS = {
    "anthropic": {"x-api-key": KEYS["AN_KEY"]},
    "counting": {"authorization": f"Bearer {KEYS['COUNTING_KEY']}"},
    "login": {"authorization": f"Bearer {LOGIN}"},
}
SCHEMA: Json = {"type": "object", "properties": {"command": {"type": "string"}}}
BODY: Json = {
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [{"name": "Bash", "description": "runs it", "input_schema": SCHEMA}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}


@dataclass
class Counter:
    """An upstream that counts as it is told to, and what it was sent."""

    status: int = 200
    said: Any = field(default_factory=lambda: {"input_tokens": 4711})
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    requests: list[tuple[str, dict[str, str], Json]] = field(default_factory=list)
    url: str = ""

    def become(self, status: int = 200, said: Any = None, **more: Any) -> None:
        """Answer like this from now on."""
        self.status = status
        self.said = {"input_tokens": 4711} if said is None else said
        self.headers = more.get("headers", {})
        self.silent = more.get("silent", False)
        self.requests.clear()


@dataclass
class Lab:
    """A gateway in front of it."""

    gateway: Gateway
    counter: Counter

    def count(
        self, model: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask for the tokens of a request, as a session does that has a login."""
        carried = {"x-litellm-api-key": self.gateway.key, "authorization": f"Bearer {LOGIN}"}
        return self.gateway.send(
            "POST",
            "/v1/messages/count_tokens?beta=true",
            headers={**carried, "anthropic-version": "2023-06-01", **(headers or {})},
            json={"model": model, **(BODY if body is None else body)},
        )


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    """The upstream of all models."""
    one = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent = {name.lower(): value for name, value in self.headers.items()}
            one.requests.append((self.path, sent, body))
            if one.silent:
                time.sleep(12)
            data = one.said if isinstance(one.said, bytes) else json.dumps(one.said).encode()
            self.send_response(one.status)
            for name, value in one.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield one
        server.shutdown()


@pytest.fixture(scope="module")
def gateway(stage: House, counter: Counter) -> Gateway:
    """A gateway whose models are all there."""
    host = {TEST_HOST: counter.url.removeprefix("http://")}
    return stage.bring(PROFILE, {**KEYS, **host}, url=counter.url).gateway


@pytest.fixture
def lab(gateway: Gateway, counter: Counter) -> Lab:
    """The same, and the upstream counts."""
    counter.become()
    return Lab(gateway, counter)


def estimated(response: httpx.Response) -> int:
    """The number of an answer that says that it is an estimate, in Anthropic's form."""
    assert response.status_code == 200, response.text
    assert response.headers["x-llmswitch-estimated"] == "true"
    assert list(response.json()) == ["input_tokens"]
    number: int = response.json()["input_tokens"]
    return number


@pytest.mark.parametrize("model", ASKED)
def test_a_provider_that_counts_is_asked(lab: Lab, model: str) -> None:
    """It gets the client's own request at its own path, with its own key and no other; its answer
    is the client's, and is no estimate.
    """
    said = {"input_tokens": 4711, "context_management": {"original_input_tokens": 5000}}
    lab.counter.become(said=said)
    response = lab.count(model, headers={"anthropic-beta": "token-counting-2024-11-01"})
    assert (response.status_code, response.json()) == (200, said)
    assert "x-llmswitch-estimated" not in response.headers
    [(path, headers, body)] = lab.counter.requests
    upstream = "glm-4.7" if model == "counting" else "claude-opus-4-5-20251101"
    assert (path, body) == (PATHS[model], {**BODY, "model": upstream})
    sent = {name: headers[name] for name in ("authorization", "x-api-key") if name in headers}
    assert sent == CREDENTIALS[model]
    betas = headers["anthropic-beta"].split(",")
    assert betas[0] == "token-counting-2024-11-01"
    assert ("oauth-2025-04-20" in betas) == (model == "login")
    assert headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("model", NOT_ASKED)
def test_no_other_provider_is_asked(lab: Lab, model: str) -> None:
    """Where it is not known that a provider counts, nothing is sent to it."""
    assert 20 < estimated(lab.count(model)) < 100
    assert lab.counter.requests == []


def test_without_a_login_it_is_an_estimate(lab: Lab) -> None:
    """The model that a subscription pays for is counted by nobody's key."""
    response = lab.count("login", headers={"authorization": f"Bearer {lab.gateway.key}"})
    assert 20 < estimated(response) < 100
    assert lab.counter.requests == []


def test_what_the_provider_refuses_is_left_out(lab: Lab) -> None:
    """The fields that a model's `drop` names are not sent when tokens are counted either."""
    assert lab.count("dropping").json() == {"input_tokens": 4711}
    [(_, _, body)] = lab.counter.requests
    assert "thinking" not in body


NO_COUNTS: list[tuple[int, Any]] = [
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "no such path"}}),
    (405, {}),
    (500, {"type": "error", "error": {"type": "api_error", "message": "no"}}),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
    (302, {}),
    (200, {"total_tokens": 7}),
    (200, {"input_tokens": "7"}),
    (200, {"input_tokens": True}),
    (200, {"input_tokens": -7}),
    (200, {"code": 1305, "msg": "busy", "success": False}),
    (200, [7]),
    (200, b"<html>welcome</html>"),
    (200, b""),
]


@pytest.mark.parametrize("model", ASKED)
def test_what_is_no_count_is_not_taken_for_one(lab: Lab, model: str) -> None:
    """A path that is not there, a failure and an answer in another form are followed by an
    estimate, after one request.
    """
    for status, said in NO_COUNTS:
        lab.counter.become(status, said, headers={"location": lab.counter.url + "/elsewhere"})
        assert 20 < estimated(lab.count(model)) < 100, (status, said)
        assert [path for path, _, _ in lab.counter.requests] == [PATHS[model]]


def test_silence_is_not_waited_for(lab: Lab) -> None:
    """A provider that does not answer within ten seconds is left alone."""
    lab.counter.become(silent=True)
    assert 20 < estimated(lab.count("anthropic")) < 100


@pytest.mark.parametrize("model", ASKED)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
    ],
)
def test_a_refusal_is_told(lab: Lab, model: str, status: int, kind: str) -> None:
    """What the provider has against the request, the key or the plan reaches the client in its
    words, without the key that it repeats, and with what it says of the next try.
    """
    key = next(iter(CREDENTIALS[model].values())).removeprefix("Bearer ")
    said = {"type": "error", "error": {"type": kind, "message": f"the key {key} is not good"}}
    lab.counter.become(status, said, headers={"retry-after": "7", "request-id": "req_1"})
    response = lab.count(model)
    name = {"anthropic": "an", "counting": "counting", "login": "max"}[model]
    checked = status in (401, 403) and model != "login"
    cure = f" -> llmswitch key check {name}" if checked else ""
    assert response.status_code == status
    assert response.json() == {
        "type": "error",
        "error": {"type": kind, "message": f"{name}: the key REDACTED is not good{cure}"},
    }
    assert (response.headers["retry-after"], response.headers["request-id"]) == ("7", "req_1")


def test_a_refusal_in_another_form_is_told_too(lab: Lab) -> None:
    """As what its status says."""
    lab.counter.become(401, b"who are you?")
    error = lab.count("counting").json()["error"]
    assert (error["type"], error["message"]) == (
        "authentication_error",
        "counting: who are you? -> llmswitch key check counting",
    )


def test_everything_of_a_prompt_is_estimated(lab: Lab) -> None:
    """Its system prompt, tools, results and files of text; of an image and a document that it is
    one, whatever its size; nothing is fetched for it.
    """
    plain = estimated(lab.count("chat", {"messages": BODY["messages"]}))
    words = "word " * 1000
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 300_000}}
    link = {"type": "image", "source": {"type": "url", "url": lab.counter.url + "/image.png"}}
    pdf = {"type": "document", "source": {"type": "base64", "data": "JVBERi0" * 50_000}}
    text = {"type": "document", "source": {"type": "text", "data": words}}
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": words}}
    said = [{"type": "text", "text": words}]
    result = {"type": "tool_result", "tool_use_id": "t", "content": said}
    thought = {"type": "thinking", "thinking": "hm", "signature": "A" * 300_000}
    unknown = {"type": "of the year 2030", "words": words}

    hi = {"type": "text", "text": "hi"}

    def more(*content: Json, **fields: Any) -> int:
        messages = [{"role": "user", "content": [hi, *content]}]
        return estimated(lab.count("chat", {"messages": messages, **fields})) - plain

    for block in (text, use, result, unknown):
        assert 950 < more(block) < 1100, block
    for block in (image, link, pdf):
        assert 200 < more(block) < 400, block
    assert more(thought) < 50
    assert 950 < more(system=words) < 1100
    assert 950 < more(tools=[{"name": "Bash", "description": words}]) < 1100
    assert lab.counter.requests == []


def test_other_requests_go_on_while_a_large_one_is_estimated(lab: Lab) -> None:
    """Eight megabytes of text are estimated beside the others, not before them."""
    large = {"messages": [{"role": "user", "content": "a word or two, " * 550_000}]}
    done: list[int] = []
    asked = threading.Thread(target=lambda: done.append(estimated(lab.count("chat", large))))
    asked.start()
    slowest = 0.0
    while asked.is_alive():
        began = time.monotonic()
        assert lab.gateway.send("GET", "/health/liveliness").status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    asked.join()
    assert 2_000_000 < done[0] < 4_000_000
    print(f"slowest: {slowest:.2f} s")


def test_a_deep_body_does_no_harm(lab: Lab) -> None:
    """However deep a client's JSON is, the answer is a count or a 400."""
    deep: Any = "x"
    for _ in range(200):
        deep = [{"type": "tool_result", "content": deep}]
    response = lab.count("chat", {"messages": [{"role": "user", "content": deep}]})
    assert response.status_code in (200, 400)
    raw = b'{"model": "chat", "messages": ' + b"[" * 90_000 + b"]" * 90_000 + b"}"
    assert lab.gateway.send("POST", "/v1/messages/count_tokens", content=raw).status_code == 400
