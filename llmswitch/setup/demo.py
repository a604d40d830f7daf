"""`llmswitch try`: the whole way from a profile to an answer, with two offline models."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from llmswitch.doctor import messages_api
from llmswitch.doctor.requests import user
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle
from llmswitch.gateway.process import Progress
from llmswitch.gateway.state import State
from llmswitch.paths import Home, ProfileRef, data_folder
from llmswitch.profile.secrets import gateway_key

QUESTION = "Hello from Claude Code"


class Answer(NamedTuple):
    """What a model said."""

    model: str
    label: str
    text: str


@contextmanager
def demo_gateway(environ: Mapping[str, str], progress: Progress) -> Iterator[tuple[State, str]]:
    """A gateway with the demo profile on a free port, in a folder that is deleted afterwards.

    Yields its state and its key.
    """
    with _signals_end_cleanly(), tempfile.TemporaryDirectory(prefix="llmswitch-try-") as folder:
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
def _signals_end_cleanly() -> Iterator[None]:
    """Clean up also on SIGTERM, and when the terminal is closed."""

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
    """Send the model of a row one message, streamed, as Claude Code does."""
    body = {"model": row["name"], "max_tokens": 1000, "stream": True, "messages": [user(QUESTION)]}
    try:
        endpoint = messages_api.Endpoint(state.host, state.port, key)
        said = messages_api.ask(endpoint, body)
    except messages_api.AnswerError as error:
        raise LlmswitchError(
            f"{row['name']} did not answer: {error}", "this is a bug in llmswitch: please report it"
        ) from error
    return Answer(row["name"], row["label"], said.text)
