"""Checks of what is installed, and of the files and folders that llmswitch keeps."""

from __future__ import annotations

import platform
import shlex
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from llmswitch import __version__
from llmswitch.doctor.context import Context, Verdict, first_of
from llmswitch.profile.secrets import read_gateway_key, stored_keys

_MEGABYTE = 1_000_000
_LITTLE, _TOO_LITTLE = 500 * _MEGABYTE, 50 * _MEGABYTE


def check_versions(_context: Context) -> Verdict:
    """Llmswitch and Python, for whoever reads the output."""
    return Verdict("ok", f"llmswitch {__version__}, Python {platform.python_version()}")


def check_files(context: Context) -> Verdict:
    """Nobody else can read what we generate, or write the profiles that we read."""
    state, keys, config = context.home.state, context.home.keys, context.home.config
    read_gateway_key(context.home)
    stored_keys(context.home)
    if readable := _open_to_others([state, *sorted(state.rglob("*"))], 0o077):
        cure = f"chmod -R go= {shlex.quote(str(state))}"
        return Verdict("warning", f"{first_of(readable)} can be read by others", cure)
    if _open_to_others([keys], 0o077):
        cure = f"chmod 600 {shlex.quote(str(keys))}"
        return Verdict("error", f"{keys} can be read by others", cure)
    profiles = context.home.profiles
    if writable := _open_to_others([config, profiles, *sorted(profiles.glob("*.yaml"))], 0o022):
        # Who writes a profile names the host that a key is sent to.
        cure = f"chmod -R go-w {shlex.quote(str(config))}"
        return Verdict("warning", f"{first_of(writable)} can be written by others", cure)
    if not state.exists():
        return Verdict("ok", f"nothing is generated yet in {state}")
    return Verdict("ok", f"only you can read {state}")


def _open_to_others(places: Iterable[Path], bits: int) -> list[Path]:
    return [
        place
        for place in places
        if place.exists() and not place.is_symlink() and stat.S_IMODE(place.stat().st_mode) & bits
    ]


def check_disk(context: Context) -> Verdict:
    """Room for the log and the state."""
    folder = context.home.state
    while not folder.is_dir():
        folder = folder.parent
    return disk_verdict(context.home.state, shutil.disk_usage(folder).free)


def disk_verdict(folder: Path, free: int) -> Verdict:
    """The verdict on so many free bytes."""
    if free >= _LITTLE:
        return Verdict("ok", f"{free // _MEGABYTE} MB free for {folder}")
    return Verdict(
        "error" if free < _TOO_LITTLE else "warning",
        f"only {free // _MEGABYTE} MB are free for {folder}",
        "free some space, or set LLMSWITCH_HOME to a folder on another disk",
    )
