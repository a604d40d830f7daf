"""The log of the gateway's process: kept from start to start, read for the reason of a failure."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from llmswitch.errors import LlmswitchError

NAME = "gateway.log"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit)\b.*")
_OUR_CLASS = re.compile(r"llmswitch(\.\w+)+: ")
_TAIL = 256 * 1024  # bytes; a traceback is far smaller


def rotate(log: Path) -> None:
    """Keep the log of the last run as `.1` and begin a new one."""
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))


def failure_reason(log: Path, offset: int) -> str:
    """Why the gateway failed, in one line: the last exception after `offset` bytes of its log,
    else the last line.
    """
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(offset, size - _TAIL))
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
    """How long the log is, in bytes: what comes after it is new."""
    return log.stat().st_size if log.exists() else 0


def show(log: Path, lines: int, follow: bool) -> int:
    """Show the end of a log on this terminal, on and on where `follow` says so; an exit code."""
    if not log.exists():
        raise LlmswitchError(f"there is no log yet at {log}", "llmswitch up")
    return _shown(["tail", "-n", str(lines), *(["-F"] if follow else []), str(log)])


def show_journal(unit: str, lines: int, follow: bool) -> int:
    """The same of a service, whose log is in systemd's journal."""
    if shutil.which("journalctl") is None:
        raise LlmswitchError("there is no `journalctl` on PATH", "install systemd's journalctl")
    command = ["journalctl", "--user", "--output=cat", "--no-pager", f"--unit={unit}"]
    return _shown([*command, f"--lines={lines}", *(["--follow"] if follow else [])])


def _shown(command: list[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:  # how one stops following
        return 0
