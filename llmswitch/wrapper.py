"""The shell wrappers: written, listed and taken away. Never a file that is not ours, and never the
user's shell start-up files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from llmswitch.claude import is_wrapper
from llmswitch.errors import LlmswitchError
from llmswitch.paths import ProfileRef, expanded, write_private
from llmswitch.render import render_wrapper

# What moves our files or names the client: the wrapper carries it, so that it does not matter which
# shell it is started from.
_CARRIED = ("LLMSWITCH_HOME", "LLMSWITCH_CLAUDE", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


class Installed(NamedTuple):
    """What an installation did, and whether its folder is on PATH."""

    file: Path
    did: Literal["installed", "updated", "nothing"]
    on_path: bool


def install(ref: ProfileRef, name: str, folder: Path, environ: Mapping[str, str]) -> Installed:
    """Write the wrapper `name` for a profile into a folder.

    Raises LlmswitchError when a file of that name is there that llmswitch did not write.
    """
    _check_name(name)
    file = expanded(str(folder)) / name
    text = wanted_text(ref, name, environ)
    did: Literal["installed", "updated", "nothing"] = "installed"
    if os.path.lexists(file):
        _check_ours(file)
        did = "nothing" if file.read_bytes() == text.encode() else "updated"
    if did != "nothing":
        write_private(file, text, 0o755)
    return Installed(file, did, _is_on_path(file.parent, environ))


def wanted_text(ref: ProfileRef, name: str, environ: Mapping[str, str]) -> str:
    """What the wrapper `name` for a profile holds when it is installed from this shell."""
    exports = {
        variable: str(expanded(environ[variable])) for variable in _CARRIED if environ.get(variable)
    }
    return render_wrapper(
        name=name,
        profile=ref.name,
        profile_argument=ref.argument,
        python=sys.executable,
        exports=exports,
    )


def is_for(file: Path, ref: ProfileRef) -> bool:
    """Whether a wrapper starts this profile."""
    started = f" -m llmswitch.session {ref.typed} "
    return started in file.read_text(errors="replace")


def uninstall(name: str, folder: Path) -> Path | None:
    """Take a wrapper away; returns its file, None where there was none."""
    _check_name(name)
    file = expanded(str(folder)) / name
    if not os.path.lexists(file):
        return None
    _check_ours(file)
    file.unlink()
    return file


def list_installed(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    """The wrappers in a folder and in every folder on PATH, each once."""
    folders = [expanded(str(folder)), *_path(environ)]
    return [
        file
        for place in dict.fromkeys(folders)
        for file in _files_in(place)
        if os.access(file, os.X_OK) and is_wrapper(file)
    ]


def _path(environ: Mapping[str, str]) -> list[Path]:
    return [Path(part).absolute() for part in environ.get("PATH", "").split(os.pathsep) if part]


def _is_on_path(folder: Path, environ: Mapping[str, str]) -> bool:
    return folder.resolve() in (part.resolve() for part in _path(environ))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:  # PATH may name what is not there, or not ours to read
        return []


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise LlmswitchError(
            f"{name!r} is no name for a command",
            "use letters, digits and . _ -, such as claude-multi",
        )


def _check_ours(file: Path) -> None:
    if file.is_symlink() or not file.is_file() or not is_wrapper(file):
        raise LlmswitchError(
            f"{file} was not written by llmswitch, so it is left alone",
            "choose another --name or --dir, or move that file away",
        )
