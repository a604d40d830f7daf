"""Many requests at once, with so little work of ours that the gateway is what is measured."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import NamedTuple

import uvloop

from bench.wire import PATH, NotMeasuredError, Target

_MANY = 10**9


class Load(NamedTuple):
    """How many requests were answered, and in how many seconds."""

    answered: int
    seconds: float


def load(
    target: Target, body: bytes, at_once: int, *, seconds: float = 3600, number: int = _MANY
) -> Load:
    """Ask so long, or so often; a request that is not answered is a failure."""
    return uvloop.run(_load(target, body, at_once, seconds, number))


async def _load(target: Target, body: bytes, at_once: int, seconds: float, number: int) -> Load:
    head = [f"POST {PATH} HTTP/1.1", f"Host: 127.0.0.1:{target.port}"]
    head += [f"{name}: {value}" for name, value in target.headers.items()]
    head += [f"Content-Length: {len(body)}"]
    request = "\r\n".join([*head, "", ""]).encode() + body
    numbers = itertools.count()
    began = time.perf_counter()

    async def ask() -> int:
        answered = 0
        with contextlib.closing(_Connection(target.port)) as connection:
            while time.perf_counter() - began < seconds and next(numbers) < number:
                await connection.ask(request)
                answered += 1
        return answered

    answered = sum(await asyncio.gather(*(ask() for _ in range(at_once))))
    return Load(answered, time.perf_counter() - began)


class _Connection:
    """A connection that is opened again where the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> None:
        """Send it, and read the answer to its end."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.split(b" ", 2)[1] != b"200":
            raise NotMeasuredError(f"a request under load was answered {head!r}")
        if b"\r\ntransfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        elif b"\r\ncontent-length: " in head:
            length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        else:
            await reader.read()
        if head.startswith(b"http/1.0") or b"\r\nconnection: close" in head:
            self.close()

    def close(self) -> None:
        """Close it, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
