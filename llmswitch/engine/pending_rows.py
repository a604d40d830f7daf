"""One row for each try, written when two have spoken: LiteLLM, which knows what it took, and the
end of the answer, which shows what became of it. Where one of them says nothing for long, the row
is written without it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from llmswitch.engine.budget import spending
from llmswitch.engine.key_rotation import failures
from llmswitch.engine.ledger_writer import Writer
from llmswitch.engine.request import RequestContext
from llmswitch.engine.streams import NO_END, Failure
from llmswitch.ledger import CLIENT_LEFT, Try

OK = 200
LONGEST_WAIT = 3.0  # seconds; LiteLLM tells of a try some milliseconds after its end
_LEFT = Failure(CLIENT_LEFT, "ClientLeft")
Missing = Callable[[RequestContext], Try | None]


class _Waiting(NamedTuple):
    """What is done when the other does not speak, and when."""

    act: Callable[[], None]
    timer: asyncio.TimerHandle


_waiting: dict[str, _Waiting] = {}  # by a request's id


@cache
def writer() -> Writer:
    """The writer of this worker."""
    return Writer(Path(os.environ["LLMSWITCH_LEDGER"]))


def told(context: RequestContext, row: Try, deployment: str) -> None:
    """LiteLLM has told of a try of a deployment (its id)."""
    spending().add(row)
    if deployment != context.trying:  # late, of one that failed before; or refused before any
        _write(context, row)
        return
    context.trying = None
    _stop_waiting(context)
    finish = partial(_finish, context, row, deployment)
    if context.is_over or row.status != OK:
        finish()
    else:
        spending().release(context.id)
        _wait(context, finish)


def ended(context: RequestContext, missing: Missing, *, left: bool) -> None:
    """The answer is over: given in whole, broken off, or its client has left. `missing` makes a row
    of a try that LiteLLM does not tell of.
    """
    context.is_over, context.left = True, left
    if waiting := _stop_waiting(context):
        waiting.act()
    elif context.trying and (context.observer or left):
        _wait(context, partial(_do_without, context, missing))
    else:
        spending().release(context.id)


def finish_all() -> None:
    """The worker leaves: write what waits."""
    for waiting in [*_waiting.values()]:
        waiting.timer.cancel()
        waiting.act()
    _waiting.clear()


def _wait(context: RequestContext, act: Callable[[], None]) -> None:
    def late() -> None:
        if waiting := _waiting.pop(context.id, None):
            waiting.act()

    timer = asyncio.get_running_loop().call_later(LONGEST_WAIT, late)
    _waiting[context.id] = _Waiting(act, timer)


def _stop_waiting(context: RequestContext) -> _Waiting | None:
    waiting = _waiting.pop(context.id, None)
    if waiting:
        waiting.timer.cancel()
    return waiting


def _do_without(context: RequestContext, missing: Missing) -> None:
    deployment = context.trying
    if deployment and (row := missing(context)):
        spending().add(row)
        context.trying = None
        _finish(context, row, deployment)
    spending().release(context.id)


def _finish(context: RequestContext, row: Try, deployment: str) -> None:
    """Write what LiteLLM calls a success as what the client got."""
    if context.is_over:
        spending().release(context.id)
    found = _became(context) if row.status == OK else None
    if found:
        row = row._replace(status=found.status, error=found.error)
        if found is not _LEFT:
            failures.rest(deployment)
    _write(context, row)


def _became(context: RequestContext) -> Failure | None:
    """What an answer was, if not whole."""
    observer = context.observer
    if observer and (observer.failure or observer.has_ended):
        return observer.failure
    if context.left:
        return _LEFT
    return NO_END if observer and context.is_over else None


def _write(context: RequestContext, row: Try) -> None:
    context.rows.append(row)
    writer().put(row)
