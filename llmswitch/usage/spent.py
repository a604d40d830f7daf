"""What is left of each budget of a profile, and giving one more for its period."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llmswitch import ledger
from llmswitch.budgets import Account, look_up, period
from llmswitch.errors import LlmswitchError
from llmswitch.paths import make_private_folder
from llmswitch.profile.schema import Profile
from llmswitch.usage.summary import explained

MOST = 1e6  # USD of one raise


def accounts(profile: Profile, file: Path, now: float) -> list[Account]:
    """Each budget in the period that `now` (seconds since 1970) is in, by the ledger in `file`.

    Raises LlmswitchError where the ledger cannot be read.
    """
    found = [Account(budget, period(budget.per, now)) for budget in profile.all_budgets]
    with reading(file) as connection:
        for account in found if connection else ():
            look_up(connection, account)
    return found


def raise_budget(profile: Profile, file: Path, name: str, usd: float, now: float) -> Account:
    """Let more be spent on a budget until its period ends: `usd` on top of what was given before.

    Raises LlmswitchError for a name that no budget has, and where the ledger cannot be written.
    """
    names = [budget.name for budget in profile.all_budgets]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.3)
        there = f"there are: {', '.join(names)}" if names else "the profile has none"
        raise LlmswitchError(
            f"there is no budget {name!r}; {there}",
            f"llmswitch budget raise {near[0]} {usd:.12g}"
            if near
            else "write `budgets:` in the profile",
        )
    if not 0 < usd <= MOST:
        raise LlmswitchError(
            f"invalid amount {usd:g} for a budget raise: up to {MOST:,.0f} USD",
            f"llmswitch budget raise {name} 10",
        )
    make_private_folder(file.parent)
    with explained(file), closing(ledger.open_to_write(file)) as connection:
        connection.execute("INSERT INTO raises VALUES (?, ?, ?)", (name, now, usd))
    return next(item for item in accounts(profile, file, now) if item.budget.name == name)


@contextmanager
def reading(file: Path) -> Iterator[Any]:
    """The ledger for reading, None where there is none yet.

    Raises LlmswitchError where it cannot be read.
    """
    with explained(file), ledger.reading(file) as connection:
        yield connection
