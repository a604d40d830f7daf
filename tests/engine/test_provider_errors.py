"""What a client gets when an upstream fails: the provider's own error, whatever its dialect, told
once, without its key and without a word of LiteLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
from tests.engine.gate import CHAT, MESSAGES, RESPONSES, body
from tests.gateways import CLIENT, events
from tests.ledgers import House
from tests.misbehaving import (
    HTML,
    MB,
    Fault,
    MisbehavingUpstream,
    Wire,
    cut,
    hang,
    right,
    says,
)
from tests.upstream import ANTHROPIC_ERRORS, Json

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROFILE = """
models:
  anthropic: {{model: an/m, timeout: 1}}
  messages: {{model: zai/m, timeout: 1}}
  chat: {{model: mine/m, timeout: 1}}
  responses: {{model: oai/m, timeout: 1}}
  xai: {{model: grok/grok-4, timeout: 1}}
  gemini: {{model: gem/gemini-2.5-pro, timeout: 1}}
  keyless: {{model: lm/m}}
  gone: {{model: gone/m}}
  chain: {{model: zai/chain, fallbacks: [chat, gemini]}}
  late-chain: {{model: gem/gemini-2.5-pro, fallbacks: [chat]}}
  gone-chain: {{model: gone/chain, fallbacks: [messages]}}
  two-keys: {{model: zai/two, keys: [KEY_A, KEY_B]}}
  rests-whole: {{model: zai/whole, keys: [KEY_A, KEY_B]}}
  rests-first: {{model: zai/first, keys: [KEY_A, KEY_B]}}
  rests-late: {{model: zai/late, keys: [KEY_A, KEY_B]}}
providers:
  an: {{dialect: anthropic, base_url: "{url}", key: AN_KEY, label: Anthropic}}
  zai: {{base_url: "{url}", key: ZAI_KEY}}
  mine: {{dialect: chat, base_url: "{url}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{url}/v1", key: OAI_KEY, label: OpenAI}}
  grok: {{dialect: litellm, prefix: xai, base_url: "{url}/v1", key: GROK_KEY, label: xAI}}
  gem: {{dialect: litellm, prefix: gemini, base_url: "{url}", key: GEM_KEY, label: Google}}
  lm: {{dialect: messages, base_url: "{url}", key: null}}
  gone: {{dialect: messages, base_url: "http://127.0.0.1:{closed}", key: KEY_A, label: Gone}}
