"""Each fault of a provider on one key, on one vendor, on everything: who serves, what the client
sees, and what the ledger says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from llmswitch.ledger import Try
from tests.gateways import DIALECTS, Reply
from tests.ledgers import PROVIDERS, UPSTREAMS, House
from tests.upstream import Behaviour

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


class Fault(NamedTuple):
    """What goes wrong, what the client is told of it (status, kind and words), and what LiteLLM
    makes of it for the ledger.
    """

    behaviour: Behaviour
    status: int
    kind: str
    words: str
    error: str


TOLD = "the fake upstream fails as told"
FAULTS = {
    "401": Fault(Behaviour(status=401), 401, "authentication_error", TOLD, "AuthenticationError"),
    "429": Fault(Behaviour(status=429), 429, "rate_limit_error", TOLD, "RateLimitError"),
    "500": Fault(Behaviour(status=500), 500, "api_error", TOLD, "InternalServerError"),
    "529": Fault(Behaviour(status=529), 529, "overloaded_error", TOLD, "APIError"),
    "hang": Fault(Behaviour(hang=True), 504, "api_error", "no answer within 1 s", "Timeout"),
    "drop": Fault(
        Behaviour(drop_before_first_byte=True),
        502,
        "api_error",
        "the connection broke before the answer was complete",
        "InternalServerError",
    ),
    "cut": Fault(
        Behaviour(drop_mid_stream=True, events=10, delay=0.02),
        502,
        "api_error",
        "the connection broke before the answer was complete",
        "InternalServerError",
    ),
}
MODELS = """\
  keys-{case}:
    model: zai/keys-{case}
    keys: [{{name: KEY_A, order: 1}}, {{name: KEY_B, order: 2}}]
    timeout: 1
    price: {{input: 1, output: 2}}
  vendor-{case}: {{model: zai/vendor-{case}, fallbacks: [spare], timeout: 1, price: *p}}
  all-{case}:
    {{model: zai/all-{case}, keys: [KEY_A, KEY_B], fallbacks: [last-{case}], timeout: 1, price: *p}}
  last-{case}: {{model: mine/last-{case}, timeout: 1, price: *p}}
"""
CASES = [(fault, stream) for fault in FAULTS for stream in (False, True)]
NAMES = [f"{fault}-{'stream' if stream else 'whole'}" for fault, stream in CASES]
PROFILE = (
    """\
models:
  spare: {{model: mine/spare, timeout: 1, price: &p {{input: 3, output: 4}}}}
  anthropic: {{model: an/lone, timeout: 1, price: *p}}
  messages: {{model: zai/lone, timeout: 1, price: *p}}
  chat: {{model: mine/lone, timeout: 1, price: *p}}
  responses: {{model: oai/lone, timeout: 1, price: *p}}
  litellm: {{model: grok/lone, timeout: 1, price: *p}}
