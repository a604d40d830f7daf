"""Clients that stream from a gateway all the time, and know what became of every request.

Half of them keep their connection, as the pool of an HTTP library does, half take a new one for
each request. A request that is cut is asked again, as Claude Code does.
"""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import psutil

from tests.gateways import events, wait_for

RETRIES = 10  # of Claude Code
PATIENCE = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Cut:
    """A request that was refused or broken off: by which port of the client it went, None where it
    found no connection.
    """

    at: float
    port: int | None
    why: str


@dataclass
class Traffic:
    """So many clients, each with one stream after the other, while it is open. `whole` is what an
    answer must say.
    """

    port: int
    key: str
    whole: str
    models: tuple[str, ...]
    clients: int = 8
    answered: int = 0
    cuts: list[Cut] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that were neither whole nor cut, and requests that no retry has saved."""
    waits: list[float] = field(default_factory=list)
    """Seconds from each cut to the first byte of the answer that came in its place."""

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive()

    def wait_for_more(self, answers: int) -> None:
        """Wait until so many more came whole."""
        seen = self.answered
        wait_for(lambda: self.answered >= seen + answers or self.wrong)

    def _run(self, number: int) -> None:
        client = _Client(self, self.models[number // 2 % len(self.models)], keeps=number % 2 == 0)
        while not self._over.is_set():
            cut = None
            for retry in range(RETRIES + 1):
                found = client.ask()
                if found is None:
                    break
                with self._lock:
                    self.cuts.append(found)
                cut = cut or found
                time.sleep(min(0.1 * 2**retry, 5.0))
            else:
                self.wrong.append(f"no retry has saved it: {cut}")
            with self._lock:
                self.answered += 1
                if cut:
                    self.waits.append(client.first_byte - cut.at)
        client.close()


class _Client:
    """One client. `keeps` says that it asks again on the connection that it has."""

    def __init__(self, traffic: Traffic, model: str, *, keeps: bool) -> None:
        self._traffic = traffic
        self._keeps = keeps
        message = {"role": "user", "content": "hi"}
        body = {"model": model, "max_tokens": 99, "stream": True, "messages": [message]}
        self._body = json.dumps(body)
        self._headers = {
            "authorization": f"Bearer {traffic.key}",
            "content-type": "application/json",
            "connection": "keep-alive" if keeps else "close",
        }
        self._connection = http.client.HTTPConnection("127.0.0.1", traffic.port, PATIENCE)
        self.first_byte = 0.0

    def close(self) -> None:
        self._connection.close()

    def ask(self) -> Cut | None:
        """One request; None where it was answered."""
        port = None
        try:
            port = self._connected()
            self._connection.request("POST", "/v1/messages", self._body, self._headers)
            answer = self._connection.getresponse()
            head = answer.read(1)
            self.first_byte = time.monotonic()
            text = (head + answer.read()).decode()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Cut(time.monotonic(), port, repr(error))
        if answer.status != 200 or _said(text) != self._traffic.whole:
            self._traffic.wrong.append(f"{answer.status}: {text[-300:]}")
        return None

    def _connected(self) -> int:
        """The port of the connection; as in every pool, one that the server has closed is not used
        again.
        """
        sock = self._connection.sock
        if sock and (not self._keeps or select.select([sock], [], [], 0)[0]):
            self.close()
        if self._connection.sock is None:
            self._connection.connect()
        port: int = self._connection.sock.getsockname()[1]
        return port


def _said(text: str) -> str:
    found = [event for event in events(text) if event["type"] == "content_block_delta"]
    return "".join(event["delta"]["text"] for event in found)


def clients_of(pid: int, port: int) -> set[int]:
    """The ports of the clients whose connections a worker has."""
    return {
        one.raddr.port
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status != psutil.CONN_LISTEN and one.laddr.port == port
    }