gateway: {{port: {port}}}
"""
KEYS = {
    "AN_KEY": "sk-ant-api03-own-anthropic",
    "ZAI_KEY": "own-key-of-zai",
    "MINE_KEY": "own-key-of-mine",
    "OAI_KEY": "own-key-of-oai",
    "GROK_KEY": "own-key-of-grok",
    "GEM_KEY": "own-key-of-gem",
    "KEY_A": "first-of-two-keys",
    "KEY_B": "second-of-two-keys",
}
OF_MODEL = {  # its label, and its provider's name in the profile
    "anthropic": ("Anthropic", "an"),
    "messages": ("Z.ai", "zai"),
    "chat": ("mine", "mine"),
    "responses": ("OpenAI", "oai"),
    "xai": ("xAI", "grok"),
    "gemini": ("Google", "gem"),
}
NATIVE = ("anthropic", "messages")
# Of LiteLLM, and of the vendors by whose names it calls those that speak their dialect.
NOT_TOLD = ("litellm", "LiteLLM", "Exception", "Traceback", "Vertex", "Hosted_vllm", "openai")
HEADERS = {
    "retry-after": "7",
    "request-id": "req_011",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": "2026-11-30T12:00:00Z",
    "x-should-retry": "true",
}


@dataclass
class Scene:
    """A gateway before one upstream that answers every dialect by its fault."""

    house: House
    upstream: MisbehavingUpstream

    def ask(
        self, model: str, fault: Fault, *, stream: bool, path: str = MESSAGES, **more: Any
    ) -> httpx.Response:
        """The answer to one request, whose upstream has this fault."""
        self.upstream.fault, self.upstream.answered = fault, 0
        headers = {**CLIENT, "authorization": f"Bearer {self.house.gateway.key}"}
        json = body(path, model, stream=stream) | more
        answer = self.house.gateway.send("POST", path, headers=headers, json=json)
        assert not [word for word in NOT_TOLD if word in answer.text]
        return answer

    def alone(self, fault: Fault, *, stream: bool) -> httpx.Response:
        """What a client gets without the gateway."""
        self.upstream.fault = fault
        url = self.upstream.url + MESSAGES
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.post(url, json=body(MESSAGES, "m", stream=stream))


@pytest.fixture(scope="module")
def scene(stage: House) -> Iterator[Scene]:
    """One for all tests."""
    with MisbehavingUpstream() as upstream:
        stage.bring(PROFILE, KEYS, url=upstream.url, closed=free_port())
        yield Scene(stage, upstream)


def in_form(wire: Wire, status: int, message: str) -> Json:
    """An error in the form of the dialect that is asked."""
    if "/models/" in wire.path:
        return {"error": {"code": status, "message": message, "status": "FAILED"}}
    if "/messages" in wire.path:
        kind = ANTHROPIC_ERRORS.get(status, "api_error")
        error = {"type": kind, "message": message}
        return {"type": "error", "error": error, "request_id": "req_011"}
    return {"error": {"message": message, "type": "some_type", "param": None, "code": "some"}}


def refuses(status: int, message: str, headers: Mapping[str, str] = HEADERS) -> Fault:
    """An upstream that refuses a request."""

    async def fault(wire: Wire) -> None:
        body = json.dumps(in_form(wire, status, message)).encode()
        kind = "application/json"
        await wire.answer(body, status=f"{status} Refused", kind=kind, headers=headers)

    return fault


def told(model: str, words: str, status: int) -> str:
    """The message that a client gets."""
    label, provider = OF_MODEL[model]
    cure = f" -> llmswitch key check {provider}" if status in (401, 403) else ""
    return f"{label}: {words}{cure}"


STATUSES = {
    400: "prompt is too long: 210000 tokens > 200000 maximum",
    401: "this key is not known",
    403: "your account may not use this model",
    404: "model: m",
    413: "Request exceeds the maximum size",
    429: "Too many requests; wait 7 seconds",
    500: "Internal server error",
    503: "no server is free",
    529: "Overloaded",
}
EVERY = pytest.mark.parametrize("model", OF_MODEL)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@STREAM
@EVERY
def test_a_refusal_is_told_in_the_providers_words(scene: Scene, model: str, stream: bool) -> None:
    """Its status, its message behind its label, its headers that say what to do; one try. The type
    is the upstream's own where it speaks Anthropic's dialect: then all but the message is what the
    client alone gets.
    """
    for status, words in STATUSES.items():
        answer = scene.ask(model, refuses(status, words), stream=stream)
        assert answer.status_code == status
        kind = ANTHROPIC_ERRORS.get(status, "api_error")
        expected: Json = {
            "type": "error",
            "error": {"type": kind, "message": told(model, words, status)},
        }
        if model in NATIVE:
            expected["request_id"] = "req_011"
        assert answer.json() == expected
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert answer.headers["content-type"] == "application/json"
        assert scene.upstream.answered == 1
        if model in NATIVE:
            alone = scene.alone(refuses(status, words), stream=stream)
            assert answer.status_code == alone.status_code
            assert {name: alone.headers[name] for name in HEADERS} == HEADERS
            assert alone.json() | {"error": expected["error"]} == expected
            assert alone.json()["error"]["type"] == kind


@STREAM
@EVERY
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_on_openais_routes_it_has_openais_form(
    scene: Scene, path: str, model: str, stream: bool
) -> None:
    """With the type and the code of an upstream that has the same form, else by a table."""
    usual = {
        401: ("invalid_request_error", "invalid_api_key"),
        429: ("requests", "rate_limit_exceeded"),
        529: ("server_error", None),
    }
    # What LiteLLM asks the others has the same form.
    is_own = model not in ("anthropic", "messages", "gemini")
    for status, of_status in usual.items():
        answer = scene.ask(model, refuses(status, STATUSES[status]), stream=stream, path=path)
        assert answer.status_code == status
        kind, code = ("some_type", "some") if is_own else of_status
        message = told(model, STATUSES[status], status)
        error = {"message": message, "type": kind, "param": None, "code": code}
        assert answer.json() == {"error": error}
        assert answer.headers["retry-after"] == "7"


@STREAM
@EVERY
def test_a_key_that_is_repeated_is_masked(scene: Scene, model: str, stream: bool) -> None:
    """Each of the gateway's own, and what looks like one; the rest of the words stays."""
    words = f"keys {' '.join(KEYS.values())} and sk-proj-0123456789 of req_0123 are not known"
    answer = scene.ask(model, refuses(401, words), stream=stream)
    hidden = " ".join(["REDACTED"] * len(KEYS))
    expected = told(model, f"keys {hidden} and REDACTED of req_0123 are not known", 401)
    assert answer.json()["error"]["message"] == expected


