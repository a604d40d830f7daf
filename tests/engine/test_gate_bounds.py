"""How much of the gateway one request, or many, can take: size, number, time, memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.engine import bodies, connections, worker
from llmswitch.engine.asgi import GoneError, Message, Receive, RefusedError, Send
from llmswitch.engine.bodies import LARGE, LARGEST, MOST_PARTS, Body, Parts, Room
from tests.engine.forms import error_body
from tests.engine.gate import ROUTES
from tests.gateways import CLIENT, wait_for, worker_pids
from tests.ledgers import House

pytestmark = pytest.mark.timeout(300)

MEMORY = 2 << 30
"""bytes; MemoryMax of templates/llmswitch.service.j2."""

# ------------------------------------------------------------------ parts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a,[]{}:"\\ \né')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('a",[\\')), inner),
)


def count(value: Any) -> int:
    """The JSON values in one, itself included; an empty array or object counts twice."""
    if isinstance(value, dict):
        value = [*value.values()]
    if not isinstance(value, list):
        return 1
    return 1 + max(sum(map(count, value)), 1)


@given(VALUES, st.data(), st.sampled_from([None, 1]), st.booleans())
def test_parts_are_counted_as_a_parser_would(
    value: Any, data: st.DataObject, indent: int | None, ascii_only: bool
) -> None:
    """Whatever strings hold, however it is written, and wherever it is cut into pieces."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    cuts = data.draw(st.lists(st.integers(0, len(text)))) if text else []
    parts = Parts()
    for begin, end in pairwise([0, *sorted(cuts), len(text)]):
        parts.feed(text[begin:end])
    assert parts.number == count(value)


# ------------------------------------------------------------------ one body


def pieces(*texts: bytes) -> Receive:
    """A `receive` that brings these, and then nothing more."""
    waiting = [*texts]

    async def receive() -> Message:
        text = waiting.pop(0)
        return {"type": "http.request", "body": text, "more_body": bool(waiting)}

    return receive


def refused(receive: Receive, **headers: str) -> tuple[int, str]:
    """How a body is refused."""
    sent = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]

    async def read() -> None:
        body = Body(sent)
        try:
            await body.read(receive)
        finally:
            body.close()

    with pytest.raises(RefusedError) as caught:
        asyncio.run(read())
    return caught.value.status, caught.value.message


async def never() -> Message:
    """A client that sends nothing."""
    await asyncio.Event().wait()
    raise AssertionError


TOO_LARGE = (413, "the body is larger than 32 MB")
TOO_MANY = (413, "the body has more than 100,000 JSON values")


def test_a_body_is_refused_as_soon_as_it_is_known_to_be_too_large() -> None:
    """By what it announces, before a byte of it is read; else by what has come."""
    assert refused(never, content_length=str(LARGEST + 1)) == TOO_LARGE
    assert refused(pieces(b"x" * LARGEST, b"x", b"never read")) == TOO_LARGE
    assert refused(pieces(b"x" * (LARGEST + 1)), content_length="5") == TOO_LARGE


@pytest.mark.parametrize("item", [b"[],", b"1,", b"{},", b'"",', b"[[", b'{"a":'])
def test_a_body_of_too_many_values_is_refused(item: bytes) -> None:
    """While it comes, before any of it is parsed."""
    text = b"[" + item * (MOST_PARTS + 1)
    assert refused(pieces(*(text[at : at + 65_536] for at in range(0, len(text), 65_536)))) == (
        TOO_MANY
    )


def test_many_values_in_a_string_are_one() -> None:
    """A text may hold what it likes."""

    async def read() -> bytes:
        body = Body([])
        got = await body.read(pieces(text))
        body.close()
        return got

    text = b'{"a": "' + b'[],{}\\"' * 100_000 + b'"}'
    assert asyncio.run(read()) == text


def test_a_silent_or_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time without a piece, and after a time for all of it."""

    async def slow() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    late = (408, "timed out while reading the request body")
    monkeypatch.setattr(bodies, "_SILENCE", 0.1)
    assert refused(never) == late
    monkeypatch.setattr(bodies, "_WHOLE", 0.3)
    assert refused(slow) == late


def test_a_client_that_leaves_frees_what_it_held() -> None:
    """In the midst of a large body: the next large one is read."""

    async def read() -> bytes:
        left = Body([(b"content-length", b"%d" % LARGEST)])

        async def leave() -> Message:
            return {"type": "http.disconnect"}

        with pytest.raises(GoneError):
            await left.read(leave)
        left.close()
        second = Body([])
        got = await second.read(pieces(b"x" * (LARGE + 1)))
        second.close()
        return got

    assert len(asyncio.run(read())) == LARGE + 1


def test_large_bodies_are_worked_on_one_at_a_time() -> None:
    """Until its answer begins; small ones pass meanwhile."""
    order: list[str] = []

    async def work(name: str, size: int, pause: Callable[[], Awaitable[object]]) -> None:
        body = Body([(b"content-length", b"%d" % size)])
        await body.read(pieces(b"x" * size))
        order.append(f"{name} begins")
        await pause()
        order.append(f"{name} is answered")
        body.close()

    async def main() -> None:
        small_is_done = asyncio.Event()
        first = asyncio.create_task(work("first", LARGE + 1, small_is_done.wait))
        second = asyncio.create_task(work("second", LARGEST, small_is_done.wait))
        await asyncio.sleep(0)
        await work("small", LARGE, lambda: asyncio.sleep(0))
        small_is_done.set()
        await asyncio.gather(first, second)

    asyncio.run(main())
    assert order == [
        "first begins",
        "small begins",
        "small is answered",
        "first is answered",
        "second begins",
        "second is answered",
    ]


def test_room_is_given_in_turn() -> None:
    """Who waits does not starve, and one that has given up waiting leaves its place."""

    async def main() -> None:
        room = Room(10_000)
        held = await room.take(9_000, 1)
        heavy = asyncio.create_task(room.take(50_000, 1))
        given_up = asyncio.create_task(room.take(5_000, 1))
        light = asyncio.create_task(room.take(100, 1))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        assert not heavy.done()
        assert not light.done()
        room.give(held)
        assert await heavy == 10_000  # alone: never more than there is
        assert not light.done()
        room.give(10_000)
        room.give(await light)
        assert room.free == room.size

    asyncio.run(main())


# ------------------------------------------------------------------ one connection


@contextmanager
def server() -> Iterator[int]:
    """A server of our worker's kind, whose application reads the body and says how long it is."""

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        said = b"%d" % len(body)
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    settings = {**worker.Worker.CONFIG_KWARGS, "loop": "asyncio"}
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, **settings)
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: running.started)
        yield listening.getsockname()[1]
        running.should_exit = True
        thread.join()


