"""A gateway whose state file is lost, damaged or of another process: it is found by what runs in
its folder. What the file said is read from the process itself, as far as it goes.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import State, command, is_ours, process_start, read_state
from llmswitch.run_files import CONFIG, GUNICORN, LOG

if TYPE_CHECKING:
    import psutil


def running(run: Path) -> State | None:
    """The state of the gateway that runs for a profile, also of one whose state file was lost;
    None where none does.

    Raises LlmswitchError for a damaged file where nothing runs.
    """
    try:
        state = read_state(run)
    except LlmswitchError:
        if (found := find(run)) is None:
            raise
        return found
    return state if is_ours(state) else find(run)


def find(run: Path) -> State | None:
    """The gateway that runs in a folder; None where none does. Nothing is known of its models."""
    import psutil

    masters = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _works_in(process, run) and not _works_in(process.parent(), run):
                masters.append(process)
    # A worker whose master was killed just now leads no group, and came later.
    masters.sort(key=lambda one: (os.getpgid(one.pid) != one.pid, one.create_time()))
    for process in masters:
        with suppress(psutil.Error, OSError):
            return _state_of(process, run)
    return None


def was_found(state: State) -> bool:
    """Whether a state is such a one: its file is yet to be written."""
    return not state.clients


def _works_in(process: psutil.Process | None, run: Path) -> bool:
    """Whether a process is one of ours, a gateway's master or worker, in this folder."""
    if process is None or process.cmdline()[1:] != command()[1:]:
        return False
    return Path(process.cwd()) == run.resolve()


def _state_of(process: psutil.Process, run: Path) -> State:
    from llmswitch.render.plan import IDENTITY, held_in

    environ = process.environ()
    host, port, own, engine = "127.0.0.1", 0, "", ""
    with suppress(ValueError, KeyError):
        host, port, own, engine = json.loads(environ[IDENTITY])
    if not _is_here(process.pid, run):
        own = ""  # what is written now does not reach it, so it is started anew
    texts = [_text(run / name) for name in (CONFIG, GUNICORN)]
    return State(
        pid=process.pid,
        started=process_start(process.pid) or "",
        host=host,
        port=port,
        profile=run.name,
        profile_file="",
        profile_sha256="",
        config_sha256=hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        version=own,
        engine=engine,
        log=str(run / LOG),
        models=[],
        roles={},
        clients={},
        keys=held_in(environ),
    )


def _is_here(pid: int, run: Path) -> bool:
    """Whether the folder that a process works in is the one of that name, not a removed one."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").samefile(run)
    return not Path("/proc/self/cwd").exists()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
