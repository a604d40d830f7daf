"""What people read: a table with cells under each other, and a number of things."""

from __future__ import annotations

from collections.abc import Sequence


def columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells under each other, as wide as they need to be."""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def counted(number: int, noun: str) -> str:
    """1 model, 2 models."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
