"""What must not leave the gateway: a key that follows an upstream's redirect to another host, and
one that an upstream says again in its error, on its way into the log.
"""

from __future__ import annotations

import logging
import os

import httpx

_SECRET = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD")  # in the names of variables, ours too
_SHORTEST = 6  # characters; what is shorter would be taken out of words
_MASK = "[a key]"


def confine() -> None:
    """Hold both for this process, whatever LiteLLM does. Called in each worker, which has the keys
    that are set by then.

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
        return text

    logging.Handler.format = masked  # type: ignore[method-assign, assignment]


def _secrets() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if any(part in name for part in _SECRET) and len(value) >= _SHORTEST
    }
