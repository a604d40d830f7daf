"""What must not leave the gateway: a key that follows an upstream's redirect to another host, and
one that an upstream says again in its error, on its way into the log. And what must not come into
it: an answer that is too long for everybody else's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator

import httpx

_SECRET = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD")  # in the names of variables, ours too
_SHORTEST = 6  # characters; what is shorter would be taken out of words
_MASK = "[a key]"
_LONGEST = 64_000_000  # bytes of an answer, unpacked: 200,000 tokens, each with an event of its own
_LONGEST_ERROR = 100_000  # bytes
_bytes_of = httpx.Response.aiter_bytes
_read = httpx.Response.aread


def confine() -> None:
    """Hold all of it for this process, whatever LiteLLM does. Called in each worker, which has the
    keys that are set by then.

    LiteLLM has its client follow redirects. httpx takes `Authorization` off on the way to another
    host, but no other header that carries a key, nor the prompt.
    """
    httpx.Response.has_redirect_location = property(lambda _response: False)  # type: ignore[assignment, method-assign]
    secrets = sorted(_secrets(), key=len, reverse=True)
    plain = logging.Handler.format

    def masked(handler: logging.Handler, record: logging.LogRecord) -> str:
        text = plain(handler, record)
        for secret in secrets:
            text = text.replace(secret, _MASK)
        return text.replace("\n", "\n  ")  # what someone else has written begins no line of ours

    logging.Handler.format = masked  # type: ignore[method-assign, assignment]
    httpx.Response.aiter_bytes = _bounded  # type: ignore[method-assign, assignment]
    httpx.Response.aread = _read_in_bounds  # type: ignore[method-assign, assignment]


async def _bounded(answer: httpx.Response, chunk_size: int | None = None) -> AsyncIterator[bytes]:
    """As httpx reads an answer, streamed or not. LiteLLM keeps all of it, in several copies, so one
    without an end would take the memory of the machine.
    """
    length = 0
    async for part in _bytes_of(answer, chunk_size):
        length += len(part)
        if length > _LONGEST:
            raise httpx.ReadError(f"the answer is longer than {_LONGEST // 1_000_000} MB")
        yield part


async def _read_in_bounds(answer: httpx.Response) -> bytes:
    """As httpx reads a whole answer, but only the beginning of an error and of what is no JSON.
    LiteLLM makes a message of it, which it searches several times for secrets, at half a second a
    megabyte in which no other request goes on.
    """
    content = await _read(answer)
    if len(content) > _LONGEST_ERROR and (answer.is_error or _is_no_json(answer)):
        answer._content = content[:_LONGEST_ERROR]  # noqa: SLF001 - where httpx keeps it
    return answer.content


def _is_no_json(answer: httpx.Response) -> bool:
    if not answer.headers.get("content-type", "").startswith(("text/", "application/json")):
        return False
    try:
        json.loads(answer.content)
    except (ValueError, RecursionError):
        return True
    return False


def _secrets() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if any(part in name for part in _SECRET) and len(value) >= _SHORTEST
    }
