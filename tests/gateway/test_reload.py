"""Reload, restart and sudden death: no request is lost by our doing."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest

from tests.conftest import KEYS, Mission, lasting_mission
from tests.gateways import Gateway, Reply, running_below, secrets_in, timed, wait_for, worker_pids
from tests.traffic import Traffic
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("reload"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose gateway runs; every test finds it as the ready-made profile says."""
    yield from lasting_mission(tmp_path_factory.mktemp("reload"))


@pytest.fixture
def running(shared: Mission) -> Mission:
    """The shared mission with its gateway running and up to date, and healthy upstreams."""
    shared.user.keys = dict(KEYS)
    shared.write()
    done = shared.user.run("up")
    assert done.returncode == 0, done.stderr
    for upstream in shared.upstreams:
        upstream.clear()
        upstream.behave(Behaviour())
        upstream.behave(Behaviour(), "glm-4.7")
    return shared


def gateway_of(mission: Mission) -> Gateway:
    """The gateway as a client sees it."""
    return Gateway(mission.url, mission.user.gateway_key())


def traffic_of(mission: Mission) -> Traffic:
    """Short streams of two clients, one after the other."""
    key = mission.user.gateway_key()
    return Traffic(mission.port, key, "I am qwen3 at mine", ("qwen",), clients=2)


@dataclass
class Stream:
    """A slow stream of GLM-4.7, read in the background: `events` deltas at a pause of `delay`."""

    mission: Mission
    events: int = 50
    delay: float = 0.1

    def __enter__(self) -> Self:
        upstream = self.mission.zai
        seen = len(upstream.requests)
        upstream.behave(Behaviour(reply="1", events=self.events, delay=self.delay), "glm-4.7")
        self.pool = ThreadPoolExecutor(1)
        gateway = gateway_of(self.mission)
        self.answer = self.pool.submit(gateway.ask, "glm-4.7", stream=True)
        wait_for(lambda: len(upstream.requests) > seen)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()

    @property
    def runs(self) -> bool:
        """Whether it is still on its way."""
        return not self.answer.done()

    def whole(self) -> Reply:
        """The answer, of which nothing may be missing."""
        answer = self.answer.result(timeout=60)
        assert answer.said == "1" + "".join(f" {number}" for number in range(2, self.events + 1))
        assert answer.events[-1]["type"] == "message_stop"
        return answer


def change(mission: Mission, old: str, new: str) -> Path:
    """Edit the profile."""
    file = mission.user.root / "llmswitch" / "profiles" / "work.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def only_one_worker(mission: Mission) -> int:
    """The pid of the one worker, once the others have finished what they had."""
    wait_for(lambda: len(worker_pids(mission.user)) == 1)
    (pid,) = worker_pids(mission.user)
    folder = mission.user.run_folder() / "workers"
    wait_for(lambda: [f.name for f in folder.iterdir() if f.name.isdigit()] == [str(pid)])
    return pid


# ------------------------------------------------------------------ reload


def test_changed_profile(running: Mission) -> None:
    """A profile that was changed is not current until `up` has reloaded it; then one new worker
    serves the new models, behind the same master and port.
    """
    user = running.user
    master, worker = user.gateway_state()["pid"], only_one_worker(running)
    change(running, "qwen: {model: mine/qwen3", "coder: {model: mine/coder-9")
    assert user.json("status")["current"] is False
    assert "; the profile has changed since    -> llmswitch up\n" in user.run("status").stdout
    with timed("a reload"):
        done = user.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"reloaded work on 127.0.0.1:{running.port}, pid {master}; ")
    found = user.json("status")
    assert (found["current"], found["pid"]) == (True, master)
    assert [row["name"] for row in found["models"]][-1] == "coder"
    assert only_one_worker(running) != worker
    gateway = gateway_of(running)
    assert gateway.ask("coder").said == "I am coder-9 at mine"
    assert gateway.ask("qwen").status == 404


