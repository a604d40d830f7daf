"""The log of the gateway: shown, followed, kept, and read for a reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import log as log_files
from llmswitch.request_line import Request, formatted, parsed
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
            log.rename(log.with_name("gateway.log.1"))
            log.write_text("the next start\n")
            wait_for(lambda: "the next start" in shown)
        finally:
            os.killpg(following.pid, signal.SIGINT)
        assert following.wait(60) == 0
        reader.join(10)


MORE: list[dict[str, Any]] = [
    {"status": 200, "model": "glm-4.7", "served": "glm-4.7", "session": "s-1", "cost": 0.5},
    {"status": 200, "model": "glm-4.7", "served": "sonnet", "session": "s-1", "tries": 2},
    {"status": 429, "model": "qwen", "session": "s-2", "error": "RateLimitError"},
    {"status": 200, "model": "qwen", "session": "s-3", "error": "ReadError"},
    {"status": 499, "model": "qwen", "session": "s-3", "left": True},
]
LINES = [
    Request(time=f"2026-11-02T09:00:0{number}.000Z", method="POST", path="/v1/messages", **more)
    for number, more in enumerate(MORE)
]


def requests(user: User, *arguments: str) -> list[int]:
    """Which of LINES `logs` shows with these options."""
    done = user.run("logs", *arguments)
    assert done.returncode == 0, done.stderr
    return [LINES.index(request) for line in done.stdout.splitlines() if (request := parsed(line))]


def test_filters(user: User, log: Path) -> None:
    """`--model`, `--session` and `--errors` show lines of requests alone, the last ones that fit,
    also from files that were put aside; together they narrow it down. Nothing found is told.
    """
    texts = [formatted(line) for line in LINES]
    log.with_name("gateway.log.2").write_text(f"{texts[0]}\nTraceback (most recent call last):\n")
    log.with_name("gateway.log.1").write_text(f"{texts[1]}\n")
    with log.open("a") as more:
        more.write(f"{texts[2]}\n{texts[3]} cut='off\"\n{texts[3]}\n  {texts[3]}\n{texts[4]}")
    assert requests(user) == [2, 3, 4]  # the last hundred lines
    assert requests(user, "--model", "glm-4.7") == [0, 1]
    assert requests(user, "-m", "glm-4.7", "-n", "1") == [1]
    assert requests(user, "--model", "sonnet") == [1]  # which answered
    assert requests(user, "--session", "s-1") == [0, 1]
    assert requests(user, "--session", "s-") == [0, 1, 2, 3, 4]
    assert requests(user, "--errors") == [2, 3]
    assert requests(user, "--errors", "--session", "s-3", "--model", "qwen") == [3]
    objects = [json.loads(line) for line in user.run("logs", "--json").stdout.splitlines()]
    assert objects == [line._asdict() for line in LINES]
    nothing = user.run("logs", "--model", "glm-4.7", "--errors")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "the log tells of no such request\n"


def test_lines_of_older_files_come_first(user: User, log: Path) -> None:
    """A log that was put aside a moment ago goes on with the one before it."""
    log.rename(log.with_name("gateway.log.1"))
    log.write_text("new\n")
    assert user.run("logs", "-n", "3").stdout == "line 149\nline 150\nnew\n"


def test_what_was_written_between_two_looks_is_followed(tmp_path: Path) -> None:
    """Also where the log was put aside twice meanwhile, or was emptied."""
    log, first = tmp_path / "gateway.log", tmp_path / "gateway.log.1"
    log.write_text("0\nhalf")
    followed = cast("Generator[str]", log_files.of_file(log, 1, follow=True))
    assert next(followed) == "0"
    with log.open("a") as more:
        more.write(" a line\n1\n")
    assert [next(followed), next(followed)] == ["half a line", "1"]
    with log.open("a") as more:
        more.write("2\n")
    log.rename(tmp_path / "gateway.log.2")
    first.write_text("3\n")
    log.write_text("4\n")
    assert [next(followed) for _ in range(3)] == ["2", "3", "4"]
    log.write_text("5\n")
    os.truncate(log, 0)
    log.write_text("")
    reader = threading.Thread(target=lambda: found.append(next(followed)), daemon=True)
    found: list[str] = []
    reader.start()
    time.sleep(0.5)  # a look at the empty file
    log.write_text("6\n")
    wait_for(lambda: found == ["6"])
    reader.join(10)
    followed.close()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 64])
@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "\n\nab\n\ncd", "ab\ncd\n", "abcdef\ngh\n"])
def test_lines_are_found_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, size: int
) -> None:
    """However they lie in the blocks that are read."""
    monkeypatch.setattr(log_files, "_BLOCK", size)
    log = tmp_path / "gateway.log"
    log.write_text(text)
    assert list(log_files.of_file(log, 99, follow=False)) == text.splitlines()


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


JOURNALCTL = """#!/bin/sh
echo "$@" >>"{calls}"
case " $* " in
*" --after-cursor=s=1;i=2 "*) cat "{later}" ;;
*" --show-cursor "*) cat "{file}"; echo "-- cursor: s=1;i=2" ;;
*) tail -n 2 "{file}" ;;
esac
"""


def test_the_journal_of_a_service_is_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is read for the last ones that fit, then followed from where that ended."""
    file, later, calls = tmp_path / "journal", tmp_path / "later", tmp_path / "calls"
    texts = [formatted(line) for line in LINES]
    file.write_text("".join(f"{text}\n" for text in [*texts[:3], "something else"]))
    later.write_text("".join(f"{text}\n" for text in ["something else", *texts[3:]]))
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(JOURNALCTL.format(file=file, later=later, calls=calls))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    def pick(line: str) -> str | None:
        return line if parsed(line) else None

    whole = log_files.of_journal("x.service", 2, follow=False)
    assert list(whole) == [texts[2], "something else"]
    assert list(log_files.of_journal("x.service", 2, follow=False, pick=pick)) == texts[1:3]
    assert list(log_files.of_journal("x.service", 1, follow=True, pick=pick)) == texts[2:]
    common = "--user --output=cat --no-pager --unit=x.service"
    assert calls.read_text().splitlines() == [
        f"{common} --lines=2",
        f"{common} --show-cursor",
        f"{common} --show-cursor",
        f"{common} --follow --no-tail --after-cursor=s=1;i=2",
    ]
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(LlmswitchError) as failed:
        list(log_files.of_journal("x.service", 2, follow=False))
    assert failed.value.message == "the journal cannot be read: journalctl has failed (3)"
    assert failed.value.hint == f"journalctl {common} --lines=2"
    program.unlink()
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(LlmswitchError) as missing:
        list(log_files.of_journal("x.service", 2, follow=False))
    assert missing.value.message == "there is no `journalctl` on PATH"


