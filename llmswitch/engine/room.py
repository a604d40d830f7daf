"""The memory that all requests in work may take together."""

from __future__ import annotations

import asyncio
from collections import deque

_OF_A_PART = 300  # bytes that LiteLLM takes for a JSON value beside its text, about


class Room:
    """A number of bytes that requests take and give back; who finds too few waits, in turn."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, length: int, parts: int) -> int:
        """Wait for the room of a body (bytes, JSON values); what is to be given back."""
        weight = min(length + parts * _OF_A_PART, self.size)
        if self._waiting or weight > self.free:
            turn = asyncio.get_running_loop().create_future()
            entry = (weight, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give(weight)
                else:
                    self._waiting.remove(entry)
                    self.give(0)
                raise
        else:
            self.free -= weight
        return weight

    def give(self, weight: int) -> None:
        """Give back what was taken."""
        self.free += weight
        while self._waiting and self._waiting[0][0] <= self.free:
            needed, turn = self._waiting.popleft()
            self.free -= needed
            turn.set_result(None)
