"""What the bytes of an answer say of it, however they are cut into parts."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.engine.streams import NO_ANSWER, Failure, Observer, UsageWatch

TEXT = 'she said "error", and `event: error`, {"type":"message_stop"}, data: [DONE]'
START = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": TEXT}}
USED = {"type": "message_delta", "usage": {"output_tokens": 5}}
STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
CHUNK = {"object": "chat.completion.chunk", "choices": [{"delta": {"content": TEXT}}]}
COMPLETED = {
    "type": "response.completed",
    "response": {"error": None, "output": [{"text": TEXT * 1000}]},
}


def sse(*payloads: Any, named: bool = True, end: str = "\n") -> bytes:
    """A stream of these events; a text stands for itself."""
    events = []
    for payload in payloads:
        name = f"event: {payload['type']}{end}" if named and "type" in payload else ""
        data = payload if isinstance(payload, str) else json.dumps(payload)
        events.append(f"{name}data: {data}{end}{end}")
    return "".join(events).encode()


def seen(body: bytes, cuts: list[int], *, is_stream: bool = True) -> Observer:
    """What an observer makes of a body that comes in parts."""
    found = Observer(is_stream=is_stream)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, stop in itertools.pairwise(places):
        found.see(body[start:stop], more=True)
    found.see(b"", more=False)
    return found


CUTS = st.lists(st.integers(0, 10**6), max_size=12)
OVER = [
    (sse(START, DELTA, USED, STOP), None, True),
    (sse(START, DELTA, USED, STOP, named=False), None, True),
    (sse(START, DELTA, USED, STOP, end="\r\n"), None, True),
    (sse(START, DELTA, USED, STOP) + b": ping\n\n", None, True),
    (sse(START, DELTA), None, False),
    (sse(START, DELTA)[:-20], None, False),
    (b"", None, False),
    (b": ping\n\n" * 50, None, False),
    (sse(START, DELTA, OVERLOADED), Failure(529, "overloaded_error"), False),
    (sse(START, DELTA, OVERLOADED, named=False), Failure(529, "overloaded_error"), False),
    (json.dumps(OVERLOADED).encode(), Failure(529, "overloaded_error"), False),
    (sse(CHUNK, "[DONE]"), None, True),
    (sse(CHUNK), None, False),
    (
        sse(CHUNK, {"error": {"message": "m", "type": "server_error", "code": None}}),
        Failure(500, "server_error"),
        False,
    ),
    (
        sse(CHUNK, {"error": {"message": "m", "code": "429"}}, "[DONE]"),
        Failure(429, "UpstreamError"),
        True,
    ),
    (
        sse(CHUNK, {"error": {"message": "m", "code": "1305"}}),  # Z.ai's
        Failure(429, "UpstreamError"),
        False,
    ),
    (sse({"type": "response.created", "response": {"error": None}}, COMPLETED), None, True),
    (sse({"type": "response.incomplete", "response": {}}), None, True),
    (
        sse({"type": "error", "code": "rate_limit_exceeded", "message": "m"}),
        Failure(429, "rate_limit_exceeded"),
        False,
    ),
    (
        sse({"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
        Failure(500, "server_error"),
        False,
    ),
]


@pytest.mark.parametrize(("body", "failure", "ended"), OVER)
@given(cuts=CUTS)
def test_a_stream_tells_its_error_and_its_end(
    body: bytes, failure: Failure | None, ended: bool, cuts: list[int]
) -> None:
    """In all three APIs, wherever the parts are cut; never by what the model says."""
    found = seen(body, cuts)
    assert (found.failure, found.has_ended) == (failure, ended)


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"type": "message", "content": [{"text": TEXT}]}, None),
        ({"choices": [{"message": {"content": TEXT}}]}, None),
        ({"output": [], "error": None}, None),
        ({"output": [], "error": {"code": "server_error"}}, Failure(500, "server_error")),
        (OVERLOADED, Failure(529, "overloaded_error")),
        ({"error": "no credit left"}, Failure(502, "UpstreamError")),
        ({"code": 1305, "msg": "busy"}, Failure(429, "UpstreamError")),
        ({"type": "error", "error": {"type": "billing_error"}}, Failure(402, "billing_error")),
        ({"error": {"type": "timeout_error"}}, Failure(504, "timeout_error")),
        ({"hello": "world"}, NO_ANSWER),
        ([], NO_ANSWER),
        (None, NO_ANSWER),
        ({"content": TEXT * 10_000}, None),
    ],
)
@given(cuts=CUTS)
def test_an_answer_in_one_piece_tells_its_error(
    body: Any, failure: Failure | None, cuts: list[int]
) -> None:
    """An error, or what is no answer of any of the three APIs, though it came with 200."""
    found = seen(json.dumps(body).encode(), cuts, is_stream=False)
    assert (found.failure, found.has_ended) == (failure, True)


def test_no_text_of_the_provider_is_in_an_error() -> None:
    """Its name goes into the ledger, which holds no text."""
    body = {"type": "error", "error": {"type": "A secret 4711", "code": "of the prompt"}}
    assert seen(sse(body), []).failure == Failure(502, "UpstreamError")


def told(body: bytes, cuts: list[int]) -> bool:
    """Whether a watch finds that tokens were told."""
    found = UsageWatch()
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, stop in itertools.pairwise(places):
        found.see(body[start:stop])
    return found.is_told


@pytest.mark.parametrize(
    ("body", "is_told"),
    [
        (sse(START, DELTA, USED, STOP), True),
        (sse(START, DELTA, STOP), False),
        (sse(START), False),
        (sse(CHUNK | {"usage": None}, "[DONE]"), False),
        (sse({"choices": [], "usage": {"completion_tokens": 5}}), True),
        (b'{"content": [], "usage": {"output_tokens" : 0}}', True),
        (b'{"content": "x", "usage": null}', False),
        (b'{"usageMetadata": {"candidatesTokenCount": 9}}', True),
        (json.dumps({"text": '"output_tokens": 5'}).encode(), False),
    ],
)
@given(cuts=CUTS)
def test_usage_is_told_where_it_stands(body: bytes, is_told: bool, cuts: list[int]) -> None:
    """Not by what Anthropic sends before the answer begins, and not by a text."""
    assert told(body, cuts) is is_told


def test_an_endless_line_takes_no_memory() -> None:
    """Nor time: a line without an end is forgotten but for its beginning."""
    found, watch = Observer(is_stream=True), UsageWatch()
    began = time.monotonic()
    for _ in range(20_000):
        found.see(b"data: " + b"x" * 5000, more=True)
        watch.see(b"data: " + b"x" * 5000)
    assert time.monotonic() - began < 20
    assert len(found._rest) < 20_000
    assert len(watch._rest) < 20_000
    assert (found.failure, found.has_ended) == (None, False)