@STREAM
@pytest.mark.parametrize("model", ["chat", "xai", "responses"])
def test_that_a_prompt_is_too_long_is_told_so_that_claude_code_sees_it(
    scene: Scene, model: str, stream: bool
) -> None:
    """It goes by Anthropic's words for that; a provider's own stand behind them."""
    words = "This model's maximum context length is 8192 tokens."
    answer = scene.ask(model, refuses(400, words), stream=stream)
    expected = f"{OF_MODEL[model][0]}: prompt is too long: {words}"
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, expected)


def test_a_provider_without_a_key_has_none_to_check(scene: Scene) -> None:
    """A 401 of it says what it says."""
    answer = scene.ask("keyless", refuses(401, "who are you?"), stream=False)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "lm: who are you?")


def page(status: str, body: bytes, **more: Any) -> Fault:
    """An answer that is no JSON."""
    return says(body, status=status, kind="text/html", **more)


def not_http() -> Fault:
    """What no HTTP server says."""

    async def fault(wire: Wire) -> None:
        await wire.send(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")

    return fault


BROKEN = "the connection broke before the answer was complete"
NO_ANSWERS: dict[str, tuple[Fault, int, str]] = {
    "dropped": (cut(lambda _: 0, reset=True), 502, BROKEN),
    "no HTTP": (not_http(), 502, BROKEN),
    "silent": (hang, 504, "no answer within 1 s"),
    "an HTML page": (page("502 Bad Gateway", HTML), 502, "a web page: Just a moment..."),
    "plain text": (page("500 No", b"upstream is down\n"), 500, "upstream is down"),
    "nothing": (page("500 No", b""), 500, "answered 500 and said nothing"),
    "no such status": (page("999 Odd", b"{}"), 502, "{}"),
    "a redirect": (
        page("302 Found", b"", headers={"location": "http://127.0.0.1:9/"}),
        502,
        "answered 302 and said nothing",
    ),
    "20 MB": (
        page("500 No", b"abcd" * (5 * MB)),
        500,
        "abcd" * 999 + "a...",
    ),
}


@STREAM
@EVERY
def test_no_answer_is_a_502_or_a_504(scene: Scene, model: str, stream: bool) -> None:
    """What is no error in any dialect is told in a few words, with the status that fits."""
    for name, (fault, status, words) in NO_ANSWERS.items():
        answer = scene.ask(model, fault, stream=stream)
        assert answer.status_code == status, name
        error = {"type": "api_error", "message": f"{OF_MODEL[model][0]}: {words}"}
        assert answer.json() == {"type": "error", "error": error}, name


@STREAM
def test_a_closed_port_is_a_502(scene: Scene, stream: bool) -> None:
    """It says where nobody listens."""
    answer = scene.ask("gone", right, stream=stream)
    assert answer.status_code == 502
    message = answer.json()["error"]["message"]
    assert message.startswith("Gone: no connection: Cannot connect to host 127.0.0.1:")


def as_json(data: Json) -> Fault:
    """An answer with 200 that is this."""
    return says(json.dumps(data).encode(), kind="application/json")


def first_event(data: Json) -> Fault:
    """A stream with 200 that begins with an error."""

    async def fault(wire: Wire) -> None:
        body = f"event: error\ndata: {json.dumps(data)}\n\n".encode()
        await wire.answer(body, kind="text/event-stream")

    return fault


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
GLM = {"code": 1305, "msg": "The service is busy", "success": False}
GLM_ERROR = {"error": {"code": "1305", "message": "The service is busy"}}


@STREAM
@pytest.mark.parametrize("model", NATIVE)
@pytest.mark.parametrize(
    ("fault", "status", "kind", "words"),
    [
        (as_json(OVERLOADED), 529, "overloaded_error", "Overloaded"),
        (as_json(GLM), 429, "rate_limit_error", "The service is busy"),
        (as_json(GLM_ERROR), 429, "rate_limit_error", "The service is busy"),
        (first_event(OVERLOADED), 529, "overloaded_error", "Overloaded"),
        (says(b""), 502, "api_error", "answered 200 and said nothing"),
        (page("200 OK", HTML), 502, "api_error", "a web page: Just a moment..."),
    ],
    ids=["Anthropic's form", "GLM's form", "GLM's error", "an event", "nothing", "a page"],
)
def test_an_error_with_200_is_told_as_the_error_that_it_is(
    scene: Scene, model: str, stream: bool, fault: Fault, status: int, kind: str, words: str
) -> None:
    """Streamed or not, where the upstream's bytes pass."""
    answer = scene.ask(model, fault, stream=stream)
    assert answer.status_code == status
    message = f"{OF_MODEL[model][0]}: {words}"
    assert answer.json() == {"type": "error", "error": {"type": kind, "message": message}}


@EVERY
def test_so_it_is_where_the_answer_is_translated(scene: Scene, model: str) -> None:
    """In one piece; what LiteLLM makes of such a stream is its own (it gives it the status 500)."""
    answer = scene.ask(model, as_json(GLM_ERROR), stream=False)
    message = f"{OF_MODEL[model][0]}: The service is busy"
    assert (answer.status_code, answer.json()["error"]["message"]) == (429, message)
    if model in ("chat", "xai"):
        answer = scene.ask(model, as_json(GLM_ERROR), stream=True)
        assert (answer.status_code, answer.json()["error"]["message"]) == (500, message)


def gemini_event(text: str) -> bytes:
    """A part of a stream in Gemini's dialect."""
    content = {"role": "model", "parts": [{"text": text}]}
    return f"data: {json.dumps({'candidates': [{'content': content}]})}\n\n".encode()


def breaks_off(message: str, *, whole_event: bool = True) -> Fault:
    """A stream with an error in its middle."""

    async def fault(wire: Wire) -> None:
        data = in_form(wire, 429, message)
        if "/models/" in wire.path:
            found = [gemini_event("I am"), gemini_event(" the")]
        else:
            found = [event for event in wire.events() if b" answer" not in event]
            found = found[: next(n for n, e in enumerate(found) if b" the" in e) + 1]
        name = "event: error\n" if "type" in data else ""
        if "/responses" in wire.path:
            failed = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}
            failed |= {"status": "failed", "output": [], "error": data["error"]}
            data = {"type": "response.failed", "response": failed, "sequence_number": 9}
            name = "event: response.failed\n"
        found.append(f"{name}data: {json.dumps(data)}\n\n".encode())
        await wire.head(kind="text/event-stream", chunked=True)
        for event in found:
            for part in [event] if whole_event else [event[:9], event[9:]]:
                await wire.chunk(part)
        await wire.chunk(b"")

    return fault


