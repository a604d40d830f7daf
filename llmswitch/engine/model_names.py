"""What llmswitch adds to a request before anything is sent (a LiteLLM hook)."""

from __future__ import annotations

import hashlib
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine.fields import extensions
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

    async def async_pre_call_deployment_hook(
        self, kwargs: dict[str, Any], call_type: Any
    ) -> dict[str, Any] | None:
        """Called for each try: give its model those fields beyond the API that its `pass` names."""
        context = current.get()
        about = kwargs.get("litellm_metadata") or kwargs.get("metadata") or {}
        if context is None or not context.beyond:
            return None
        sent = extensions(context.beyond, str(about.get("model_group")))
        return (
            {**kwargs, "extra_body": {**(kwargs.get("extra_body") or {}), **sent}} if sent else None
        )


names = Names()
