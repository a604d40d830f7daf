"""`status` without a gateway, and the small functions that it and the wrapper stand on."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from llmswitch import health
from llmswitch.cli import progress
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.process import describe_owner
from llmswitch.gateway.state import State, is_ours, process_start, read_state, write_state
from llmswitch.gateway.status import find
from llmswitch.paths import Home, find_home, find_profile
from llmswitch.profile import secrets
from tests.conftest import User, free_port
from tests.ready_made import OPUS

PROFILE = f"""
models:
  opus: {OPUS.model.model}
  two: {{{{model: zai/glm-4.7, keys: [ZAI_API_KEY, SECOND]}}}}
  none: {{{{model: zai/glm-4.5, keys: [FIRST, SECOND]}}}}
  local: ollama/qwen
gateway: {{{{port: {{port}}}}}}
"""


def test_never_started(user: User) -> None:
    """Before the first `up`, `status` shows the profile's models as this shell could serve them."""
    port = free_port()
    file = user.write_profile(PROFILE.format(port=port))
    found = user.json("status")
    models = found.pop("models")
    assert found == {
        "running": False,
        "starting": False,
        "current": False,
        "service": None,
        "stopped": None,
        "profile": "work",
        "profile_file": str(file),
        "default": None,
        "log": None,
        "url": f"http://127.0.0.1:{port}",
        "pid": None,
        "ledger": None,
        "budgets": [],
        "goes_after": None,
        "today": [],
        "retiring": [],
    }
    assert {row["name"]: (row["available"], row["reason"]) for row in models} == {
        "opus": (True, None),
        "two": (True, None),
        "none": (False, "FIRST and SECOND are not set"),
        "local": (True, None),
    }
    said = user.run("status", env={"ANTHROPIC_API_KEY": " "})
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("not running (profile work)    -> llmswitch up\n\nMODEL")
    assert "left out: ANTHROPIC_API_KEY is not set" in said.stdout
    assert not user.state.exists()  # looking makes nothing


def test_models_that_retire(user: User) -> None:
    """Are told with the day and what to write instead."""
    known = "{id: old, retires: 2027-01-22, instead: new}"
    user.write_profile(
        "models: {old: mine/old, a: demo/parrot}\n"
        f"providers: {{mine: {{dialect: chat, base_url: 'http://h', models: [{known}]}}}}\n"
    )
    home = find_home(user.env)
    ref = find_profile(home, None, user.env)
    said = {
        "name": "old",
        "model": "mine/old",
        "date": "2027-01-22",
        "retired": False,
        "instead": "mine/new",
    }

    def on(day: str) -> list[dict[str, Any]]:
        noon = datetime.fromisoformat(f"{day}T12:00").astimezone()
        found = find(ref, home, user.env, noon.timestamp())
        retiring: list[dict[str, Any]] = found["retiring"]
        return retiring

    assert on("2026-10-23") == []
    assert on("2026-10-24") == [said]
    assert on("2027-01-21") == [said]
    assert on("2027-01-22") == [said | {"retired": True}]


def test_profile_that_cannot_be_read(user: User) -> None:
    """Without a gateway, a profile with a mistake is an error of `status` too."""
    user.write_profile("modells: {}\n")
    done = user.run("status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "modells is not a field; did you mean `models`?" in done.stderr


def test_does_not_wait_for_a_stranger_on_the_port(user: User) -> None:
    """Whoever else listens on the port is not taken for the gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        user.write_profile(PROFILE.format(port=server.getsockname()[1]))
        assert user.json("status")["running"] is False


def a_state(**changes: Any) -> State:
    """A gateway that does not run."""
    state = State(
        pid=None,
        started="",
        host="127.0.0.1",
        port=4000,
        profile="work",
        profile_file="",
        profile_sha256="",
        config_sha256="",
        version="",
        engine="",
        log="",
        models=[],
        roles={"default": "x"},
        clients={},
        keys={},
    )
    return state._replace(**changes)


# ------------------------------------------------------------------ state


def test_state_round_trip(tmp_path: Path) -> None:
    """What is written is read back, from a file that only the user can read; none is no state."""
    assert read_state(tmp_path) is None
    state = a_state(pid=os.getpid(), started=process_start(os.getpid()), models=[{"name": "ü"}])
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert is_ours(state)
    assert not is_ours(state._replace(started="then"))
    assert not is_ours(state._replace(pid=None))
    assert not is_ours(None)


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '{"pid": 1}', '{"more": 1}', "\x00"])
def test_damaged_state(tmp_path: Path, text: str) -> None:
    """Anything else in the file is an error that names it."""
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(LlmswitchError) as caught:
        read_state(tmp_path)
    assert caught.value.message == f"the state file {tmp_path / 'state.json'} is damaged"
    assert caught.value.hint == "llmswitch up    (writes a new one)"


def test_process_start() -> None:
    """A process is known by its start: each has its own, a dead or dying one has none."""
    mine = process_start(os.getpid())
    assert mine is not None
    assert mine == process_start(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(child.pid) not in (None, mine)
    child.communicate(b"\n")
    assert process_start(child.pid) is None
    dying = subprocess.Popen(["true"])
    end = time.monotonic() + 30
    while psutil.Process(dying.pid).status() != "zombie":
        assert time.monotonic() < end
    assert process_start(dying.pid) is None
    dying.wait()


# ------------------------------------------------------------------ health


def one_answer(answer: bytes) -> tuple[int, threading.Thread]:
    """A server that gives one answer to whatever it is asked."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return server.getsockname()[1], thread


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"", False),
    ],
)
def test_answers(answer: bytes, healthy: bool) -> None:
    """Only a 200 to the health probe is an answer."""
    port, thread = one_answer(answer)
    assert health.answers("127.0.0.1", port, 10) is healthy
    thread.join(10)


