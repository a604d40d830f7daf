"""Usage as one page of HTML: no network, no script; its charts are drawn here, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import jinja2

from llmswitch import __version__
from llmswitch.errors import LlmswitchError
from llmswitch.paths import data_folder, write_private
from llmswitch.render.claude_settings import MARK
from llmswitch.usage import tables
from llmswitch.usage.summary import Group, Usage
from llmswitch.usage.tables import cost, count, measure, named, percent, tokens, usd
from llmswitch.usage.what_if import WhatIf

_TALL, _BAR, _GAP = 160, 18, 4  # the chart of the days, in units of its own
_MOST_DAYS = 400


class _Bar(NamedTuple):
    """One day in the chart: where it stands, how high it is, what it says."""

    x: int
    y: float
    height: float
    day: str
    said: str


class _Row(NamedTuple):
    """One line of a table: its cells, and how much of the longest bar it has, in percent."""

    cells: tuple[str, ...]
    share: float


def write(file: Path, page: str) -> None:
    """Write a page, for the user's eyes alone; never over a file that is no page of ours."""
    if file.is_symlink() or file.exists():
        start = b""
        if file.is_file():
            with file.open("rb") as stream:
                start = stream.read(512)
        if f"<!-- {MARK}".encode() not in start:
            raise LlmswitchError(
                f"{file} is there already and is no page of llmswitch", "name another file"
            )
    write_private(file, page)


def render(found: Usage, profile: str, others: Sequence[WhatIf], notes: Sequence[str]) -> str:
    """The page; every group of `found` becomes a section."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_folder("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    what, _ = measure(found.total)
    days = _days(found)
    asked = [
        (tables.plain(one.asked), tables.plain(one.failed),
         tables.plain(one.served_by), count(one.requests))
        for one in found.fallbacks[: tables.SHOWN]
    ]  # fmt: skip
    most = max((other.cost_usd or 0 for other in others), default=0)
    most = max(most, found.total.cost_usd or 0) or 1
    used = _Row(("(as it was)", cost(found.total)), _share(found.total.cost_usd or 0, most))
    return environment.get_template("usage.html.j2").render(
        mark=MARK,
        version=__version__,
        profile=profile,
        span=tables.span(found.period),
        tiles=_tiles(found.total),
        notes=[*([tables.estimated(found.total)] if found.total.estimated_requests else []),
               *notes],
        what=what,
        days=days,
        highest=max(days, key=lambda day: day.height, default=None),
        width=max(1, len(days)) * (_BAR + _GAP),
        tall=_TALL,
        bar_width=_BAR,
        kinds=_kinds(found.total),
        groups=[
            (by, _rows(found, by), len(groups) - len(tables.first(by, groups)))
            for by, groups in found.groups.items()
            if by != "day"
        ],
        others=[
            used,
            *(_Row((tables.plain(o.model), usd(o.cost_usd)), _share(o.cost_usd or 0, most))
              for o in others),
        ] if others else [],
        fallbacks=asked,
    )  # fmt: skip


def _share(part: float, most: float) -> float:
    return round(100 * part / most, 2)


def _tiles(total: Group) -> list[tuple[str, str]]:
    return [
        ("cost", cost(total)),
        ("requests", count(total.requests)),
        ("failed tries", count(total.failures)),
        ("refused requests", count(total.refusals)),
        ("tokens", tokens(total)),
        ("input that the prompt cache held", percent(total.cache_hit_rate)),
        ("saved by the prompt cache", usd(total.prompt_saved_usd)),
        ("answers from the response cache", count(total.cache_hits)),
        ("saved by the response cache", usd(total.saved_usd)),
    ]


def _kinds(total: Group) -> list[_Row]:
    kinds = {
        "input": total.input_tokens,
        "read from the prompt cache": total.cache_read_tokens,
        "written to the prompt cache": total.cache_write_tokens,
        "output": total.output_tokens,
    }
    most = max(kinds.values()) or 1
    return [_Row((name, count(number)), _share(number, most)) for name, number in kinds.items()]


def _days(found: Usage) -> list[_Bar]:
    """A bar for each day from the first to the last, those without usage included."""
    by_day = {group.name: group for group in found.groups["day"] if group.name}
    if not by_day:
        return []
    first, last = date.fromisoformat(min(by_day)), date.fromisoformat(max(by_day))
    names = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    if len(names) > _MOST_DAYS:
        names = sorted(by_day)
    _, size = measure(found.total)
    most = max(map(size, by_day.values())) or 1
    bars = []
    for index, name in enumerate(names):
        group = by_day.get(name)
        height = round(_TALL * size(group) / most, 1) if group else 0.0
        said = f"{cost(group)}, {tokens(group)} tokens" if group else "nothing"
        bars.append(_Bar(index * (_BAR + _GAP), _TALL - height, height, name, f"{name}: {said}"))
    return bars


def _rows(found: Usage, by: str) -> list[_Row]:
    groups = found.groups[by]
    _, size = measure(found.total)
    most = max(map(size, groups), default=0) or 1
    return [
        _Row(
            (
                named(group, by),
                count(group.requests),
                count(group.failures),
                tokens(group),
                percent(group.cache_hit_rate),
                cost(group),
            ),
            _share(size(group), most),
        )
        for group in tables.first(by, groups)
    ]
