"""Questions in plain lines, on a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from llmswitch.cli.common import show

_ENDED = "end of input: continuing as with --yes"


@dataclass
class Screen:
    """Plain lines, so that it is the same over SSH, without colours, and with piped answers.

    `asks` becomes False at the end of the input.
    """

    asks: bool
    silent: bool

    def tell(self, lines: Sequence[str]) -> None:
        """Show lines, unless with --json."""
        if not self.silent:
            show(lines)

    def line(self, prompt: str) -> str | None:
        """An answer; None after the end of the input. Raises EOFError for Ctrl-D on a terminal.

        A piped answer is not shown before `took`: it may be a key in the wrong place.
        """
        if not self.asks:
            return None
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return self._read()

    def took(self, answer: str) -> None:
        """Show a piped answer that was understood as a terminal would."""
        if self.asks and not _is_terminal():
            self.tell([answer])

    def secret(self, prompt: str) -> str | None:
        """The same, never shown."""
        from getpass import getpass

        if not self.asks:
            return None
        if _is_terminal():
            sys.stdout.flush()
            try:
                return getpass(prompt).strip()
            except UnicodeDecodeError:
                return "\ufffd"  # what no key has
        sys.stdout.write(f"{prompt}\n")
        return self._read()

    def _read(self) -> str | None:
        line = sys.stdin.buffer.readline().decode(errors="replace") if sys.stdin else ""
        if line:
            return line.strip()
        if _is_terminal():
            raise EOFError
        self.asks = False
        self.tell(["", _ENDED])
        return None


def _is_terminal() -> bool:
    return bool(sys.stdin and sys.stdin.isatty())  # a shell can close it: `<&-`
