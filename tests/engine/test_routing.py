"""Which key and which model a request goes to: weights, order, rest, timeouts, too long prompts."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateways import wait_for
from tests.ledgers import House
from tests.upstream import Behaviour

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROFILE = """\
models:
  even: {{model: zai/even, keys: [KEY_A, KEY_B]}}
  weighed: {{model: zai/weighed, keys: [{{name: KEY_A, weight: 9}}, {{name: KEY_B, weight: 1}}]}}
  ordered: {{model: zai/ordered, keys: [{{name: KEY_B, order: 2}}, {{name: KEY_A, order: 1}}]}}
  three: {{model: zai/three, keys: [KEY_A, KEY_B, KEY_C]}}
  rests: {{model: zai/rests, keys: [{{name: KEY_A, order: 1}}, {{name: KEY_B, order: 2}}]}}
  crowd: {{model: zai/crowd, keys: [KEY_A, KEY_B]}}
  refused: {{model: zai/refused, keys: [KEY_A, KEY_B]}}
  some-set: {{model: zai/some, keys: [NOT_SET, KEY_B]}}
  patient: {{model: zai/patient, timeout: 1}}
  chain: {{model: zai/chain, fallbacks: [second, third]}}
  second: {{model: mine/second}}
  third: {{model: oai/third}}
  small: {{model: zai/small, context_fallbacks: [large], fallbacks: [second]}}
  small-chat: {{model: mine/small, context_fallbacks: [large], fallbacks: [third]}}
  large: {{model: oai/large}}
  spent:
    model: zai/spent
    fallbacks: [second, third]
    price: {{input: 1, output: 1}}
    budget: {{usd: 0.000001, per: month}}
providers:
  zai: {{base_url: "{zai}/api/anthropic", key: KEY_A}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: OAI_KEY}}
