"""Usage as one page of HTML: no network, no script; the template draws its charts as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import jinja2

from llmswitch import __version__
from llmswitch.budgets import dollars
from llmswitch.errors import LlmswitchError
from llmswitch.generated import MARK
from llmswitch.paths import data_folder, write_private
from llmswitch.usage import tables
from llmswitch.usage.summary import Group, Usage
from llmswitch.usage.what_if import WhatIf

_MOST_DAYS = 400
_SAYING = (  # what the template puts numbers and names into words with
    dollars, tables.cost, tables.count, tables.first, tables.named, tables.percent, tables.plain,
    tables.tokens,
)  # fmt: skip


def write(file: Path, page: str) -> None:
    """Write a page, for the user's eyes alone; never over a file that is no page of ours."""
    if file.is_symlink() or file.exists():
        start = b""
        if file.is_file():
            with file.open("rb") as stream:
                start = stream.read(512)
        if f"<!-- {MARK}".encode() not in start:
            raise LlmswitchError(
                f"{file} already exists and was not written by llmswitch", "choose another file"
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
    total = found.total
    what, size = tables.measure(total)
    environment.filters["size"] = lambda group: size(group) if group else 0
    return environment.get_template("usage.html.j2").render(
        {function.__name__: function for function in _SAYING},
        mark=MARK,
        version=__version__,
        profile=profile,
        span=tables.span(found.period),
        total=total,
        notes=[*([tables.estimated(total)] if total.estimated_requests else []), *notes],
        what=what,
        days=_days(found.groups["day"]),
        groups={by: groups for by, groups in found.groups.items() if by != "day"},
        others=others,
        fallbacks=found.fallbacks[: tables.SHOWN],
    )


def _days(groups: Sequence[Group]) -> list[tuple[str, Group | None]]:
    """Each day from the first to the last, those without usage included."""
    by_day = {group.name: group for group in groups if group.name}
    if not by_day:
        return []
    first, last = date.fromisoformat(min(by_day)), date.fromisoformat(max(by_day))
    names = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    if len(names) > _MOST_DAYS:
        names = sorted(by_day)
    return [(name, by_day.get(name)) for name in names]
