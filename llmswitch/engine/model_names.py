"""What is looked at in a request before anything is sent (a LiteLLM hook): the name of the model,
and fields that would replace a deployment's key.

LiteLLM answers 400; Claude Code takes a 404 for "there's an issue with the selected model".
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.common_utils import model_listing_utils
from litellm.types.utils import all_litellm_params

from llmswitch.engine.request import current
from llmswitch.engine.settings import settings

# LiteLLM takes its own parameters from a request's body too: with them a client could have a key
# sent to another host or replaced, another model asked for, or its request left out of the ledger.
# What LiteLLM itself has put beside the body by now stays.
_PUT_BY_LITELLM = {
    "drop_params",
    "litellm_call_id",
    "litellm_logging_obj",
    "litellm_metadata",
    "metadata",
    "provider_specific_header",
    "proxy_server_request",
    "secret_fields",
}
_TAKEN_OFF = {
    *all_litellm_params,
    "additional_drop_params",
    "base_url",
    "deployment_id",
    "extra_body",
    "extra_headers",
    "extra_query",
    "no_log",
    "organization",
    "stream_timeout",
    "timeout",
} - _PUT_BY_LITELLM
_TAKEN_OFF_PREFIXES = ("aws_", "azure_", "vertex_")

# Which names LiteLLM lists for Claude Code as they are, and not in a form that looks like Claude's:
# it takes those that hold these words, but Claude Code 2.1.197 only those that begin with one.
model_listing_utils.CLAUDE_CODE_PICKER_PATTERN = re.compile("^(claude|anthropic)", re.IGNORECASE)  # type: ignore[misc]


class Names(CustomLogger):
    """Refuses unknown names before anything is sent."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Take off what is not the client's to say, and raise 404 for a name that LiteLLM would not
        serve by a deployment (by its name, an alias or a pattern), listing those that there are.
        """
        from litellm.proxy.proxy_server import llm_router

        for field in [*data]:
            if field in _TAKEN_OFF or field.startswith(_TAKEN_OFF_PREFIXES):
                del data[field]
        wanted = data.get("model")
        if llm_router is None or not isinstance(wanted, str):
            return  # a request without a model: LiteLLM knows whether it needs one
        context = current.get()
        if not llm_router.get_model_list(model_name=wanted):
            if context:
                context.unknown = wanted
            known = ", ".join(dict.fromkeys(llm_router.get_model_names()))
            raise HTTPException(
                404, f"llmswitch: the profile has no model {wanted!r}; it has: {known}"
            )
        if context:
            context.asked = wanted
        cached = settings().get("cached", [])
        if cached is None or wanted in cached:
            data["cache"] = {"use-cache": True}
            if context and context.login:  # what one has paid for is not another's
                data["cache"]["namespace"] = hashlib.sha256(context.login).hexdigest()


names = Names()
