"""The client's Claude login, given to the models that it pays for and to nothing else (a LiteLLM
hook).

LiteLLM itself sends a login that it finds in a request to every `anthropic/` deployment, in place
of the configured key. So the gate takes it off each request, and here it becomes the key of one try
of one deployment whose model is in `logins`. Such a deployment has no other key: LiteLLM finds no
ANTHROPIC_API_KEY to put in its place.
"""

from __future__ import annotations

from typing import Any

from litellm.exceptions import AuthenticationError
from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine.request import current
from llmswitch.engine.settings import settings

_REFUSAL = (
    "llmswitch: {model} is paid by a Claude subscription, and no Claude login came with the "
    "request; use claude-multi, and log in there with /login"
)


class LoginError(AuthenticationError):
    """A model needs a login that the client has not sent; LiteLLM goes on to its fallbacks."""


class Logins(CustomLogger):
    """Refuses a try that lacks its login before anything is sent, and gives the others theirs."""

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Refuse a try without a login. Called for each, so also for each fallback, and when tokens
        are counted.
        """
        wanted = settings().get("logins", [])
        if not any(item.get("model_name") in wanted for item in healthy_deployments):
            return healthy_deployments
        context = current.get()
        if context is None or context.login is None:
            if context:
                context.lacks_login = True
            raise LoginError(_REFUSAL.format(model=model), llm_provider="", model=model)
        return healthy_deployments

    async def async_pre_call_deployment_hook(
        self, kwargs: dict[str, Any], call_type: Any
    ) -> dict[str, Any] | None:
        """Called for each try, with what LiteLLM is about to send and where; what the hook above
        changes in a deployment does not get there from 1.110 on. Not called when tokens are
        counted.
        """
        from litellm.proxy.proxy_server import llm_router

        context = current.get()
        if context is None or context.login is None or llm_router is None:
            return None
        chosen = llm_router.get_deployment(str((kwargs.get("model_info") or {}).get("id")))
        if chosen is None or chosen.model_name not in settings().get("logins", []):
            return None
        if kwargs.get("api_base") != chosen.litellm_params.api_base:
            return None  # the login goes to the host of the profile or nowhere
        return {**kwargs, "api_key": context.login.decode("latin-1")}


logins = Logins()
