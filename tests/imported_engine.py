"""LiteLLM imported as the gateway's master does it, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def look(code: str, *arguments: str, **env: str) -> Any:
    """What the code prints last, as JSON; `env` is more of its environment."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
