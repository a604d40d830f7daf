"""Probes of a running gateway. Standard library only, and sockets rather than http.client: the
wrapper asks on every start.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

LIVELINESS = "/health/liveliness"  # LiteLLM's own; asks no model and needs no key

OWN_STATE = "/llmswitch/state"  # ours, for the gateway's key: its ledger and its budgets


def answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether a gateway answers there within `timeout` seconds."""
    request = f"GET {LIVELINESS} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((connect_host(host), port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(request.encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def ask(host: str, port: int, path: str, key: str | None = None, timeout: float = 2.0) -> Any:
    """The JSON that a gateway answers to a GET.

    Raises OSError where it does not answer in `timeout` seconds, ValueError for another answer.
    """
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}:{port}"]  # 1.0: the answer ends with the stream
    lines += [f"Authorization: Bearer {key}"] if key else []
    with socket.create_connection((connect_host(host), port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/"):
        raise ValueError(f"{path} answered no HTTP")
    if status != [b"200"]:
        raise ValueError(f"{path} answered {b''.join(status).decode(errors='replace')}")
    return json.loads(text)


def wait_until(true: Callable[[], bool], seconds: float, tick: Callable[[], None]) -> bool:
    """Ask until it is true or the time is up, `tick` being called between; tells which."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        tick()
        time.sleep(0.05)
    return True


def url_of(host: str, port: int) -> str:
    """Where clients connect to a gateway that listens on `host`."""
    reached = connect_host(host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def address_of(url: str) -> str:
    """A URL of url_of as people say it: host and port."""
    return url.removeprefix("http://")


def connect_host(host: str) -> str:
    """Where a client connects to reach a gateway that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not a bind
