"""The plot of a comparison: bars, as SVG that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.lines import FACTORS
from bench.rivals import OURS, PLAIN
from bench.rows import CONTENDERS, Row

_WIDTH, _PANEL, _COLUMNS = 860, 420, 2
_BAR, _STEP, _TITLE = 14, 20, 34  # heights in pixels
_NAMES, _VALUES = 130, 90  # widths in pixels, left and right of the bars
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.ours { fill: #1a7f37 } .plain { fill: #0969da } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ours { fill: #3fb950 } .plain { fill: #58a6ff } .other { fill: #6e7681 }
}"""


def plot(rows: Sequence[Row]) -> str:
    """The rows that are to be plotted, in two columns; no gateway is none of the bars."""
    drawn: list[str] = []
    heights = [0] * _COLUMNS
    for number, row in enumerate(row for row in rows if row.plotted):
        column = number % _COLUMNS
        panel, height = _panel(row, column * (_WIDTH - _PANEL), heights[column])
        heights[column] += height
        drawn += panel
    size = f'width="{_WIDTH}" height="{max(heights)}" viewBox="0 0 {_WIDTH} {max(heights)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<style>\n{_STYLE}\n</style>",
            *drawn,
            "</svg>\n",
        ]
    )


def _panel(row: Row, left: int, top: int) -> tuple[list[str], int]:
    """One row as bars, and its height."""
    names = [name for name in CONTENDERS[1:] if name in row.samples]
    longest = max(row.median(name) for name in names) or FACTORS[row.unit]
    drawn = [_text(left, top + 20, row.what, "title")]
    for number, name in enumerate(names):
        y = top + _TITLE + number * _STEP
        share = max(row.median(name), 0) / longest
        width = round(share * (_PANEL - _NAMES - _VALUES))
        kind = {OURS: "ours", PLAIN: "plain"}.get(name, "other")
        bar = f'x="{left + _NAMES}" y="{y}" width="{width}" height="{_BAR}" rx="2"'
        drawn += [
            _text(left, y + _BAR - 3, name, "name"),
            f'<rect class="{kind}" {bar}/>',
            _text(left + _NAMES + width + 6, y + _BAR - 3, row.value(name), "value"),
        ]
    return drawn, _TITLE + len(names) * _STEP + 10


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
