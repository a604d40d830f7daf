"""Reading a log: its last lines, over the files that were put aside when they grew large, and what
is added, over those that are put aside meanwhile; and why a gateway failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from llmswitch.errors import LlmswitchError
from llmswitch.run_files import LOGS

_BLOCK = 256 * 1024  # bytes
_EVERY = 0.2  # seconds between two looks at what is followed
_CURSOR = b"-- cursor: "
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit)\b.*")
_OUR_CLASS = re.compile(r"llmswitch(\.\w+)+: ")
_TAIL = 256 * 1024  # bytes; a traceback is far smaller
Pick = Callable[[str], str | None]
"""What is shown of a line; None for one that is not."""


def all_lines(line: str) -> str:
    """Every line as it is."""
    return line


def of_file(log: Path, lines: int, follow: bool, pick: Pick = all_lines) -> Iterator[str]:
    """The last lines of a log that `pick` takes, and, with `follow`, what is added from then on,
    without an end.
    """
    if not log.exists():
        raise LlmswitchError(f"there is no log yet at {log}", "llmswitch up")
    newest = log.open("rb")
    try:
        end = _whole(newest) if follow else newest.seek(0, os.SEEK_END)
        with ExitStack() as stack:
            old = [stack.enter_context(file.open("rb")) for file in _files(log)[1:]]
            ends = [end, *(file.seek(0, os.SEEK_END) for file in old)]
            backwards = (
                shown
                for file, until in zip((newest, *old), ends, strict=True)
                for line in _reversed(file, until)
                if (shown := pick(line)) is not None
            )
            yield from reversed(list(islice(backwards, lines)))
        if follow:
            newest.seek(end)
            yield from _added(log, newest, pick)
    finally:
        newest.close()


def _files(log: Path) -> list[Path]:
    """Those of a log that there are, the newest first."""
    return [file for each in LOGS if (file := log.with_name(each.name)).exists()]


def _whole(file: BinaryIO) -> int:
    """Where the last line that has an end ends; what comes after it is yet to be written."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - _BLOCK)
    file.seek(start)
    return start + file.read(end - start).rfind(b"\n") + 1


def _reversed(file: BinaryIO, end: int) -> Iterator[str]:
    """The lines of a file up to `end`, the last first."""
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start) + rest
        end = start
        rest, *whole = block.removesuffix(b"\n").split(b"\n")
        if whole or block.endswith(b"\n"):
            rest += b"\n"
        yield from (_text(line) for line in reversed(whole))
    if rest:
        yield _text(rest.removesuffix(b"\n"))


def _added(log: Path, file: BinaryIO, pick: Pick) -> Iterator[str]:
    """What is written to a log from where `file` stands, and to those that follow it."""
    with ExitStack() as stack:
        begun = b""
        while True:
            newer = _newer(log, file)  # asked before the last look, so that no line is missed
            begun += file.read()
            *whole, begun = begun.split(b"\n")
            yield from (shown for line in whole if (shown := pick(_text(line))) is not None)
            if newer:
                stack.close()
                file, begun = stack.enter_context(newer), b""
            elif not whole:
                if os.fstat(file.fileno()).st_size < file.tell():  # it was emptied
                    file.seek(0)
                time.sleep(_EVERY)


def _newer(log: Path, file: BinaryIO) -> BinaryIO | None:
    """The log that was begun after the one that is open; None while that is the newest."""
    mine = os.fstat(file.fileno())
    newer: Path | None = None
    with suppress(FileNotFoundError):  # just being put aside: seen at the next look
        for there in _files(log):
            if os.path.samestat(there.stat(), mine):
                break
            newer = there
        else:
            newer = log if log.exists() else None
        return newer.open("rb") if newer else None
    return None


def of_journal(unit: str, lines: int, follow: bool, pick: Pick = all_lines) -> Iterator[str]:
    """The same of a service, whose log is in systemd's journal."""
    if shutil.which("journalctl") is None:
        raise LlmswitchError("there is no `journalctl` on PATH", "install systemd's journalctl")
    command = ["journalctl", "--user", "--output=cat", "--no-pager", f"--unit={unit}"]
    if pick is all_lines:  # it can count by itself
        options = [f"--lines={lines}", *(["--follow"] if follow else [])]
        yield from (_text(line) for line in _said([*command, *options]))
        return
    last: deque[str] = deque(maxlen=lines)
    cursor = []
    for line in _said([*command, "--show-cursor"]):
        if line.startswith(_CURSOR):
            cursor = [f"--after-cursor={_text(line.removeprefix(_CURSOR)).strip()}"]
        elif (shown := pick(_text(line))) is not None:
            last.append(shown)
    yield from last
    if follow:
        for line in _said([*command, "--follow", "--no-tail", *cursor]):
            if (shown := pick(_text(line))) is not None:
                yield shown


def _said(command: list[str]) -> Iterator[bytes]:
    """The lines that a program prints, until it ends or is not asked any more."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield from (line.removesuffix(b"\n") for line in process.stdout or ())
        finally:
            process.terminate()
    if process.returncode > 0:
        raise LlmswitchError(
            f"the journal cannot be read: journalctl has failed ({process.returncode})",
            " ".join(command),
        )


def _text(line: bytes) -> str:
    return line.decode(errors="replace")


def failure_reason(log: Path, offset: int) -> str:
    """Why the gateway failed, in one line: the last exception after `offset` bytes of its log,
    else the last line.
    """
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            begun_anew = size < offset  # it was put aside since, being large
            stream.seek(max(0 if begun_anew else offset, size - _TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "its log cannot be read"
    lines = [_ANSI.sub("", line).strip() for line in text.splitlines()]
    exceptions = [line for line in lines if _EXCEPTION.fullmatch(line)]
    said = exceptions or [line for line in lines if line]
    return _OUR_CLASS.sub("", said[-1])[:400] if said else "it said nothing"


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of the log, without colours; none where there is no log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [_ANSI.sub("", line) for line in text.splitlines()[-lines:]]


def size(log: Path) -> int:
    """How long the log is, in bytes."""
    return log.stat().st_size if log.exists() else 0
