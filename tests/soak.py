"""How much of it the tests marked `soak` do."""

from __future__ import annotations

import os


def size(full: int, small: int) -> int:
    """Rounds, streams or kills: all of them, or the few of `make soak SOAK=small`."""
    return small if os.environ.get("SOAK") == "small" else full
