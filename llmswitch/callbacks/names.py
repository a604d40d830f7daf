"""A clear answer to a model name that the profile does not have (a LiteLLM hook).

LiteLLM answers 400; Claude Code takes a 404 for "there's an issue with the selected model".
"""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger


class Names(CustomLogger):  # type: ignore[misc]  # litellm is not imported by the type checker
    """Refuses unknown names before anything is sent."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Raise 404 for a name that no deployment has, listing those that there are."""
        from litellm.proxy.proxy_server import llm_router

        wanted = data.get("model")
        names = llm_router.get_model_names() if llm_router else []
        if wanted not in names:
            raise HTTPException(
                404, f"llmswitch: the profile has no model {wanted!r}; it has: {', '.join(names)}"
            )


names = Names()
