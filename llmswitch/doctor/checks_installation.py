"""Checks of what is installed, and of the files and folders that llmswitch keeps."""

from __future__ import annotations

import platform
import shlex
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from llmswitch import __version__
from llmswitch.doctor.facts import Facts, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.profile.secrets import read_gateway_key, stored_keys

_MEGABYTE = 1_000_000
_LITTLE, _TOO_LITTLE = 500 * _MEGABYTE, 50 * _MEGABYTE


def check_versions(_facts: Facts) -> Verdict:
    """Llmswitch and Python, for whoever reads the output."""
    return Verdict("ok", f"llmswitch {__version__}, Python {platform.python_version()}")


def check_files(facts: Facts) -> Verdict:
    """Nobody else can read what we generate, or write the profiles that we read."""
    state = facts.home.state
    try:
        read_gateway_key(facts.home)
        stored_keys(facts.home)
    except LlmswitchError as error:
        return Verdict("error", error.message, error.hint)
    if readable := _open_to_others([state, *sorted(state.rglob("*"))], 0o077):
        cure = f"chmod -R go= {shlex.quote(str(state))}"
        return Verdict("warning", f"{_first(readable)} can be read by others", cure)
    keys = facts.home.keys
    if keys.exists() and stat.S_IMODE(keys.stat().st_mode) & 0o077:
        return Verdict(
            "error", f"{keys} can be read by others", f"chmod 600 {shlex.quote(str(keys))}"
        )
    profiles = facts.home.profiles
    ours = [facts.home.config, profiles, *sorted(profiles.glob("*.yaml"))]
    if writable := _open_to_others(ours, 0o022):
        # Who writes a profile names the host that a key is sent to.
        cure = f"chmod -R go-w {shlex.quote(str(facts.home.config))}"
        return Verdict("warning", f"{_first(writable)} can be written by others", cure)
    if not state.exists():
        return Verdict("ok", f"nothing is generated yet in {state}")
    return Verdict("ok", f"only you can read {state}")


def check_disk(facts: Facts) -> Verdict:
    """Room for the log and the state."""
    folder = facts.home.state
    while not folder.is_dir():
        folder = folder.parent
    return disk_verdict(facts.home.state, shutil.disk_usage(folder).free)


def disk_verdict(folder: Path, free: int) -> Verdict:
    """The verdict on so many free bytes."""
    if free >= _LITTLE:
        return Verdict("ok", f"{free // _MEGABYTE} MB free for {folder}")
    return Verdict(
        "error" if free < _TOO_LITTLE else "warning",
        f"only {free // _MEGABYTE} MB are free for {folder}",
        "make room, or move it with LLMSWITCH_HOME",
    )


def _open_to_others(places: Sequence[Path], bits: int) -> list[Path]:
    return [
        place
        for place in places
        if place.exists() and not place.is_symlink() and stat.S_IMODE(place.stat().st_mode) & bits
    ]


def _first(places: Sequence[Path]) -> str:
    return f"{places[0]}" + (f" (and {len(places) - 1} more)" if len(places) > 1 else "")
