"""What has been spent of each budget: what the ledger has from other workers, and our own."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from llmswitch.budgets import WARN_AT, Account, Budget, Period, look_up, period
from llmswitch.ledger import NewerError, Try, reading

_log = logging.getLogger("gunicorn.error")


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

    def spent_for(self, model: str, provider: str | None, client: str) -> Account | None:
        """The first budget that forbids such a request; None where it may go."""
        names = {"model": model, "provider": provider, "client": client}
        covering = (item for item in self.accounts() if item.budget.covers(**names))
        return next((account for account in covering if account.is_spent), None)

    def add(self, row: Try) -> None:
        """Count a finished try."""
        if not row.cost:
            return
        for account in self.accounts():
            if account.budget.covers(model=row.model, provider=row.provider, client=row.client):
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
                for account in self.accounts():
                    look_up(connection, account, but=self._worker)
                    self._warn(account)
        except (sqlite3.Error, OSError, NewerError) as error:
            _log.error("budgets go on from memory: the ledger cannot be read: %s", error)

    def _warn(self, account: Account) -> None:
        if not account.warned and account.spent >= WARN_AT * account.limit:
            account.warned = True
            _log.warning("the budget %s: %s", account.budget.name, account.said)
