"""What the ledger says of answers that began well: broken off, not ended, or given to nobody."""

from __future__ import annotations

import pytest

from tests.gateways import DIALECTS
from tests.ledgers import PROVIDERS, UPSTREAMS, House
from tests.upstream import Behaviour, Json, Usage

pytestmark = pytest.mark.timeout(300)

PROFILE = (
    """
models:
  anthropic: {{model: an/m, price: {{input: 1, output: 1}}}}
  messages: {{model: zai/m, price: {{input: 1, output: 1}}}}
  chat: {{model: mine/m, price: {{input: 1, output: 1}}}}
  responses: {{model: oai/m, price: {{input: 1, output: 1}}}}
  litellm: {{model: grok/m, price: {{input: 1, output: 1}}}}
  two: {{model: zai/m, keys: [ZAI_KEY, ZAI_KEY_2], price: {{input: 1, output: 1}}}}
"""
    + PROVIDERS
)
KEYS = {"ZAI_KEY_2": "second-key-of-zai"}
NATIVE = ("anthropic", "messages")
USED = Usage(input=700, output=300)
OVERLOADED = Behaviour(status=529, error_mid_stream=True, events=6, usage=USED)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_in_mid_stream_is_a_failed_try(house: House, dialect: str) -> None:
    """With the status of its kind where the client got it as it was; what came is paid for, the
    prompt too, and what was not told is estimated.
    """
    house.upstreams[UPSTREAMS[dialect]].behave(OVERLOADED)
    events = house.gateway.ask(dialect, stream=True).events
    assert events[-1]["type"] == "error"
    (row,) = house.rows(1)
    if dialect in NATIVE:
        assert (row.status, row.error) == (529, "overloaded_error")
        assert (row.input, row.estimated) == (700, True)
    elif dialect == "responses":  # LiteLLM does not say which
        assert (row.status, row.error) == (502, "APIConnectionError")
        assert (row.input, row.cost, row.estimated) == (0, None, False)
    else:
        assert (row.status, row.error) == (500, "OpenAIError")
        assert row.estimated


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_stream_without_its_end_is_a_failed_try(house: House, dialect: str) -> None:
    """Though its provider has closed it in good order. LiteLLM makes an end of a translated one."""
    house.upstreams[UPSTREAMS[dialect]].behave(Behaviour(ends=False, events=6, usage=USED))
    assert "message_stop" not in house.gateway.ask(dialect, stream=True).text
    (row,) = house.rows(1)
    assert (row.status, row.error, row.input) == (502, "IncompleteStream", 700)


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_200_that_carries_an_error_is_a_failed_try(house: House, dialect: str) -> None:
    """Also where LiteLLM says nothing of it (an answer in one piece)."""
    house.upstreams[UPSTREAMS[dialect]].behave(Behaviour(status=529, error_as_200=True))
    for stream in (False, True):
        house.gateway.ask(dialect, stream=stream)
    rows = house.rows(2)
    assert {row.streamed for row in rows} == {False, True}
    for row in rows:
        assert (row.status, row.error) == (529, "overloaded_error")
        assert (row.asked, row.model, row.provider) == (dialect, dialect, UPSTREAMS[dialect])
        assert (row.upstream, row.key) == ("m", f"{UPSTREAMS[dialect].upper()}_KEY")
        assert (row.input, row.output) == (0, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tokens_that_nobody_told_are_estimated_or_unknown(house: House, dialect: str) -> None:
    """LiteLLM counts those of a stream by itself; of an answer in one piece nothing is known, nor
    is its cost.
    """
    house.upstreams[UPSTREAMS[dialect]].behave(Behaviour(tells_usage=False, events=6))
    for stream in (False, True):
        assert house.gateway.ask(dialect, stream=stream).status == 200
    rows = house.rows(2)
    assert {row.streamed for row in rows} == {False, True}
    for row in rows:
        assert (row.status, row.error, row.estimated) == (200, None, row.streamed)
        assert (row.output > 0) is row.streamed
        assert (row.cost is not None) is row.streamed


@pytest.mark.parametrize("route", ["chat/completions", "responses"])
@pytest.mark.parametrize("told", [False, True])
def test_the_routes_of_openai_are_marked_alike(house: House, route: str, told: bool) -> None:
    """Streams of Chat Completions and Responses."""
    house.upstreams["mine"].behave(Behaviour(tells_usage=told, events=6, usage=USED))
    message: Json = {"role": "user", "content": "hi"}
    body: Json = {"model": "chat", "stream": True, "input": "hi", "messages": [message]}
    del body["messages" if route == "responses" else "input"]
    assert house.gateway.send("POST", f"/v1/{route}", json=body).status_code == 200
    (row,) = house.rows(1)
    assert (row.status, row.estimated) == (200, not told)
    assert ((row.input, row.output) == (700, 300)) is told


def used_keys(house: House, number: int) -> set[str]:
    """The keys of so many requests."""
    house.upstreams["zai"].clear()
    for _ in range(number):
        assert house.gateway.ask("two", stream=True).status == 200
    house.rows(number)
    return set(house.keys_received()["zai"])


def test_a_key_rests_after_an_error_in_mid_stream(house: House) -> None:
    """As after any failure: the other one answers meanwhile."""
    house.upstreams["zai"].behave(OVERLOADED)
    house.gateway.ask("two", stream=True)
    house.rows(1)
    [[failed]] = house.keys_received().values()
    house.upstreams["zai"].behave(Behaviour())
    assert used_keys(house, 8) == {"value-of-zai", "second-key-of-zai"} - {failed}


def test_a_key_does_not_rest_because_a_client_left(house: House) -> None:
    """Twelve requests, and both keys are asked."""
    house.upstreams["zai"].behave(Behaviour(events=40, delay=0.05))
    wait_until_rested(house)
    house.gateway.leave("two")
    house.rows(1)
    house.upstreams["zai"].behave(Behaviour())
    assert used_keys(house, 12) == {"value-of-zai", "second-key-of-zai"}


def wait_until_rested(house: House) -> None:
    """Both keys are asked: none rests from a test before."""
    house.upstreams["zai"].behave(Behaviour())
    while len(used_keys(house, 6)) < 2:
        pass
    house.upstreams["zai"].behave(Behaviour(events=40, delay=0.05))
