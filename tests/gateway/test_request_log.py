"""The line that the gateway's log has for each request, and what else is in that log."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmswitch.ledger import reading
from llmswitch.request_line import Request, parsed
from tests.conftest import Mission, User
from tests.gateways import KEYS, Gateway, Lab, open_lab, secrets_in, wait_for, worker_pids
from tests.upstream import Behaviour

pytestmark = pytest.mark.timeout(300)
SECRET_TEXT = "a prompt that an upstream repeats"
_GUNICORN = re.compile(r"\[\d{4}-\d\d-\d\d [\d:]+ \+0000\] \[\d+\] \[\w+\] .+")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gateway with models of every dialect and fallbacks."""
    yield from open_lab(tmp_path_factory.mktemp("lab"))


def log_of(user: User) -> Path:
    """The log of a user's gateway."""
    return user.run_folder() / "gateway.log"


def told(user: User, session: str) -> Request:
    """The one line that a request of a session has."""

    def found() -> list[Request]:
        lines = log_of(user).read_text().split("\n")
        return [one for line in lines if (one := parsed(line)) and one.session == session]

    wait_for(found)
    [line] = found()
    return line


def headers(gateway: Gateway, session: str) -> dict[str, str]:
    """Those of a request of a session."""
    return {"authorization": f"Bearer {gateway.key}", "x-claude-code-session-id": session}


def shape(request: Request) -> Request:
    """The same without what is different each time."""
    return request._replace(time="", first_byte=None, seconds=None)


ANSWERED = Request(
    time="",
    method="POST",
    path="/v1/messages",
    status=200,
    model="messages",
    served="messages",
    provider="zai",
    upstream="glm-4.7",
    tries=1,
    client="gateway",
    input=10,
    output=5,
    cache_read=0,
    cache_write=0,
    cost=0.000017,
)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer(lab: Lab, stream: bool) -> None:
    """Who asked for what, who answered, how long it took and what it cost."""
    session = f"answer-{stream}"
    reply = lab.gateway.ask("messages", stream=stream, headers=headers(lab.gateway, session))
    assert reply.status == 200
    line = told(lab.user, session)
    assert shape(line) == ANSWERED._replace(session=session)
    assert line.first_byte is not None
    assert line.seconds is not None
    assert 0 < line.first_byte <= line.seconds < 60
    assert not line.failed


def test_a_fallback(lab: Lab) -> None:
    """The model that was asked for, the one that answered, and both tries; it is no error."""
    lab.upstreams["an"].behave(Behaviour(status=529, error=SECRET_TEXT))
    reply = lab.gateway.ask("from-anthropic", headers=headers(lab.gateway, "fallback"))
    lab.upstreams["an"].heal()
    assert reply.status == 200
    line = told(lab.user, "fallback")
    assert shape(line) == ANSWERED._replace(session="fallback", model="from-anthropic", tries=2)


def test_a_failure(lab: Lab) -> None:
    """Its kind, and none of the upstream's words, nor LiteLLM's traceback."""
    words = f"{SECRET_TEXT} {' '.join(KEYS.values())}"
    for number, (behaviour, stream, status, error) in enumerate(
        [
            (Behaviour(status=500, error=words), False, 500, "InternalServerError"),
            (Behaviour(status=429, error=words), True, 429, "RateLimitError"),
            (Behaviour(drop_mid_stream=True, events=9, delay=0.02), True, 200, "ReadError"),
        ]
    ):
        lab.upstreams["zai"].behave(behaviour)
        session = f"failure-{number}"
        lab.gateway.ask("messages", stream=stream, headers=headers(lab.gateway, session))
        lab.upstreams["zai"].heal()
        line = told(lab.user, session)
        assert (line.status, line.error, line.served, line.tries) == (status, error, "messages", 1)
        assert line.failed
    shown = lab.user.run("logs", "--errors", "--session", "failure-").stdout.splitlines()
    assert len(shown) == 3
    text = log_of(lab.user).read_text()
    assert secrets_in(text, SECRET_TEXT, lab.gateway.key, *KEYS.values(), "Traceback") == []


def test_what_is_refused(lab: Lab) -> None:
    """A key that opens nothing, a name that there is not, a path that is nothing; a name that is
    none is left out, since it may be anything.
    """
    lab.gateway.send("GET", "/v1/models?a=b", headers={"x-claude-code-session-id": "no-key"})
    wait_for(lambda: "status=401" in log_of(lab.user).read_text())
    lines = [one for line in log_of(lab.user).read_text().split("\n") if (one := parsed(line))]
    [refused] = [line for line in lines if line.status == 401]
    assert shape(refused) == Request(
        time="", method="GET", path="/v1/models", status=401, error="authentication_error"
    )
    for number, (name, shown) in enumerate(
        [("nope", "nope"), (SECRET_TEXT, None), ("sk-ant-api03-of-mine", None)]
    ):
        session = f"refused-{number}"
        lab.gateway.ask(name, headers=headers(lab.gateway, session))
        line = told(lab.user, session)
        assert (line.status, line.model, line.error) == (404, shown, "not_found_error")
        assert line.tries is None
    lab.gateway.send("POST", "/nowhere", headers=headers(lab.gateway, "nowhere"))
    line = told(lab.user, "nowhere")
    assert (line.method, line.path, line.status) == ("POST", "/nowhere", 404)


def test_no_client_writes_a_line(lab: Lab) -> None:
    """A path, a session and a model that hold a line end and a line stay within their own."""
    forged = "2026-11-02T09:00:00.000Z request method=GET path=/forged status=200"
    lab.gateway.send("GET", f"/x%0A{forged}%0Ax", headers=headers(lab.gateway, f'1" {forged}'))
    lab.gateway.ask(f"x\n{forged}\nx", headers=headers(lab.gateway, "forger"))
    assert told(lab.user, f'1" {forged}').path == f"/x\n{forged}\nx"
    assert told(lab.user, "forger").status == 404
    lines = log_of(lab.user).read_text().splitlines()
    assert [line for line in lines if (one := parsed(line)) and one.path == "/forged"] == []