def test_no_answer() -> None:
    """A closed port and one that only accepts are no answer, the latter after the time given."""
    assert not health.answers("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not health.answers("127.0.0.1", server.getsockname()[1], 0.2)


def test_any_address_is_reached_on_loopback() -> None:
    """A gateway that listens on every address is asked on this machine's own."""
    port, thread = one_answer(b"HTTP/1.1 200 OK\r\n\r\n")
    assert health.answers("0.0.0.0", port, 10)
    thread.join(10)
    assert health.url_of("0.0.0.0", 1) == "http://127.0.0.1:1"
    assert health.url_of("::", 1) == "http://[::1]:1"
    assert health.url_of("example.org", 1) == "http://example.org:1"


def test_wait_until() -> None:
    """Waiting ends when it is true or when the time is up, and tells which."""
    ticks: list[int] = []
    assert health.wait_until(lambda: len(ticks) == 3, 60, lambda: ticks.append(1))
    assert not health.wait_until(lambda: False, 0.1, lambda: None)


# ------------------------------------------------------------------ who holds a port


def test_nobody_holds_it(tmp_path: Path) -> None:
    """A port that nobody listens on has no owner."""
    assert describe_owner(free_port(), tmp_path / "nothing") is None


def test_owner_with_damaged_states_around(tmp_path: Path) -> None:
    """A damaged state file of some profile does not hide who holds the port."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "state.json").write_text("{")
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = describe_owner(server.getsockname()[1], tmp_path)
    assert said == f"{psutil.Process().name()} (pid {os.getpid()})"


def test_owner_that_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell, or not its name, the sentence says as much as is known."""

    def denied(**_: str) -> list[Any]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert describe_owner(1, tmp_path) == "another program"
    for pid, said in ((None, "another user's program"), (2**30, f"another program (pid {2**30})")):
        row = SimpleNamespace(status="LISTEN", laddr=SimpleNamespace(ip="::", port=1), pid=pid)
        unbound = SimpleNamespace(status="NONE", laddr=(), pid=1)
        monkeypatch.setattr(psutil, "net_connections", lambda rows=(unbound, row), **_: rows)
        assert describe_owner(1, tmp_path) == said
        assert describe_owner(2, tmp_path) is None


# ------------------------------------------------------------------ secrets, progress


def test_keys_are_found() -> None:
    """A key is what a variable holds without white space around it; white space alone is none."""
    environ = {"A": " key \n", "B": " ", "C": ""}
    assert secrets.find_key("A", environ) == "key"
    assert secrets.find_keys(["A", "B", "C", "D"], environ) == {"A": "key"}
    assert secrets.missing_reason(["A"]) == "A is not set"
    assert secrets.missing_reason(["A", "B"]) == "A and B are not set"
    assert secrets.inside_name("ZAI_API_KEY") == "LLMSWITCH_KEY_ZAI_API_KEY"


def test_fingerprints_tell_nothing() -> None:
    """A fingerprint changes with the key and with the secret that it is made with, and holds no
    part of either.
    """
    one = secrets.fingerprint("key", "secret")
    assert one == secrets.fingerprint("key", "secret")
    assert one not in (secrets.fingerprint("kez", "secret"), secrets.fingerprint("key", "other"))
    assert len(one) == 16
    assert "key" not in one


def test_one_gateway_key_for_all(tmp_path: Path) -> None:
    """Many at once, of threads and processes, make one key; an empty file is no key."""
    home = Home(tmp_path / "config", tmp_path / "state")
    (tmp_path / "state").mkdir(mode=0o700)
    home.gateway_key.write_text("\n")
    program = (
        "import sys; from pathlib import Path; from llmswitch.paths import Home; "
        "from llmswitch.profile.secrets import gateway_key; "
        "print(gateway_key(Home(Path(sys.argv[1]), Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", program, str(home.config), str(home.state)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: secrets.gateway_key(home), range(16)))
    keys |= {other.communicate(timeout=60)[0].strip() for other in others}
    assert len(keys) == 1
    assert home.gateway_key.read_text().strip() in keys
    assert home.gateway_key.stat().st_mode & 0o777 == 0o600


@contextlib.contextmanager
def stderr(stream: io.StringIO) -> Iterator[None]:
    """Standard error into a stream."""
    with contextlib.redirect_stderr(stream):
        yield


def test_progress_is_silent_in_a_pipe() -> None:
    """In a pipe nothing is shown."""
    stream = io.StringIO()
    with stderr(stream), progress.shown() as tell:
        tell("working")
    assert stream.getvalue() == ""


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it shows what is done and for how long, and is gone afterwards."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with stderr(stream), progress.shown() as tell:
        tell("working")
        time.sleep(0.3)
    assert "working ... 0 s" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")
