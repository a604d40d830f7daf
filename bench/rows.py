"""One row of the comparison: what was measured of every contender, and the goals of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from bench.lines import Rounds, Unit, pooled, shown, summary
from bench.rivals import FLASK, NONE, OURS, PLAIN, ROUTER

CONTENDERS = (NONE, OURS, PLAIN, FLASK, ROUTER)
GOAL_COLUMNS = ("goal", "llmswitch", "the other", "ratio", "met")


class Goal(NamedTuple):
    """Ours is at most `factor` times what that contender has."""

    against: str
    factor: float

    @property
    def text(self) -> str:
        """The bound in words."""
        return self.against if self.factor == 1 else f"{self.factor:g} of {self.against}"


@dataclass(frozen=True)
class Row:
    """Samples by contender; those that cannot do it are not in it. With `added`, they are what
    comes on top of the median without a gateway, but for those without one.
    """

    what: str
    unit: Unit
    samples: Mapping[str, Rounds]
    goals: Sequence[Goal] = ()
    added: bool = False
    plotted: bool = False

    def median(self, name: str) -> float:
        """Of one contender."""
        return median(pooled(self.samples[name]))

    def value(self, name: str) -> str:
        """The median of one contender as it is shown; empty where there is none."""
        if name not in self.samples:
            return ""
        sign = "+" if self.added and name != NONE else ""
        return sign + shown(self.median(name), self.unit)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return self.what, *map(self._cell, CONTENDERS)

    def _cell(self, name: str) -> str:
        samples = pooled(self.samples.get(name, []))
        spread = f" ({shown(self.median(name), self.unit, samples)})" if len(samples) > 1 else ""
        return self.value(name) + spread

    def ratio(self, goal: Goal) -> float:
        """Ours against that contender's."""
        return self.median(OURS) / self.median(goal.against)

    def goal_cells(self) -> list[tuple[str, ...]]:
        """The rows of the table of goals."""
        return [
            (
                f"{self.what} ≤ {goal.text}",
                self.value(OURS),
                self.value(goal.against),
                f"{self.ratio(goal):.2f}",
                "yes" if self.ratio(goal) <= goal.factor else "NO",
            )
            for goal in self.goals
        ]

    def data(self) -> dict[str, Any]:
        """The row for `--json`: everything in seconds, bytes or requests per second."""
        return {
            "what": self.what,
            "added": self.added,
            **{name: summary(pooled(rounds)) for name, rounds in self.samples.items()},
            "goals": [(goal.against, goal.factor, self.ratio(goal)) for goal in self.goals],
        }
