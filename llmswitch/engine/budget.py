"""Keeps budgets (a LiteLLM hook): a request over one is refused before it costs anything.

LiteLLM's own budgets are not enforced without PostgreSQL, or forgotten at a restart.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from litellm.exceptions import RateLimitError
from litellm.integrations.custom_logger import CustomLogger

from llmswitch.budgets import Account, Budget
from llmswitch.engine.request import current
from llmswitch.engine.settings import settings
from llmswitch.engine.spending import Spending
from llmswitch.ledger import OWN_CLIENT, new_worker

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
        """Raise 429 for a model when neither it nor any of its fallbacks has a budget left."""
        from litellm.proxy.proxy_server import llm_router

        model = data.get("model")
        if llm_router is None or not isinstance(model, str) or not spending().accounts():
            return
        self._refresh_sometimes()
        accounts = [
            await self._forbids(name, _provider(llm_router, name))
            for name in _with_fallbacks(llm_router, model)
        ]
        if (account := accounts[0]) and all(accounts):
            if context := current.get():
                context.is_final = True
            raise HTTPException(429, _refusal(account))

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Raise BudgetError for one try of one model; called for each fallback too."""
        infos = [item.get("model_info") or {} for item in healthy_deployments]
        provider = next((info.get("llmswitch_provider") for info in infos), None)
        if account := await self._forbids(model, provider):
            raise BudgetError(_refusal(account), llm_provider="", model=model)
        return healthy_deployments

    async def _forbids(self, model: str, provider: str | None) -> Account | None:
        context = current.get()
        asked = (model, provider, context.client if context else OWN_CLIENT)
        if spending().spent_for(*asked) is None:
            return None
        await asyncio.to_thread(spending().refresh)  # it may have been raised just now
        return spending().spent_for(*asked)

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


def _provider(router: Any, model: str) -> str | None:
    for item in router.get_model_list(model_name=model) or []:
        provider: str | None = (item.get("model_info") or {}).get("llmswitch_provider")
        return provider
    return None


def _refusal(account: Account) -> str:
    name = account.budget.name
    profile = shlex.quote(os.environ["LLMSWITCH_PROFILE"])
    cure = f"llmswitch budget raise {name} USD --profile {profile}"
    return f"llmswitch: budget {name}: {account.said}; or: {cure}"


budgets = Budgets()