MODELS
"""
    + PROVIDERS
).replace("MODELS\n", "".join(MODELS.replace("{case}", name) for name in NAMES))


def fails(answer: Reply, fault: Fault, stream: bool) -> None:
    """The client sees the provider's own failure, in Anthropic's form: by its status, or at the
    end of a stream that had begun.
    """
    if stream and fault.behaviour.drop_mid_stream:
        assert answer.status == 200
        kinds = [event["type"] for event in answer.events]
        assert kinds[0] == "message_start"
        assert kinds[-1] == "error"
        assert "message_stop" not in kinds
        error = answer.events[-1]["error"]
    else:
        assert answer.status == fault.status
        error = answer.error
    assert error["type"] == fault.kind
    assert fault.words in error["message"]
    assert "LiteLLM:" not in error["message"]  # its advice on settings that are not the profile's


def tried(row: Try) -> tuple[str, str, str | None, int, str | None, str | None]:
    """Which try a row is of, and how it ended."""
    return row.asked, row.model, row.key, row.status, row.error, row.fallback_from


def costs_nothing(row: Try) -> bool:
    """A try that brought no answer."""
    return (row.input, row.output, row.cache_read, row.cache_write, row.cost) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(("name", "stream"), CASES, ids=NAMES)
def test_one_key_of_two(house: House, name: str, stream: bool) -> None:
    """The other key serves after one wasted try, and the next request goes to it at once. Only
    where a stream has begun can nobody take over.
    """
    fault = FAULTS[name]
    case = model_of("keys", name, stream)
    house.upstreams["zai"].behave(replace(fault.behaviour, key="value-a"), case)
    answer = house.gateway.ask(case, stream=stream)
    if stream and name == "cut":
        fails(answer, fault, stream)
        assert house.keys_received() == {"zai": ["value-a"]}
        (broken,) = house.rows(1)
        assert tried(broken) == (case, case, "KEY_A", 502, "ReadError", None)
        assert broken.input == 10
        assert broken.output > 0
        assert broken.cost == pytest.approx((10 * 1 + broken.output * 2) / 1e6, abs=1e-12)
    else:
        assert answer.said.startswith(f"I am {case} at zai")
        assert house.keys_received() == {"zai": ["value-a", "value-b"]}
        failed, served = house.rows(2)
        assert tried(failed) == (case, case, "KEY_A", fault.status, fault.error, None)
        assert costs_nothing(failed)
        assert tried(served) == (case, case, "KEY_B", 200, None, None)
        assert served.cost == pytest.approx(20e-6, abs=1e-12)
        assert failed.request == served.request

    house.upstreams["zai"].clear()
    assert house.gateway.ask(case, stream=stream).said.startswith(f"I am {case} at zai")
    assert house.keys_received() == {"zai": ["value-b"]}
    assert [tried(row) for row in house.rows(1)] == [(case, case, "KEY_B", 200, None, None)]


def model_of(kind: str, fault: str, stream: bool) -> str:
    """The model of one case."""
    return f"{kind}-{fault}-{'stream' if stream else 'whole'}"


@pytest.mark.parametrize(("name", "stream"), CASES, ids=NAMES)
def test_one_vendor(house: House, name: str, stream: bool) -> None:
    """Another vendor serves after one wasted try, translated if need be; every request begins with
    the model that was asked for.
    """
    fault = FAULTS[name]
    case = model_of("vendor", name, stream)
    house.upstreams["zai"].behave(fault.behaviour, case)
    for _ in range(2):
        house.upstreams["zai"].clear()
        house.upstreams["mine"].clear()
        answer = house.gateway.ask(case, stream=stream)
        if stream and name == "cut":
            fails(answer, fault, stream)
            assert house.keys_received() == {"zai": ["value-of-zai"]}
            (broken,) = house.rows(1)
            assert tried(broken) == (case, case, "ZAI_KEY", 502, "ReadError", None)
            continue
        assert answer.said == "I am spare at mine"
        assert house.keys_received() == {"zai": ["value-of-zai"], "mine": ["own-mine"]}
        failed, served = house.rows(2)
        assert tried(failed) == (case, case, "ZAI_KEY", fault.status, fault.error, None)
        assert costs_nothing(failed)
        assert tried(served) == (case, "spare", "MINE_KEY", 200, None, case)
        assert served.cost == pytest.approx((10 * 3 + 5 * 4) / 1e6, abs=1e-12)
        assert failed.request == served.request


@pytest.mark.parametrize(("name", "stream"), CASES, ids=NAMES)
def test_everything(house: House, name: str, stream: bool) -> None:
    """Every key and every vendor is tried once, and the client sees the failure of the model that
    it asked for. Nothing is locked out by it: the next request is tried again, and served.
    """
    fault = FAULTS[name]
    case, last = model_of("all", name, stream), model_of("last", name, stream)
    house.upstreams["zai"].behave(fault.behaviour, case)
    house.upstreams["mine"].behave(fault.behaviour, last)
    fails(house.gateway.ask(case, stream=stream), fault, stream)
    if stream and name == "cut":
        assert [row.status for row in house.rows(1)] == [502]
    else:
        received = house.keys_received()
        assert sorted(received.pop("zai")) == ["value-a", "value-b"]
        assert received == {"mine": ["own-mine"]}
        *own, spilled = house.rows(3)
        for row in own:
            assert tried(row) == (case, case, row.key, fault.status, fault.error, None)
        assert {row.key for row in own} == {"KEY_A", "KEY_B"}
        assert tried(spilled)[:4] == (case, last, "MINE_KEY", fault.status)
        assert spilled.fallback_from == case
        assert all(costs_nothing(row) for row in (*own, spilled))
        assert len({row.request for row in (*own, spilled)}) == 1

    house.upstreams["zai"].behave(Behaviour(), case)
    assert house.gateway.ask(case, stream=stream).said.startswith(f"I am {case} at zai")
    assert [row.status for row in house.rows(1)] == [200]


@pytest.mark.soak
@pytest.mark.parametrize(("name", "stream"), CASES, ids=NAMES)
def test_one_hit_where_there_is_nothing_else(house: House, name: str, stream: bool) -> None:
    """With one key and no fallback the provider is asked once for each request, in every dialect:
    the client retries by itself. The ledger has one row of it.
    """
    fault = FAULTS[name]
    for dialect in DIALECTS:
        upstream = house.upstreams[UPSTREAMS[dialect]]
        upstream.behave(fault.behaviour, "lone")
        fails(house.gateway.ask(dialect, stream=stream), fault, stream)
        assert len(upstream.requests) == 1
        (row,) = house.rows(1)
        assert (row.asked, row.model, row.upstream) == (dialect, dialect, "lone")
        assert (row.key, row.provider) == (f"{upstream.name.upper()}_KEY", upstream.name)
        assert (row.streamed, row.status) == (stream, fault.status)
        assert costs_nothing(row) is not (stream and name == "cut")
