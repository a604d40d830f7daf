"""The client's Claude login, given to the models that it pays for and to nothing else.

LiteLLM itself sends a login that it finds in a request to every `anthropic/` deployment, in place
of the configured key. So the gate takes it off each request, and here it becomes the key of one try
of one deployment whose model is in `logins`. Such a deployment has no other key: LiteLLM finds no
ANTHROPIC_API_KEY to put in its place.
"""

from __future__ import annotations

from typing import Any

from litellm.exceptions import AuthenticationError

from llmswitch.engine import key_rotation
from llmswitch.engine.request import RequestContext, settings

_REFUSAL = (
    "llmswitch: {model} is paid by a Claude subscription, and no Claude login came with the "
    "request; use claude-multi, and log in there with /login"
)


class LoginError(AuthenticationError):
    """A model needs a login that the client has not sent; LiteLLM goes on to its fallbacks."""


def check(model: str, deployments: list[Any], context: RequestContext | None) -> None:
    """Raise LoginError for a try that lacks its login, before anything is sent."""
    wanted = settings().get("logins")
    if not wanted or (context and context.login):
        return
    if any(item.get("model_name") in wanted for item in deployments):
        if context:
            context.lacks_login = True
        raise LoginError(_REFUSAL.format(model=model), llm_provider="", model=model)


def is_paid_by_login(kwargs: dict[str, Any]) -> bool:
    """Whether the login is the key of what LiteLLM is about to send: of a model that it pays for,
    to the host of the profile. What a filter changes in a deployment does not get there from 1.110
    on.
    """
    from litellm.proxy.proxy_server import llm_router

    wanted = settings().get("logins")
    if not wanted or llm_router is None:
        return False
    chosen = llm_router.get_deployment(key_rotation.id_of(kwargs))
    if chosen is None or chosen.model_name not in wanted:
        return False
    return bool(kwargs.get("api_base") == chosen.litellm_params.api_base)
