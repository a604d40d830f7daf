"""What has been spent of each budget: what the ledger has from other workers, and our own; and what
the open requests of this worker are likely to add.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.budgets import WARN_AT, Account, Budget, Period, look_up, period
from llmswitch.engine.estimates import Estimates
from llmswitch.ledger import NewerError, Try, reading

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

    def _warn(self, account: Account) -> None:
        if not account.warned and account.spent >= WARN_AT * account.limit:
            account.warned = True
            _log.warning("the budget %s: %s", account.budget.name, account.said)
