"""A pass-through that stands where a client looks for the gateway, and keeps what goes by."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Self

import httpx
import uvicorn

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


@dataclass
class Passed:
    """A request of the client as it came, and the status of its answer (0: none yet)."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    content: bytes
    status: int = 0
    error: str = ""
    """The body of an answer that is a refusal."""

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object that it carries."""
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded


class PassThrough:
    """A context manager that serves on a port of its own and passes everything on to `target`,
    byte for byte, from a thread of this process.
    """

    def __init__(self, target: str) -> None:
        self.passed: list[Passed] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._target = target
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        sockets = [self._socket]
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive(), "the pass-through did not stop"

    async def _app(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        query = scope["query_string"].decode()
        passed = Passed(scope["method"], scope["path"], query, headers, content)
        self.passed.append(passed)
        answering = asyncio.create_task(self._answer(passed, send))
        leaving = asyncio.create_task(_gone(receive))
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not answering.cancel():
            answering.result()

    async def _answer(self, passed: Passed, send: Send) -> None:
        query = f"?{passed.query}" if passed.query else ""
        # One for each request, without certificates: nothing stays open.
        client = httpx.AsyncClient(trust_env=False, timeout=None, verify=False)  # noqa: S501, S113 - loopback
        client.headers.clear()
        async with (
            client,
            client.stream(
                passed.method,
                f"{self._target}{passed.path}{query}",
                headers=passed.headers,
                content=passed.content,
            ) as answer,
        ):
            passed.status = answer.status_code
            start = {"type": "http.response.start", "status": answer.status_code}
            await send(start | {"headers": answer.headers.raw})
            async for part in answer.aiter_raw():
                if answer.is_error:
                    passed.error += part.decode()
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
