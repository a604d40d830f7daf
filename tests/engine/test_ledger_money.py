"""What the ledger says was used and what it cost, against sums by hand."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import httpx
import pytest

from llmswitch.ledger import NO_CLIENT, Try
from tests import gateways
from tests.engine.gate import CHAT, MESSAGES, RESPONSES, body
from tests.gateways import DIALECTS
from tests.ledgers import PROVIDERS, UPSTREAMS, House
from tests.upstream import Behaviour, Json, Tool, Usage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

Price = tuple[str, str, str, str]
KINDS = ("input", "output", "cache_read", "cache_write")
# USD per million tokens, in the order of KINDS.
PRICES: dict[str, Price] = {
    "anthropic": ("5", "25", "0.5", "6.25"),
    "messages": ("0.6", "2.2", "0.11", "0.73"),
    "chat": ("0.07", "0.31", "0.013", "0.09"),
    "responses": ("1.25", "10", "0.125", "1.7"),
    "litellm": ("3", "15", "0.75", "3.3"),
    "partial": ("3", "15", "3", "3"),  # no price of the cache: it costs what any token does
    "from-messages": ("0.6", "2.2", "0.11", "0.73"),
    "kept": ("0.6", "2.2", "0.11", "0.73"),
}
PROFILE = (
    """\
models:
  anthropic: {{model: an/m, price: {PRICE_anthropic}}}
  messages: {{model: zai/m, price: {PRICE_messages}}}
  chat: {{model: mine/m, price: {PRICE_chat}}}
  responses: {{model: oai/m, price: {PRICE_responses}}}
  litellm: {{model: grok/m, price: {PRICE_litellm}}}
  partial: {{model: zai/m, price: {{input: 3, output: 15}}}}
  from-messages: {{model: zai/bad, fallbacks: [chat], price: {PRICE_messages}}}
  two: {{model: zai/m, keys: [ZAI_KEY, ZAI_KEY_2], price: {PRICE_messages}}}
  kept: {{model: zai/kept, price: {PRICE_messages}}}
  unknown-anthropic: an/nobody-knows
  unknown-of-a-known-id: an/claude-opus-4-5
  unknown-messages: zai/nobody-knows
  unknown-chat: mine/nobody-knows
  unknown-responses: oai/nobody-knows
  unknown-litellm: grok/nobody-knows
cache: {{type: local, models: [kept]}}
"""
    + PROVIDERS
)
for name, price in PRICES.items():
    written = ", ".join(f"{kind}: {usd}" for kind, usd in zip(KINDS, price, strict=True))
    PROFILE = PROFILE.replace(f"{{PRICE_{name}}}", f"{{{{{written}}}}}")
KEYS = {"ZAI_KEY_2": "second-key-of-zai"}
USED = Usage(input=1234, output=567, cache_read=8901, cache_write=234)
NATIVE = ("anthropic", "messages")
EXACT = Decimal("1e-9")  # USD


@pytest.fixture
def house(shared: House) -> House:
    """A running gateway with a priced model of every dialect, whose upstreams use tokens of all
    four kinds.
    """
    shared.heal()
    for upstream in shared.upstreams.values():
        upstream.behave(Behaviour(usage=USED))
        upstream.behave(Behaviour(status=500), "bad")
        upstream.behave(Behaviour(usage=USED), "kept")
    return shared


def tokens(row: Try) -> tuple[int, ...]:
    """The four kinds, in the order of KINDS."""
    return row.input, row.output, row.cache_read, row.cache_write


def used(dialect: str) -> tuple[int, int, int, int]:
    """What a dialect can say of USED: OpenAI's know no writing to a cache."""
    if dialect in NATIVE:
        return USED.input, USED.output, USED.cache_read, USED.cache_write
    return USED.input + USED.cache_write, USED.output, USED.cache_read, 0


def by_hand(number: Sequence[int], price: Price) -> Decimal:
    """Tokens times price, exactly."""
    parts = [count * Decimal(usd) for count, usd in zip(number, price, strict=True)]
    return sum(parts, Decimal(0)) / 1_000_000


def same(cost: float | None, wanted: Decimal) -> bool:
    """Whether the ledger's number is the one by hand."""
    return cost is not None and abs(Decimal(cost) - wanted) < EXACT


