"""What LiteLLM calls at each step of a request (one LiteLLM callback): which of our rules apply
there, in their order. The ledger is a callback of its own (recorder.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine import budget, key_rotation, openai_routes, provider_errors, subscription
from llmswitch.engine.fields import extensions
from llmswitch.engine.request import current, settings

# What LiteLLM still knows of the try before: its answer, when it began, that its failure is told.
_OF_A_TRY = ("original_response", "api_call_start_time", "has_logged_async_failure")


class Hooks(CustomLogger):
    """Called for every request, or for every try of one, so also for each fallback."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """A request has come. Raises HTTPException where no budget is left for it."""
        if context := current.get():
            if context.no_fallbacks:
                data["disable_fallbacks"] = True
            cached = settings().get("cached", [])
            if cached is None or context.asked in cached:
                data["cache"] = {"use-cache": True}
                if context.login:  # what one has paid for is not another's
                    data["cache"]["namespace"] = hashlib.sha256(context.login).hexdigest()
            await budget.admit(data, context)

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """A try of a model begins: which deployments (keys) may serve it. What LiteLLM says of a
        refusal for a budget is a task of its own, which is let go first. Also called when tokens
        are counted. Raises BudgetError and LoginError.
        """
        await asyncio.sleep(0)
        if logged := (request_kwargs or {}).get("litellm_logging_obj"):
            for name in _OF_A_TRY:
                logged.model_call_details.pop(name, None)
        context = current.get()
        if context:
            await budget.check(model, healthy_deployments, context)
        subscription.check(model, healthy_deployments, context)
        return key_rotation.failures.in_turn(healthy_deployments, context)

    async def async_pre_call_check(self, deployment: dict[str, Any], parent_otel_span: Any) -> None:
        """A deployment was chosen for a try."""
        if context := current.get():
            context.deployment = deployment
            context.tried.add(key_rotation.id_of(deployment))

    async def async_pre_call_deployment_hook(
        self, kwargs: dict[str, Any], call_type: Any
    ) -> dict[str, Any] | None:
        """What LiteLLM is about to send, and where; None for no change."""
        changed = openai_routes.rerouted(kwargs, call_type)
        if context := current.get():
            about = kwargs.get("litellm_metadata") or kwargs.get("metadata") or {}
            if sent := extensions(context.beyond, str(about.get("model_group"))):
                changed = {**(changed or kwargs)}
                changed["extra_body"] = {**(changed.get("extra_body") or {}), **sent}
            if context.login and subscription.is_paid_by_login(kwargs):
                changed = {**(changed or kwargs), "api_key": context.login.decode("latin-1")}
        return changed

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A try has failed."""
        if context := current.get():
            provider_errors.note(kwargs.get("exception"), kwargs, context)
        key_rotation.failures.note(kwargs)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """A request has failed. LiteLLM may tell of its last try when the client has its answer."""
        if context := current.get():
            provider_errors.note_last(original_exception, context)


hooks = Hooks()
