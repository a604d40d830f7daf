"""A gateway in front of a slow provider: its budgets hold what the open requests will cost."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.gateways import wait_for
from tests.ledgers import CALM, House
from tests.upstream import Behaviour, Usage

pytestmark = pytest.mark.timeout(300)

# Half a dollar an answer. Each test has a model of its own: what is spent stays spent.
PROFILE = """
models:
  forty: {{model: zai/forty, price: {{input: 1, output: 1}}, budget: {{usd: 2.5, per: day}}}}
  fails: {{model: zai/fails, price: {{input: 1, output: 1}}, budget: {{usd: 2, per: day}}}}
  cached: {{model: zai/cached, price: {{input: 1, output: 1}}, budget: {{usd: 2, per: day}}}}
  alone: {{model: zai/alone, price: {{input: 1, output: 1}}, budget: {{usd: 0.6, per: day}}}}
  plenty: {{model: zai/plenty, price: {{input: 1, output: 1}}, budget: {{usd: 100, per: day}}}}
  falls: {{model: zai/falls, price: {{input: 1, output: 1}}, budget: {{usd: 2, per: day}},
          fallbacks: [caught]}}
  caught: {{model: zai/caught, price: {{input: 1, output: 1}}, budget: {{usd: 2, per: day}}}}
cache: {{type: local, models: [cached]}}
providers:
  zai: {{base_url: "{zai}/api/anthropic", key: ZAI_KEY}}
gateway: {{port: {port}}}
"""
HALF = Usage(input=400_000, output=100_000)
SLOW = Behaviour(usage=HALF, events=10, delay=0.2)


@pytest.fixture
def house(shared: House) -> House:
    """A running gateway, of which every answer costs half a dollar."""
    shared.heal()
    shared.upstreams["zai"].behave(Behaviour(usage=HALF))
    return shared


def budget(house: House, model: str) -> dict[str, Any]:
    """The budget of a model, as the gateway itself has it."""
    budgets = house.gateway.send("GET", "/llmswitch/state").json()["budgets"]
    found: dict[str, Any] = next(item for item in budgets if item.get("model") == model)
    return found


def reserved(house: House, model: str) -> float:
    """What is held of it."""
    found: float = budget(house, model)["reserved_usd"]
    return found


def asked(house: House, model: str) -> int:
    """How many requests for a model the provider got."""
    return sum(
        1 for request in house.upstreams["zai"].requests if (request.body or {})["model"] == model
    )


def spent(house: House, model: str) -> float:
    """What the ledger says that a model has cost."""
    with closing(sqlite3.connect(house.ledger)) as connection:
        row = connection.execute("SELECT TOTAL(cost) FROM tries WHERE model = ?", (model,))
        total: float = row.fetchone()[0]
        return total


@pytest.mark.parametrize("stream", [False, True])
def test_of_forty_at_once_as_many_are_served_as_a_budget_has_left(
    house: House, stream: bool
) -> None:
    """Four answers of half a dollar where two dollars are left; of the next forty none. The others
    cost nothing, may be sent again, and are told why; when all is over nothing is held.
    """
    model = "forty"
    if not stream:
        assert house.gateway.ask(model).status == 200
        house.rows(1)
    before, expected = spent(house, model), 0 if stream else 4
    house.upstreams["zai"].behave(SLOW, model)
    house.upstreams["zai"].clear()
    with ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda _: house.gateway.ask(model, stream=stream), range(40)))
    assert Counter(reply.status for reply in replies) == Counter(
        {200: expected, 429: 40 - expected}
    )
    assert asked(house, model) == expected
    wait_for(lambda: spent(house, model) == pytest.approx(before + expected * 0.5))
    assert spent(house, model) <= 2.5
    wait_for(lambda: reserved(house, model) == 0)
    refused = [reply for reply in replies if reply.status == 429]
    if not stream:
        said = {reply.error["message"] for reply in refused}
        held = "has $2.00 left and open requests hold $2.00 of it; ask again later"
        cure = "llmswitch budget raise model:forty/day USD --profile work"
        assert said == {f"llmswitch: budget model:forty/day {held}; or: {cure}"}
        assert not [reply for reply in refused if "x-should-retry" in reply.headers]
    else:
        assert {reply.headers["x-should-retry"] for reply in refused} == {"false"}
    assert {reply.error["type"] for reply in refused} == {"rate_limit_error"}


def test_a_budget_with_plenty_left_refuses_nobody(house: House) -> None:
    """Forty at once, at twenty dollars of a hundred."""
    house.gateway.ask("plenty")
    house.upstreams["zai"].behave(SLOW, "plenty")
    with ThreadPoolExecutor(40) as pool:
        replies = pool.map(lambda _: house.gateway.ask("plenty", stream=True), range(40))
        assert {reply.status for reply in replies} == {200}
    wait_for(lambda: spent(house, "plenty") == pytest.approx(41 * 0.5))
    wait_for(lambda: reserved(house, "plenty") == 0)


def test_the_last_cent_can_be_spent(house: House) -> None:
    """A request that is alone goes, though ten cents are left of the half dollar that it costs."""
    house.gateway.ask("alone")
    house.rows(1)
    assert house.gateway.ask("alone").status == 200
    house.rows(1)
    reply = house.gateway.ask("alone")
    assert (reply.status, reply.headers["x-should-retry"]) == (429, "false")
    assert reply.error["message"].startswith(
        "llmswitch: budget model:alone/day: $1.00 of $0.60 spent, until "
    )


def test_what_is_held_is_given_back(house: House) -> None:
    """When the provider fails, when the client leaves in mid-stream (then what came is paid for),
    and when the answer is in the cache.
    """
    zai = house.upstreams["zai"]
    zai.behave(Behaviour(usage=HALF, events=100, delay=0.1), "fails")
    with house.gateway.streaming("fails") as lines:
        next(lines)
        assert reserved(house, "fails") > 0
    wait_for(lambda: reserved(house, "fails") == 0)
    (row,) = house.rows(1)
    assert (row.status, row.error) == (499, "ClientLeft")
    assert row.cost == pytest.approx(0.4, abs=0.001)
    for broken in (Behaviour(status=500), Behaviour(drop_before_first_byte=True)):
        zai.behave(broken, "fails")
        assert house.gateway.ask("fails").status >= 500
        assert reserved(house, "fails") == 0
    for _ in range(2):
        assert house.gateway.ask("cached").status == 200
        wait_for(lambda: reserved(house, "cached") == 0)
        time.sleep(CALM)  # an answer is kept a moment after it was given
    assert asked(house, "cached") == 1
    assert spent(house, "cached") == pytest.approx(0.5)


def test_a_fallback_holds_of_its_own_budget(house: House) -> None:
    """And nothing of that of the model that has failed."""
    house.upstreams["zai"].behave(Behaviour(status=500), "falls")
    house.upstreams["zai"].behave(SLOW, "caught")
    with house.gateway.streaming("falls") as lines:
        next(lines)
        assert reserved(house, "falls") == 0
        assert reserved(house, "caught") == pytest.approx(0.001, abs=0.0001), "no history: a guess"
        assert "event: message_stop" in list(lines)
    wait_for(lambda: reserved(house, "caught") == 0)
    assert budget(house, "caught")["spent_usd"] == pytest.approx(0.5)
    assert budget(house, "falls")["spent_usd"] == 0