def test_no_request_is_lost(running: Mission) -> None:
    """While a stream runs the gateway is reloaded twice: the stream comes whole, and of all short
    requests meanwhile none is refused, broken or answered with an error.
    """
    first = only_one_worker(running)
    with traffic_of(running) as traffic, Stream(running, events=120) as stream:
        traffic.wait_for_more(10)
        for label in ("One", "Two"):
            change(running, "label: GLM-4.5 Air", f"label: {label} # GLM-4.5 Air")
            assert running.user.json("up")["did"] == "reloaded"
            assert stream.runs
            change(running, f"label: {label} # GLM-4.5 Air", "label: GLM-4.5 Air")
        traffic.wait_for_more(20)
        stream.whole()
    assert (traffic.wrong, traffic.cuts) == ([], [])
    assert only_one_worker(running) != first


def test_a_request_on_a_connection_that_is_there_already_is_not_lost(running: Mission) -> None:
    """Opened before the reload, used in the very moment in which its worker is told to leave."""
    only_one_worker(running)
    wanted = running.user.run_folder() / "workers" / "wanted"
    gateway = gateway_of(running)
    body = json.dumps(
        {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    )
    request = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        f"Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    with ExitStack() as stack:
        waiting = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 60))
            for _ in range(20)
        ]
        change(running, "label: GLM-4.5 Air", "label: Another # GLM-4.5 Air")
        pool = stack.enter_context(ThreadPoolExecutor(1))
        done = pool.submit(running.user.run, "up")
        wait_for(lambda: wanted.read_text() == "2")
        while wanted.read_text() != "1":
            time.sleep(0.001)
        time.sleep(0.1)  # the worker has its signal by now
        for connection in waiting:
            connection.sendall(request)
        answers = [connection.makefile("rb").read() for connection in waiting]
        assert done.result().returncode == 0
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 20


def test_a_connection_that_is_kept_is_not_lost(running: Mission) -> None:
    """A client that keeps its connection asks again the moment a stream has ended whose worker was
    told to leave meanwhile: it is answered, and told to come on another connection the next time.
    """
    only_one_worker(running)
    gateway = gateway_of(running)
    running.zai.behave(Behaviour(events=40, delay=0.1), "glm-4.7")
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {gateway.key}"}
    url = f"{gateway.url}/v1/messages"
    with httpx.Client(trust_env=False, timeout=60) as client:
        slow = {"model": "glm-4.7", "stream": True, **body}
        with client.stream("POST", url, headers=headers, json=slow) as stream:
            parts = stream.iter_raw()
            next(parts)
            port = stream.extensions["network_stream"].get_extra_info("client_addr")[1]
            change(running, "label: GLM-4.5 Air", "label: Kept # GLM-4.5 Air")
            assert running.user.json("up")["did"] == "reloaded"
            assert b"message_stop" in b"".join(parts)
        for kept in (True, False):
            asked = {"model": "opus", **body}
            with client.stream("POST", url, headers=headers, json=asked) as answer:
                where = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
                assert answer.status_code == 200
                assert (where == port, answer.headers.get("connection") == "close") == (kept, kept)
                answer.read()


def test_change_that_is_not_the_engines(running: Mission) -> None:
    """A comment or a role changes nothing of the engine: no worker is replaced, and `status` is
    content again.
    """
    worker = only_one_worker(running)
    change(running, "default: glm-4.7,", "default: opus,  # mine\n  ")
    assert running.user.json("status")["current"] is False
    done = running.user.run("up")
    assert done.stdout.startswith("already running work on ")
    found = running.user.json("status")
    assert (found["current"], found["default"]) == (True, "opus")
    assert only_one_worker(running) == worker


