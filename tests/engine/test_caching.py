"""Answers that are given again: to whom, for how long, and what happens without the cache."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psutil
import pytest
import redis

from llmswitch.ledger import Try
from tests.clients import unavailable
from tests.conftest import free_port
from tests.engine.test_routes import TOOLS, tool_use
from tests.gateways import DIALECTS, wait_for
from tests.ledgers import PROVIDERS, House
from tests.upstream import Behaviour, Json, Tool, Usage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROFILE = (
    """\
models:
  anthropic: {{model: an/m, price: &p {{input: 3, output: 15, cache_read: 1, cache_write: 4}}}}
  messages: {{model: zai/m, price: *p}}
  chat: {{model: mine/m, price: *p}}
  responses: {{model: oai/m, price: *p}}
  litellm: {{model: grok/m, price: *p}}
"""
    + PROVIDERS
)
UNCACHED = PROFILE
PROFILE += "cache: {{type: local, ttl: 2}}\n"
REDIS = UNCACHED + "cache: {{type: redis, host: 127.0.0.1, port: {redis}, key: REDIS_KEY}}\n"
PASSWORD = "password-of-redis"
KEYS = {"REDIS_KEY": PASSWORD}
PRICE = (10 * 3 + 5 * 15) / 1e6  # of one answer of a fake upstream


def hits(house: House) -> int:
    """How many requests have reached a provider."""
    return sum(len(upstream.requests) for upstream in house.upstreams.values())


def kept() -> None:
    """Wait: an answer is kept a moment after it was given."""
    time.sleep(0.3)


STREAMED = (False, True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_request_gets_the_same_answer(house: House, dialect: str) -> None:
    """To the letter, without the provider, for nothing, streamed or not; a request that differs
    does not.
    """
    first = [house.gateway.ask(dialect, stream=stream) for stream in STREAMED]
    kept()
    again = [house.gateway.ask(dialect, stream=stream) for stream in STREAMED]
    assert [answer.said[:10] for answer in first] == ["I am m at "] * 2
    assert [answer.text for answer in again] == [answer.text for answer in first]
    assert hits(house) == 2
    *paid, whole, streamed = house.rows(4)
    assert [found(row) for row in paid] == [(False, pytest.approx(PRICE), None)] * 2
    for row in (whole, streamed):
        assert found(row) == (True, 0.0, pytest.approx(PRICE))
        assert (row.status, row.asked, row.key) == (200, dialect, paid[0].key)
    assert house.gateway.ask(dialect, system="other").status == 200
    assert hits(house) == 3
    assert house.rows(1)[0].cache_hit is False


OTHERWISE: Json = {
    "system": "be brief",
    "messages": [{"role": "user", "content": "ho"}],
    "max_tokens": 101,
    "temperature": 0.5,
    "tools": TOOLS,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["END"],
    "top_k": 3,
}


@pytest.mark.parametrize("dialect", ["anthropic", "messages"])
def test_a_request_that_differs_in_any_field_is_another(house: House, dialect: str) -> None:
    """Every field that an Anthropic-compatible provider is sent."""
    house.gateway.ask(dialect)
    kept()
    for number, (field, value) in enumerate(OTHERWISE.items(), start=2):
        assert house.gateway.ask(dialect, **{field: value}).status == 200
        assert hits(house) == number, field


def test_what_is_kept_runs_out(house: House) -> None:
    """After the profile's `ttl`."""
    house.gateway.ask("chat", system="for a while")
    kept()
    house.gateway.ask("chat", system="for a while")
    assert hits(house) == 1
    time.sleep(2.2)
    house.gateway.ask("chat", system="for a while")
    assert hits(house) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tool_call_is_given_again(house: House, dialect: str) -> None:
    """That is what `validate` warns of: the client runs the command of the first answer again."""
    call = Tool("Bash", {"command": "rm the-file"})
    for upstream in house.upstreams.values():
        upstream.behave(Behaviour(tool=call, usage=Usage()))
    more: Json = {"tools": TOOLS, "system": "run"}
    first = [house.gateway.ask(dialect, stream=stream, **more) for stream in STREAMED]
    kept()
    for before, stream in zip(first, STREAMED, strict=True):
        use, _ = tool_use(house.gateway.ask(dialect, stream=stream, **more))
        assert (use["name"], use["input"]) == ("Bash", call.input)
        assert use["id"] == tool_use(before)[0]["id"]
    assert hits(house) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_whole_answers_are_kept(house: House, dialect: str) -> None:
    """Neither a refusal nor a stream that broke off."""
    for fault in (Behaviour(status=500), Behaviour(drop_mid_stream=True, events=6, delay=0.02)):
        for upstream in house.upstreams.values():
            upstream.clear()
            upstream.behave(fault)
        house.gateway.ask(dialect, stream=True, system=str(fault.status))
        kept()
        for upstream in house.upstreams.values():
            upstream.behave(Behaviour())
        again = house.gateway.ask(dialect, stream=True, system=str(fault.status))
        assert again.said.startswith("I am m at ")
        assert hits(house) == 2


