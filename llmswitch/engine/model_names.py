"""What llmswitch adds to a request before anything is sent (a LiteLLM hook)."""

from __future__ import annotations

import hashlib
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine.request import current
from llmswitch.engine.settings import settings


class Names(CustomLogger):
    """Tells LiteLLM what this request wants of its cache and its fallbacks."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Have it cached, or answered without fallbacks, where that is wanted."""
        context = current.get()
        if context is None:
            return
        if context.no_fallbacks:
            data["disable_fallbacks"] = True
        cached = settings().get("cached", [])
        if cached is None or context.asked in cached:
            data["cache"] = {"use-cache": True}
            if context.login:  # what one has paid for is not another's
                data["cache"]["namespace"] = hashlib.sha256(context.login).hexdigest()


names = Names()
