"""The log of the gateway: shown, followed, kept, and read for a reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmswitch import gateway_log
from tests.conftest import User
from tests.gateways import wait_for


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
    """`logs -f` goes on with what is added, also in the log of the next start, until Ctrl-C, which
    is no failure.
    """
    shown: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "logs", "-f", "-n", "1"],
        env=user.env,
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
            gateway_log.rotate(log)
            log.write_text("the next start\n")
            wait_for(lambda: "the next start" in shown)
        finally:
            os.killpg(following.pid, signal.SIGINT)
        assert following.wait(60) == 0
        reader.join(10)


def test_rotate(tmp_path: Path) -> None:
    """The log of the last run is kept, that of the one before is not."""
    log = tmp_path / "gateway.log"
    gateway_log.rotate(log)
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second", "third"):
        gateway_log.rotate(log)
        log.write_text(text)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "gateway.log": "third",
        "gateway.log.1": "second",
    }


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
        (TRACEBACK.format(name="llmswitch.callbacks.door.ModelError", text="cannot"), "cannot"),
        ("ValueError: old\nKeyError: 'new'\nbye\n", "KeyError: 'new'"),
        ("\x1b[31mRuntimeError: red\x1b[0m\n", "RuntimeError: red"),
        ("one\ntwo\n\n", "two"),
        ("an Error in a sentence\n", "an Error in a sentence"),
        ("ValueError: " + "x" * 1000, "ValueError: " + "x" * 388),
        ("", "it said nothing"),
        ("\n \n", "it said nothing"),
    ],
)
def test_failure_reason(tmp_path: Path, text: str, reason: str) -> None:
    """The reason is the last exception in the log, else its last line, on one line."""
    log = tmp_path / "gateway.log"
    log.write_text(text)
    assert gateway_log.failure_reason(log, 0) == reason


def test_reason_of_this_time(tmp_path: Path) -> None:
    """What stood in the log before is no reason; a log that is not there has none."""
    log = tmp_path / "gateway.log"
    assert gateway_log.size(log) == 0
    assert gateway_log.failure_reason(log, 0) == "its log cannot be read"
    log.write_text("ValueError: of before\n")
    before = gateway_log.size(log)
    assert gateway_log.failure_reason(log, before) == "it said nothing"
    with log.open("ab") as more:
        more.write(b"\xff\nTypeError: of now\n")
    assert gateway_log.failure_reason(log, before) == "TypeError: of now"