def test_keys_come_and_stay(running: Mission) -> None:
    """A key that is set in the shell makes its model available by `up`, without a restart, and
    leaves no file behind; `up` from a shell without keys takes no model away; a key that was
    changed is used from then on; `restart` takes the keys of its shell alone.
    """
    user, gateway = running.user, gateway_of(running)
    master = user.gateway_state()["pid"]
    change(running, "models:", "models:\n  new: {model: late/m, label: New}")
    provider = f'late: {{dialect: chat, base_url: "{running.mine.url}/v1", key: LATE_KEY}}'
    change(running, "providers:", f"providers:\n  {provider}")
    assert user.json("up")["did"] == "nothing"  # there is nothing to serve yet
    assert gateway.ask("new").status == 404
    with Stream(running, events=20) as stream:
        user.keys = {"LATE_KEY": "late-own", **KEYS}
        assert user.json("up")["did"] == "reloaded"
        assert gateway.ask("new").said == "I am m at mine"
        stream.whole()
    assert running.mine.requests[-1].headers["authorization"] == "Bearer late-own"
    for file in user.state.rglob("*"):
        assert not (file.is_file() and secrets_in(file.read_text(errors="replace"), "late-own"))

    user.keys = {}
    done = user.json("up")
    assert done["did"] == "nothing"
    assert all(row["available"] for row in done["models"])
    assert gateway.ask("new").status == 200

    user.keys = {"LATE_KEY": "late-changed"}
    assert user.json("up")["did"] == "reloaded"
    assert gateway.ask("new").status == 200
    assert gateway.ask("opus").status == 200
    assert running.mine.requests[-1].headers["authorization"] == "Bearer late-changed"
    assert running.anthropic.requests[-1].headers["x-api-key"] == KEYS["ANTHROPIC_API_KEY"]
    assert user.gateway_state()["pid"] == master

    done = user.json("restart")
    assert done["did"] == "restarted"
    assert [row["name"] for row in done["models"] if row["available"]] == ["new"]
    assert gateway.ask("new").status == 200
    assert gateway.ask("opus").status == 404


BROKEN = "litellm: {router_settings: {health_check_interval: 5}}\n"


def test_configuration_that_does_not_start(running: Mission) -> None:
    """A reload to a configuration that cannot start says why, and the gateway goes on with the old
    one without losing a request; the next correct `up` works.
    """
    user, gateway = running.user, gateway_of(running)
    change(running, "qwen:", "qwen-2: {model: mine/q2}\n  qwen:")
    file = change(running, "gateway:", f"{BROKEN}gateway:")
    user.keys = {"EXTRA": "x", **KEYS, "MINE_KEY": "changed"}
    with traffic_of(running) as traffic, Stream(running) as stream:
        with timed("a reload that fails"):
            done = user.run("up")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "the new configuration does not start, so the gateway keeps the old one: "
            "ValueError: 'health_check_interval' is NOT a valid router_settings parameter. Please "
            "move it to 'general_settings'.\n"
            "-> correct the profile, then: llmswitch up --profile work\n"
        )
        found = user.json("status")
        assert (found["running"], found["current"]) == (True, False)
        assert [row["name"] for row in found["models"]][-1] == "qwen"
        assert gateway.ask("qwen-2").status == 404
        traffic.wait_for_more(20)
        stream.whole()
    assert (traffic.wrong, traffic.cuts) == ([], [])
    only_one_worker(running)
    assert "health_check_interval" not in (user.run_folder() / "litellm_config.yaml").read_text()
    assert not (user.run_folder() / "handover.json").exists()
    file.write_text(file.read_text().replace(BROKEN, ""))
    assert user.json("up")["did"] == "reloaded"
    assert gateway.ask("qwen-2").said == "I am q2 at mine"
    assert running.mine.requests[-1].headers["authorization"] == "Bearer changed"
    only_one_worker(running)


def test_interrupted_reload(running: Mission) -> None:
    """Ctrl-C during a reload that hangs leaves the gateway as it was: one worker, which serves the
    old configuration. Workers that are ended for it are no crash loop, however many.
    """
    user, gateway = running.user, gateway_of(running)
    hook = user.run_folder() / "hangs.py"
    hook.write_text("import time\ntime.sleep(1000)\nhook = None\n")
    change(running, "gateway:", "litellm: {litellm_settings: {callbacks: [hangs.hook]}}\ngateway:")
    before = (user.run_folder() / "litellm_config.yaml").read_text()
    with traffic_of(running) as traffic:
        for _ in range(4):
            reloading = user.begin("up")
            wait_for(lambda: len(worker_pids(user)) == 2)
            traffic.wait_for_more(20)
            assert reloading.poll() is None
            reloading.send_signal(signal.SIGINT)
            out, error = reloading.communicate(timeout=60)
            assert (reloading.returncode, out) == (130, "")
            assert "Traceback" not in error
            wait_for(lambda: len(worker_pids(user)) == 1)
    assert (traffic.wrong, traffic.cuts) == ([], [])
    only_one_worker(running)
    assert (user.run_folder() / "litellm_config.yaml").read_text() == before
    assert user.json("status")["current"] is False
    assert gateway.ask("qwen").status == 200
    hook.unlink()


