"""`llmswitch try`: the whole way from a profile to an answer, with two offline models."""

from __future__ import annotations

import http
import http.client
import json
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle
from llmswitch.gateway.process import Progress
from llmswitch.gateway.state import State
from llmswitch.paths import Home, ProfileRef, data_folder
from llmswitch.profile.secrets import gateway_key

QUESTION = "Hello from Claude Code"
# Its log is gone with the gateway, and nothing of the user's has a part in it.
_REPORT = "this is a fault of llmswitch: please report it"


class Answer(NamedTuple):
    """What a model said, and in how many streamed pieces it came."""

    model: str
    label: str
    text: str
    pieces: int


@contextmanager
def demo_gateway(environ: Mapping[str, str], progress: Progress) -> Iterator[tuple[State, str]]:
    """A gateway with the demo profile on a free port and in a folder of its own; gone afterwards.

    Yields its state and its key.
    """
    with _ended_cleanly(), tempfile.TemporaryDirectory(prefix="llmswitch-try-") as folder:
        home = Home(Path(folder), Path(folder) / "state")
        ready_made = (data_folder("profiles") / "demo.yaml").read_text(encoding="utf-8")
        file = home.profiles / "demo.yaml"
        file.parent.mkdir()
        file.write_text(f"{ready_made}gateway: {{port: {_free_port()}}}\n", encoding="utf-8")
        ref = ProfileRef("demo", file, "demo")
        try:
            outcome = lifecycle.up(ref, home, environ, progress)
            yield outcome.state, gateway_key(home)
        finally:
            lifecycle.down(home.run(ref), progress)


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Clean up also when told to end, or when the terminal is closed."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(state: State, key: str, row: dict[str, Any]) -> Answer:
    """Send the model of a row one message as Claude Code does.

    The request has the form that Claude Code 2.1 gives it: the beta query, a system prompt with a
    cache mark, thinking, streaming.
    """
    body = {
        "model": row["name"],
        "max_tokens": 32000,
        "stream": True,
        "system": [
            {
                "type": "text",
                "text": "You are Claude Code, Anthropic's official CLI for Claude.",
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "metadata": {"user_id": "llmswitch try"},
    }
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "User-Agent": "claude-cli/2.1.330 (external, cli)",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "anthropic-version": "2023-06-01",
    }
    connection = http.client.HTTPConnection(state.host, state.port, timeout=60)
    try:
        connection.request("POST", "/v1/messages?beta=true", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            said = response.read().decode(errors="replace")[:300]
            raise LlmswitchError(f"{row['name']} answered {response.status}: {said}", _REPORT)
        pieces = [event["delta"]["text"] for event in _events(response) if _is_text(event)]
        return Answer(row["name"], row["label"], "".join(pieces), len(pieces))
    finally:
        connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            if event.get("type") == "error":
                raise LlmswitchError(f"the stream broke: {event['error']}", _REPORT)
            yield event


def _is_text(event: dict[str, Any]) -> bool:
    return event.get("type") == "content_block_delta" and event["delta"].get("type") == "text_delta"
