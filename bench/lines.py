"""One line of the result: two sets of samples, how they are compared, and the goal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median, quantiles
from typing import Any, Literal

Unit = Literal["s", "ms", "MB", "/s"]
Rounds = Sequence[Sequence[float]]
"""Samples in seconds or bytes. A round is what ran under the same conditions: one start of each,
or many requests to the same two processes.
"""

FACTORS: dict[Unit, float] = {"s": 1.0, "ms": 1e-3, "MB": 1e6, "/s": 1.0}
FEW = 8
"""Below this number of values their spread is min..max, from there on the quartiles."""
COLUMNS = ("what", "ours", "theirs", "ratio or difference", "goal", "met")
LEGEND = (
    "Medians; in brackets the middle half of the samples, or all of them where there are fewer "
    f"than {FEW};\nfor a ratio or difference, of its values round by round."
)


@dataclass(frozen=True)
class Line:
    """Something measured of ours, and of `theirs` where there is something to compare it with.

    `goal` bounds the result from above: a plain ratio, else in seconds.
    """

    what: str
    unit: Unit
    ours: Rounds
    theirs: Rounds | None = None
    compare: Literal["ratio", "difference", "nothing"] = "nothing"
    goal: float | None = None

    @property
    def result(self) -> float:
        """The ratio or the difference of the medians, else our median."""
        theirs = None if self.theirs is None else pooled(self.theirs)
        return self._compared(pooled(self.ours), theirs)

    @property
    def results(self) -> list[float]:
        """The same for each round by itself."""
        if self.theirs is None:
            return [self._compared(ours, None) for ours in self.ours]
        pairs = zip(self.ours, self.theirs, strict=True)
        return [self._compared(ours, theirs) for ours, theirs in pairs]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.result <= self.goal

    def _compared(self, ours: Sequence[float], theirs: Sequence[float] | None) -> float:
        if self.compare == "nothing" or theirs is None:
            return median(ours)
        if self.compare == "ratio":
            return median(ours) / median(theirs)
        return median(ours) - median(theirs)

    def cells(self) -> tuple[str, ...]:
        """The line of the table, below COLUMNS."""
        ours = self._cell(median(pooled(self.ours)), pooled(self.ours))
        theirs = compared = goal = met = ""
        if self.theirs is not None:
            theirs = self._cell(median(pooled(self.theirs)), pooled(self.theirs))
        if self.compare == "ratio":
            low, high = spread(self.results)
            compared = f"{self.result:.3f} ({low:.3f}..{high:.3f})"
        elif self.compare == "difference":
            compared = self._cell(self.result, self.results)
        if self.goal is not None:
            bound = f"{self.goal:g}"
            if self.compare != "ratio":
                bound = f"{self.goal / FACTORS[self.unit]:g} {self.unit}"
            goal, met = f"≤ {bound}", "yes" if self.met else "NO"
        return self.what, ours, theirs, compared, goal, met

    def _cell(self, value: float, values: Sequence[float]) -> str:
        return f"{shown(value, self.unit)} ({shown(value, self.unit, values)})"

    def data(self) -> dict[str, Any]:
        """The line for `--json`: everything in seconds, bytes or as a plain ratio."""
        return {
            "what": self.what,
            "compare": self.compare,
            "ours": summary(pooled(self.ours)),
            "theirs": None if self.theirs is None else summary(pooled(self.theirs)),
            "result": self.result,
            "results": self.results,
            "goal": self.goal,
            "met": self.met,
        }


def shown(value: float, unit: Unit, values: Sequence[float] | None = None) -> str:
    """A value with its unit, or the spread of the values that it is the median of."""
    digits = 2 if abs(value / FACTORS[unit]) < 20 else 0
    if values is None:
        return f"{value / FACTORS[unit]:.{digits}f} {unit}"
    low, high = (end / FACTORS[unit] for end in spread(values))
    return f"{low:.{digits}f}..{high:.{digits}f}"


def pooled(rounds: Rounds) -> list[float]:
    """The samples of all rounds."""
    return list(chain.from_iterable(rounds))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Samples for `--json`."""
    low, high = spread(values)
    return {"median": median(values), "low": low, "high": high, "samples": values}


def each(samples: Iterable[float]) -> Rounds:
    """Samples that are a round each."""
    return [[sample] for sample in samples]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper end: the quartiles, or of few values the smallest and the largest."""
    if len(values) < FEW:
        return min(values), max(values)
    first, _, third = quantiles(values, n=4)
    return first, third


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which is the head, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which is the head, for a page."""
    head, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))
