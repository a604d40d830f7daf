"""Progress on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown() -> Iterator[Callable[[str], None]]:
    """A function that shows the current step and the seconds so far on standard error."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console  # a tenth of a second to import
    from rich.status import Status

    began = time.monotonic()
    with Status("", console=Console(stderr=True)) as status:
        yield lambda text: status.update(f"{text} ... {time.monotonic() - began:.0f} s")