@pytest.mark.parametrize("cache", [{"no-cache": True}, {"no-store": True}, {"namespace": "mine"}])
def test_a_client_cannot_switch_it_off(house: House, cache: Json) -> None:
    """`cache` in a request is LiteLLM's word; here the profile decides."""
    for _ in range(2):
        assert house.gateway.ask("messages", system=str(cache), cache=cache).status == 200
        kept()
    assert hits(house) == 1
    body = house.upstreams["zai"].requests[0].body or {}
    assert "cache" not in body


def test_off_unless_the_profile_says_so_and_for_the_models_that_it_names(house: House) -> None:
    """No client can switch it on either; what is kept of one model is not another's."""
    named = UNCACHED + "cache: {{type: local, models: [chat]}}\n"
    for profile, expected in ((UNCACHED, (2, 4)), (named, (1, 3))):
        house.bring(profile)
        for model, asked_for in zip(("chat", "messages"), expected, strict=True):
            for _ in range(2):
                house.gateway.ask(model, cache={"use-cache": True})
                kept()
            assert hits(house) == asked_for
    house.bring(PROFILE, KEYS)


@contextmanager
def running_redis(port: int) -> Iterator[psutil.Process]:
    """A Redis with a password, on this machine alone, that keeps nothing on disk."""
    options = {"bind": "127.0.0.1", "requirepass": PASSWORD, "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    started = subprocess.Popen(
        ["redis-server", "--port", str(port), *words], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: asked(port, "PING"), 20)
        yield psutil.Process(started.pid)
    finally:
        started.send_signal(signal.SIGCONT)
        started.kill()
        started.wait()


def asked(port: int, *words: str | bytes) -> Any:
    """What Redis answers; None where it does not."""
    with closing(redis.Redis("127.0.0.1", port, password=PASSWORD)) as client:
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            return None


@pytest.fixture
def redis_port() -> int:
    """A port for a Redis."""
    if shutil.which("redis-server") is None:
        unavailable("redis-server is not installed")
    return free_port()


@pytest.fixture
def redis_house(house: House, redis_port: int) -> Iterator[tuple[House, psutil.Process]]:
    """A gateway that caches in a Redis, and that Redis."""
    with running_redis(redis_port) as server:
        house.bring(REDIS, KEYS, redis=redis_port)
        yield house, server
    house.bring(PROFILE, KEYS)


def test_redis_keeps_answers_across_a_restart_and_may_be_gone(
    redis_house: tuple[House, psutil.Process], redis_port: int
) -> None:
    """It is asked with the password that the profile names, which is written nowhere. When it is
    gone no request waits for it, and a gateway starts without it, and says so.
    """
    house, server = redis_house
    for stream in (False, True):
        house.gateway.ask("chat", stream=stream)
    wait_for(lambda: len(answers(redis_port)) >= 2, 10)
    kept()
    kept_for = {key: asked(redis_port, "TTL", key) for key in answers(redis_port)}
    assert {key: ttl for key, ttl in kept_for.items() if not 0 < ttl <= 300} == {}
    house.rows(2)
    assert house.user.run("restart").returncode == 0
    for stream in (False, True):
        assert house.gateway.ask("chat", stream=stream).said == "I am m at mine"
    assert len(house.upstreams["mine"].requests) == 2
    assert [found(row) for row in house.rows(2)] == [(True, 0.0, pytest.approx(PRICE))] * 2

    server.kill()
    server.wait()
    for number in range(4):
        assert house.gateway.ask("chat", system=f"gone {number}").said == "I am m at mine"
    assert [row.cache_hit for row in house.rows(4)] == [False] * 4
    state = [file for file in house.user.state.rglob("*") if file.is_file()]
    assert [file for file in state if PASSWORD.encode() in file.read_bytes()] == []
    assert 0 < sum("redis" in line.lower() for line in house.log.splitlines()) < 20
    master = psutil.Process(house.user.gateway_state()["pid"])
    commands = [" ".join(one.cmdline()) for one in (master, *master.children())]
    assert PASSWORD not in " ".join(commands)
    assert house.user.run("restart").returncode == 0
    assert house.gateway.ask("chat").said == "I am m at mine"
    assert "Error connecting to Sync Redis client" in house.log


@pytest.mark.soak
def test_a_redis_that_hangs_is_left_alone(redis_house: tuple[House, psutil.Process]) -> None:
    """A few requests wait for seconds, then none does; all are answered by the provider."""
    house, server = redis_house
    server.suspend()
    waited = [seconds_for(house, f"hung {number}") for number in range(8)]
    server.resume()
    assert max(waited) < 10
    assert max(waited[-3:]) < max(waited[:3])
    assert len(house.upstreams["mine"].requests) == 8


def answers(port: int) -> list[bytes]:
    """The keys of the answers that Redis keeps; LiteLLM keeps numbers of its own there too."""
    found = asked(port, "KEYS", "llmswitch:*") or []
    return [key for key in found if re.fullmatch(rb"llmswitch:[0-9a-f]{64}", key)]


def found(row: Try) -> tuple[Any, ...]:
    """Whether a row is of a hit, what it cost and what it saved."""
    return row.cache_hit, row.cost, row.saved


def seconds_for(house: House, prompt: str) -> float:
    """How long an answer of the provider takes."""
    begun = time.monotonic()
    assert house.gateway.ask("chat", system=prompt).said == "I am m at mine"
    return time.monotonic() - begun
