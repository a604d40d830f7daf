"""Whose key a request carries, and which of its headers pass."""

from __future__ import annotations

import os
import re

from llmswitch.engine.asgi import Headers
from llmswitch.engine.client_keys import owner

# Every header that a client may send its key in.
_KEYS = (
    b"x-litellm-api-key",
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
_LOGIN = re.compile(rb"sk-ant-oat[!-~]+")
_PASSED = {
    b"accept",
    b"anthropic-beta",
    b"anthropic-dangerous-direct-browser-access",
    b"anthropic-version",
    b"user-agent",
    b"x-app",
}
_PASSED_PREFIXES = (b"x-claude-code-", b"x-stainless-")


def sender(headers: Headers) -> str | None:
    """The client whose key a request carries; None where it carries none that opens anything."""
    names = (owner(key) for key in _sent(headers))
    return next((name for name in names if name is not None), None)


def refusal(headers: Headers) -> str:
    """Why a request is not let in."""
    if not _sent(headers):
        return "no key was sent; the gateway's key is in llmswitch's file gateway.key"
    return "this is not the gateway's key, nor a client's"


def login(headers: Headers) -> bytes | None:
    """The token of the client's own Claude login, where it has sent one."""
    sent = (_bare(value) for name, value in headers if name == b"authorization")
    return next((token for token in sent if _LOGIN.fullmatch(token)), None)


def passed(headers: Headers, length: int | None) -> Headers:
    """The headers that LiteLLM gets: what the client says of itself and of its API, the gateway's
    own key, and no credential besides. LiteLLM would send a Claude login to every `anthropic/`
    deployment in place of the configured key, and has headers that set its retries and timeouts.
    `length` is that of the body in bytes, None where there is none.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    ]
    if length is not None:
        kept += [(b"content-type", b"application/json"), (b"content-length", b"%d" % length)]
    own = b"Bearer " + os.environ["LLMSWITCH_GATEWAY_KEY"].encode()
    return [*kept, (b"x-litellm-api-key", own)]


def _sent(headers: Headers) -> list[bytes]:
    return [_bare(value) for name, value in headers if name in _KEYS and value.strip()]


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.strip().partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