def answer(port: int, *parts: bytes) -> bytes:
    """All that comes back before the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        for part in parts:
            try:
                connection.sendall(part)
                time.sleep(0.05)
            except OSError:
                break
        got = b""
        try:
            while part := connection.recv(65_536):
                got += part
        except ConnectionResetError:
            pass
        return got


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


def test_headers_are_bounded() -> None:
    """Headers of 64 KB are read; more are 431, while they come, also where they follow a body."""
    with server() as port:
        fits = b"connection: close\r\nx: " + b"x" * 60_000 + b"\r\n\r\n"
        assert answer(port, HEAD, fits).endswith(b"\r\n\r\n0")
        endless = [b"x: " + b"x" * 30_000] * 5
        assert answer(port, HEAD, *endless).split()[1] == b"431"
        chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        assert answer(port, chunked, *endless).split()[1] == b"431"


def test_headers_must_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says nothing, or never ends its headers, is closed; so is one that is refused
    and goes on sending for ever.
    """
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.5)
    with server() as port:
        assert answer(port) == b""
        assert answer(port, HEAD, b"a: b\r\n") == b""
        complete = HEAD + b"content-length: 2\r\n\r\n"
        assert answer(port, complete + b"ab", b"GET / HTTP").endswith(b"\r\n\r\n2")
        assert answer(port, complete + b"a", *([b""] * 20), b"b").endswith(b"\r\n\r\n2")


# ------------------------------------------------------------------ the gateway


def post(lab: House, sent: bytes, route: str = "/v1/messages") -> httpx.Response:
    """One request with a body as it is."""
    headers = {**CLIENT, "x-api-key": lab.gateway.key}
    return httpx.post(
        lab.gateway.url + route, content=sent, headers=headers, timeout=250, trust_env=False
    )


def request(model: str, filling: str) -> bytes:
    """A message with a long text, or with a tool of many values."""
    tool = {"name": "t", "input_schema": {"type": "object", "enum": ["FILLING"]}}
    sent = {
        "model": model,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [tool],
    }
    return json.dumps(sent).replace('"FILLING"', filling).encode()


def test_what_is_too_large_costs_nothing(lab: House) -> None:
    """It is 413 in the form of the API, asks no upstream, and the next request is served."""
    lab.clear()
    for route in ROUTES:
        for (status, said), sent in (
            (TOO_LARGE, request("chat", f'"{"x" * LARGEST}"')),
            (TOO_MANY, request("chat", "[]," * 1_000_000 + "1")),
            (TOO_MANY, request("chat", "1," * MOST_PARTS + "1")),
        ):
            got = post(lab, sent, route)
            expected = error_body(route, status, f"llmswitch: {said}")
            assert (got.status_code, got.json()) == (status, expected)
    assert lab.received == {}
    assert lab.gateway.ask("chat").said == "I am qwen3 at mine"
    assert "Traceback" not in lab.log


def taken(lab: House) -> int:
    """The memory of all processes of the gateway, bytes; what they share counts once."""
    pids = {lab.user.gateway_state()["pid"], *worker_pids(lab.user)}
    return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)


@pytest.mark.soak
@pytest.mark.parametrize("model", ["messages", "chat"])
def test_the_worst_allowed_requests_fit_into_the_memory_of_the_service(
    lab: House, model: str
) -> None:
    """32 MB as one text and as 99,900 values, eight at once, then 200 small ones. All processes
    took 702 MB (messages) and 736 MB (chat) at most, of 332 MB before (LiteLLM 1.108.7).
    """
    text = request(model, f'"{"x" * (LARGEST - 300)}"')
    values = request(model, ",".join(['"' + "y" * 310 + '"'] * 99_900))
    small = request(model, '"x"')
    most = 0
    with ThreadPoolExecutor(40) as pool:
        sent = [pool.submit(post, lab, one) for one in [text, values] * 4 + [small] * 200]
        while not all(one.done() for one in sent):
            most = max(most, taken(lab))
            time.sleep(0.1)
    assert {one.result().status_code for one in sent} == {200}
    print(f"{model}: {most / 1e6:.0f} MB at most")
    assert most < MEMORY
