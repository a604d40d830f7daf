"""The keys of this process, taken out of what it logs: an upstream may repeat one in its error."""

from __future__ import annotations

import os

from llmswitch.engine.patches import mask_log

_SECRET = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD")  # in the names of variables, ours too
_SHORTEST = 6  # characters; what is shorter would be taken out of words
_MASK = "[a key]"


def mask_keys() -> None:
    """Mask them in all that is logged from now on. Called in each worker, which has the keys that
    are set by then.
    """
    hidden = sorted(secrets(), key=len, reverse=True)

    def masked(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, _MASK)
        return text.replace("\n", "\n  ")  # what someone else has written begins no line of ours

    mask_log(masked)


def secrets() -> set[str]:
    """The values of this process's environment that are credentials by their names."""
    return {
        value
        for name, value in os.environ.items()
        if any(part in name for part in _SECRET) and len(value) >= _SHORTEST
    }
