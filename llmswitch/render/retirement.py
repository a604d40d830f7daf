"""Models that their providers are about to retire, or have retired. `status` asks it each time:
standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

NOTICE = 90  # days before


class Retirement(NamedTuple):
    """A model of the profile by its name and as provider/model, the day from which its provider no
    longer serves it, whether that day has come, and the provider/model to write instead.
    """

    name: str
    model: str
    date: str
    retired: bool
    instead: str | None

    @property
    def message(self) -> str:
        """What is the matter with it."""
        when = f"was retired on {self.date}" if self.retired else f"retires on {self.date}"
        return f"{self.name} ({self.model}) {when}"

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.instead:
            return f"in the profile, write {self.instead} instead"
        provider = self.model.partition("/")[0]
        return f"choose another: llmswitch models --provider {provider}"

    @property
    def line(self) -> str:
        """Both on one line."""
        return f"{self.message}    -> {self.cure}"


def retirements(rows: Iterable[Mapping[str, Any]], now: float) -> list[Retirement]:
    """Those of the rows (of menu.row_data) that retire within 90 days, or have retired; `now` is in
    seconds since 1970.
    """
    today = datetime.fromtimestamp(now).astimezone().date()
    found = []
    for row in rows:
        day = row.get("retires")  # an older version's state has no such field
        left = (date.fromisoformat(day) - today).days if day else NOTICE + 1
        if day and left <= NOTICE:
            found.append(Retirement(row["name"], row["model"], day, left <= 0, row["instead"]))
    return found
