"""What is looked at in a request before anything is sent (a LiteLLM hook): the name of the model,
and fields that would replace a deployment's key.

LiteLLM answers 400; Claude Code takes a 404 for "there's an issue with the selected model".
"""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from llmswitch.callbacks.exchange import current
from llmswitch.callbacks.settings import settings

_OVERRIDES = ("api_key", "extra_headers")  # LiteLLM would send these on, across a fallback too


class Names(CustomLogger):
    """Refuses unknown names before anything is sent."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Take off what is not the client's to say, and raise 404 for a name that LiteLLM would not
        serve by a deployment (by its name, an alias or a pattern), listing those that there are.
        """
        from litellm.proxy.proxy_server import llm_router

        for field in _OVERRIDES:
            data.pop(field, None)
        data.pop("cache", None)
        wanted = data.get("model")
        if llm_router is None or not isinstance(wanted, str):
            return  # a request without a model: LiteLLM knows whether it needs one
        if not llm_router.get_model_list(model_name=wanted):
            known = ", ".join(dict.fromkeys(llm_router.get_model_names()))
            raise HTTPException(
                404, f"llmswitch: the profile has no model {wanted!r}; it has: {known}"
            )
        if exchange := current.get():
            exchange.asked = wanted
        cached = settings().get("cached", [])
        if cached is None or wanted in cached:
            data["cache"] = {"use-cache": True}


names = Names()
