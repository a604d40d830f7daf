"""Claude Code's settings: the user's own files, which are only read here, and the file of one
session.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmswitch.paths import LOOPBACK, write_private


def user_settings(environ: Mapping[str, str]) -> Path:
    """Claude Code's settings file of the user."""
    folder = environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME") or Path.home(), ".claude")
    return Path(folder) / "settings.json"


def settings_in(file: Path) -> dict[str, Any]:
    """What a settings file holds; empty if it is missing, or not a JSON object."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def env_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `env` block of some settings; it overrides exported variables."""
    env = settings.get("env")
    return env if isinstance(env, dict) else {}


def for_session(
    client: Mapping[str, Any],
    theirs: Mapping[str, Any],
    credential: Mapping[str, Any],
    model: str | None,
    surroundings: Mapping[str, str],
) -> dict[str, Any]:
    """The settings of one session: the menu's over the user's `--settings` (`theirs`), with what
    only a session knows: the credential, the model to start with, and a way around a proxy.
    `surroundings` are the variables that the client would have without us.
    """
    outside = surroundings.get("NO_PROXY") or surroundings.get("no_proxy")
    around = f"{outside},{LOOPBACK}" if outside else LOOPBACK
    settings = {**theirs, **client["settings"], **credential}
    settings["env"] = {
        **env_in(theirs),
        **client["settings"]["env"],
        **credential["env"],
        "NO_PROXY": around,
        "no_proxy": around,
    }
    if model:
        settings["model"] = model
    files = (user_settings(surroundings), *_project_files())
    if any("availableModels" in given for given in (theirs, *map(settings_in, files))):
        # The client adds up such lists. Without one it answers a mistyped name better.
        settings["availableModels"] = [*client["ids"].values()]
    return settings


def _project_files() -> Iterator[Path]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / ".claude" / "settings.json"
        yield folder / ".claude" / "settings.local.json"


def write_settings(run: Path, settings: Mapping[str, Any]) -> Path:
    """Write the settings of a session under a name made of their content.

    The client watches the file while it runs, so another session's must never replace it; and its
    background agents outlive the session, so it stays.
    """
    text = json.dumps(settings, ensure_ascii=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    file = run / "settings" / f"claude-settings-{digest}.json"
    if not file.exists():
        write_private(file, text)
    return file
