"""Who may use LiteLLM (its `custom_auth`): whoever came through the gate, which has asked for the
key. Without it LiteLLM answers 400 "No connected db." to a wrong key and 500 to a missing one.
"""

from __future__ import annotations

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

from llmswitch.engine.keys import refusal, sender


async def authenticate(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """Ask for the gateway's key once more, and take it off the request: no credential reaches what
    LiteLLM sends on.
    """
    headers = request.scope["headers"]
    if sender(headers) is None:
        raise HTTPException(401, refusal(headers))
    headers[:] = [header for header in headers if header[0] != b"x-litellm-api-key"]
    return UserAPIKeyAuth(api_key="llmswitch")
