"""The log of a gateway's process: its last lines, and why the gateway failed."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit)\b.*")
_OUR_CLASS = re.compile(r"llmswitch(\.\w+)+: ")
_TAIL = 256 * 1024  # bytes; a traceback is far smaller


def failure_reason(log: Path, offset: int) -> str:
    """Why the gateway failed, in one line: the last exception after `offset` bytes of its log,
    else the last line.
    """
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            was_emptied = size < offset  # since it was large
            stream.seek(max(0 if was_emptied else offset, size - _TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "its log cannot be read"
    lines = [_ANSI.sub("", line).strip() for line in text.splitlines()]
    exceptions = [line for line in lines if _EXCEPTION.fullmatch(line)]
    said = exceptions or [line for line in lines if line]
    return _OUR_CLASS.sub("", said[-1])[:400] if said else "its log is empty"


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of the log, without colours; none where there is no log."""
    try:
        with log.open(errors="replace", newline="\n") as stream:
            return [_ANSI.sub("", line.removesuffix("\n")) for line in deque(stream, lines)]
    except OSError:
        return []


def size(log: Path) -> int:
    """How long the log is, in bytes."""
    return log.stat().st_size if log.exists() else 0
