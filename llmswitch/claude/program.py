"""The program `claude`: where it is, which version it has, and how its `/model` menu is filled.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from llmswitch.errors import LlmswitchError
from llmswitch.generated import is_generated
from llmswitch.paths import expanded, write_private
from llmswitch.render.claude_settings import MenuSupport

Version = tuple[int, ...]
PICKER_FROM: Version = (2, 1, 242)
_VERSION_SECONDS = 30.0  # it takes a hundredth; on a cold disk much longer
_REINSTALL = "reinstall Claude Code, or point LLMSWITCH_CLAUDE at the right program"


def find_claude(environ: Mapping[str, str]) -> Path:
    """The real `claude`: where LLMSWITCH_CLAUDE says, else the first on PATH that is no wrapper."""
    if named := environ.get("LLMSWITCH_CLAUDE"):
        path = expanded(named)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise LlmswitchError(
                f"LLMSWITCH_CLAUDE is {named}, which is not a program that can be run",
                "point it at the claude program, or unset it to search PATH",
            )
        return path
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("claude", path=folder) if folder else None
        if found and not is_generated(Path(found)):
            return Path(found)
    raise LlmswitchError(
        "there is no `claude` on PATH",
        "npm install -g @anthropic-ai/claude-code    (or set LLMSWITCH_CLAUDE)",
    )


def cannot_run(claude: Path, error: OSError) -> LlmswitchError:
    """Why the client does not start."""
    return LlmswitchError(f"{claude} cannot be run: {error.strerror}", _REINSTALL)


def version_of(claude: Path, cache: Path) -> Version:
    """As ask_version, asked once for each file and remembered in `cache`: it costs 10 to 100 ms."""
    status = claude.stat()
    key = f"{claude.resolve()}:{status.st_mtime_ns}:{status.st_size}"
    try:
        known = json.loads(cache.read_text())
        if known["claude"] == key:
            return tuple(known["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no cache yet, or a damaged one: ask again
    version = ask_version(claude)
    write_private(cache, json.dumps({"claude": key, "version": version}))
    return version


def ask_version(claude: Path, seconds: float = _VERSION_SECONDS) -> Version:
    """The version that the client prints. Raises LlmswitchError if it takes more than `seconds`."""
    try:
        answer = subprocess.run(
            [claude, "--version"],
            stdin=subprocess.DEVNULL,  # what is piped to `claude -p` is not for this
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LlmswitchError(
            f"{claude} --version did not answer within {seconds:g} s", _REINSTALL
        ) from error
    except OSError as error:
        raise cannot_run(claude, error) from error
    if found := re.search(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", answer.stdout):
        return tuple(int(part) for part in found.groups())
    said = (answer.stderr or answer.stdout).strip().splitlines()[:1]
    raise LlmswitchError(
        f"{claude} --version printed no version" + (f": {said[0][:200]}" if said else ""),
        _REINSTALL,
    )


def shown(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def menu_support(version: Version) -> MenuSupport:
    """How the menu of a version is filled."""
    return "picker" if version >= PICKER_FROM else "rows"