def both(house: House, model: str, path: str = MESSAGES) -> list[Try]:
    """The rows of a request in one piece, and of one as a stream."""
    for stream in (False, True):
        sent = body(path, model, stream=stream)
        assert house.gateway.send("POST", path, json=sent).status_code == 200
    rows = sorted(house.rows(2), key=lambda row: row.streamed)
    assert [row.streamed for row in rows] == [False, True]
    return rows


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tokens_and_money(house: House, dialect: str) -> None:
    """Each of the four kinds once, at its own price, in every dialect, streamed or not."""
    fresh, out, read, write = used(dialect)
    uncached = by_hand((fresh + read + write, out, 0, 0), PRICES[dialect])
    for row in both(house, dialect):
        assert tokens(row) == used(dialect)
        assert same(row.cost, by_hand(used(dialect), PRICES[dialect]))
        assert (row.status, row.error, row.cache_hit, row.estimated) == (200, None, False, False)
        assert (row.provider, row.upstream) == (UPSTREAMS[dialect], "m")
        assert row.key == f"{UPSTREAMS[dialect].upper()}_KEY"
        assert (row.first_byte is not None) is row.streamed
        assert 0 < row.seconds < 30
        assert same(row.prompt_saved, uncached - by_hand(used(dialect), PRICES[dialect]))


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_clients_of_openai_are_counted_alike(house: House, dialect: str, path: str) -> None:
    """Whoever sends a request, by whichever route, and whatever serves it."""
    for row in both(house, dialect, path):
        assert tokens(row) == used(dialect)
        assert same(row.cost, by_hand(used(dialect), PRICES[dialect]))
        assert (row.session, row.agent, row.client) == (None, None, "gateway")


def test_a_missing_price_of_the_cache_is_that_of_the_input(house: House) -> None:
    """Never 0: LiteLLM would take it so."""
    for row in both(house, "partial"):
        assert same(row.cost, by_hand(used("messages"), ("3", "15", "3", "3")))
        assert row.prompt_saved == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unknown_price_is_unknown(house: House, dialect: str) -> None:
    """The tokens are there, the cost is NULL, which is not 0. LiteLLM would take Anthropic's for a
    known id, at a host that asks for its own.
    """
    models = [f"unknown-{dialect}", *(["unknown-of-a-known-id"] if dialect == "anthropic" else [])]
    for model in models:
        for row in both(house, model):
            assert tokens(row) == used(dialect)
            assert (row.cost, row.prompt_saved, row.saved) == (None, None, None)


def test_a_fallback_costs_what_the_model_costs_that_served(house: House) -> None:
    """The failed try costs nothing, and the row that costs says what was asked for."""
    for stream in (False, True):
        assert house.gateway.ask("from-messages", stream=stream).status == 200
        failed, served = house.rows(2)
        assert (failed.model, failed.status, failed.cost) == ("from-messages", 500, 0.0)
        assert tokens(failed) == (0, 0, 0, 0)
        assert (served.asked, served.model) == ("from-messages", "chat")
        assert served.fallback_from == "from-messages"
        assert same(served.cost, by_hand(used("chat"), PRICES["chat"]))


@pytest.mark.parametrize("stream", [False, True])
def test_a_hit_costs_nothing_and_says_what_it_saved(house: House, stream: bool) -> None:
    """The first answer at its price, the second for nothing."""
    sent: Json = {"temperature": 0.25 + stream}  # nobody else has asked this
    for _ in range(2):
        assert house.gateway.ask("kept", stream=stream, **sent).status == 200
        time.sleep(0.3)  # an answer is kept a moment after it was given
    assert len(house.upstreams["zai"].requests) == 1
    first, hit = house.rows(2)
    price = by_hand(used("messages"), PRICES["kept"])
    assert (first.cache_hit, first.saved, same(first.cost, price)) == (False, None, True)
    assert (hit.cache_hit, hit.cost, same(hit.saved, price)) == (True, 0.0, True)
    assert (hit.status, hit.model, hit.prompt_saved) == (200, "kept", None)


