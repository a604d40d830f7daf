"""Every credential against every upstream: each receives its own and nothing else.

The gateway's shell has keys and addresses that no provider of the profile asked for, and the
client carries all that a client may carry.
"""

from __future__ import annotations

import json

import pytest

from tests.engine.gate import CHAT, COUNT, MESSAGES, RESPONSES, body
from tests.gateways import (
    AUTHENTICATION,
    CLIENT,
    CLIENT_SECRETS,
    KEYS,
    MODELS,
    PROFILE,
    STRAYS,
    secrets_in,
)
from tests.ledgers import House, key_of
from tests.upstream import Behaviour, FakeUpstream, Json, Request

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

WAYS = [(route, stream) for route in (MESSAGES, CHAT, RESPONSES) for stream in (False, True)]


def carrying(lab: House, carrier: str) -> dict[str, str]:
    """The headers of a client that brings more than the gateway's key."""
    bearer, key = f"Bearer {lab.gateway.key}", lab.gateway.key
    subscription = f"Bearer {CLIENT_SECRETS['subscription']}"
    api_key = CLIENT_SECRETS["api key"]
    return {
        "nothing else": {"authorization": bearer},
        "a subscription": {"x-litellm-api-key": bearer, "authorization": subscription},
        "a subscription beside x-api-key": {"x-api-key": key, "authorization": subscription},
        "an API key": {"authorization": bearer, "x-api-key": api_key},
        "both": {"x-litellm-api-key": key, "authorization": subscription, "x-api-key": api_key},
        "everything": {
            "x-litellm-api-key": key,
            "authorization": subscription,
            "x-api-key": api_key,
            "api-key": CLIENT_SECRETS["azure"],
            "x-goog-api-key": CLIENT_SECRETS["google"],
            "ocp-apim-subscription-key": CLIENT_SECRETS["azure"],
            "proxy-authorization": f"Basic {CLIENT_SECRETS['proxy']}",
            "cookie": f"session={CLIENT_SECRETS['cookie']}",
            "x-auth-token": CLIENT_SECRETS["custom"],
            "x-pass-authorization": CLIENT_SECRETS["custom"],
            "x-pass-x-api-key": CLIENT_SECRETS["custom"],
            "anthropic-api-key": CLIENT_SECRETS["custom"],
            "x-forwarded-authorization": CLIENT_SECRETS["custom"],
        },
    }[carrier]


CARRIERS = [
    "nothing else",
    "a subscription",
    "a subscription beside x-api-key",
    "an API key",
    "both",
    "everything",
]


def check(lab: House, request: Request, own: str | None) -> None:
    """A request carries its own key, once, and no other credential anywhere."""
    sent = {name: value for name, value in request.headers.items() if name in AUTHENTICATION}
    if own is None:
        assert sent in ({}, {"authorization": "Bearer none"}, {"x-api-key": "none"})
    else:
        assert sent in ({"authorization": f"Bearer {own}"}, {"x-api-key": own})
    whole = json.dumps([request.path, request.query, request.headers, request.body])
    known = {
        *KEYS.values(),
        *STRAYS.values(),
        *CLIENT_SECRETS.values(),
        lab.user.gateway_key(),
    } - {own}
    assert not secrets_in(whole, *known)
    assert "llmswitch" not in whole.replace("llmswitch try", "")


def send(lab: House, route: str, model: str, carrier: str, **more: object) -> int:
    """One question, and its status."""
    beta = {"anthropic-beta": "oauth-2025-04-20,claude-code-20250219"}
    headers = {**CLIENT, **beta, **carrying(lab, carrier)}
    metadata: Json = {"metadata": {"user_id": "user_1"}} if route == MESSAGES else {}
    sent = body(route, model, **metadata, **more)
    return lab.gateway.send("POST", route, headers=headers, json=sent).status_code


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("model", MODELS)
def test_each_upstream_receives_its_own(lab: House, model: str, carrier: str) -> None:
    """Whatever the client brings along, on every route, streamed or not, and when tokens are
    counted, the upstream of a model receives its own key and nothing else, and no other is asked.
    """
    for route, stream in WAYS:
        assert send(lab, route, model, carrier, stream=stream) == 200
    assert send(lab, COUNT, model, carrier) == 200
    upstream = lab.of(model)
    assert lab.received == {upstream.name: len(WAYS) + (model == "anthropic")}
    for request in upstream.requests:
        check(lab, request, House.OF_MODEL[model][1])


FAULTS = {
    "500": Behaviour(status=500),
    "401": Behaviour(status=401),
    "429": Behaviour(status=429),
    "529": Behaviour(status=529),
    "hang-up": Behaviour(drop_before_first_byte=True),
}
FALLBACKS = [
    ("from-anthropic", "anthropic", "messages"),
    ("from-messages", "messages", "chat"),
    ("from-chat", "chat", "responses"),
    ("from-responses", "responses", "litellm"),
    ("from-litellm", "litellm", "anthropic"),
    ("from-keyless", "keyless", "anthropic"),
    ("to-keyless", "anthropic", "keyless-messages"),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("model", "first", "second"), FALLBACKS)
def test_across_a_fallback(lab: House, model: str, first: str, second: str, fault: str) -> None:
    """When a model falls back to one of another vendor, on any route, each of the two receives its
    own key, and the client's subscription goes to neither.
    """
    failing, healthy = lab.of(first), lab.of(second)
    failing.behave(FAULTS[fault], "second" if model == "to-keyless" else "first")
    for route, stream in WAYS:
        lab.clear()
        assert send(lab, route, model, "both", stream=stream) == 200
        assert set(lab.received) == {failing.name, healthy.name}
        for upstream, of in ((failing, first), (healthy, second)):
            for request in upstream.requests:
                check(lab, request, House.OF_MODEL[of][1])


