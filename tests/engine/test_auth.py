"""Who may use the gateway, and what those see who may not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llmswitch.engine.answers import error_body
from llmswitch.render.plan import _LITELLM
from tests.gateways import SERVED, Gateway, Lab, open_lab

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("auth"), pytest.mark.timeout(300)]

PREFIX = "llmswitch: "
NO_KEY = "llmswitch: no key was sent; the gateway's key is in llmswitch's file gateway.key"
WRONG_KEY = "llmswitch: this is not the gateway's key, nor a client's"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running gateway with a provider of every dialect."""
    yield from open_lab(tmp_path_factory.mktemp("auth"))


@pytest.fixture
def gateway(lab: Lab) -> Gateway:
    """The gateway as a client sees it, its upstreams still untouched by this test."""
    lab.clear()
    return lab.gateway


FORMS = ["authorization", "x-api-key", "x-litellm-api-key"]
ROUTES = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
]


def body_for(path: str) -> dict[str, object]:
    """A request that would be answered if it were let in."""
    body: dict[str, object] = {"model": "chat", "max_tokens": 9}
    return body | (
        {"input": "hi"}
        if path.endswith("responses")
        else {"messages": [{"role": "user", "content": "hi"}]}
    )


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_missing_key(gateway: Gateway, lab: Lab, method: str, path: str) -> None:
    """Without a key every route answers 401, and no upstream is asked."""
    body = body_for(path) if method == "POST" else None
    response = gateway.send(method, path, headers={}, json=body)
    assert response.status_code == 401
    assert response.json() == error_body(path, 401, NO_KEY)
    assert lab.received == {}


def test_the_form_of_an_error_is_that_of_the_api(gateway: Gateway) -> None:
    """Anthropic's, and on OpenAI's routes OpenAI's."""
    anthropic, openai = (
        gateway.send("POST", path, headers={}, json=body_for(path)).json()
        for path in ("/v1/messages", "/v1/responses")
    )
    assert anthropic == {
        "type": "error",
        "error": {"type": "authentication_error", "message": NO_KEY},
    }
    assert openai == {
        "error": {
            "message": NO_KEY,
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_wrong_key(gateway: Gateway, lab: Lab, method: str, path: str, form: str) -> None:
    """A wrong key is 401 in each form of the header, also the gateway's own with a letter off."""
    body = body_for(path) if method == "POST" else None
    for wrong in ("wrong", gateway.key + "x", gateway.key[:-1], gateway.key.upper(), "ä"):
        for value in (wrong, f"Bearer {wrong}"):
            headers = {form: value.encode()}
            response = gateway.send(method, path, headers=headers, json=body)  # type: ignore[arg-type]
            assert response.status_code == 401, value
            assert response.json()["error"]["message"] == WRONG_KEY
            assert wrong not in response.text
    assert lab.received == {}


@pytest.mark.parametrize("empty", ["", "Bearer"])
def test_empty_key(gateway: Gateway, empty: str) -> None:
    """A header without a key in it lets nobody in."""
    response = gateway.send("GET", "/v1/models", headers={"authorization": empty})
    assert response.status_code == 401


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_right_key(gateway: Gateway, method: str, path: str, form: str) -> None:
    """The right key is let in in each form of the header, with `Bearer` and without."""
    body = body_for(path) if method == "POST" else None
    for value in (gateway.key, f"Bearer {gateway.key}", f"bearer {gateway.key}"):
        response = gateway.send(method, path, headers={form: value}, json=body)
        assert response.status_code == 200, response.text


def test_large_request_without_a_key(gateway: Gateway, lab: Lab) -> None:
    """A refusal also reaches a client that sends megabytes, and the next one is served."""
    body = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 9**7}]}
    response = gateway.send("POST", "/v1/messages", headers={"x-api-key": "wrong"}, json=body)
    assert response.status_code == 401
    assert gateway.ask("chat").said == "I am qwen3 at mine"
    assert lab.received == {"mine": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model(gateway: Gateway, lab: Lab, stream: bool) -> None:
    """A name that the profile does not have is Anthropic's 404 and lists those that it has."""
    answer = gateway.ask("gpt-5", stream=stream)
    assert answer.status == 404
    assert answer.json == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": f"llmswitch: the profile has no model 'gpt-5'; it has: {', '.join(SERVED)}",
        },
    }
    assert lab.received == {}


@pytest.mark.parametrize(
    "name",
    ["openai/gpt-4o", "anthropic/claude-x", "left-out", "CHAT", "chat ", "chat*", "*", "mine"],
)
def test_names_that_litellm_would_take(gateway: Gateway, lab: Lab, name: str) -> None:
    """A name with a provider of LiteLLM's own, a model that is left out, another case: all 404."""
    answer = gateway.ask(name)
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")
    assert f"has no model {name!r}" in answer.error["message"]
    assert lab.received == {}


def test_no_model_named(gateway: Gateway) -> None:
    """A request without a model, or with what is no name, is told what it lacks."""
    for model in ({}, {"model": None}, {"model": ""}, {"model": ["chat"]}, {"model": 1}):
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **model}
        response = gateway.send("POST", "/v1/messages", json=body)
        assert response.status_code == 400
        said = response.json()["error"]["message"]
        assert said == "llmswitch: model: the name of a model is required"


def test_models(gateway: Gateway) -> None:
    """GET /v1/models lists exactly what is served, in OpenAI's form and in Anthropic's."""
    response = gateway.send("GET", "/v1/models")
    assert [row["id"] for row in response.json()["data"]] == SERVED
    headers = {"x-api-key": gateway.key, "anthropic-version": "2023-06-01"}
    response = gateway.send("GET", "/v1/models?limit=1000", headers=headers)
    shown = {row["id"]: row["display_name"] for row in response.json()["data"]}
    assert list(shown) == SERVED
    assert shown["messages"] == "GLM-4.7 · Z.ai · 200k · $0.60/$2.20 per Mtok"


SECOND_LOCK = """
import asyncio
from fastapi import HTTPException, Request
from llmswitch.engine.auth import authenticate
for headers in (
    [],
    [(b"x-api-key", b"wrong")],
    [(b"x-litellm-api-key", b"Bearer right"), (b"x-app", b"a")]
):
    request = Request({"type": "http", "headers": headers})
    try:
        answer = asyncio.run(authenticate(request, "right"))
        print(answer.api_key, headers)
    except HTTPException as error:
        print(error.status_code, error.detail)
"""


def test_second_lock() -> None:
    """Were the gate not there, LiteLLM would still ask for the key (`custom_auth`), and would take
    it off a request that it lets in.
    """
    done = subprocess.run(
        [sys.executable, "-c", SECOND_LOCK],
        env={"HOME": "/nonexistent", **_LITELLM, "LLMSWITCH_GATEWAY_KEY": "right"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"401 {NO_KEY.removeprefix(PREFIX)}",
        f"401 {WRONG_KEY.removeprefix(PREFIX)}",
        "llmswitch [(b'x-app', b'a')]",
    ]


@pytest.mark.parametrize(("headers", "line"), [("", b"403"), ("x-api-key: wrong\r\n", b"403")])
def test_websockets_are_closed(lab: Lab, headers: str, line: bytes) -> None:
    """A WebSocket is not opened without the key either."""
    lab.clear()
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        connection.sendall(
            "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n".encode()
        )
        assert connection.recv(1000).split()[1] == line
    assert lab.received == {}
