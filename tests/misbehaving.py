"""An upstream that writes its answers byte by byte, so that it can send what no HTTP server would.

``FAULTS`` is how each of its faults looks on the wire. A fault is told what is asked for (Wire) and
writes what it likes; when it returns, the connection is closed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from tests.upstream import Answer, Chat, Json, Messages, Responses, Usage

MODEL = "liar"
TEXT = "I am the answer"
_WORDS = ("I am", " the", " answer")
MB = 1_000_000


@dataclass
class Wire:
    """One request of the gateway, read whole, and the way back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: Json

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return bool(self.body.get("stream"))

    @property
    def is_chat(self) -> bool:
        """Whether it is asked in OpenAI's dialect."""
        return "/chat/completions" in self.path

    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, data: bytes) -> None:
        """Write, and wait until the other side has taken most of it."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(
        self,
        status: int | str = "200 OK",
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
    ) -> None:
        """The status line and headers; the kind is that of the answer asked for."""
        usual = "text/event-stream; charset=utf-8" if self.stream else "application/json"
        lines = [f"HTTP/1.1 {status}", f"content-type: {usual if kind is None else kind}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += ["transfer-encoding: chunked"] if chunked else []
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def answer(self, body: bytes, **head: Any) -> None:
        """A whole answer of these bytes, with their right length."""
        headers = {"content-length": str(len(body)), **(head.pop("headers", None) or {})}
        await self.head(headers=headers, **head)
        await self.send(body)

    async def chunk(self, data: bytes) -> None:
        """A chunk of a chunked body; the last one is empty."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def events(self, words: Sequence[str] = _WORDS, usage: Any = None) -> list[bytes]:
        """The events of a right answer."""
        stream = self._dialect.stream(self._made(words), self.body)
        found = [*stream.head, *stream.deltas, *stream.tail]
        if usage is None:
            return found
        return [self._with_usage(event, usage) for event in found]

    def whole(self, words: Sequence[str] = _WORDS, **changed: Any) -> Json:
        """A right answer in one piece, but for what is changed in it."""
        return self._dialect.whole(self._made(words)) | changed

    def right(self, words: Sequence[str] = _WORDS) -> bytes:
        """A right answer, streamed or not."""
        return (
            b"".join(self.events(words)) if self.stream else json.dumps(self.whole(words)).encode()
        )

    def error(self, message: str) -> Json:
        """An error in the form of the dialect."""
        return self._dialect.error(500, message)

    async def silence(self) -> None:
        """Say nothing until the other side leaves."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with RST in place of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    @property
    def _dialect(self) -> Messages | Chat | Responses:
        if "/responses" in self.path:
            return Responses()
        return Chat() if self.is_chat else Messages()

    def _made(self, words: Sequence[str]) -> Answer:
        return Answer("1", str(self.body.get("model")), tuple(words), None, Usage())

    def _with_usage(self, event: bytes, usage: Any) -> bytes:
        head, mark, data = event.partition(b"data: ")
        if not data.startswith(b"{"):
            return event
        loaded = json.loads(data)
        for holder in (loaded, loaded.get("message")):
            if isinstance(holder, dict) and holder.get("usage") is not None:
                holder["usage"] = (
                    usage if not isinstance(usage, dict) else {**holder["usage"], **usage}
                )
        return head + mark + json.dumps(loaded).encode() + b"\n\n"


Fault = Callable[[Wire], Awaitable[None]]


class MisbehavingUpstream:
    """A server on 127.0.0.1 in a thread of its own that answers each request by its fault."""

    def __init__(self) -> None:
        self.fault: Fault = right
        self.open = 0
        self.answered = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * MB)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.answered += 1
            await self.fault(Wire(reader, writer, body, lines[0].split(" ")[1], headers))
        self.open -= 1
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()


# ------------------------------------------------------------------ the faults


async def right(wire: Wire) -> None:
    """Nothing wrong."""
    await wire.answer(wire.right())


def says(body: bytes, **head: Any) -> Fault:
    """These bytes as the answer."""

    async def fault(wire: Wire) -> None:
        await wire.answer(body, **head)

    return fault


def headed(**head: Any) -> Fault:
    """A right answer below a wrong head."""

    async def fault(wire: Wire) -> None:
        await wire.answer(wire.right(), **head)

    return fault


async def too_long(wire: Wire) -> None:
    """A content-length that promises more than comes."""
    body = wire.right()
    await wire.answer(body, headers={"content-length": str(len(body) + 100)})


async def too_short(wire: Wire) -> None:
    """A content-length that ends before the answer does; the rest comes a little later."""
    body = wire.right()
    await wire.head(headers={"content-length": str(len(body) - 20)})
    await wire.send(body[:-20])
    await asyncio.sleep(0.2)
    await wire.send(body[-20:])


def made(body: Callable[[Wire], bytes], **head: Any) -> Fault:
    """What is made of the request as the answer."""

    async def fault(wire: Wire) -> None:
        await wire.answer(body(wire), **head)

    return fault


def edited(change: Callable[[list[bytes]], list[bytes]]) -> Fault:
    """The events of a right stream, changed."""
    return made(lambda wire: b"".join(change(wire.events())))


def used(usage: Any) -> Fault:
    """A right answer that tells another usage."""

    def body(wire: Wire) -> bytes:
        if wire.stream:
            return b"".join(wire.events(usage=usage))
        message = wire.whole()
        told = {**message["usage"], **usage} if isinstance(usage, dict) else usage
        return json.dumps(message | {"usage": told}).encode()

    return made(body)


def tokens(value: Any) -> Fault:
    """Every number of tokens is this."""
    names = ["input_tokens", "output_tokens", "cache_read_input_tokens"]
    names += ["cache_creation_input_tokens", "prompt_tokens", "completion_tokens", "total_tokens"]
    return used(dict.fromkeys(names, value))


def cut(where: Callable[[bytes], int], *, reset: bool, chunked: bool = False) -> Fault:
    """A right answer that ends before its end, by FIN or by RST."""

    async def fault(wire: Wire) -> None:
        body = wire.right(("I am é", " thé", " answér"))
        await wire.head(
            headers={} if chunked else {"content-length": str(len(body))}, chunked=chunked
        )
        part = body[: where(body)]
        if chunked:  # in the middle of what was announced
            await wire.send(b"%x\r\n%s" % (len(body), part))
        else:
            await wire.send(part)
        await asyncio.sleep(0.05)  # what was written must arrive
        if reset:
            wire.reset()

    return fault


def in_an_event(body: bytes) -> int:
    """In the middle."""
    return body.index(b"th")


def in_a_character(body: bytes) -> int:
    """Between the two bytes of an `é`."""
    return body.index("é".encode()) + 1 if "é".encode() in body else body.index(b"u00e9") + 2


async def hang(wire: Wire) -> None:
    """Not even a head."""
    await wire.silence()


async def hang_after_head(wire: Wire) -> None:
    """A head, and no body."""
    await wire.head(chunked=True)
    await wire.silence()


async def hang_in_the_middle(wire: Wire) -> None:
    """Half of a body."""
    await wire.head(chunked=True)
    body = wire.right()
    await wire.chunk(body[: in_an_event(body)])
    await wire.silence()


async def early_hint(wire: Wire) -> None:
    """An interim answer before the right one."""
    await wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await right(wire)


async def only_interim(wire: Wire) -> None:
    """An interim answer and nothing else."""
    await wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")


async def no_http(wire: Wire) -> None:
    """What no HTTP server says."""
    await wire.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")


async def big_whole(wire: Wire, size: int = 100 * MB) -> None:
    """A right answer of this size."""
    text = "x" * size
    await wire.answer(wire.right((text,)))


async def big_stream(wire: Wire, number: int = 1000) -> None:
    """A right stream of so many events of 100 kB each."""
    events = wire.events(["x" * 100_000])
    (middle,) = (n for n, event in enumerate(events) if b"xxxx" in event)
    other = events[middle].replace(b"x", b"y")  # LiteLLM ends a stream that repeats itself
    await wire.head(chunked=True)
    for event in events[:middle]:
        await wire.chunk(event)
    for n in range(number):
        await wire.chunk(other if n % 2 else events[middle])
    for event in events[middle + 1 :]:
        await wire.chunk(event)
    await wire.chunk(b"")


BOMB = gzip.compress(b" " * (100 * MB))
HTML = b"<!doctype html><html><body>Just a moment...</body></html>"


def _inside(replacement: bytes) -> Fault:
    """A right answer with these bytes in its text."""
    return made(lambda wire: wire.right(("I am", " MARK", " answer")).replace(b"MARK", replacement))


def _ended(end: bytes) -> Fault:
    """A right stream whose lines end so."""
    return made(lambda wire: wire.right().replace(b"\n", end) if wire.stream else wire.right())


STREAMED: dict[str, Fault] = {
    "no message_start": edited(lambda e: e[1:]),
    "no end": edited(lambda e: e[:-3]),
    "no last event": edited(lambda e: e[:-1]),
    "events backwards": edited(lambda e: e[::-1]),
    "every event twice": edited(lambda e: [x for one in e for x in (one, one)]),
    "unknown events": edited(
        lambda e: [e[0], b'event: news\ndata: {"type": "news", "x": 1}\n\n', *e[1:]]
    ),
    "events that are no JSON": edited(lambda e: [*e[:3], b"event: x\ndata: {nonsense\n\n", *e[3:]]),
    "events that are lists": edited(lambda e: [*e[:3], b"event: x\ndata: [1, null]\n\n", *e[3:]]),
    "only comments": says(b": ping\n\n" * 100),
    "no blank lines": edited(lambda e: [x.replace(b"\n\n", b"\n") for x in e]),
    "CRLF": _ended(b"\r\n"),
    "CR": _ended(b"\r"),
}
BOTH: dict[str, Fault] = {
    "right": right,
    "content-length too long": too_long,
    "content-length too short": too_short,
    "wrong content-type": headed(kind="image/png"),
    "no content-type": headed(kind=""),
    "an HTML page": says(HTML, kind="text/html"),
    "an error with 200": made(
        lambda wire: json.dumps(wire.error("the account is empty")).encode(),
        kind="application/json",
    ),
    "nothing": says(b""),
    "null": says(b"null"),
    "a list": says(b"[]"),
    "a number": says(b"7"),
    "an empty object": says(b"{}"),
    "JSON that is no message": says(b'{"hello": "world"}'),
    "no content": made(lambda w: json.dumps(w.whole(content=None, choices=None)).encode()),
    "empty content": made(lambda w: json.dumps(w.whole(content=[], choices=[])).encode()),
    "content of numbers": made(lambda w: json.dumps(w.whole(content=[1], choices=[1])).encode()),
    "usage of -5": tokens(-5),
    "usage of '5'": tokens("5"),
    "usage of 10**30": tokens(10**30),
    "usage of 1.5": tokens(1.5),
    "usage of null": tokens(None),
    "usage null": used(None),
    "usage a list": used([]),
    "another model": made(
        lambda w: w.right().replace(MODEL.encode(), b"claude-opus-4-5-20251101"),
    ),
    "status 999": headed(status="999 Odd"),
    "status 204": made(lambda _: b"", status="204 No Content"),
    "status 304": made(lambda _: b"", status="304 Not Modified"),
    "status 103 first": early_hint,
    "status 102 alone": only_interim,
    "no HTTP": no_http,
    "headers of 100 KB": headed(headers={"x-long": "x" * 100_000}),
    "headers of hosts": headed(
        headers={"set-cookie": "a=b; Path=/", "x-should-retry": "true", "retry-after": "99999999"}
    ),
    "a 429 for years": headed(status="429 Too Many Requests", headers={"retry-after": "99999999"}),
    "gzip that is none": headed(headers={"content-encoding": "gzip"}),
    "an encoding that nobody knows": headed(headers={"content-encoding": "nonsense"}),
    "a gzip bomb": says(BOMB, headers={"content-encoding": "gzip"}),
    "FIN in an event": cut(in_an_event, reset=False),
    "RST in an event": cut(in_an_event, reset=True),
    "FIN in a character": cut(in_a_character, reset=False),
    "FIN in a chunk": cut(in_an_event, reset=False, chunked=True),
    "RST in a chunk": cut(in_an_event, reset=True, chunked=True),
    "bytes that are no UTF-8": _inside(b"\xff\xfe\xc3\x28"),
    "NUL": _inside(b"\x00"),
    "NUL escaped": _inside(rb"\u0000"),
    "a lone surrogate": _inside(rb"\ud800"),
    "a BOM": made(lambda wire: b"\xef\xbb\xbf" + wire.right()),
    "silence after the head": hang_after_head,
    "silence in the middle": hang_in_the_middle,
}
WHOLE: dict[str, Fault] = {
    "100 MB": big_whole,
    "20 MB of HTML": says(b"<p>x" * (5 * MB), kind="text/html"),
    "20 MB that are no JSON": says(b'{"x' * (7 * MB), kind="application/json"),
    "an error of 20 MB": says(b"<p>x" * (5 * MB), status="500 Internal Server Error"),
}
FLOODS: dict[str, Fault] = {
    "an event of 10 MB": lambda wire: big_whole(wire, 10 * MB),
    "50 MB in events": lambda wire: big_stream(wire, 500),
    "100 MB in events": big_stream,
}
