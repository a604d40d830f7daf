"""A part of a terminal's screen as SVG, in the colours of a dark and of a light page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

WIDTH, HEIGHT, MARGIN = 8, 20, 16  # of a character, of a row, and around them: pixels
DARK, LIGHT = "#e6edf3", "#1f2328"  # text whose colour the program leaves to the terminal
_STYLE = """\
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre }}
.page {{ fill: #ffffff; stroke: #d0d7de }}
.bold {{ font-weight: 600 }}
{light}
@media (prefers-color-scheme: dark) {{
  .page {{ fill: #0d1117; stroke: #30363d }}
{dark}
}}"""


class Cell(NamedTuple):
    """One character of a screen; `colour` is as pyte names it."""

    text: str
    colour: str
    bold: bool


class _Look(NamedTuple):
    dark: str
    light: str
    bold: bool


def picture(dark: Sequence[Sequence[Cell]], light: Sequence[Sequence[Cell]]) -> str:
    """The same rows as the program draws them for a dark and for a light terminal."""
    looks: dict[tuple[str, str], int] = {}
    drawn: list[str] = []
    for number, (row, other) in enumerate(zip(dark, light, strict=True)):
        assert [cell.text for cell in row] == [cell.text for cell in other]
        drawn += _row(number, row, other, looks)
    width = max(len(row) for row in dark) * WIDTH + 2 * MARGIN
    height = len(dark) * HEIGHT + 2 * MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = _STYLE.format(
        light="\n".join(f".c{at} {{ fill: {pair[1]} }}" for pair, at in looks.items()),
        dark="\n".join(f"  .c{at} {{ fill: {pair[0]} }}" for pair, at in looks.items()),
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<style>\n{style}\n</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        *drawn,
        "</svg>\n",
    ])  # fmt: skip


def _row(
    number: int, dark: Sequence[Cell], light: Sequence[Cell], looks: dict[tuple[str, str], int]
) -> list[str]:
    """Its runs of characters that look alike, each where it stands on the grid."""
    cells: list[tuple[str, _Look]] = []
    for cell, other in zip(dark, light, strict=True):
        look = _Look(_colour(cell.colour, DARK), _colour(other.colour, LIGHT), cell.bold)
        # A blank has no colour; which one it was drawn with differs from time to time.
        cells.append((cell.text, cells[-1][1] if cells and cell.text == " " else look))
    drawn, column = [], 0
    for look, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(char for char, _ in group)
        start = column + len(text) - len(text.lstrip())
        column += len(text)
        if not text.strip():
            continue
        at = looks.setdefault((look.dark, look.light), len(looks))
        kind = f"c{at} bold" if look.bold else f"c{at}"
        x, y = MARGIN + start * WIDTH, MARGIN + number * HEIGHT + 14
        length = len(text.strip()) * WIDTH
        place = f'x="{x}" y="{y}" textLength="{length}"'
        drawn.append(f'<text class="{kind}" {place}>{escape(text.strip())}</text>')
    return drawn


def _colour(name: str, usual: str) -> str:
    return f"#{name}" if re.fullmatch(r"[0-9a-f]{6}", name) else usual