@EVERY
@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_an_error_in_mid_stream_ends_it_in_the_providers_words(
    scene: Scene, model: str, path: str
) -> None:
    """Behind what was said so far, in the form of the route, its keys masked."""
    words = f"quota of {KEYS['ZAI_KEY']} is used up"
    answer = scene.ask(model, breaks_off(words), stream=True, path=path)
    assert answer.status_code == 200
    *said, last = events(answer.text)
    deltas = [event.get("delta", {}).get("text", "") for event in said]
    if path == CHAT:
        choices = [event["choices"] for event in said if event.get("choices")]
        deltas = [choice[0]["delta"].get("content") or "" for choice in choices]
    assert "".join(deltas) == "I am the"
    assert last["error"]["message"].endswith("quota of REDACTED is used up")
    assert last["error"]["message"].startswith(f"{OF_MODEL[model][0]}: ")
    assert (last.get("type") == "error") is (path == MESSAGES)
    assert answer.text.count("event: error") == (path == MESSAGES)


@pytest.mark.parametrize("model", NATIVE)
def test_it_is_found_wherever_the_network_cuts_it(scene: Scene, model: str) -> None:
    """An event that comes in two parts is told as one."""
    answer = scene.ask(model, breaks_off("no more", whole_event=False), stream=True)
    expected = {"type": "rate_limit_error", "message": f"{OF_MODEL[model][0]}: no more"}
    assert [*events(answer.text)][-1]["error"] == expected


@EVERY
def test_a_stream_that_is_cut_says_so(scene: Scene, model: str) -> None:
    """Behind its last whole event, in our words: the provider has none for it."""
    fault = _gemini_cut if model == "gemini" else cut(_after_an_event, reset=True)
    answer = scene.ask(model, fault, stream=True)
    assert answer.status_code == 200
    last = [*events(answer.text)][-1]
    assert last["error"] == {"type": "api_error", "message": f"{OF_MODEL[model][0]}: {BROKEN}"}


def _after_an_event(body: bytes) -> int:
    return body.index(b"\n\n", body.index(b"I am")) + 2


