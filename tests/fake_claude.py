"""Stands for `claude` where a test must see what it is given. Written onto PATH as a program by
`install`; what it does is told in variables of its environment.

FAKE_SEEN: the file that it writes what it was given to. FAKE_STDIN: set to read all of stdin.
FAKE_DO: `exit N`, `die N` (of a signal), `stop N` (itself, then exit), `wait` (for a signal; its
number is printed).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PROGRAM = """#!{python} -ISB
import json, os, signal, sys
VERSION = {version!r}
if sys.argv[1:] == ["--version"]:
    with open({asked!r}, "a") as stream:
        stream.write("x")
    print(VERSION)
    sys.exit(0)
hexed = [os.fsencode(argument).hex() for argument in sys.argv]
seen = {{"argv": hexed, "env": dict(os.environ), "cwd": os.getcwd()}}
if "FAKE_STDIN" in os.environ:
    seen["stdin"] = sys.stdin.buffer.read().hex()
with open(os.environ["FAKE_SEEN"], "w") as stream:
    json.dump(seen, stream)
print("out", flush=True)
word, _, number = os.environ.get("FAKE_DO", "exit 0").partition(" ")
if word == "wait":
    def end(given, frame):
        os.write(1, b"%d\\n" % given)
        os._exit(40 + given)
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, end)
    print("waiting", flush=True)
    sys.stdin.read()
elif word == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
elif word == "die":
    os.kill(os.getpid(), int(number))
sys.exit(int(number or 0))
"""


class Seen:
    """What the program was given when it last ran."""

    def __init__(self, file: Path) -> None:
        data: dict[str, Any] = json.loads(file.read_text())
        self.argv = [bytes.fromhex(argument) for argument in data["argv"]]
        self.env: dict[str, str] = data["env"]
        self.cwd: str = data["cwd"]
        self.stdin = bytes.fromhex(data.get("stdin", ""))

    @property
    def given(self) -> list[bytes]:
        """Its arguments, without `--settings FILE` if they begin with that."""
        ours = 2 if self.argv[1:2] == [b"--settings"] else 0
        return self.argv[1 + ours :]

    @property
    def settings_file(self) -> Path:
        """The file after `--settings`, which must stand first."""
        assert self.argv[1] == b"--settings"
        return Path(self.argv[2].decode())

    @property
    def settings(self) -> dict[str, Any]:
        """What is in it."""
        loaded: dict[str, Any] = json.loads(self.settings_file.read_text())
        return loaded


def install(path: Path, version: str = "2.1.332 (Claude Code)") -> Path:
    """Write the program; returns the file that grows by a letter when it is asked its version."""
    asked = path.with_name(path.name + ".asked")
    text = PROGRAM.format(python=sys.executable, version=version, asked=str(asked))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return asked
