"""A program in a pseudo terminal, with a screen that a test can read.

::

    with Terminal([client, "--model", "glm-4.7"], env, cwd=project) as terminal:
        terminal.wait_for("? for shortcuts")
        type_command(terminal, "/model")
        rows = menu_rows(terminal.wait_for("Select model"))
"""

# ruff: noqa: RUF001  Claude Code marks its prompt and its cursor with that angle.

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pyte

from tests.picture import Cell

# Runs in the child: takes the terminal that is its stdin as the controlling one and becomes the
# program. A fork in this process, which has threads, could deadlock.
EXEC = """
import fcntl, json, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
argv, env = json.loads(sys.argv[1])
os.execvpe(argv[0], argv, env)
"""


UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<=>][0-9;]*[A-Za-z]")
"""Keyboard modes and version queries; pyte would draw their last letter."""
BEGUN_ESCAPE = re.compile(rb"\x1b(\[[<=>]?[0-9;]*)?\Z")


class Screen(pyte.Screen):
    """A pyte screen that answers the program's questions (device, cursor position)."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, rows)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def report_device_status(self, mode: int, *, private: bool = False) -> None:
        if not private:  # pyte would stumble
            super().report_device_status(mode)


class Terminal:
    """A running program and its screen; a context manager that ends the program.

    ``argv[0]`` is looked for on the PATH of ``env``, which is the whole environment of the
    program. A thread reads all output, so the program never blocks on a full terminal.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path,
        *,
        rows: int = 50,
        columns: int = 150,
    ) -> None:
        program = shutil.which(str(argv[0]), path=env.get("PATH"))
        if program is None:
            raise FileNotFoundError(argv[0])
        self._changed = threading.Condition()
        self._closing = False
        self._screen = Screen(columns, rows, self._answer)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        order = json.dumps([[program, *map(str, argv[1:])], dict(env)])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", EXEC, order],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={},
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, name=f"terminal {argv[0]}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The program's process id, which is also its process group and session."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the program runs; minus the signal if one ended it."""
        return self._process.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up as a closed window does; kill the program's process group after 3 seconds."""
        if self._closing:
            return
        if self.exit_code is None:
            self._signal(signal.SIGHUP)
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._closing = True
        self._reader.join()
        os.close(self._master)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # it ended just now (Linux, macOS)
            os.killpg(self.pid, number)

    def send(self, text: str) -> None:
        r"""Type ``text`` as it is: Return is ``\r``, Escape ``\x1b``, Down ``\x1b[B``."""
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]

    def enter(self) -> None:
        self.send("\r")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.send("\x03")

    def lines(self) -> list[str]:
        """The rows of the screen from the top, without blanks at their ends."""
        with self._changed:
            return [line.rstrip() for line in self._screen.display]

    def cells(self) -> list[list[Cell]]:
        """The same with colours."""
        with self._changed:
            rows = [self._screen.buffer[number] for number in range(self._screen.lines)]
            ends = [len(line.rstrip()) for line in self._screen.display]
            return [
                [Cell(row[at].data, row[at].fg, row[at].bold) for at in range(end)]
                for row, end in zip(rows, ends, strict=True)
            ]

    def text(self) -> str:
        """The screen as one string, without empty rows at its end."""
        return "\n".join(self.lines()).rstrip()

    def wait_for(self, what: str | re.Pattern[str], timeout: float = 60) -> str:
        """The screen as soon as it shows ``what``."""
        return self.wait_until(lambda text: _shows(text, what), f"{what!r} did not appear", timeout)

    def wait_gone(self, what: str | re.Pattern[str], timeout: float = 60) -> str:
        """The screen as soon as it no longer shows ``what``."""
        return self.wait_until(lambda text: not _shows(text, what), f"{what!r} stayed", timeout)

    def wait_idle(self, seconds: float = 0.5, timeout: float = 60) -> str:
        """The screen once nothing on it has changed for ``seconds``, or the program has ended."""
        seen, since = "", time.monotonic()

        def idle(text: str) -> bool:
            nonlocal seen, since
            if text != seen:
                seen, since = text, time.monotonic()
            return time.monotonic() - since >= seconds or not self._reader.is_alive()

        return self.wait_until(idle, "the screen did not come to rest", timeout)

    def wait_exit(self, timeout: float = 60) -> int:
        """The exit code, once the program has ended and its last words are on the screen."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._complain("the program did not end", timeout)) from None
        self._reader.join(1)  # longer only where a child of the program keeps the terminal open
        return code

    def wait_until(
        self, reached: Callable[[str], bool], complaint: str, timeout: float = 60
    ) -> str:
        """The screen as soon as ``reached`` says yes to it.

        Fails with ``complaint`` and the screen, at once when the program has ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            alive = self._reader.is_alive()
            text = self.text()
            if reached(text):
                return text
            if not alive or time.monotonic() > deadline:
                raise AssertionError(self._complain(complaint, timeout))
            with self._changed:
                self._changed.wait(0.05)

    def _complain(self, complaint: str, timeout: float) -> str:
        ended = "" if self.exit_code is None else f" (it ended with {self.exit_code})"
        return f"{complaint} in {timeout} s{ended}; the screen:\n{self.text()}"

    def _read(self) -> None:
        held = b""
        while not self._closing:
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux: EIO when nobody has the terminal open any more
                break
            if not data:  # macOS says the same with an empty read
                break
            data = UNKNOWN_TO_PYTE.sub(b"", held + data)
            begun = BEGUN_ESCAPE.search(data)
            held = begun[0] if begun else b""
            with self._changed:
                self._stream.feed(data.removesuffix(held))
                self._changed.notify_all()

    def _answer(self, data: str) -> None:
        with suppress(OSError):
            self.send(data)


