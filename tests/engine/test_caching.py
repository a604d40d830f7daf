"""Answers that are given again: to whom, for how long, and what happens without the cache."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from llmswitch.ledger import Try
from tests.clients import unavailable
from tests.conftest import free_port
from tests.engine.test_routes import TOOLS, tool_use
from tests.gateways import DIALECTS, wait_for
from tests.ledgers import PROVIDERS, UPSTREAMS, House, open_house
from tests.upstream import Behaviour, Json, Tool, Usage

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("caching"), pytest.mark.timeout(300)]

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
PASSWORD = "password-of-redis"
NAMES = [*UPSTREAMS.values()]
KEYS = {f"{name.upper()}_KEY": f"value-{name}" for name in NAMES} | {"REDIS_KEY": PASSWORD}
PRICE = (10 * 3 + 5 * 15) / 1e6  # of one answer of a fake upstream


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway that caches the answers of every model for two seconds."""
    profile = PROFILE + "cache: {{type: local, ttl: 2}}\n"
    yield from open_house(tmp_path_factory.mktemp("caching"), NAMES, profile, KEYS)


@pytest.fixture
def house(shared: House) -> House:
    """The same with every upstream well."""
    shared.heal()
    return shared


def hits(house: House) -> int:
    """How many requests have reached a provider."""
    return sum(len(upstream.requests) for upstream in house.upstreams.values())


def kept() -> None:
    """Wait: an answer is kept a moment after it was given."""
    time.sleep(0.3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_request_gets_the_same_answer(house: House, dialect: str, stream: bool) -> None:
    """To the letter, without the provider, for nothing; a request that differs does not."""
    first = house.gateway.ask(dialect, stream=stream)
    kept()
    again = house.gateway.ask(dialect, stream=stream)
    assert first.said.startswith("I am m at ")
    assert again.text == first.text
    assert hits(house) == 1
    paid, free = house.rows(2)
    assert found(paid) == (False, pytest.approx(PRICE), None)
    assert found(free) == (True, 0.0, pytest.approx(PRICE))
    assert (free.status, free.asked, free.key) == (200, dialect, paid.key)
    assert house.gateway.ask(dialect, stream=stream, system="other").status == 200
    assert hits(house) == 2
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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tool_call_is_given_again(house: House, dialect: str, stream: bool) -> None:
    """That is what `validate` warns of: the client runs the command of the first answer again."""
    call = Tool("Bash", {"command": "rm the-file"})
    for upstream in house.upstreams.values():
        upstream.behave(Behaviour(tool=call, usage=Usage()))
    first = house.gateway.ask(dialect, stream=stream, tools=TOOLS, system="run")
    kept()
    again = house.gateway.ask(dialect, stream=stream, tools=TOOLS, system="run")
    assert hits(house) == 1
    use, _ = tool_use(again)
    assert (use["name"], use["input"]) == ("Bash", call.input)
    assert use["id"] == tool_use(first)[0]["id"]


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


def test_off_unless_the_profile_says_so_and_for_the_models_that_it_names(tmp_path: Path) -> None:
    """No client can switch it on either; what is kept of one model is not another's."""
    for house in open_house(tmp_path, NAMES, PROFILE, KEYS):
        for _ in range(2):
            house.gateway.ask("chat", cache={"use-cache": True})
            kept()
        assert hits(house) == 2
        file = house.user.root / "llmswitch/profiles/work.yaml"
        file.write_text(file.read_text() + "cache: {type: local, models: [chat]}\n")
        assert house.user.run("up").returncode == 0
        house.heal()
        for model, expected in (("chat", 1), ("messages", 3)):
            for _ in range(2):
                house.gateway.ask(model, cache={"use-cache": True})
                kept()
            assert hits(house) == expected


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


def test_redis_keeps_answers_across_a_restart_and_may_fail(tmp_path: Path, redis_port: int) -> None:
    """It is asked with the password that the profile names, which is written nowhere. When it hangs
    a few requests wait for seconds, when it is gone none does; all are answered by the provider.
    """
    cache = f"cache: {{{{type: redis, host: 127.0.0.1, port: {redis_port}, key: REDIS_KEY}}}}\n"
    with running_redis(redis_port) as server:
        for house in open_house(tmp_path, NAMES, PROFILE + cache, KEYS):
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

            server.suspend()
            waited = [seconds_for(house, f"hung {number}") for number in range(8)]
            assert max(waited) < 10
            assert max(waited[-3:]) < 2  # LiteLLM has left it alone
            server.resume()
            server.kill()
            server.wait()
            waited = [seconds_for(house, f"gone {number}") for number in range(4)]
            assert max(waited) < 2
            assert len(house.upstreams["mine"].requests) == 2 + 12
            assert [row.cache_hit for row in house.rows(12)] == [False] * 12

            state = [file for file in house.user.state.rglob("*") if file.is_file()]
            assert [file for file in state if PASSWORD.encode() in file.read_bytes()] == []
            log = (house.user.run_folder() / "gateway.log").read_text()
            assert 0 < sum("redis" in line.lower() for line in log.splitlines()) < 20
            master = psutil.Process(house.user.gateway_state()["pid"])
            commands = [" ".join(one.cmdline()) for one in (master, *master.children())]
            assert PASSWORD not in " ".join(commands)


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


def test_a_gateway_starts_without_its_redis(tmp_path: Path, redis_port: int) -> None:
    """Some seconds later than with it, and its log says why; it serves as if nothing was cached."""
    cache = f"cache: {{{{type: redis, host: 127.0.0.1, port: {redis_port}, key: REDIS_KEY}}}}\n"
    for house in open_house(tmp_path, NAMES, PROFILE + cache, KEYS):
        for _ in range(2):
            assert house.gateway.ask("chat").said == "I am m at mine"
        log = (house.user.run_folder() / "gateway.log").read_text()
        assert "Error connecting to Sync Redis client" in log
