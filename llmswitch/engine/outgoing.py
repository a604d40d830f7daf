"""The keys of this process, taken out of what it logs: an upstream may repeat one in its error."""

from __future__ import annotations

import os

from llmswitch.engine.patches import mask_log
from llmswitch.redact import without_keys

_SECRET = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD")  # in the names of variables, ours too
_SHORTEST = 6  # characters; what is shorter would be taken out of words


def mask_keys() -> None:
    """Mask them, and what looks like one, in all that is logged from now on. Called in each worker,
    which has the keys that are set by then.
    """
    hidden = secrets()
    # What someone else has written begins no line of ours.
    mask_log(lambda text: without_keys(text, hidden).replace("\n", "\n  "))


def secrets() -> set[str]:
    """The values of this process's environment that are credentials by their names."""
    return {
        value
        for name, value in os.environ.items()
        if any(part in name for part in _SECRET) and len(value) >= _SHORTEST
    }
