"""The gateway of one session: held by a lease, started where none runs, and up to date.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from llmswitch import __version__, health
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lease
from llmswitch.gateway.state import State, is_ours, read_state
from llmswitch.paths import ProfileRef
from llmswitch.profile.secrets import Keys
from llmswitch.run_files import SERVED


class Used(NamedTuple):
    """A gateway that a session uses. It does not stop by itself while `lease` is open."""

    ref: ProfileRef
    run: Path
    state: State
    lease: FileIO

    def lost(self) -> str | None:
        """What is said after a session whose gateway, not waited for, has never served."""
        if (self.run / SERVED).exists() or is_ours(self.state):
            return None
        return (
            "llmswitch: the gateway failed to start\n"
            f"-> llmswitch up --profile {self.ref.typed}    (says why)\n"
        )


def ensure(ref: ProfileRef, run: Path, key: str, known: Keys) -> Used:
    """A gateway that is up to date; `llmswitch up` makes it so if not. It may be one that has just
    begun to start.
    """
    held = lease.hold(run)
    state = _current(ref, run, key, known)
    if state is None:
        command = [sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--quiet", "--on-demand",
                   "--profile", ref.argument]  # fmt: skip
        # What `up` says belongs on the terminal, never into the output of `claude -p`.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        state = read_state(run)
        if state is None:
            raise LlmswitchError("the gateway wrote no state file", "llmswitch up")
    return Used(ref, run, state, held)


def _current(ref: ProfileRef, run: Path, key: str, known: Keys) -> State | None:
    try:
        state = read_state(run)
    except LlmswitchError:
        return None  # damaged: `up` writes it anew
    if state is None or not is_ours(state) or state.version != __version__:
        return None
    if hashlib.sha256(ref.file.read_bytes()).hexdigest() != state.profile_sha256:
        return None
    names = {name for row in state.models for name in row["missing"]} | state.keys.keys()
    for name in names:  # a key that was missing or another is set now
        mark = known.fingerprint(name, key)
        if mark and state.keys.get(name) != mark:
            return None
    return state if health.answers(state.host, state.port) else None