@pytest.mark.parametrize("model", MODELS)
def test_wrong_provider_key(lab: House, model: str) -> None:
    """No other key is tried, neither there nor elsewhere, where the provider refuses its own."""
    upstream = lab.of(model)
    upstream.behave(Behaviour(status=401, error="this key is not valid here"))
    for route, stream in WAYS:
        lab.clear()
        assert send(lab, route, model, "both", stream=stream) == 401
        assert lab.received == {upstream.name: 1}
        check(lab, upstream.requests[0], House.OF_MODEL[model][1])


@pytest.mark.parametrize("model", MODELS)
def test_the_client_can_name_neither_the_host_nor_the_key(lab: House, model: str) -> None:
    """A key is sent to no host that a request names, and none of its own is put in its place."""
    secret = CLIENT_SECRETS["api key"]
    with FakeUpstream("thief") as thief:
        attempts: list[Json] = [
            {"api_base": thief.url},
            {"base_url": thief.url},
            {"metadata": {"api_base": thief.url}},
            {"litellm_params": {"api_base": thief.url}},
            {"fallbacks": [{"model": "chat", "api_base": thief.url}]},
            {"user_config": {"model_list": []}},
            {"api_key": secret},
            {"extra_headers": {"authorization": f"Bearer {secret}", "x-api-key": secret}},
        ]
        for more in attempts:
            for stream in (False, True):
                assert lab.gateway.ask(model, stream=stream, **more).status == 200
        assert thief.requests == []
    (upstream,) = (lab.upstreams[name] for name in lab.received)
    for request in upstream.requests:
        check(lab, request, House.OF_MODEL[model][1])


def test_logs_and_files_hold_no_secret(lab: House) -> None:
    """After all of that, no file of llmswitch but gateway.key holds a key, the log with all its
    errors included, and no key stands on a command line.
    """
    known = {*KEYS.values(), *STRAYS.values(), *CLIENT_SECRETS.values(), lab.gateway.key}
    lab.upstreams["zai"].behave(Behaviour(status=500), "first")
    for headers in (carrying(lab, "everything"), {"x-api-key": CLIENT_SECRETS["api key"]}):
        lab.gateway.ask("from-messages", headers=headers)
        lab.gateway.send("GET", "/v1/models", headers=headers)
    assert lab.user.json("up")["did"] == "nothing"
    files = [file for file in lab.user.state.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"gateway.log", "state.json", "litellm_config.yaml"}
    for file in files:
        if file.name != "gateway.key":
            assert not secrets_in(file.read_text(errors="replace"), *known), file
    assert "handover.json" not in {file.name for file in files}


# ------------------------------------------------------------------ keys that are not set

UNSET = """
models:
  lost: an/claude-opus-4-5-20251101
  lost-messages: lab/model
  kept: mine/qwen3
  keyless: local/llama
  keyless-anthropic: free/claude-opus-4-5-20251101
  half: {{model: lab/half, keys: [NOT_SET, HALF_KEY]}}
  two: {{model: mine/two, keys: [MINE_KEY, SECOND_KEY]}}
  falls: {{model: mine/falls, fallbacks: [lost-messages]}}
providers:
  an: {{dialect: anthropic, base_url: "{an}", key: NONE_KEY}}
  lab: {{dialect: messages, base_url: "{zai}", key: LAB_KEY}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  local: {{dialect: chat, base_url: "{local}/v1", key: null}}
  free: {{dialect: anthropic, base_url: "{max}", key: null}}
gateway: {{port: {port}}}
"""


def test_unset_keys(lab: House) -> None:
    """A model whose key is not set, or only white space, is not served at all, and its upstream
    receives nothing: not the stray key of the shell, not the client's. A model with two keys uses
    both, or the one that is set; a fallback to a model that is left out is no fallback.
    """
    lab.bring(UNSET, {"LAB_KEY": "  ", "SECOND_KEY": "second", "HALF_KEY": "half"})
    listed = lab.user.json("status")["models"]
    assert {row["name"]: row["reason"] for row in listed if not row["available"]} == {
        "lost": "NONE_KEY is not set",
        "lost-messages": "LAB_KEY is not set",
    }
    for model in ("lost", "lost-messages"):
        assert send(lab, MESSAGES, model, "both") == send(lab, COUNT, model, "both") == 404
    assert lab.received == {}
    own_keys = {"kept": "own-mine", "keyless": None, "keyless-anthropic": None, "half": "half"}
    for model, own in own_keys.items():
        lab.clear()
        for stream in (False, True):
            assert send(lab, MESSAGES, model, "both", stream=stream) == 200
        assert send(lab, COUNT, model, "both") == 200
        (upstream,) = (lab.upstreams[name] for name in lab.received)
        for request in upstream.requests:
            check(lab, request, own)
    lab.clear()
    for _ in range(20):
        assert send(lab, MESSAGES, "two", "both") == 200
    assert {*lab.keys_received()["mine"]} == {"own-mine", "second"}
    for request in lab.upstreams["mine"].requests:
        check(lab, request, key_of(request))
    lab.upstreams["mine"].behave(Behaviour(status=500), "falls")
    assert send(lab, MESSAGES, "falls", "both") == 500
    assert "zai" not in lab.received
    lab.bring(PROFILE)
