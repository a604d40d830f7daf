"""The commands `budget status` and `budget raise`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmswitch.budgets import dollars
from llmswitch.cli.common import JsonOption, ProfileOption, chosen, group, show
from llmswitch.columns import columns

if TYPE_CHECKING:
    from llmswitch.budgets import Account

app = group("Show and raise what may be spent.")
_BAR = 20  # characters


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show each budget: what is spent, what is left, and when it resets."""
    from llmswitch.profile.load import load_profile
    from llmswitch.usage import spent

    home, ref = chosen(profile)
    found = spent.accounts(load_profile(ref.file), home.ledger(ref), time.time())
    show(table(found), {"budgets": [item.data() for item in found]}, as_json)


@app.command("raise")
def raise_(
    name: Annotated[str, typer.Argument(help="A budget's name, such as total/month.")],
    usd: Annotated[float, typer.Argument(min=0.01, help="How much more, in USD.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Raise a budget until its period ends; it applies at once."""
    from llmswitch.profile.load import load_profile
    from llmswitch.usage import spent

    home, ref = chosen(profile)
    one = spent.raise_budget(load_profile(ref.file), home.ledger(ref), name, usd, time.time())
    line = f"{name} is {dollars(one.limit)} until {one.period.until}; {dollars(one.spent)} is spent"
    show([line], one.data(), as_json)


def table(accounts: Sequence[Account]) -> list[str]:
    """A row for each budget."""
    if not accounts:
        return ["the profile has no budgets; write for example: budgets: [{usd: 50, per: month}]"]
    cells = [("BUDGET", "SPENT", "OF", "LEFT", "UNTIL", "")]
    for account in accounts:
        share = min(1.0, account.spent / account.limit)
        left = max(0.0, account.limit - account.spent)
        spent, limit = dollars(account.spent), dollars(account.limit)
        bar = f"{'█' * round(share * _BAR):░<{_BAR}} {share:.0%}"
        until = account.period.until
        cells.append((account.budget.name, spent, limit, dollars(left), until, bar))
    return columns(cells)