async def _gemini_cut(wire: Wire) -> None:
    await wire.head(kind="text/event-stream", chunked=True)
    await wire.chunk(gemini_event("I am"))
    wire.reset()


def by_model(faults: Mapping[str, Fault]) -> Fault:
    """An upstream with another fault for each dialect."""

    async def fault(wire: Wire) -> None:
        (one,) = [fault for part, fault in faults.items() if part in wire.path]
        await one(wire)

    return fault


@STREAM
def test_of_several_models_the_first_is_told(scene: Scene, stream: bool) -> None:
    """The one that was asked for, whatever became of its fallbacks."""
    faults = {
        "/messages": refuses(529, "Overloaded"),
        "/chat/completions": refuses(401, "no such key"),
        "/models/": cut(lambda _: 0, reset=True),
    }
    answer = scene.ask("chain", by_model(faults), stream=stream)
    assert scene.upstream.answered == 3
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "7")
    assert answer.json()["error"] == {"type": "overloaded_error", "message": "Z.ai: Overloaded"}


@STREAM
def test_a_model_that_does_not_answer_is_told_before_its_fallback(
    scene: Scene, stream: bool
) -> None:
    """What the fallback has answered is none of its words."""
    answer = scene.ask("gone-chain", refuses(400, "not like this"), stream=stream)
    assert answer.status_code == 502
    assert answer.json()["error"]["message"].startswith("Gone: no connection: ")
    assert "retry-after" not in answer.headers


@STREAM
def test_a_fallback_that_answers_is_all_that_is_told(scene: Scene, stream: bool) -> None:
    """Also when it breaks off: then in its own name."""
    cases = {"/messages": refuses(529, "Overloaded"), "/chat/completions": right}
    assert "Overloaded" not in scene.ask("chain", by_model(cases), stream=stream).text
    cases = {"/messages": refuses(529, "Overloaded"), "/chat/completions": breaks_off("enough")}
    if stream:
        answer = scene.ask("chain", by_model(cases), stream=True)
        assert [*events(answer.text)][-1]["error"]["message"] == "mine: enough"


def test_so_it_is_where_litellm_asks_only_when_it_is_read(scene: Scene) -> None:
    """As it does for a stream of Gemini: nothing of its refusal is in what the fallback says."""
    cases = {"/models/": refuses(529, "Overloaded"), "/chat/completions": breaks_off("enough")}
    answer = scene.ask("late-chain", by_model(cases), stream=True)
    assert scene.upstream.answered == 2
    assert [*events(answer.text)][-1]["error"]["message"] == "mine: enough"


def test_of_two_keys_the_first_is_told(scene: Scene) -> None:
    """Each was tried, the one that comes first by chance."""
    used: list[str] = []

    async def fault(wire: Wire) -> None:
        used.append(wire.headers["authorization"])
        await refuses((429, 529)[len(used) - 1], f"try {len(used)}")(wire)

    answer = scene.ask("two-keys", fault, stream=False)
    assert len({*used}) == len(used) == 2
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "Z.ai: try 1"


@pytest.mark.parametrize(
    ("model", "fault", "stream"),
    [
        ("rests-whole", as_json(GLM), False),
        ("rests-first", first_event(OVERLOADED), True),
        ("rests-late", breaks_off("enough"), True),
    ],
)
def test_its_key_rests_as_after_any_failure(
    scene: Scene, model: str, fault: Fault, stream: bool
) -> None:
    """An error that came with 200: the next requests go to the other key."""
    used: list[str] = []

    async def noted(wire: Wire) -> None:
        used.append(wire.headers["authorization"])
        await (right if len(used) > 1 else fault)(wire)

    for _ in range(6):
        scene.ask(model, noted, stream=stream)
    first, *others = used
    assert first not in others


@STREAM
def test_what_cannot_be_sent_is_a_400(scene: Scene, stream: bool) -> None:
    """Here a tool that LiteLLM fails to translate: no upstream is asked, no client tries again."""
    tools = [{"name": "a", "input_schema": {"type": "object", "properties": 7}}]
    answer = scene.ask("gemini", right, stream=stream, tools=tools)
    assert (answer.status_code, scene.upstream.answered) == (400, 0)
    message = "llmswitch: the request cannot be translated for Google: "
    assert answer.json()["error"]["message"].startswith(message)
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_nothing_of_it_is_in_the_log(scene: Scene) -> None:
    """Neither a key nor a traceback: a line for each request."""
    log = scene.house.log
    assert not [key for key in KEYS.values() if key in log]
    assert "Traceback" not in log