CUT = Behaviour(usage=USED, events=20, delay=0.02, drop_mid_stream=True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_its_provider_cuts(house: House, dialect: str) -> None:
    """The prompt is paid for and so is what came of the answer, as LiteLLM counts it. Where the
    provider said nothing of the prompt yet, that is counted as well; of Responses nothing is known,
    and so the cost is not either.
    """
    house.upstreams[UPSTREAMS[dialect]].behave(CUT)
    house.gateway.ask(dialect, stream=True)
    (row,) = house.rows(1)
    assert (row.status, row.error) == (502, "ReadError")
    assert row.estimated is (dialect != "responses")
    if dialect == "responses":
        assert (tokens(row), row.cost) == ((0, 0, 0, 0), None)
        return
    if dialect in NATIVE:
        assert (row.input, row.cache_read, row.cache_write) == (1234, 8901, 234)
    else:
        assert 0 < row.input < 20
    assert 10 <= row.output < 60
    assert same(row.cost, by_hand(tokens(row), PRICES[dialect]))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_its_client_cuts(house: House, dialect: str) -> None:
    """The same where the client goes away (Escape in Claude Code): what it got until then. That
    something is cached, of another model even, changes nothing of it.
    """
    house.upstreams[UPSTREAMS[dialect]].behave(Behaviour(usage=USED, events=40, delay=0.05))
    house.gateway.leave(dialect, 3)
    (row,) = house.rows(1)
    assert (row.status, row.error, row.estimated) == (499, "ClientLeft", True)
    if dialect in NATIVE:
        assert (row.input, row.cache_read, row.cache_write) == (1234, 8901, 234)
    else:
        assert 0 < row.input < 20
    assert 2 <= row.output < 40
    assert same(row.cost, by_hand(tokens(row), PRICES[dialect]))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_does_not_wait_for_the_answer_pays_for_it(house: House, dialect: str) -> None:
    """The provider answers all the same."""
    house.upstreams[UPSTREAMS[dialect]].behave(Behaviour(usage=USED, events=3, delay=0.3))
    body = {"model": dialect, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(httpx.ReadTimeout):
        house.gateway.send("POST", "/v1/messages", json=body, timeout=0.3)
    (row,) = house.rows(1)
    assert (row.status, tokens(row)) == (200, used(dialect))
    assert same(row.cost, by_hand(used(dialect), PRICES[dialect]))


def test_what_asks_no_model_is_no_row(house: House) -> None:
    """A question for the number of tokens, a list of models."""
    for model in ("anthropic", "messages"):
        assert house.gateway.count(model).status_code == 200
    assert house.gateway.send("GET", "/v1/models").status_code == 200
    house.rows(0)


def test_a_refusal_by_the_gate_has_its_row(house: House) -> None:
    """An unknown name, a path that there is not, a body that is none, one that is too large; of who
    comes without a key the first. None of them costs anything, or is a failure of a provider's.
    """
    refused = [
        (house.gateway.ask("nobody").status, 404, "not_found_error"),
        (house.gateway.send("GET", "/v1/files").status_code, 404, "not_found_error"),
        (
            house.gateway.send("POST", "/v1/messages", content=b"[]").status_code,
            400,
            "invalid_request_error",
        ),
        (
            house.gateway.send(
                "POST", "/v1/messages", content=b"[" + b"1," * 100_001 + b"1]"
            ).status_code,
            413,
            "request_too_large",
        ),
        (
            house.gateway.ask("chat", headers={"x-api-key": "wrong"}).status,
            401,
            "authentication_error",
        ),
    ]
    rows = house.rows(5)
    assert [status for status, _, _ in refused] == [row.status for row in rows]
    assert [(status, error) for _, status, error in refused] == [
        (row.status, row.error) for row in rows
    ]
    assert {(row.provider, row.cost, row.input, row.output) for row in rows} == {(None, 0, 0, 0)}
    assert [row.client for row in rows] == ["gateway"] * 4 + [NO_CLIENT]
    assert house.gateway.ask("chat", headers={"x-api-key": "wrong"}).status == 401
    house.rows(0)


def test_sessions_and_agents_are_kept(house: House) -> None:
    """Claude Code names both with each request, and an agent of an agent by its own id."""
    for agent in (None, "agent-1"):
        headers = {
            "authorization": f"Bearer {house.gateway.key}",
            "x-claude-code-session-id": "session-1",
            **({"x-claude-code-agent-id": agent} if agent else {}),
        }
        assert house.gateway.ask("chat", headers=headers).status == 200
        (row,) = house.rows(1)
        assert (row.session, row.agent, row.client) == ("session-1", agent, "gateway")


def test_everything_at_once_adds_up(house: House) -> None:
    """Many clients at a time, all dialects, two keys, a fallback and a hit: no row is lost or
    doubled, none has the tokens, session or price of another, and the sum is the sum by hand.
    """
    sent = [
        (model, session)
        for session in range(4)
        for model in (*DIALECTS, "partial", "two", "from-messages", "unknown-chat", "kept")
    ]

    def ask(number: int, model: str) -> int:
        headers = {
            "authorization": f"Bearer {house.gateway.key}",
            "x-claude-code-session-id": f"{number}-{model}",
        }
        more: Json = {"temperature": 0.75} if model == "kept" else {}
        return house.gateway.ask(model, stream=number % 2 == 0, headers=headers, **more).status

    house.gateway.ask("kept", temperature=0.75, stream=True)
    house.gateway.ask("kept", temperature=0.75)
    prices = {**PRICES, "two": PRICES["messages"], "from-messages": PRICES["chat"]}
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda one: ask(*one), [(n, m) for m, n in sent]))
    assert statuses == [200] * len(sent)
    rows = house.rows(2 + len(sent) + 4)

    wanted = 2 * by_hand(used("messages"), PRICES["kept"])
    for row in rows[2:]:
        assert row.session is not None
        number, _, model = row.session.partition("-")
        assert row.asked == model
        assert row.streamed is (int(number) % 2 == 0)
        if row.status != 200:
            assert (model, row.cost) == ("from-messages", 0.0)
            continue
        dialect = UPSTREAM_DIALECT[str(row.provider)]
        assert tokens(row) == used(dialect)
        if model == "unknown-chat":
            assert row.cost is None
        elif model == "kept":
            assert (row.cache_hit, row.cost) == (True, 0.0)
            assert same(row.saved, by_hand(used("messages"), PRICES["kept"]))
        else:
            wanted += by_hand(used(dialect), prices[model])
    total = sum((Decimal(row.cost or 0) for row in rows), Decimal(0))
    assert abs(total - wanted) < EXACT
    with closing(sqlite3.connect(house.ledger)) as connection:
        (summed,) = connection.execute(
            "SELECT SUM(cost) FROM tries WHERE id > ?", (house.seen - len(rows),)
        ).fetchone()
    assert same(summed, wanted)


