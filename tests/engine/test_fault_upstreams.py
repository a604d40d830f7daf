"""Upstreams that hang, lie, cut, flood and send what no server should: what the client sees, what
the ledger says, and that nobody else's requests are disturbed.

The wire is tests/misbehaving.py; here stands what is made of it. Where LiteLLM answers badly and
nothing supported cures it, that is asserted as it is: a new version that does better fails here.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

from tests.gateways import (
    Gateway,
    Reply,
    events,
    secrets_in,
    wait_for,
    worker_pids,
)
from tests.ledgers import House
from tests.misbehaving import (
    BOTH,
    FLOODS,
    MB,
    STREAMED,
    WHOLE,
    Fault,
    MisbehavingUpstream,
    hang,
    hang_after_head,
    hang_in_the_middle,
)
from tests.soak import size
from tests.upstream import Behaviour

pytestmark = [pytest.mark.engine, pytest.mark.soak, pytest.mark.timeout(300)]

PROFILE = """
models:
  native: {{model: raw/liar, timeout: 2, price: &p {{input: 1, output: 2}}}}
  chat: {{model: rawchat/liar, timeout: 2, price: *p}}
  patient-native: {{model: raw/liar, price: *p}}
  patient-chat: {{model: rawchat/liar, price: *p}}
  healthy: {{model: well/well, price: *p}}
providers:
  raw: {{dialect: messages, base_url: "{raw}", key: RAW_KEY}}
  rawchat: {{dialect: chat, base_url: "{raw}/v1", key: CHAT_KEY}}
  well: {{dialect: messages, base_url: "{lm}", key: WELL_KEY}}
gateway: {{port: {port}}}
"""
KEYS = {"RAW_KEY": "value-of-raw", "CHAT_KEY": "value-of-chat", "WELL_KEY": "value-of-well"}
PROMPT = "the-prompt-of-the-user"
MOST_SECONDS = 30.0  # that any answer may take, and that others may wait
EVENTS = 40  # of a bystander's answer


@dataclass
class Bystanders:
    """Clients that stream from a healthy model all the time."""

    gateway: Gateway
    answers: int = 0
    longest: float = 0.0
    """Seconds between two pieces of an answer."""
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask again and again."""
        while not self._over.is_set():
            try:
                self._ask()
            except httpx.HTTPError as error:
                self.wrong.append(repr(error))

    def _ask(self) -> None:
        text, last = b"", time.monotonic()
        with httpx.stream(
            "POST",
            f"{self.gateway.url}/v1/messages",
            headers={"authorization": f"Bearer {self.gateway.key}"},
            json=message("healthy", stream=True),
            timeout=MOST_SECONDS,
            trust_env=False,
        ) as answer:
            for part in answer.iter_raw():
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
                text += part
        deltas = [one for one in events(text.decode()) if one["type"] == "content_block_delta"]
        said = "".join(one["delta"]["text"] for one in deltas)
        if said != "fine" + "".join(f" {n}" for n in range(2, EVENTS + 1)):
            self.wrong.append(text.decode()[-500:])
        self.answers += 1

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()


@dataclass
class Scene:
    """A gateway before an upstream that misbehaves and one that does not."""

    house: House
    upstream: MisbehavingUpstream
    bystanders: Bystanders
    worker: psutil.Process

    def rows(self, after: int) -> list[Any]:
        """The ledger's rows of these models."""
        file = next(self.house.user.state.rglob("*.db"), None)
        if file is None:  # nothing was answered yet
            return []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
            ledger.row_factory = sqlite3.Row
            wanted = "SELECT * FROM tries WHERE id > ? AND model <> 'healthy' ORDER BY id"
            with suppress(sqlite3.OperationalError):  # the file is there before its table is
                return list(ledger.execute(wanted, (after,)))
        return []

    def newest(self) -> int:
        """The id of the newest row of theirs."""
        return max((row["id"] for row in self.rows(0)), default=0)

    def sockets(self) -> int:
        """How many connections the worker has to the upstream."""
        found = self.worker.net_connections("tcp")
        return sum(bool(one.raddr) and one.raddr.port == self.upstream.port for one in found)


def message(model: str, *, stream: bool) -> dict[str, Any]:
    """A request."""
    said = [{"role": "user", "content": PROMPT}]
    return {"model": model, "max_tokens": 100, "stream": stream, "messages": said}