def _shows(text: str, what: str | re.Pattern[str]) -> bool:
    return what in text if isinstance(what, str) else bool(what.search(text))


@dataclass(frozen=True)
class MenuRow:
    """A row of Claude Code's ``/model`` menu, or of a question it asks."""

    number: int
    label: str
    description: str
    selected: bool
    """The cursor is on it."""
    current: bool
    """It has the check mark."""


MENU_ROW = re.compile(r"\s*([❯↑↓]?)\s+(\d+)\.\s+(\S.*?)(\s✔)?(?:\s{2,}(\S.*))?")
CONTINUED = " " * 12
"""At least so far in is the second line of a wrapped description."""
RULE = re.compile(r"[─▔]{10}")  # the latter in the full-screen view


def menu_rows(screen: str) -> list[MenuRow]:
    """The rows of the menu below the last rule of the screen; none if no menu is open.

    Claude Code shows ten rows at a time. A description that is wrapped is put together again.
    """
    lines = screen.splitlines()
    below = max((at for at, line in enumerate(lines) if RULE.match(line)), default=len(lines))
    rows: list[MenuRow] = []
    for line in lines[below + 1 :]:
        if found := MENU_ROW.fullmatch(line):
            cursor, number, label, check, description = found.groups()
            rows.append(MenuRow(int(number), label, description or "", cursor == "❯", bool(check)))
        elif rows and line.startswith(CONTINUED):
            rows[-1] = replace(rows[-1], description=f"{rows[-1].description} {line.strip()}")
    return rows


INPUT_BOX = re.compile(r"^─{10}.*\n❯((?:.*\n)+?)─{10}", re.MULTILINE)


def input_text(screen: str) -> str | None:
    """What stands in Claude Code's input box, on one line; None if there is no box."""
    boxes = INPUT_BOX.findall(screen)
    return " ".join(boxes[-1].split()) if boxes else None


def type_command(terminal: Terminal, command: str) -> None:
    """Type a command or a message into Claude Code, as soon as it takes one, and send it.

    Enter must wait for the completion list: pressed too early it is part of a paste, or picks
    another command.
    """
    terminal.wait_for(INPUT_BOX)
    terminal.send(command)
    wanted = " ".join(command.split())
    terminal.wait_until(
        lambda screen: input_text(screen) == wanted, f"{command!r} did not reach the box"
    )
    terminal.wait_idle(0.3)
    terminal.enter()