UPSTREAM_DIALECT = {upstream: dialect for dialect, upstream in UPSTREAMS.items()}


def test_no_text_and_no_key_is_in_the_ledger(house: House) -> None:
    """Neither of prompts, tools and answers, nor of errors, nor the value of any key: read from the
    bytes of its files.
    """
    tool = {"name": "marker-tool", "description": "marker-of-tool", "input_schema": {}}
    sent: Json = {
        "messages": [{"role": "user", "content": "marker-of-prompt"}],
        "system": "marker-of-system",
        "metadata": {"user_id": "marker-of-user"},
        "tools": [tool],
    }
    call = Tool("marker-tool", {"command": "marker-of-call"})
    for behaviour in (
        Behaviour(reply="marker-of-answer", usage=USED),
        Behaviour(tool=call),
        Behaviour(status=400, error="marker-of-error"),
        Behaviour(reply="marker-of-cut", events=9, drop_mid_stream=True),
    ):
        for upstream in house.upstreams.values():
            upstream.behave(behaviour)
        for dialect in DIALECTS:
            for stream in (False, True):
                house.gateway.ask(dialect, stream=stream, **sent)
    rows = house.rows(4 * 2 * len(DIALECTS))
    files = list(house.ledger.parent.iterdir())
    assert {file.name for file in files} >= {"work.db", "work.db-wal"}
    written = b"".join(file.read_bytes() for file in files)
    assert str(rows[0].request).encode() in written  # they are written there
    secrets = [*gateways.KEYS.values(), *KEYS.values(), house.gateway.key]
    assert [one for one in ("marker", *secrets) if one.encode() in written] == []
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=10**30, output=5),
        Usage(input=5, output=-(10**30)),
        Usage(input=-5, output=5, cache_read=-5000, cache_write=-5000),
    ],
    ids=["more than there is", "less than nothing", "negative"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_figures_that_cannot_be_do_no_harm(house: House, usage: Usage, stream: bool) -> None:
    """No upstream can end the ledger, or pay a budget back."""
    house.upstreams["zai"].behave(Behaviour(usage=usage))
    house.gateway.ask("messages", stream=stream)
    (row,) = house.rows(1)
    assert row.cost is None or row.cost >= 0
    assert min(row.input, row.output, row.cache_read, row.cache_write) >= 0
    said = house.gateway.send("GET", "/llmswitch/state").json()["ledger"]
    assert said == {"trouble": None, "waiting": 0, "lost": 0}
