"""Every credential against every upstream: each receives its own and nothing else.

The gateway's shell has keys and addresses that no provider of the profile asked for, and the
client carries all that a client may carry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port, make_user
from tests.gateways import (
    AUTHENTICATION,
    CLIENT_SECRETS,
    KEYS,
    MODELS,
    NO_WAY_OUT,
    STRAYS,
    Gateway,
    Lab,
    open_lab,
    secrets_in,
)
from tests.upstream import Behaviour, FakeUpstream, Json, Request

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("credentials"), pytest.mark.timeout(300)]

DEAD = "http://127.0.0.1:9"
# Where LiteLLM would send requests if it took these from the shell.
ADDRESSES = {
    "ANTHROPIC_BASE_URL": DEAD,
    "ANTHROPIC_API_BASE": DEAD,
    "OPENAI_BASE_URL": DEAD,
    "OPENAI_API_BASE": DEAD,
    "XAI_API_BASE": DEAD,
    "HOSTED_VLLM_API_BASE": DEAD,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running gateway with a provider of every dialect, started from a shell full of traps."""
    yield from open_lab(tmp_path_factory.mktemp("credentials"), ADDRESSES)


@pytest.fixture(autouse=True)
def untouched(lab: Lab) -> Iterator[None]:
    """Upstreams that have received nothing yet and are all healthy."""
    lab.clear()
    yield
    for upstream in lab.upstreams.values():
        for model in ("first", "second"):
            upstream.behave(Behaviour(), model)


def carrying(gateway: Gateway, carrier: str) -> dict[str, str]:
    """The headers of a client that brings more than the gateway's key."""
    bearer, key = f"Bearer {gateway.key}", gateway.key
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


def check(lab: Lab, request: Request, own: str | None) -> None:
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


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("model", MODELS)
def test_each_upstream_receives_its_own(lab: Lab, model: str, carrier: str) -> None:
    """Whatever the client brings along, streamed or not, and when tokens are counted, the upstream
    of a model receives its own key and nothing else, and no other upstream is asked.
    """
    gateway = lab.gateway
    headers = {
        **carrying(gateway, carrier),
        "anthropic-beta": "oauth-2025-04-20,claude-code-20250219",
    }
    metadata = {"user_id": "user_1_account__session_2"}
    upstream = lab.of(model)
    answers = [
        gateway.ask(model, stream=stream, headers=headers, metadata=metadata).said
        for stream in (False, True)
    ]
    assert answers == [answers[0]] * 2
    assert answers[0].endswith(f" at {upstream.name}")
    assert gateway.count(model, headers).status_code == 200
    assert set(lab.received) == {upstream.name}
    assert len(upstream.requests) >= 2
    for request in upstream.requests:
        check(lab, request, Lab.OF_MODEL[model][1])


OPENAI_ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": [{"role": "user", "content": "hi"}]},
}


@pytest.mark.parametrize("route", OPENAI_ROUTES)
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("model", MODELS)
def test_each_upstream_receives_its_own_on_openais_routes(
    lab: Lab, model: str, carrier: str, route: str
) -> None:
    """The same by /v1/chat/completions and /v1/responses."""
    for stream in (False, True):
        assert send(lab, route, model, carrier, stream=stream) == 200
    upstream = lab.of(model)
    assert lab.received == {upstream.name: 2}
    for request in upstream.requests:
        check(lab, request, Lab.OF_MODEL[model][1])


def send(lab: Lab, route: str, model: str, carrier: str, *, stream: bool) -> int:
    """One question to one of these routes; its status."""
    body = {"model": model, "stream": stream, **OPENAI_ROUTES[route]}
    headers = carrying(lab.gateway, carrier)
    return lab.gateway.send("POST", route, headers=headers, json=body).status_code


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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("model", "first", "second"), FALLBACKS)
def test_across_a_fallback(
    lab: Lab, model: str, first: str, second: str, fault: str, stream: bool
) -> None:
    """When a model falls back to one of another vendor, each of the two receives its own key, and
    the client's subscription goes to neither.
    """
    failing, healthy = lab.of(first), lab.of(second)
    name = "second" if model == "to-keyless" else "first"
    failing.behave(FAULTS[fault], name)
    answer = lab.gateway.ask(model, stream=stream, headers=carrying(lab.gateway, "both"))
    assert answer.said.endswith(f" at {healthy.name}")
    assert set(lab.received) == {failing.name, healthy.name}
    for upstream, of in ((failing, first), (healthy, second)):
        assert upstream.requests
        for request in upstream.requests:
            check(lab, request, Lab.OF_MODEL[of][1])


