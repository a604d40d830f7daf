"""Keeps budgets: what has been spent of each (by the ledger from other workers, and by this one),
what its open requests are likely to add, and a refusal of what nothing is left for, before it costs
anything.

LiteLLM's own budgets are not enforced without PostgreSQL, or forgotten at a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import HTTPException
from litellm.exceptions import RateLimitError

from llmswitch.budgets import WARN_AT, Account, Budget, Period, dollars, look_up, period
from llmswitch.engine.estimates import Estimates, prompt_tokens
from llmswitch.engine.request import RequestContext, settings
from llmswitch.ledger import NewerError, Try, new_worker, reading

_FRESH = 10.0  # seconds after which what other workers have spent is read again
_log = logging.getLogger("gunicorn.error")


class Open(NamedTuple):
    """A request that wants to be let in: its id, the model that is to be tried now, with its
    provider and prices (`info`), its client, and the tokens of its prompt.
    """

    id: str
    model: str
    info: Mapping[str, Any]
    client: str
    prompt: int

    @property
    def provider(self) -> str | None:
        """The provider of the model."""
        return self.info.get("llmswitch_provider")


class Spending:
    """The accounts of a gateway. `worker` is what its rows in the ledger are marked with, `clock`
    gives seconds since 1970.
    """

    def __init__(
        self, budgets: Sequence[Budget], ledger: Path, worker: str, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self._clock = clock
        self._accounts = [Account(budget, period(budget.per, clock())) for budget in budgets]
        self._kept: dict[tuple[Budget, Period], Account] = {}
        self._holders: dict[str, tuple[str, list[Account]]] = {}
        self._estimates = Estimates()
        self._has_learnt = False
        self._refreshed = time.monotonic()
        self._refreshing: asyncio.Task[None] | None = None

    def accounts(self) -> list[Account]:
        """Every account in the period of now."""
        now = self._clock()
        for index, account in enumerate(self._accounts):
            if not account.period.start <= now < account.period.end:
                # Kept, for a clock that is set back: what we have spent is in no other place.
                self._kept[account.budget, account.period] = account
                new = Account(account.budget, period(account.budget.per, now))
                self._accounts[index] = self._kept.get((new.budget, new.period), new)
        return self._accounts

    def reserve(self, request: Open) -> Account | None:
        """Let a request in: hold what it is likely to cost, in place of what it held for another
        model. The first budget that forbids it is returned, and then nothing has changed.

        Nothing else runs between the look and the taking: this never waits.
        """
        if request.id in self._holders and self._holders[request.id][0] == request.model:
            return None  # another key of the same model
        usd = self._estimates.usd(request.model, request.prompt, request.info)
        covering = self._of(request.model, request.provider, request.client)
        for account in covering:
            if not account.has_room(usd, request.id):
                return account
        self.release(request.id)
        for account in covering:
            account.held[request.id] = usd
        self._holders[request.id] = (request.model, covering)
        return None

    def release(self, request: str) -> None:
        """A request is over, or its cost is known: it holds nothing any more."""
        _, held = self._holders.pop(request, (None, []))
        for account in held:
            account.held.pop(request, None)

    def _of(self, model: str, provider: str | None, client: str) -> list[Account]:
        names = {"model": model, "provider": provider, "client": client}
        return [account for account in self.accounts() if account.budget.covers(**names)]

    def add(self, row: Try) -> None:
        """Count a finished try."""
        if not row.cost:
            return
        self._estimates.add(row)
        for account in self._of(row.model, row.provider, row.client):
            account.own += row.cost
            self._warn(account)

    def refresh(self) -> None:
        """Read again what others have spent and what was raised. Blocks for some milliseconds; a
        ledger that cannot be read changes nothing.
        """
        try:
            with reading(self._ledger) as connection:
                if connection is None:
                    return
                if not self._has_learnt:
                    self._estimates.read(connection)
                    self._has_learnt = True
                for account in self.accounts():
                    look_up(connection, account, but=self._worker)
                    self._warn(account)
        except (sqlite3.Error, OSError, NewerError) as error:
            _log.error("budgets go on from memory: the ledger cannot be read: %s", error)

    def refresh_sometimes(self) -> None:
        """The same, beside what runs and not often: during a reload the old worker goes on to
        spend.
        """
        if time.monotonic() - self._refreshed > _FRESH:
            self._refreshed = time.monotonic()
            self._refreshing = asyncio.create_task(asyncio.to_thread(self.refresh))

    def _warn(self, account: Account) -> None:
        if not account.warned and account.spent >= WARN_AT * account.limit:
            account.warned = True
            _log.warning("the budget %s: %s", account.budget.name, account.said)


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


async def admit(data: dict[str, Any], context: RequestContext) -> None:
    """Raise 429 for a request when neither its model nor any of its fallbacks has a budget left;
    hold what the first that has will cost. What open requests hold may come back: a client may ask
    again then.
    """
    from litellm.proxy.proxy_server import llm_router

    model = data.get("model")
    if llm_router is None or not isinstance(model, str) or not spending().accounts():
        return
    spending().refresh_sometimes()
    context.prompt_tokens = prompt_tokens(data)
    refused = []
    for name in _with_fallbacks(llm_router, model):
        account = await _forbids(name, llm_router.get_model_list(model_name=name), context)
        if account is None:
            return
        refused.append(account)
    context.is_over_budget = True
    context.is_final = all(account.is_spent for account in refused)
    raise HTTPException(429, _refusal(refused[0]))


async def check(model: str, deployments: Sequence[Any], context: RequestContext) -> None:
    """Raise BudgetError for one try of one model, to which what is held moves."""
    if account := await _forbids(model, deployments, context):
        raise BudgetError(_refusal(account), llm_provider="", model=model)


async def _forbids(
    model: str, deployments: Sequence[Any] | None, context: RequestContext
) -> Account | None:
    if not spending().accounts() or context.prompt_tokens is None:
        return None
    # What is said of a model in the configuration; all its deployments say the same.
    info = next((item.get("model_info") or {} for item in deployments or ()), {})
    wanted = Open(context.id, model, info, context.client, context.prompt_tokens)
    if spending().reserve(wanted) is None:
        return None
    await asyncio.to_thread(spending().refresh)  # it may have been raised just now
    return spending().reserve(wanted)


def _with_fallbacks(router: Any, model: str) -> list[str]:
    """A model and all that LiteLLM may go on to from it, each once."""
    found = [model]
    rules = [rule for rule in router.fallbacks or [] if isinstance(rule, dict)]
    for name in found:  # grows meanwhile: a fallback has fallbacks
        targets = [to for rule in rules for to in rule.get(name, []) if isinstance(to, str)]
        found += [to for to in dict.fromkeys(targets) if to not in found]
    return found


def _refusal(account: Account) -> str:
    name = account.budget.name
    profile = shlex.quote(os.environ["LLMSWITCH_PROFILE"])
    cure = f"llmswitch budget raise {name} USD --profile {profile}"
    said = f"budget {name}: {account.said}"
    if not account.is_spent:
        left, held = dollars(account.limit - account.spent), dollars(account.reserved)
        said = f"budget {name} has {left} left and open requests hold {held} of it; ask again later"
    return f"llmswitch: {said}; or: {cure}"