# ------------------------------------------------------------------ restart


def bound(mission: Mission) -> set[str]:
    """The addresses that the gateway listens on."""
    master = psutil.Process(mission.user.gateway_state()["pid"])
    return {
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for connection in master.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }


def test_changed_address(running: Mission) -> None:
    """Another port or host needs another process: `up` restarts the gateway, and it listens there
    and nowhere else. A port that is taken leaves it as it is, by `up` and by `restart`.
    """
    user = running.user
    master = user.gateway_state()["pid"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        change(running, f"port: {running.port}", f"port: {taken}")
        for command in ("up", "restart"):
            done = user.run(command)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"127.0.0.1:{taken} is in use by ")
            assert gateway_of(running).ask("qwen").status == 200
    assert user.gateway_state()["pid"] == master

    change(running, f"port: {taken}", f"port: {running.port}, host: 0.0.0.0")
    done = user.run("up")
    assert done.stdout.startswith(f"restarted work on 127.0.0.1:{running.port}, pid ")
    assert bound(running) == {f"0.0.0.0:{running.port}"}
    assert user.json("status")["url"] == running.url
    assert gateway_of(running).ask("qwen").status == 200
    change(running, f"port: {running.port}, host: 0.0.0.0", f"port: {taken}")
    assert user.json("up")["did"] == "restarted"
    assert bound(running) == {f"127.0.0.1:{taken}"}
    running.port = taken


def test_down_lets_a_stream_finish(running: Mission) -> None:
    """`down` gives open streams time, and takes no new requests meanwhile."""
    with Stream(running, events=20) as stream:
        done = running.user.run("down")
        assert done.returncode == 0
        stream.whole()
    assert running_below(running.user.root) == []


# ------------------------------------------------------------------ sudden death


@pytest.mark.soak
def test_killed_worker(running: Mission) -> None:
    """When the worker is killed during ten streams, those break, but no connection is refused: new
    requests wait for the next worker and are answered.
    """
    user, gateway = running.user, gateway_of(running)
    master, worker = user.gateway_state()["pid"], only_one_worker(running)
    running.zai.behave(Behaviour(events=300, delay=0.1), "glm-4.7")
    refused: list[str] = []
    answers: list[int] = []
    connecting = threading.Event()

    def connect() -> None:
        while not connecting.is_set():
            try:
                socket.create_connection(("127.0.0.1", running.port), 30).close()
            except OSError as error:
                refused.append(repr(error))
            time.sleep(0.01)

    def stream() -> None:
        try:
            answers.append(gateway.ask("glm-4.7", stream=True).status)
        except httpx.HTTPError:
            answers.append(0)

    threads = [threading.Thread(target=stream, daemon=True) for _ in range(10)]
    threads.append(threading.Thread(target=connect, daemon=True))
    for thread in threads:
        thread.start()
    wait_for(lambda: len(running.zai.of("/v1/messages")) == 10)
    os.kill(worker, signal.SIGKILL)
    with timed("the first answer after a worker was killed"):
        assert gateway.ask("qwen").said == "I am qwen3 at mine"
    wait_for(lambda: len(answers) == 10)
    connecting.set()
    for thread in threads:
        thread.join(30)
    assert refused == []
    assert answers == [0] * 10
    found = user.json("status")
    assert (found["running"], found["current"], found["pid"]) == (True, True, master)
    assert only_one_worker(running) != worker
    running.zai.behave(Behaviour(), "glm-4.7")
    assert gateway.ask("glm-4.7", stream=True).said == "I am glm-4.7 at zai"
