"""What llmswitch's own part of the gateway's configuration says to the hooks."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PART = "llmswitch"


@cache
def config() -> dict[str, Any]:
    """litellm_config.yaml as this worker started with it."""
    text = Path(os.environ["CONFIG_FILE_PATH"]).read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def settings() -> dict[str, Any]:
    """Our part: `budgets`; `cached`, the models whose answers are cached (None: all);
    `idle_timeout` in seconds.
    """
    part: dict[str, Any] = config().get(PART) or {}
    return part
