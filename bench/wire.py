"""Requests as Claude Code sends them, one at a time, and how they are timed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SECONDS = 120.0  # how long anything may take before it counts as failed
_PAUSE = 0.002  # seconds between two tries to connect
_PORTS = range(20_000, 30_000)


class NotMeasuredError(Exception):
    """Something could not be measured; the text says why, with the end of the log concerned."""


@dataclass(frozen=True)
class Target:
    """Who is asked: a gateway, or the fake provider straight. `names` are the names of the models
    there, where they differ from ours.
    """

    port: int
    key: str
    names: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "User-Agent": "claude-cli/2.1.330 (external, cli)",
            "anthropic-version": "2023-06-01",
        }

    def body(self, model: str, *, stream: bool, text: str = "Say who you are.") -> bytes:
        """One message."""
        body: dict[str, Any] = {
            "model": self.names.get(model, model),
            "max_tokens": 32000,
            "stream": stream,
            "system": [{"type": "text", "text": "You are Claude Code, Anthropic's CLI. " * 50}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
            "metadata": {"user_id": "bench"},
        }
        return json.dumps(body).encode()


PATH = "/v1/messages?beta=true"


class Answer(NamedTuple):
    """What came back, and the seconds until its first byte and its last."""

    status: int
    body: bytes
    first: float
    last: float


def send(connection: http.client.HTTPConnection, target: Target, body: bytes) -> Answer:
    """One request over a connection, which is opened again where the server closes it."""
    began = time.perf_counter()
    connection.request("POST", PATH, body, target.headers)
    response = connection.getresponse()
    head = response.read(1)
    first = time.perf_counter() - began
    answer = head + response.read()
    return Answer(response.status, answer, first, time.perf_counter() - began)


def first_answer(target: Target, began: float, alive: Callable[[], bool]) -> tuple[float, float]:
    """Ask for a message until it is answered: seconds from `began` until the port accepted, and
    until the answer was there. Once the process that starts it is no longer `alive` it has failed.
    """
    accepted: float | None = None
    said = "nothing"
    body = target.body("glm-4.7", stream=False)
    while time.perf_counter() - began < SECONDS:
        if not alive():
            raise NotMeasuredError("the process stopped")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=SECONDS)
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(_PAUSE)
            continue
        accepted = accepted or time.perf_counter() - began
        with contextlib.closing(connection):
            try:
                answer = send(connection, target, body)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                if answer.status == http.HTTPStatus.OK:
                    return accepted, time.perf_counter() - began
                said = f"{answer.status} {answer.body[:300]!r}"
        time.sleep(_PAUSE)
    raise NotMeasuredError(
        f"no answer on port {target.port} within {SECONDS} s; the last was {said}"
    )


def free_ports(count: int) -> list[int]:
    """Free ports below those that the system gives to outgoing connections: a tight loop of
    connecting to one of those connects to itself before long.
    """
    found: list[int] = []
    for port in _PORTS[os.getpid() % 5000 :]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise NotMeasuredError("no port is free")
