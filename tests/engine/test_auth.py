"""Who may use the gateway, and what those see who may not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from fastapi import HTTPException, Request

from llmswitch.engine import client_keys
from llmswitch.engine.gate import authenticate
from tests.engine.forms import error_body
from tests.engine.gate import CHAT, KEY, MESSAGES, RESPONSES, ROUTES, Gate, body
from tests.gateways import SERVED
from tests.ledgers import House

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

NO_KEY = "no key was sent; the gateway's key is in llmswitch's file gateway.key"
WRONG_KEY = "this is not the gateway's key, nor a client's"
FORMS = ("authorization", "x-api-key", "x-litellm-api-key")
ASKED = [("GET", "/v1/models"), *(("POST", path) for path in ROUTES)]


def sent(method: str, path: str) -> dict[str, object] | None:
    """A request that would be answered if it were let in."""
    return body(path) if method == "POST" else None


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_who_has_no_key_or_a_wrong_one_gets_401(gate: Gate, method: str, path: str) -> None:
    """In the form of the API, in each form of the header, also with the gateway's own key but for a
    letter; the wrong key is not repeated, and nothing passes.
    """
    before = len(gate.passed)
    empty: list[dict[str, str]] = [{}, {"authorization": ""}, {"authorization": "Bearer"}]
    for headers in empty:
        answer = gate.send(method, path, headers=headers, json=sent(method, path))
        assert answer.status_code == 401
        said = WRONG_KEY if headers.get("authorization") else NO_KEY
        assert answer.json() == error_body(path, 401, f"llmswitch: {said}")
    for wrong in ("wrong", KEY + "x", KEY[:-1], KEY.upper()):
        for form in FORMS:
            for value in (wrong, f"Bearer {wrong}"):
                answer = gate.send(method, path, headers={form: value}, json=sent(method, path))
                assert answer.status_code == 401
                assert answer.json() == error_body(path, 401, f"llmswitch: {WRONG_KEY}")
    assert len(gate.passed) == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), ASKED)
def test_a_right_key_is_let_in(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, path: str, form: str
) -> None:
    """The gateway's own and a client's, in each form of the header, with `Bearer` and without; to
    LiteLLM goes the gateway's own.
    """
    file = tmp_path / "clients.json"
    digest = hashlib.sha256(b"key-of-laptop").hexdigest()
    file.write_text(json.dumps({"laptop": {"sha256": digest}}))
    monkeypatch.setattr(client_keys, "_clients", client_keys.Clients(file))
    for key in (KEY, "key-of-laptop"):
        for value in (key, f"Bearer {key}", f"bearer {key}"):
            answer = gate.send(method, path, headers={form: value}, json=sent(method, path))
            assert answer.status_code == 200, answer.text
            kept = dict(gate.passed[-1].headers)
            own = b"Bearer " + KEY.encode()
            assert kept.pop(b"x-litellm-api-key", own) == own
            assert not {b"authorization", b"x-api-key"} & {*kept}


def test_litellm_lets_in_what_the_gate_lets_in(lab: House) -> None:
    """On each route, for both kinds of key; a refusal reaches a client that sends megabytes."""
    for key in (lab.gateway.key, lab.client_key):
        for path in (MESSAGES, CHAT, RESPONSES):
            answer = lab.gateway.send("POST", path, headers={"x-api-key": key}, json=body(path))
            assert answer.status_code == 200, answer.text
    lab.clear()
    large = body(MESSAGES, system="x" * 9**7)
    refused = lab.gateway.send("POST", MESSAGES, headers={"x-api-key": "wrong"}, json=large)
    assert refused.json() == error_body(MESSAGES, 401, f"llmswitch: {WRONG_KEY}")
    assert lab.gateway.ask("chat").said == "I am qwen3 at mine"
    assert lab.received == {"mine": 1}


def test_models(lab: House) -> None:
    """GET /v1/models lists exactly what is served, in OpenAI's form and in Anthropic's."""
    response = lab.gateway.send("GET", "/v1/models")
    assert [row["id"] for row in response.json()["data"]] == SERVED
    headers = {"x-api-key": lab.gateway.key, "anthropic-version": "2023-06-01"}
    response = lab.gateway.send("GET", "/v1/models?limit=1000", headers=headers)
    shown = {row["id"]: row["display_name"] for row in response.json()["data"]}
    assert list(shown) == SERVED
    assert shown["messages"] == "GLM-4.7 · Z.ai · 200k · $0.60/$2.20 per Mtok"


@pytest.mark.usefixtures("gate")
def test_second_lock() -> None:
    """Were the gate not there, LiteLLM would still ask for the key (`custom_auth`), and would take
    it off a request that it lets in.
    """

    def ask(*headers: tuple[bytes, bytes]) -> object:
        request = Request({"type": "http", "headers": [*headers]})
        answer = asyncio.run(authenticate(request, None))
        return answer.api_key, request.scope["headers"]

    wrong = (b"x-api-key", b"wrong")
    for headers, said in (([], NO_KEY), ([wrong], WRONG_KEY)):
        with pytest.raises(HTTPException) as refused:
            ask(*headers)
        assert (refused.value.status_code, refused.value.detail) == (401, said)
    own = (b"x-litellm-api-key", b"Bearer " + KEY.encode())
    assert ask(own, (b"x-app", b"a")) == ("llmswitch", [(b"x-app", b"a")])
