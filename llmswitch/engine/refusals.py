"""Rows of the ledger for requests that the gate refuses: of no provider and at no cost."""

from __future__ import annotations

import asyncio
import time

from llmswitch.engine.budget import worker
from llmswitch.engine.pending_rows import writer
from llmswitch.engine.request import RequestContext
from llmswitch.ledger import NO_CLIENT, Try

EVERY = 60.0  # seconds


def record_refusal(
    context: RequestContext, status: int, error: str, *, model: str | None = None
) -> None:
    """Note that a request was refused. `error` is a name for its kind, `model` what was asked for
    if that is a name of the profile. Who came without a valid key is the client NO_CLIENT.
    """
    asked = model or context.asked or ""
    row = Try(
        ended=time.time(),
        request=context.id,
        session=context.session,
        agent=context.agent,
        client=context.client,
        asked=asked,
        model=asked,
        seconds=time.monotonic() - context.arrived,
        status=status,
        error=error,
        worker=worker,
    )
    if context.client == NO_CLIENT:
        strangers.note(row._replace(session=None, agent=None))
    else:
        writer().put(row)


class Strangers:
    """Who has no key could fill the disk with rows: one is written at once, and then one a minute
    that says how many more there were.
    """

    def __init__(self) -> None:
        self._last: Try | None = None
        self._more = 0
        self._timer: asyncio.TimerHandle | None = None

    def note(self, row: Try) -> None:
        """One more was refused."""
        if self._timer is None:
            writer().put(row)
            self._timer = asyncio.get_running_loop().call_later(EVERY, self.sum_up)
        else:
            self._last = row
            self._more += 1

    def sum_up(self) -> None:
        """Write what was only counted; the next one is written at once if there was nothing."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._last:
            row = self._last._replace(error=f"{self._last.error} x{self._more}")
            self._last, self._more = None, 0
            self.note(row)


strangers = Strangers()
