"""The state of a profile's gateway: one JSON file, and whether its process still runs.

Standard library only: the wrapper reads it on every start.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.health import url_of
from llmswitch.paths import write_private
from llmswitch.run_files import GUNICORN, STATE


def command() -> list[str]:
    """The command line of gunicorn, for the folder of its files."""
    return [sys.executable, "-E", "-P", "-m", "gunicorn", "-c", str(GUNICORN)]


class State(NamedTuple):
    """A gateway as it was started or last reloaded.

    `started` identifies the process together with `pid` (see process_start). `models` are the rows
    of the menu as `status --json` shows them, each with the `keys` that it needs, `clients` the
    settings and the model ids for each menu support of a client, and whether they want a Claude
    login, `keys` a fingerprint of each key that the gateway holds.
    """

    pid: int | None
    started: str
    host: str
    port: int
    profile: str
    profile_file: str
    profile_sha256: str
    config_sha256: str
    version: str
    engine: str
    log: str
    models: list[dict[str, Any]]
    roles: dict[str, str]
    clients: dict[str, dict[str, Any]]
    keys: dict[str, str]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return url_of(self.host, self.port)


def read_state(run: Path) -> State | None:
    """The state of a profile's gateway; None where it was never started.

    Raises LlmswitchError when the file is damaged.
    """
    file = run / STATE
    try:
        state = State(**json.loads(file.read_text(encoding="utf-8")))
        _check_types(state)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise LlmswitchError(
            f"the state file {file} is damaged", "llmswitch up    (writes a new one)"
        ) from error
    except OSError as error:
        raise LlmswitchError(
            f"the state file {file} cannot be read: {error.strerror}",
            f"move it away: mv {shlex.quote(str(file))} {shlex.quote(str(file))}.old",
        ) from error
    return state


def _check_types(state: State) -> None:
    """Raises TypeError for a field of another type than we write."""
    numbers = state.port, 0 if state.pid is None else state.pid
    texts = state.host, state.version, state.engine, state.profile, state.log
    mappings = [state.roles, state.clients, state.keys, *state.models]
    for values, kind in ((numbers, int), (texts, str), (mappings, dict)):
        if not all(isinstance(value, kind) for value in values):
            raise TypeError(f"a {kind.__name__} is missing")


def write_state(run: Path, state: State) -> None:
    """Replace the state file as a whole."""
    write_private(run / STATE, json.dumps(state._asdict(), indent=1, ensure_ascii=False))


def process_start(pid: int) -> str | None:
    """When a process started, as a text that another process of the same pid will not have.

    None where there is no such process. On Linux in ticks since boot, which a change of the clock
    does not move, with the boot it was; elsewhere what `ps` says.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends while it is read
        return None if Path("/proc/self/stat").exists() else start_by_ps(pid)
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


def start_by_ps(pid: int) -> str | None:
    """As process_start, where there is no /proc (macOS)."""
    answer = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607 - found in PATH below
        env={"PATH": "/bin:/usr/bin", "LC_ALL": "C", "TZ": "UTC"},  # the same from every shell
        capture_output=True,
        text=True,
        check=False,
    )
    line = answer.stdout.strip()
    return None if not line or line.startswith("Z") else line.partition(" ")[2].strip()


def running(run: Path) -> State | None:
    """The state of the gateway that runs for a profile; None where none does.

    Raises LlmswitchError when the state file is damaged.
    """
    state = read_state(run)
    return state if is_ours(state) else None


def is_ours(state: State | None) -> bool:
    """Whether the process of a state is alive and the very one that was started."""
    return state is not None and state.pid is not None and process_start(state.pid) == state.started