@pytest.mark.parametrize("route", OPENAI_ROUTES)
@pytest.mark.parametrize("fault", ["500", "401", "hang-up"])
@pytest.mark.parametrize(("model", "first", "second"), FALLBACKS)
def test_across_a_fallback_on_openais_routes(
    lab: Lab, model: str, first: str, second: str, fault: str, route: str
) -> None:
    """The same by /v1/chat/completions and /v1/responses."""
    failing, healthy = lab.of(first), lab.of(second)
    failing.behave(FAULTS[fault], "second" if model == "to-keyless" else "first")
    for stream in (False, True):
        assert send(lab, route, model, "both", stream=stream) == 200
    assert set(lab.received) == {failing.name, healthy.name}
    for upstream, of in ((failing, first), (healthy, second)):
        assert len(upstream.requests) >= 2
        for request in upstream.requests:
            check(lab, request, Lab.OF_MODEL[of][1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_wrong_provider_key(lab: Lab, model: str, stream: bool) -> None:
    """A key that the provider refuses gives the client a 401 with the provider's words, and no
    other key is tried, neither there nor elsewhere.
    """
    upstream = lab.of(model)
    upstream.behave(Behaviour(status=401, error="this key is not valid here"))
    try:
        answer = lab.gateway.ask(model, stream=stream, headers=carrying(lab.gateway, "both"))
    finally:
        upstream.behave(Behaviour())
    assert answer.status == 401
    assert answer.error["type"] == "authentication_error"
    assert "this key is not valid here" in answer.error["message"]
    assert lab.received == {upstream.name: 1}
    check(lab, upstream.requests[0], Lab.OF_MODEL[model][1])


def test_the_client_cannot_name_the_host(lab: Lab) -> None:
    """A request cannot have a key sent to a host of its own choice."""
    with FakeUpstream("thief") as thief:
        attempts: list[Json] = [
            {"api_base": thief.url},
            {"base_url": thief.url},
            {"metadata": {"api_base": thief.url}},
            {"litellm_params": {"api_base": thief.url}},
            {"fallbacks": [{"model": "chat", "api_base": thief.url}]},
            {"user_config": {"model_list": []}},
        ]
        for more in attempts:
            for model in MODELS:
                lab.gateway.ask(model, **more)
        assert thief.requests == []


@pytest.mark.parametrize("model", MODELS)
def test_the_client_cannot_replace_the_key(lab: Lab, model: str) -> None:
    """Nor can the body of a request put another key in the place of the provider's."""
    secret = CLIENT_SECRETS["api key"]
    attempts: list[Json] = [
        {"api_key": secret},
        {"extra_headers": {"authorization": f"Bearer {secret}", "x-api-key": secret}},
    ]
    for more in attempts:
        for stream in (False, True):
            assert lab.gateway.ask(model, stream=stream, **more).status == 200
    (upstream,) = (lab.upstreams[name] for name in lab.received)
    for request in upstream.requests:
        check(lab, request, Lab.OF_MODEL[model][1])


def test_logs_and_files_hold_no_secret(lab: Lab) -> None:
    """After all of that, no file of llmswitch but gateway.key holds a key, the log with all its
    errors included, and no key stands on a command line.
    """
    known = {*KEYS.values(), *STRAYS.values(), *CLIENT_SECRETS.values(), lab.user.gateway_key()}
    lab.upstreams["zai"].behave(Behaviour(status=500), "first")
    lab.gateway.ask("from-messages", headers=carrying(lab.gateway, "everything"))
    lab.gateway.send("GET", "/v1/models", headers=carrying(lab.gateway, "everything"))
    lab.gateway.send("POST", "/v1/messages", headers={"x-api-key": CLIENT_SECRETS["api key"]})
    assert lab.user.json("up")["did"] == "nothing"
    files = [file for file in lab.user.state.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"gateway.log", "state.json", "litellm_config.yaml"}
    for file in files:
        if file.name != "gateway.key":
            assert not secrets_in(file.read_text(errors="replace"), *known), file
    assert "handover.json" not in {file.name for file in files}


# ------------------------------------------------------------------ a second shell, without keys

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
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  lab: {{dialect: messages, base_url: "{lab}", key: LAB_KEY}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  local: {{dialect: chat, base_url: "{local}/v1", key: null}}
  free: {{dialect: anthropic, base_url: "{free}", key: null}}
gateway: {{port: {port}}}
"""


def test_unset_keys(tmp_path: Path) -> None:
    """A model whose key is not set, or only white space, is not served at all, and its upstream
    receives nothing: not the stray key of the shell, not the client's. A model with two keys uses
    both, or the one that is set; a fallback to a model that is left out is no fallback.
    """
    user = make_user(tmp_path)
    own_keys = {"MINE_KEY": "own-mine", "SECOND_KEY": "second", "HALF_KEY": "half"}
    user.keys = {**STRAYS, **NO_WAY_OUT, **ADDRESSES, **own_keys, "LAB_KEY": "  "}
    names = ("an", "lab", "mine", "local", "free")
    ups = {name: FakeUpstream(name) for name in names}
    try:
        for upstream in ups.values():
            upstream.__enter__()
        port = free_port()
        user.write_profile(UNSET.format(port=port, **{name: ups[name].url for name in names}))
        done = user.json("up")
        assert {row["name"]: row["reason"] for row in done["models"] if not row["available"]} == {
            "lost": "AN_KEY is not set",
            "lost-messages": "LAB_KEY is not set",
        }
        gateway = Gateway(f"http://127.0.0.1:{port}", user.gateway_key())
        lab = Lab(user, ups, port)
        headers = carrying(gateway, "both")
        for model in ("lost", "lost-messages"):
            assert gateway.ask(model, headers=headers).status == 404
            gateway.count(model, headers)
        assert lab.received == {}
        for model, own in (
            ("kept", "own-mine"),
            ("keyless", None),
            ("keyless-anthropic", None),
            ("half", "half"),
        ):
            lab.clear()
            for stream in (False, True):
                assert gateway.ask(model, headers=headers, stream=stream).status == 200
            assert gateway.count(model, headers).status_code == 200
            (upstream,) = (ups[name] for name in lab.received)
            for request in upstream.requests:
                check(lab, request, own)
        lab.clear()
        for _ in range(20):
            assert gateway.ask("two", headers=headers).said == "I am two at mine"
        used = [r.headers["authorization"].split()[1] for r in ups["mine"].requests]
        assert set(used) == {"own-mine", "second"}
        for request, own in zip(ups["mine"].requests, used, strict=True):
            check(lab, request, own)
        lab.clear()
        ups["mine"].behave(Behaviour(status=500), "falls")
        assert gateway.ask("falls", headers=headers).status == 500
        assert set(lab.received) == {"mine"}
        assert user.run("down").returncode == 0
    finally:
        user.stop_everything()
        for upstream in ups.values():
            upstream.__exit__()