gateway: {{port: {port}}}
"""
KEYS = {"KEY_A": "a", "KEY_B": "b", "KEY_C": "c", "MINE_KEY": "mine", "OAI_KEY": "oai"}
REST = 5.0  # seconds that a key rests after a failure


def used(house: House, model: str, number: int) -> Counter[str]:
    """How often each key is used for so many requests."""
    house.upstreams["zai"].clear()
    for _ in range(number):
        assert house.gateway.ask(model).said == f"I am {model} at zai"
    return Counter(house.keys_received()["zai"])


def test_keys_share_the_load(house: House) -> None:
    """Evenly: each of 60 coins falls on both sides."""
    counted = used(house, "even", 60)
    assert counted.total() == 60
    assert 12 <= counted["a"] <= 48


def test_weights(house: House) -> None:
    """Nine to one: of 60 requests about 54, and hardly ever below 42."""
    counted = used(house, "weighed", 60)
    assert counted.total() == 60
    assert 42 <= counted["a"] <= 60


def test_order(house: House) -> None:
    """The first until it fails, wherever it stands in the list; then the second at once."""
    assert used(house, "ordered", 10) == {"a": 10}
    house.upstreams["zai"].behave(Behaviour(status=429, key="a"), "ordered")
    assert used(house, "ordered", 10) == {"a": 1, "b": 10}


def test_one_of_three_keys_that_fails_is_met_once(house: House) -> None:
    """While it rests every request is served by the two others."""
    house.upstreams["zai"].behave(Behaviour(status=500, key="b"), "three")
    counted = used(house, "three", 20)
    assert counted["b"] <= 1
    assert counted.total() - counted["b"] == 20


def test_a_key_that_has_rested_is_tried_again(house: House) -> None:
    """After five seconds; when it is well then, it is used as before."""
    house.upstreams["zai"].behave(Behaviour(status=429, key="a"), "rests")
    assert used(house, "rests", 1) == {"a": 1, "b": 1}
    assert used(house, "rests", 3) == {"b": 3}
    house.upstreams["zai"].behave(Behaviour(), "rests")
    time.sleep(REST)
    assert used(house, "rests", 3) == {"a": 3}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_for_itself_is_not_sent_to_another_key(
    house: House, status: int
) -> None:
    """Any key would be refused; and the key that was, does not rest for it."""
    house.upstreams["zai"].behave(Behaviour(status=status, error="no such field"), "refused")
    answer = house.gateway.ask("refused")
    assert answer.status in (400, status)
    assert "no such field" in answer.error["message"]
    assert len(house.upstreams["zai"].requests) == 1
    assert len(house.rows(1)) == 1
    house.upstreams["zai"].behave(Behaviour(), "refused")
    assert set(used(house, "refused", 12)) == {"a", "b"}


def test_a_crowd_with_one_bad_key(house: House) -> None:
    """Fifty requests at a time: every one is served, each meets the bad key once at most, and the
    ledger has a row for every try.
    """
    house.upstreams["zai"].behave(Behaviour(status=429, key="a"), "crowd")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda n: house.gateway.ask("crowd", stream=n % 2 == 0), range(50)))
    assert [answer.said for answer in answers] == ["I am crowd at zai"] * 50
    keys = Counter(house.keys_received()["zai"])
    assert keys["b"] == 50
    assert keys["a"] <= 50
    rows = house.rows(keys.total())
    assert Counter(row.status for row in rows) == {
        200: 50,
        **({429: keys["a"]} if keys["a"] else {}),
    }
    assert {row.key for row in rows if row.status == 429} <= {"KEY_A"}
    tries = Counter(row.request for row in rows)
    assert len(tries) == 50
    assert max(tries.values()) <= 2


def test_a_model_does_with_the_keys_that_are_set(house: House) -> None:
    """The others are not tried."""
    assert house.gateway.ask("some-set").said == "I am some at zai"
    assert house.keys_received() == {"zai": ["b"]}


def test_a_timeout_is_of_silence_not_of_the_whole_answer(house: House) -> None:
    """A stream of three seconds passes a timeout of one, as long as it never pauses for one; what
    is silent for longer has failed.
    """
    house.upstreams["zai"].behave(Behaviour(events=7, delay=0.5), "patient")
    assert house.gateway.ask("patient", stream=True).said.endswith(" 7")
    house.upstreams["zai"].behave(Behaviour(events=3, delay=2.5), "patient")
    begun = time.monotonic()
    events = house.gateway.ask("patient", stream=True).events
    assert time.monotonic() - begun < 3
    assert events[-1]["type"] == "error"
    ok, silent = house.rows(2)
    assert (ok.status, silent.streamed) == (200, True)
    assert silent.status != 200


@pytest.mark.parametrize("stream", [False, True])
def test_fallbacks_are_tried_in_their_order(house: House, stream: bool) -> None:
    """The second, then the third, each once; the ledger names each try and what was asked for."""
    house.upstreams["zai"].behave(Behaviour(status=500), "chain")
    house.upstreams["mine"].behave(Behaviour(status=429), "second")
    assert house.gateway.ask("chain", stream=stream).said == "I am third at oai"
    assert house.keys_received() == {"zai": ["a"], "mine": ["mine"], "oai": ["oai"]}
    rows = house.rows(3)
    assert [(row.model, row.status, row.fallback_from) for row in rows] == [
        ("chain", 500, None),
        ("second", 429, "chain"),
        ("third", 200, "chain"),
    ]
    assert {row.asked for row in rows} == {"chain"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "upstream", "words"),
    [
        ("small", "zai", "prompt is too long: 210000 tokens > 200000 maximum"),
        ("small-chat", "mine", "This model's maximum context length is 8192 tokens."),
    ],
)
def test_a_prompt_that_is_too_long_goes_to_the_larger_model(
    house: House, model: str, upstream: str, words: str, stream: bool
) -> None:
    """In Anthropic's words and in OpenAI's; any other failure goes to the other fallbacks."""
    house.upstreams[upstream].behave(Behaviour(status=400, error=words), "small")
    assert house.gateway.ask(model, stream=stream).said == "I am large at oai"
    failed, served = house.rows(2)
    assert (failed.model, failed.status, failed.cost) == (model, 400, 0.0)
    assert (served.model, served.fallback_from) == ("large", model)
    house.upstreams[upstream].behave(Behaviour(status=500), "small")
    other = {"small": "I am second at mine", "small-chat": "I am third at oai"}
    assert house.gateway.ask(model, stream=stream).said == other[model]


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_a_try_like_any_other(house: House, stream: bool) -> None:
    """It goes on to the fallbacks, and each of them that fails has its row too."""
    wait_for(lambda: house.gateway.ask("spent").said == "I am second at mine", 10)
    house.heal()
    house.upstreams["mine"].behave(Behaviour(status=500), "second")
    assert house.gateway.ask("spent", stream=stream).said == "I am third at oai"
    assert house.keys_received() == {"mine": ["mine"], "oai": ["oai"]}
    assert [(row.model, row.status, row.error, row.key) for row in house.rows(3)] == [
        ("spent", 429, "BudgetError", None),
        ("second", 500, "InternalServerError", "MINE_KEY"),
        ("third", 200, None, "OAI_KEY"),
    ]
