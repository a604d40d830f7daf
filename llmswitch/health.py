"""Probes of a running gateway. Standard library only, and sockets rather than http.client: the
wrapper asks on every start.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
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
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(connect_host(host), port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        text = answer.read()
    except HTTPException as error:
        raise ValueError(f"{path} answered no HTTP") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise ValueError(f"{path} answered {answer.status}")
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


def connect_host(host: str) -> str:
    """Where a client connects to reach a gateway that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not a bind
