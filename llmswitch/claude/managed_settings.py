"""An organization's settings for Claude Code on this machine. They override everything that a
session is told (2.1.197 and 2.1.330), so they can lead a credential to another host.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmswitch.claude.settings_files import env_in, settings_in
from llmswitch.errors import LlmswitchError
from llmswitch.render.claude_settings import HIJACKING

FOLDERS = (Path("/etc/claude-code"), Path("/Library/Application Support/ClaudeCode"))
# What says where requests go and what opens it.
_LEADING = {
    *(name for name in HIJACKING if name != "ANTHROPIC_MODEL"),
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_OAUTH_TOKEN",
}


def check() -> None:
    """Raise LlmswitchError for a setting that would send a session's credential to another host, or
    another credential along to its host.
    """
    for file in _files():
        for name in _leading(settings_in(file)):
            raise LlmswitchError(
                f"{file} sets {name}, which overrides llmswitch, so Claude Code would send a "
                "credential to the wrong host",
                "ask your administrator to remove it; plain `claude` still works",
            )


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield folder / "managed-settings.json"
        yield from sorted((folder / "managed-settings.d").glob("*.json"))


def _leading(settings: dict[str, Any]) -> Iterator[str]:
    if settings.get("apiKeyHelper"):
        yield "apiKeyHelper"
    for name, value in env_in(settings).items():
        if name in _LEADING and value:
            yield f"env.{name}"
