"""Keeps budgets (a LiteLLM hook): a request over one is refused before it costs anything.

LiteLLM's own budgets are not enforced without PostgreSQL, or forgotten at a restart.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from litellm.exceptions import RateLimitError
from litellm.integrations.custom_logger import CustomLogger

from llmswitch.budgets import Account, Budget, dollars
from llmswitch.engine.estimates import prompt_tokens
from llmswitch.engine.request import current
from llmswitch.engine.settings import settings
from llmswitch.engine.spending import Open, Spending
from llmswitch.ledger import new_worker

_FRESH = 10.0  # seconds after which what other workers have spent is read again


class BudgetError(RateLimitError):
    """No budget is left for a model; LiteLLM goes on to its fallbacks."""


worker = new_worker()


@cache
def spending() -> Spending:
    """The accounts of this worker, with what the ledger has."""
    budgets = [Budget(**budget) for budget in settings().get("budgets", [])]
    found = Spending(budgets, Path(os.environ["LLMSWITCH_LEDGER"]), worker, time.time)
    found.refresh()
    return found


class Budgets(CustomLogger):
    """Refuses what no budget is left for."""

    def __init__(self) -> None:
        super().__init__()
        self._refreshed = time.monotonic()
        self._refreshing: asyncio.Task[None] | None = None

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Raise 429 for a model when neither it nor any of its fallbacks has a budget left; hold
        what the first that has will cost. What open requests hold may come back: a client may ask
        again then.
        """
        from litellm.proxy.proxy_server import llm_router

        model, context = data.get("model"), current.get()
        if llm_router is None or context is None or not isinstance(model, str):
            return
        if not spending().accounts():
            return
        self._refresh_sometimes()
        context.prompt_tokens = prompt_tokens(data)
        refused = []
        for name in _with_fallbacks(llm_router, model):
            account = await self._forbids(name, _info(llm_router.get_model_list(model_name=name)))
            if account is None:
                return
            refused.append(account)
        context.is_over_budget = True
        context.is_final = all(account.is_spent for account in refused)
        raise HTTPException(429, _refusal(refused[0]))

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Raise BudgetError for one try of one model; called for each fallback too, to which what
        is held moves.
        """
        if account := await self._forbids(model, _info(healthy_deployments)):
            raise BudgetError(_refusal(account), llm_provider="", model=model)
        return healthy_deployments

    async def _forbids(self, model: str, info: Mapping[str, Any]) -> Account | None:
        context = current.get()
        if not spending().accounts() or context is None or context.prompt_tokens is None:
            return None
        wanted = Open(context.id, model, info, context.client, context.prompt_tokens)
        if spending().reserve(wanted) is None:
            return None
        await asyncio.to_thread(spending().refresh)  # it may have been raised just now
        return spending().reserve(wanted)

    def _refresh_sometimes(self) -> None:
        """During a reload the old worker goes on to spend."""
        if time.monotonic() - self._refreshed > _FRESH:
            self._refreshed = time.monotonic()
            self._refreshing = asyncio.create_task(asyncio.to_thread(spending().refresh))


def _with_fallbacks(router: Any, model: str) -> list[str]:
    """A model and all that LiteLLM may go on to from it, each once."""
    found = [model]
    rules = [rule for rule in router.fallbacks or [] if isinstance(rule, dict)]
    for name in found:  # grows meanwhile: a fallback has fallbacks
        targets = [to for rule in rules for to in rule.get(name, []) if isinstance(to, str)]
        found += [to for to in dict.fromkeys(targets) if to not in found]
    return found


def _info(deployments: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """What is said of a model in the configuration; all its deployments say the same."""
    return next((item.get("model_info") or {} for item in deployments or ()), {})


def _refusal(account: Account) -> str:
    name = account.budget.name
    profile = shlex.quote(os.environ["LLMSWITCH_PROFILE"])
    cure = f"llmswitch budget raise {name} USD --profile {profile}"
    said = f"budget {name}: {account.said}"
    if not account.is_spent:
        left, held = dollars(account.limit - account.spent), dollars(account.reserved)
        said = f"budget {name} has {left} left and open requests hold {held} of it; ask again later"
    return f"llmswitch: {said}; or: {cure}"


budgets = Budgets()
