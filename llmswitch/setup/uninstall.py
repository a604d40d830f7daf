"""`llmswitch uninstall`: removes everything llmswitch ever wrote, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llmswitch.claude import saved_default
from llmswitch.claude.settings_files import user_settings
from llmswitch.claude.wrapper import is_of, list_installed
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle, service
from llmswitch.gateway.manager import Service, all_installed
from llmswitch.health import address_of
from llmswitch.paths import Home
from llmswitch.profile.keys import remove_key
from llmswitch.profile.secrets import stored_keys
from llmswitch.run_files import STATE


class Found(NamedTuple):
    """What this installation wrote. `gateways` are their folders, `keys` the names of the keys that
    `key set` stored.
    """

    services: list[Service]
    gateways: list[Path]
    wrappers: list[Path]
    ledgers: list[Path]
    profiles: list[Path]
    keys: list[str]


class Choice(NamedTuple):
    """What to remove of what a user may want to keep."""

    usage: bool
    profiles: bool
    keys: bool


class Gone(NamedTuple):
    """What was removed, and what was kept or could not be restored."""

    removed: list[str]
    left: list[str]


def look(home: Home, folder: Path, environ: Mapping[str, str]) -> Found:
    """What this installation wrote; `folder` is where wrappers usually are.

    Raises LlmswitchError while a session is open: the saved default has to be restored first.
    """
    settings = user_settings(environ)
    if any(saved_default.sessions(settings, home.state / "sessions")):
        raise LlmswitchError("a session of a wrapper is open", "end it, then try again")
    wrappers = [file for file in list_installed(folder, environ) if is_of(file, environ)]
    return Found(
        services=all_installed(home, environ),
        gateways=[file.parent for file in sorted(home.state.glob(f"run/*/{STATE}"))],
        wrappers=wrappers,
        ledgers=sorted((home.state / "ledger").glob("*.db")),
        profiles=sorted(home.profiles.glob("*.yaml")),
        keys=sorted(stored_keys(home).names),
    )


def remove(
    home: Home,
    found: Found,
    choice: Choice,
    environ: Mapping[str, str],
    progress: Callable[[str], None],
) -> Gone:
    """Stop what runs, then remove everything that the choice does not keep."""
    # The saved default that a killed session left changed is restored.
    before = saved_default.note(user_settings(environ), home.state / "sessions", frozenset())
    after = saved_default.put_back(before)
    left = [told for told in (before.left.warning, after.warning) if told]
    for one in found.services:
        service.remove(one)
    stopped = [state for run in found.gateways if (state := lifecycle.down(run, progress))]
    removed = [f"stopped {address_of(one.url)}, pid {one.pid}" for one in stopped]
    removed += [f"removed the service {one.name}" for one in found.services]
    for file in found.wrappers:
        file.unlink()
        removed.append(f"removed {file}")
    if choice.keys:
        removed += [f"removed the key {name}" for name in found.keys if remove_key(home, name)]
    for file in found.profiles if choice.profiles else ():
        file.unlink()
    kept = {
        home.state / "ledger": None if choice.usage else found.ledgers,
        home.keys: None if choice.keys else found.keys,
    }
    for part in [*_parts(home.state), *home.own_files]:
        if not kept.get(part) and os.path.lexists(part):
            _remove(part)
    places = {home.profiles, home.state, home.config, *(file.parent for file in found.wrappers)}
    places |= {one.file.parent for one in found.services}
    for place in sorted(places, reverse=True):
        _remove_empty(place, Path(environ.get("HOME") or Path.home()))
    for folder in (home.state, home.config):
        (left if folder.exists() else removed).append(
            f"{'kept the rest of' if folder.exists() else 'removed'} {folder}"
        )
    return Gone(removed, left)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part)
    else:
        part.unlink()


def _remove_empty(folder: Path, user_home: Path) -> None:
    """Remove a folder and its parents in the user's home while they are empty and 0700, as we make
    them.
    """
    with suppress(OSError):  # not empty, or not there
        while folder != user_home and folder.stat().st_mode & 0o777 == 0o700:  # noqa: PLR2004
            folder.rmdir()
            if not folder.parent.is_relative_to(user_home):
                break
            folder = folder.parent
