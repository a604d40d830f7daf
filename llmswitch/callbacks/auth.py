"""Who may use the gateway (LiteLLM's `custom_auth`).

Without it LiteLLM answers 400 "No connected db." to a wrong key and 500 to a missing one.
"""

from __future__ import annotations

import hmac
import os

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

_CREDENTIALS = (b"authorization", b"x-api-key", b"x-litellm-api-key")


async def authenticate(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """Let a request in that carries the gateway's key; 401 for a wrong and for a missing one.

    A request that is let in goes on without any credential: LiteLLM would send a Claude
    subscription's token to every `anthropic/` deployment in place of the configured key.
    """
    wanted = os.environ["LLMSWITCH_GATEWAY_KEY"]
    if not api_key:
        raise HTTPException(401, "llmswitch: no key was sent; use the one of `llmswitch env`")
    if not hmac.compare_digest(api_key.encode(), wanted.encode()):
        raise HTTPException(401, "llmswitch: this is not the gateway's key")
    headers = request.scope["headers"]
    headers[:] = [header for header in headers if header[0].lower() not in _CREDENTIALS]
    return UserAPIKeyAuth(api_key="llmswitch")
