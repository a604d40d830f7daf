"""The end of an answer, and the end of a worker: then the rows of the ledger are written."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from llmswitch.engine.asgi import Message, Send
from llmswitch.engine.recorder import ended, finish_all, writer
from llmswitch.engine.refusals import strangers
from llmswitch.engine.request import RequestContext

_PATIENCE = 3.0  # seconds that LiteLLM gets to count its last answers when the worker leaves


class Completion:
    """Passes an answer on, and sees whether its client has waited for the end."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_whole = False
        self._left = False

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_whole, self._left = True, self._is_gone()
        await self._send(message)

    def end(self, context: RequestContext) -> None:
        """There is no more of it."""
        ended(context, left=self._left if self._is_whole else self._is_gone())

    def _is_gone(self) -> bool:
        """Whether the client has closed its connection. uvicorn passes over what is sent then, and
        tells only those that listen.
        """
        return bool(getattr(getattr(self._send, "__self__", None), "disconnected", False))


async def finish() -> None:
    """When a worker leaves, its last answers sent: have LiteLLM count them, and write them down."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    await asyncio.sleep(0.1)  # it begins to count a stream in a task of its own
    with suppress(TimeoutError):
        await asyncio.wait_for(GLOBAL_LOGGING_WORKER.flush(), _PATIENCE)
    finish_all()
    strangers.sum_up()
    await asyncio.to_thread(writer().stop)


def write_down() -> None:
    """Write what has waited, from outside of the event loop."""
    finish_all()
    strangers.sum_up()
    writer().stop()
