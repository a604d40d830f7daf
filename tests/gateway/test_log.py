"""The log of the gateway: shown, followed, kept, and read for a reason."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmswitch.gateway.log import failure_reason, size
from llmswitch.ledger import reading
from tests.conftest import Mission, User
from tests.gateways import KEYS, Gateway, secrets_in, wait_for
from tests.upstream import Behaviour


@pytest.fixture
def log(user: User) -> Path:
    """A log of 150 lines, as a gateway leaves it."""
    user.write_profile("models: {qwen: ollama/qwen}")
    file = user.run_folder() / "gateway.log"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"line {number}\n" for number in range(1, 151)))
    return file


@pytest.mark.usefixtures("log")
def test_last_lines(user: User) -> None:
    """`logs` shows the last hundred lines, `-n` as many as one wants."""
    done = user.run("logs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"line {number}" for number in range(51, 151)]
    assert user.run("logs", "-n", "2").stdout == "line 149\nline 150\n"
    wrong = user.run("logs", "-n", "0")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_no_log(user: User) -> None:
    """Before the first start there is no log."""
    user.write_profile("models: {qwen: ollama/qwen}")
    done = user.run("logs")
    assert (done.returncode, done.stdout) == (1, "")
    file = user.run_folder() / "gateway.log"
    assert done.stderr == f"there is no log yet at {file}\n-> llmswitch up\n"


def test_follow(user: User, log: Path) -> None:
    """`logs -f` goes on with what is added, also after the log was emptied, until Ctrl-C."""
    shown: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "logs", "-f", "-n", "1"],
        env=user.unmeasured,
        cwd=user.home,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as following:
        assert following.stdout is not None
        stream = following.stdout

        def read() -> None:
            shown.extend(line.strip() for line in stream)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            wait_for(lambda: shown == ["line 150"])
            with log.open("a") as more:
                more.write("added\n")
            wait_for(lambda: shown == ["line 150", "added"])
            os.truncate(log, 0)
            time.sleep(1.5)  # tail looks once a second
            with log.open("a") as more:
                more.write("the next start\n")
            wait_for(lambda: "the next start" in shown)
        finally:
            os.killpg(following.pid, signal.SIGINT)
        following.wait(60)
        reader.join(10)


def test_a_reader_that_has_enough(user: User, log: Path) -> None:
    """`logs | head` ends without a word."""
    log.write_text("a line\n" * 100_000)
    command = f"'{sys.executable}' -m llmswitch logs -n 100000 | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("a line\n", "")


TRACEBACK = """\
[2026-11-23 09:22:22 +0000] [1] [INFO] Starting gunicorn 23.0.0
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    raise ValueError("an error of before")
{name}: {text}
[2026-11-23 09:22:22 +0000] [1] [INFO] Shutting down: Master
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TRACEBACK.format(name="ValueError", text="no"), "ValueError: no"),
        (TRACEBACK.format(name="litellm.x.AuthError", text="x"), "litellm.x.AuthError: x"),
        (TRACEBACK.format(name="llmswitch.engine.gate.ModelError", text="cannot"), "cannot"),
        ("ValueError: old\nKeyError: 'new'\nbye\n", "KeyError: 'new'"),
        ("\x1b[31mRuntimeError: red\x1b[0m\n", "RuntimeError: red"),
        ("one\ntwo\n\n", "two"),
        ("an Error in a sentence\n", "an Error in a sentence"),
        ("ValueError: " + "x" * 1000, "ValueError: " + "x" * 388),
        ("", "its log is empty"),
        ("\n \n", "its log is empty"),
    ],
)
def test_failure_reason(tmp_path: Path, text: str, reason: str) -> None:
    """The reason is the last exception in the log, else its last line, on one line."""
    log = tmp_path / "gateway.log"
    log.write_text(text)
    assert failure_reason(log, 0) == reason


def test_reason_of_this_time(tmp_path: Path) -> None:
    """What stood in the log before is no reason; a log that is not there has none."""
    log = tmp_path / "gateway.log"
    assert size(log) == 0
    assert failure_reason(log, 0) == "its log cannot be read"
    log.write_text("ValueError: of before\n")
    before = size(log)
    assert failure_reason(log, before) == "its log is empty"
    with log.open("ab") as more:
        more.write(b"\xff\nTypeError: of now\n")
    assert failure_reason(log, before) == "TypeError: of now"
    log.write_text("one\n")  # it was emptied, being large
    assert failure_reason(log, before) == "one"


# ------------------------------------------------------------------ as a gateway writes it

SECRET_TEXT = "a prompt that an upstream repeats"
_GUNICORN = re.compile(r"\[\d{4}-\d\d-\d\d [\d:]+ \+0000\] \[\d+\] \[\w+\] .+")


def rows(user: User) -> list[int]:
    """The statuses in the ledger."""
    with reading(user.state / "ledger" / "work.db") as ledger:
        assert ledger is not None
        return [status for (status,) in ledger.execute("SELECT status FROM tries ORDER BY id")]


@pytest.mark.timeout(300)
def test_from_start_to_start(mission: Mission) -> None:
    """Nothing but what gunicorn says is in the log; one that is large is emptied, and all go on
    with it; the last rows are in the ledger after a reload and after `down`; `-v` has LiteLLM say
    everything.
    """
    user = mission.user
    log = user.run_folder() / "gateway.log"
    assert user.run("up").returncode == 0
    gateway = Gateway(mission.url, user.gateway_key())
    mission.zai.behave(Behaviour(status=500, error=SECRET_TEXT))
    assert gateway.ask("glm-4.7").status == 500
    assert gateway.ask(SECRET_TEXT).status == 404
    mission.zai.heal()
    assert gateway.ask("glm-4.7").status == 200
    mission.write("budgets: [{usd: 99, per: day}]\n")
    assert user.run("up").stdout.startswith("reloaded work on ")
    wait_for(lambda: rows(user) == [500, 404, 200])
    lines = log.read_text().splitlines()
    assert [line for line in lines if not _GUNICORN.fullmatch(line)] == []

    with log.open("ab") as more:
        more.write(b"x" * 10_000_000 + b"\n")
    old = log.with_name("gateway.log.1")
    wait_for(lambda: log.stat().st_size == 0)
    assert old.read_text().splitlines()[: len(lines)] == lines
    assert [file.stat().st_mode & 0o777 for file in (log, old)] == [0o600, 0o600]
    assert gateway.ask("glm-4.7").status == 200
    assert user.run("down").returncode == 0
    text = log.read_text()
    assert "Shutting down: Master" in text
    assert secrets_in(text, SECRET_TEXT, gateway.key, *KEYS.values()) == []
    assert rows(user) == [500, 404, 200, 200]

    mission.zai.behave(Behaviour(status=500, error=SECRET_TEXT))
    assert user.run("up", "-v").stdout.startswith("started work on ")
    assert gateway.ask("glm-4.7").status == 500
    assert log.read_text().startswith(text)
    said = log.read_text()[len(text) :]
    for part in (SECRET_TEXT, "Traceback", "Proxy initialized with Config"):
        assert part in said
    again = user.run("up", "-v").stdout.splitlines()
    assert (
        again[-1] == "the running process keeps its log level; to change it: llmswitch restart -v"
    )
    before = log.stat().st_size
    assert user.run("restart").stdout.startswith("restarted work on ")
    assert "Proxy initialized" not in log.read_text()[before:]
    user.run("down")