HOSTILE = [
    "a b",
    'quo"te\\',
    "\n2026-11-02T09:00:00.000Z request status=200",
    "\x7f\x85\u2028é\ud800",
    "=",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_is_one_line_and_is_read_as_it_was_meant(text: str) -> None:
    """Whatever a client may send for a name."""
    request = LINES[0]._replace(model=text, session=text, path=text, left=True, first_byte=1e-05)
    line = formatted(request)
    assert line.isascii()
    assert line.isprintable()
    assert parsed(line) == request
    assert parsed(line[:-3]) != request


def test_what_is_no_line_of_a_request() -> None:
    """Lines of others, lines that lack what each has, and fields of a newer llmswitch."""
    line = formatted(LINES[0])
    assert parsed(f"{line} newer=1") == LINES[0]
    for other in (
        f" {line}",
        f"{line} ",
        line.replace(" status=200", ""),
        line.replace("200", "x"),
        "",
    ):
        assert parsed(other) is None
    assert len(formatted(LINES[0]._replace(model="x" * 500))) < len(line) + 210


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
        ("", "it said nothing"),
        ("\n \n", "it said nothing"),
    ],
)
def test_failure_reason(tmp_path: Path, text: str, reason: str) -> None:
    """The reason is the last exception in the log, else its last line, on one line."""
    log = tmp_path / "gateway.log"
    log.write_text(text)
    assert log_files.failure_reason(log, 0) == reason


def test_reason_of_this_time(tmp_path: Path) -> None:
    """What stood in the log before is no reason; a log that is not there has none."""
    log = tmp_path / "gateway.log"
    assert log_files.size(log) == 0
    assert log_files.failure_reason(log, 0) == "its log cannot be read"
    log.write_text("ValueError: of before\n")
    before = log_files.size(log)
    assert log_files.failure_reason(log, before) == "it said nothing"
    with log.open("ab") as more:
        more.write(b"\xff\nTypeError: of now\n")
    assert log_files.failure_reason(log, before) == "TypeError: of now"
    log.write_text("one\n")  # a new one, since the old one was large
    assert log_files.failure_reason(log, before) == "one"
