"""The body of a request, read within bounds before anything else looks at it."""

from __future__ import annotations

import asyncio
import gc
import re
from collections import deque
from typing import Any

import orjson

from llmswitch.engine.asgi import GoneError, Headers, Message, Receive, RefusedError

LARGEST = 32_000_000  # bytes; Anthropic's own limit
MOST_PARTS = 100_000  # JSON values; 32 MB of `[],` would take 893 MB once they are parsed
LARGE = 2_000_000  # bytes; of larger ones only one is read and worked on at a time
ROOM = 100_000_000  # bytes that all bodies may weigh together until they are answered
_OF_A_PART = 300  # bytes that LiteLLM takes for a JSON value beside its text, about
_SILENCE = 30.0  # seconds between two pieces of a body
_WHOLE = 300.0  # seconds for all of it
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


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


_large_ones = asyncio.Lock()
_room = Room(ROOM)
_uncollected = 0  # bytes of bodies since the last time


class Parts:
    """Counts the JSON values of a text that comes in pieces, without parsing it: each is the first,
    stands behind a comma, or is the first of an array or object (so an empty one counts twice).
    """

    def __init__(self) -> None:
        self.number = 1
        self._in_string = False
        self._is_escaped = False

    def feed(self, piece: bytes) -> None:
        """Count those of the next piece."""
        bare = _ESCAPED.sub(b"", piece[self._is_escaped :])
        if piece:
            self._is_escaped = bare.endswith(b"\\")
        between = bare.split(b'"')
        outside = b" ".join(between[self._in_string :: 2])
        self._in_string ^= len(between) % 2 == 0
        self.number += sum(outside.count(mark) for mark in (b",", b"[", b"{"))


class Body:
    """The body of one request. While it is a large one, others of that kind wait; and each waits
    until there is room beside those that are not answered yet.
    """

    def __init__(self, headers: Headers) -> None:
        given = dict(headers)
        self._packed = given.get(b"content-encoding", b"identity").lower() != b"identity"
        announced = given.get(b"content-length", b"")
        self._announced = int(announced) if announced.isdigit() else 0
        self._is_ambiguous = b"content-length" in given and b"transfer-encoding" in given
        self._holds_lock = False
        self._weight = 0

    async def read(self, receive: Receive) -> bytes:
        """All of it.

        Raises RefusedError for one that is too large, has too many parts or is not sent in time,
        as soon as that is known, and GoneError.
        """
        if self._packed:
            raise RefusedError(
                400,
                "a compressed body is not supported; send it without content-encoding",
            )
        if self._is_ambiguous:
            raise RefusedError(400, "send content-length or transfer-encoding, not both")
        try:
            async with asyncio.timeout(_WHOLE):
                return await self._read(receive)
        except TimeoutError:
            raise RefusedError(408, "timed out while reading the request body") from None

    async def _read(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        length, parts, more = 0, Parts(), True
        await self._bound(self._announced)
        while more:
            async with asyncio.timeout(_SILENCE):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            pieces.append(message.get("body", b""))
            length += len(pieces[-1])
            parts.feed(pieces[-1])
            if parts.number > MOST_PARTS:
                raise RefusedError(413, f"the body has more than {MOST_PARTS:,} JSON values")
            await self._bound(length)
            more = message.get("more_body", False)
        self._weight = await _room.take(length, parts.number)
        _collect(length)
        return b"".join(pieces)

    async def _bound(self, length: int) -> None:
        if length > LARGEST:
            raise RefusedError(413, f"the body is larger than {LARGEST // 1_000_000} MB")
        if length > LARGE and not self._holds_lock:
            await _large_ones.acquire()
            self._holds_lock = True

    def release(self) -> None:
        """The answer begins: let the next large one go on; may be called again."""
        if self._holds_lock:
            self._holds_lock = False
            _large_ones.release()

    def close(self) -> None:
        """The answer has ended."""
        self.release()
        _room.give(self._weight)
        self._weight = 0


def _collect(length: int) -> None:
    """Python collects by the number of objects, and would leave hundreds of megabytes in a few."""
    global _uncollected  # noqa: PLW0603 - of this process, like the garbage
    _uncollected += length
    if _uncollected > LARGEST:
        _uncollected = 0
        gc.collect()


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises RefusedError for any other."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(400, "the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return data


def sent_again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that brings the body in one piece, and then what else the client does."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
