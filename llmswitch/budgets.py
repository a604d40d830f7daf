"""What a budget is, which period it is in, and what it covers. Loaded by the commands and inside
LiteLLM, so standard library and nothing of ours.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

Per = Literal["day", "week", "month"]
WARN_AT = 0.8  # of a budget
_LEAST = 0.0001  # USD that are shown


class Budget(NamedTuple):
    """So many USD for each period, of everything that has all the names given here."""

    usd: float
    per: Per
    model: str | None = None
    provider: str | None = None
    client: str | None = None

    @property
    def name(self) -> str:
        """How it is called on the command line: total/month, model:glm-4.5/day."""
        parts = [f"{kind}:{name}" for kind, name in self.limits().items()]
        return f"{'+'.join(parts) or 'total'}/{self.per}"

    def limits(self) -> dict[str, str]:
        """What it is limited to; empty for a budget of everything."""
        named = {"client": self.client, "model": self.model, "provider": self.provider}
        return {kind: name for kind, name in named.items() if name is not None}

    def covers(self, **names: str | None) -> bool:
        """Whether it counts a try of this model, provider and client."""
        return all(names[kind] == name for kind, name in self.limits().items())

    def data(self) -> dict[str, Any]:
        """As it stands in the gateway's configuration."""
        return {"usd": self.usd, "per": self.per, **self.limits()}


class Period(NamedTuple):
    """From `start` to before `end`, in seconds since 1970."""

    start: float
    end: float

    @property
    def until(self) -> str:
        """Its end in local time, as one says it."""
        return f"{datetime.fromtimestamp(self.end).astimezone():%Y-%m-%d %H:%M}"


def period(per: Per, now: float) -> Period:
    """The day, week (from Monday) or month in local time that a moment is in."""
    local = datetime.fromtimestamp(now).astimezone()
    today = local.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        start, end = today, today + timedelta(days=1)
    elif per == "week":
        start = today - timedelta(days=today.weekday())
        end = start + timedelta(days=7)
    else:
        start = today.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    # Without a time zone these are local: a day has 23 hours when the clocks go forward.
    return Period(start.timestamp(), end.timestamp())


@dataclass
class Account:
    """One budget in one period, in USD: `before` is what the ledger has, `own` what a worker of
    the gateway has spent by itself, `raised` what came on top of the budget. `held` is what each
    open request is likely to cost, by the request's id.
    """

    budget: Budget
    period: Period
    before: float = 0.0
    raised: float = 0.0
    own: float = 0.0
    warned: bool = False
    held: dict[str, float] = field(default_factory=dict)

    @property
    def limit(self) -> float:
        """What may be spent."""
        return self.budget.usd + self.raised

    @property
    def spent(self) -> float:
        """What was spent, to a billionth: sums of fractions would stay below a limit they reach."""
        return round(self.before + self.own, 9)

    @property
    def reserved(self) -> float:
        """What is likely to be spent by the requests that are open."""
        return sum(self.held.values())

    @property
    def said(self) -> str:
        """How much of it is spent, and until when."""
        return f"{dollars(self.spent)} of {dollars(self.limit)} spent, until {self.period.until}"

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.limit

    def has_room(self, usd: float, request: str) -> bool:
        """Whether a request that is likely to cost so much may go beside the others that are open.
        Where none is, the last cent can be spent, if by more than there is; what costs nothing
        waits for nobody.
        """
        others = sum(held for holder, held in self.held.items() if holder != request)
        if self.is_spent or not (usd and others):
            return not self.is_spent
        return round(self.spent + others + usd, 9) <= self.limit

    def data(self) -> dict[str, Any]:
        """For the commands."""
        return {
            "name": self.budget.name,
            **self.budget.data(),
            "limit_usd": self.limit,
            "raised_usd": self.raised,
            "spent_usd": self.spent,
            "reserved_usd": self.reserved,
            "until": self.period.end,
            "near": self.spent >= WARN_AT * self.limit,
            "said": self.said,
        }


def look_up(connection: sqlite3.Connection, account: Account, but: str = "") -> None:
    """Fill an account in from the ledger, without what the worker `but` has written.

    Raises sqlite3.Error.
    """
    budget, period = account.budget, account.period
    where = "".join(f" AND {kind} = ?" for kind in budget.limits())
    sums = f"SELECT COALESCE(SUM(cost), 0) FROM tries WHERE ended >= ? AND ended < ?{where}"  # noqa: S608 - names of ours
    limits = budget.limits().values()
    found = connection.execute(f"{sums} AND worker != ?", (*period, *limits, but))
    account.before = found.fetchone()[0]
    raises = "SELECT COALESCE(SUM(usd), 0) FROM raises WHERE budget = ? AND at >= ? AND at < ?"
    account.raised = connection.execute(raises, (budget.name, *period)).fetchone()[0]


def dollars(usd: float | None) -> str:
    """12.5 -> "$12.50", 0.0271 -> "$0.0271": below a dollar, up to four digits; None: "unknown"."""
    if usd is None:
        return "unknown"
    if usd < 0:
        return f"-{dollars(-usd)}"
    if usd >= 1 or usd == 0:
        return f"${usd:,.2f}"
    if usd < _LEAST:
        return f"<${_LEAST}"
    text = f"${usd:.4f}".rstrip("0")
    return text if len(text) >= len("$0.00") else f"${usd:.2f}"
