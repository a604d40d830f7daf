"""Who may use the gateway (LiteLLM's `custom_auth`): whoever came in by the gate.

Without it LiteLLM answers 400 "No connected db." to a wrong key and 500 to a missing one.
"""

from __future__ import annotations

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

from llmswitch.engine.gate import CREDENTIALS, refusal, sender


async def authenticate(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """Ask for the gateway's key once more, and take it off the request: no credential of a client
    reaches what LiteLLM sends on.
    """
    headers = request.scope["headers"]
    if sender(headers) is None:
        raise HTTPException(401, refusal(headers))
    headers[:] = [header for header in headers if header[0] not in CREDENTIALS]
    return UserAPIKeyAuth(api_key="llmswitch")