@pytest.fixture(scope="module")
def scene(stage: House) -> Iterator[Scene]:
    """One for all tests; at its end every promise that holds for all of them is looked at."""
    with MisbehavingUpstream() as raw:
        stage.bring(PROFILE, KEYS, raw=raw.url)
        stage.upstreams["lm"].behave(Behaviour(reply="fine", events=EVENTS, delay=0.02))
        wait_for(lambda: len(worker_pids(stage.user)) == 1)  # the one before it has left
        (pid,) = worker_pids(stage.user)
        bystanders = Bystanders(stage.gateway)
        threads = [threading.Thread(target=bystanders.run, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        yield Scene(stage, raw, bystanders, psutil.Process(pid))
        bystanders.stop()
        for thread in threads:
            thread.join()


# What comes of a fault: R the right answer; U the upstream's own bytes, of which a client has to
# make sense itself; N an answer in which nothing is said; E an error, in Anthropic's form or at the
# end of a stream; P an error in plain text. For the native route whole and streamed, then for the
# translated one; R everywhere where nothing stands.
OUTCOMES = {
    "content-length too long": "EEEE",
    "content-length too short": "EUER",
    "an HTML page": "EEEN",
    "an error with 200": "EEEE",
    "nothing": "EEEN",
    "null": "EUEN",
    "a list": "EUEN",
    "a number": "EUEE",
    "an empty object": "UUEN",
    "JSON that is no message": "UUEN",
    "no content": "NUEE",
    "empty content": "NUNN",
    "content of numbers": "RUEE",
    "usage of 1.5": "RREE",
    "usage a list": "RRER",
    "status 999": "EEEE",
    "status 204": "EEEN",
    "status 304": "EEEE",
    "status 102 alone": "EEEE",
    "no HTTP": "EEEE",
    "headers of 100 KB": "EEEE",
    "a 429 for years": "EEEE",
    "gzip that is none": "EEEE",
    "a gzip bomb": "EEEE",
    "FIN in an event": "EEEE",
    "RST in an event": "EEEE",
    "FIN in a character": "EEEE",
    "FIN in a chunk": "EEEE",
    "RST in a chunk": "EEEE",
    "bytes that are no UTF-8": "ERER",
    "NUL": "ERER",
    "a lone surrogate": "PRPR",
    "silence after the head": "EEEE",
    "silence in the middle": "EEEE",
    "no message_start": " U R",
    "no end": " U R",
    "no last event": " U R",
    "events backwards": " U R",
    "every event twice": " R R",
    "events that are lists": " R E",
    "only comments": " U N",
    "CR": " U R",
    "100 MB": "E E ",
    "20 MB of HTML": "E E ",
    "20 MB that are no JSON": "E E ",
    "an error of 20 MB": "E E ",
    "100 MB in events": " E  ",
}
# Streams that a client cannot make sense of, though they say that they have ended.
ENDED = ("no message_start", "events backwards", "CR")
# Outcomes that come too: a stream may be over for LiteLLM before it is cut.
AT_TIMES = {"content-length too long": "EEER"}
WAYS = [("native", False), ("native", True), ("chat", False), ("chat", True)]
CASES = [
    *((name, fault, way) for name, fault in BOTH.items() for way in range(4)),
    *((name, fault, way) for name, fault in STREAMED.items() for way in (1, 3)),
    *((name, fault, way) for name, fault in WHOLE.items() for way in (0, 2)),
    *((name, fault, 1) for name, fault in FLOODS.items()),
]
CASES = CASES[:: size(1, 5)]


def name_of(way: int) -> str:
    """A way as people call it."""
    model, stream = WAYS[way]
    return f"{model} {'stream' if stream else 'whole'}"


def outcome(answer: Reply, *, stream: bool) -> str:  # noqa: PLR0911 - one for each kind
    """Which of these a client sees."""
    if answer.status != 200:
        assert 400 <= answer.status < 600
        if answer.headers["content-type"].startswith("text/plain"):
            return "P"
        assert answer.error["type"]
        assert answer.error["message"]
        return "E"
    assert answer.text
    if not stream:
        if answer.json.get("type") != "message":
            return "U"
        return "R" if answer.json.get("content") else "N"
    kinds = [event.get("type") for event in answer.events]
    if kinds[-1:] == ["error"]:
        assert answer.events[-1]["error"]["message"]
        return "E"
    if kinds[:1] != ["message_start"] or kinds[-1:] != ["message_stop"]:
        return "U"
    return "R" if "content_block_delta" in kinds else "N"


def ask(scene: Scene, model: str, *, stream: bool) -> Reply:
    """The answer, with those of its events that can be read."""
    response = scene.house.gateway.send("POST", "/v1/messages", json=message(model, stream=stream))
    text = response.content.decode(errors="replace")
    found = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("data: "):
            with suppress(ValueError):
                found.append(json.loads(line[6:]))
    readable = tuple(event for event in found if isinstance(event, dict))
    return Reply(response.status_code, text, readable, response.headers)


def check_row(row: Any, *, failed: bool) -> None:
    """One that can be: nothing below 0, and no cost that nobody has told the tokens of."""
    numbers = [row[name] for name in ("input", "output", "cache_read", "cache_write")]
    assert all(0 <= number < 10**9 for number in numbers)
    assert (row["status"] != 200) is failed
    assert (row["error"] is not None) is failed
    assert row["status"] == 200 or 400 <= row["status"] < 600
    prompt = numbers[0] + numbers[2] + numbers[3]
    if row["cost"] is not None:
        assert row["cost"] == pytest.approx((prompt + 2 * numbers[1]) / 1e6, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "fault", "way"), CASES, ids=[f"{n} {name_of(w)}" for n, _, w in CASES]
)
def test_what_comes_of_it(scene: Scene, name: str, fault: Fault, way: int) -> None:
    """An answer, or an error that says so, within a bound; one row of it; others notice nothing."""
    model, stream = WAYS[way]
    usual = OUTCOMES.get(name, "RRRR")
    scene.upstream.fault = fault
    before, asked = scene.newest(), scene.upstream.answered
    begun = time.monotonic()
    answer = ask(scene, model, stream=stream)
    assert time.monotonic() - begun < MOST_SECONDS
    found = outcome(answer, stream=stream)
    assert found in {usual[way], AT_TIMES.get(name, usual)[way]}, answer.text[:500]
    assert scene.upstream.answered == asked + 1  # nothing is asked twice
    if found == "E":
        assert len(answer.text) < 100 * MB
        assert "set-cookie" not in answer.headers
    wait_for(lambda: scene.rows(before), 20)
    (row,) = scene.rows(before)
    assert row["model"] == model
    check_row(row, failed=found == "E" or (found == "U" and name not in ENDED))
    if name == "content-length too short":  # a request on that connection would read what is left
        wait_for(lambda: scene.upstream.open == 0)
    assert scene.worker.is_running()
    assert worker_pids(scene.house.user) == {scene.worker.pid}
    assert not scene.bystanders.wrong
    assert scene.bystanders.longest < MOST_SECONDS


HANGS = [
    ("patient-native", hang_after_head, True),
    ("patient-native", hang_in_the_middle, True),
    ("patient-chat", hang_after_head, True),
    ("patient-chat", hang_in_the_middle, True),
    *(
        (model, fault, False)
        for model in ("native", "chat")
        for fault in (hang, hang_in_the_middle)
    ),
    ("native", hang, True),
    ("chat", hang, True),
]


@pytest.mark.parametrize(("model", "fault", "stream"), HANGS)
def test_a_client_that_leaves_takes_the_upstream_connection_along(
    scene: Scene, model: str, fault: Fault, stream: bool
) -> None:
    """The upstream is silent for ever. A stream is let go at once; before its head, and where none
    is asked for, LiteLLM 1.106 waits for the model's `timeout`.
    """
    before = scene.sockets()
    scene.upstream.fault = fault
    with pytest.raises(httpx.ReadTimeout), httpx.Client(trust_env=False, timeout=0.5) as client:
        client.post(
            f"{scene.house.gateway.url}/v1/messages",
            headers={"authorization": f"Bearer {scene.house.gateway.key}"},
            json=message(model, stream=stream),
        )
    wait_for(lambda: scene.sockets() <= before, 20)


def test_a_log_of_all_this_holds_no_prompt_and_no_key(scene: Scene) -> None:
    """Whatever the errors said. The others were served all the time."""
    assert secrets_in(scene.house.log, PROMPT, scene.house.gateway.key, *KEYS.values()) == []
    served = scene.bystanders.answers
    wait_for(lambda: scene.bystanders.answers > served + 2)
    assert not scene.bystanders.wrong