@pytest.mark.parametrize("when", ["before the answer", "in its midst"])
def test_a_client_that_leaves(lab: Lab, when: str) -> None:
    """It is said so once that is noticed, and is no error."""
    lab.clear()
    lab.upstreams["zai"].behave(Behaviour(events=40, delay=0.05))
    question = {"role": "user", "content": "x"}
    stream = when == "in its midst"
    body = {"model": "messages", "max_tokens": 9, "stream": stream, "messages": [question]}
    text = json.dumps(body)
    more = {"host": "x", "content-length": str(len(text))}
    sent = "".join(f"{k}: {v}\r\n" for k, v in {**headers(lab.gateway, when), **more}.items())
    with socket.create_connection(("127.0.0.1", lab.port)) as client:
        client.sendall(f"POST /v1/messages HTTP/1.1\r\n{sent}\r\n{text}".encode())
        wait_for(lambda: lab.upstreams["zai"].requests)
        if stream:
            client.recv(100)
    line = told(lab.user, when)
    lab.upstreams["zai"].behave(Behaviour())
    assert (line.left, line.error, line.failed) == (True, None, False)


def test_the_log_holds_nothing_else(lab: Lab) -> None:
    """Neither LiteLLM's banner nor its warnings, and no line of those who ask whether it lives."""
    before = log_of(lab.user).stat().st_size
    for path in ("/health/liveliness", "/health/readiness", "/llmswitch/state"):
        assert lab.gateway.send("GET", path).status_code == 200
    assert lab.user.run("status").returncode == 0
    lab.gateway.ask("chat", headers=headers(lab.gateway, "after-probes"))
    assert told(lab.user, "after-probes").status == 200
    log = log_of(lab.user)
    assert log.read_bytes()[before:].count(b"\n") == 1
    others = [line for line in log.read_text().splitlines() if not parsed(line)]
    assert [line for line in others if not _GUNICORN.fullmatch(line)] == []
    assert len(others) < 12


def ask(mission: Mission, session: str, model: str = "glm-4.7") -> int:
    """Ask a mission's gateway in a session; the status."""
    gateway = Gateway(mission.url, mission.user.gateway_key())
    return gateway.ask(model, headers=headers(gateway, session)).status


def rows(user: User) -> int:
    """How many rows the ledger has."""
    with reading(user.state / "ledger" / "work.db") as ledger:
        assert ledger is not None
        count: int = ledger.execute("SELECT count(*) FROM tries").fetchone()[0]
    return count


def test_from_start_to_start(mission: Mission) -> None:
    """What was answered last is in the log and in the ledger when a worker leaves, at a reload and
    at `down`; a large log is put aside and all go on with a new one, to which the next start adds;
    `-v` has LiteLLM say everything.
    """
    user, log = mission.user, log_of(mission.user)
    assert user.run("up").returncode == 0
    assert ask(mission, "before-reload") == 200
    mission.write("budgets: [{usd: 99, per: day}]\n")
    assert user.run("up").stdout.startswith("reloaded on ")
    assert told(user, "before-reload").output == 5
    wait_for(lambda: rows(user) == 1)

    with log.open("ab") as more:
        more.write(b"x" * 10_000_000 + b"\n")
    aside = log.with_name("gateway.log.1")
    wait_for(lambda: aside.exists() and log.exists())
    assert aside.stat().st_size > 10_000_000
    assert log.stat().st_mode & 0o777 == 0o600
    assert ask(mission, "after-rotation") == 200
    assert told(user, "after-rotation").status == 200
    wait_for(lambda: rows(user) == 2)  # what is younger than a second may be lost
    [worker] = worker_pids(user)
    os.kill(worker, signal.SIGKILL)  # the master writes to the new one too
    wait_for(lambda: f"({worker})" in log.read_text() or f"pid:{worker}" in log.read_text())
    wait_for(lambda: ask(mission, "after-death") == 200)
    assert told(user, "after-death").status == 200

    log.rename(log.with_name("gateway.log.2"))  # by hand
    wait_for(log.exists)
    assert ask(mission, "before-down") == 200
    assert user.run("down").returncode == 0
    text = log.read_text()
    assert [one.output for line in text.split("\n") if (one := parsed(line))] == [5]
    assert "Shutting down: Master" in text
    assert rows(user) == 4

    mission.zai.behave(Behaviour(status=500, error=SECRET_TEXT))
    done = user.run("up", "-v")
    assert done.stdout.startswith("started on ")
    assert ask(mission, "verbose") == 500
    assert told(user, "verbose").error == "InternalServerError"
    assert log.read_text().startswith(text)
    said = log.read_text()[len(text) :]
    assert SECRET_TEXT in said
    assert "Traceback" in said
    assert "Proxy initialized with Config" in said
    again = user.run("up", "-v").stdout.splitlines()
    assert again[-1] == "its log is as it was started; for all of it: llmswitch restart -v"
    mission.zai.heal()
    before = log.stat().st_size
    assert user.run("restart").stdout.startswith("restarted on ")
    assert "Proxy initialized" not in log.read_text()[before:]
    user.run("down")


def test_a_killed_gateway_loses_little(mission: Mission) -> None:
    """What was answered half a second before is in the log."""
    user = mission.user
    assert user.run("up").returncode == 0
    assert ask(mission, "before") == 200
    time.sleep(1.0)
    os.killpg(user.gateway_state()["pid"], signal.SIGKILL)
    assert told(user, "before").output == 5
