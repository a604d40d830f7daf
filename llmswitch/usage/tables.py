"""Usage in the words, columns and bars that a person reads, and as CSV. Prints nothing.

What clients sent (names of sessions, agents, models) may hold anything: every name goes through
`plain` on its way out.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmswitch.budgets import dollars
from llmswitch.columns import columns
from llmswitch.usage.summary import Group, Period, Usage, never_cached

if TYPE_CHECKING:
    from llmswitch.usage.what_if import WhatIf

SHOWN = 20  # of what there can be thousands of, for a person
_LONGEST = 40  # characters of a name
_BARS = " ▏▎▍▌▋▊▉"
_WIDEST, _NARROWEST = 30, 8  # characters of a bar
_NOBODY = {
    "agent": "(main conversation)",
    "key": "(no key)",
    "provider": "(unknown)",
    "session": "(none)",
}


def plain(name: str) -> str:
    """A name on one line, without what would steer a terminal or reorder its text."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def first(by: str, groups: Sequence[Group]) -> Sequence[Group]:
    """As many groups as one reads: the newest sessions, the dearest agents, all of the rest."""
    return groups[:SHOWN] if by in {"session", "agent"} else groups


def named(group: Group, by: str) -> str:
    """What a group is called."""
    return _NOBODY.get(by, "(none)") if group.name is None else plain(group.name)


def count(number: int) -> str:
    """950 -> "950", 1234 -> "1.2k", 12345678 -> "12M"."""
    value: float = number
    for unit in ("", "k", "M", "G"):
        if value < 999.5 or unit == "G":  # noqa: PLR2004 - rounds to 1000, which is the next unit
            break
        value /= 1000
    return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"  # noqa: PLR2004


def cost(group: Group) -> str:
    """What a group cost; says so where a part of it is unknown."""
    if group.cost_usd is None or not group.unknown_cost_requests:
        return dollars(group.cost_usd)
    return f"{dollars(group.cost_usd)} + {counted(group.unknown_cost_requests)} of unknown price"


def percent(rate: float | None) -> str:
    """A share; "-" of nothing, and never 0% or 100% of what only rounds to it."""
    if rate is None:
        return "-"
    return "<1%" if 0 < rate < 0.01 else f"{int(rate * 100)}%"  # noqa: PLR2004


def tokens(group: Group) -> str:
    """All of a group's tokens; `~` where some are estimated."""
    return f"{'~' if group.estimated_requests else ''}{count(group.tokens)}"


def span(period: Period) -> str:
    """From when to when, to the minute."""
    first, last = (period.at(moment).strftime("%Y-%m-%d %H:%M") for moment in period[:2])
    return f"{first} to {last}"


def measure(total: Group) -> tuple[str, Callable[[Group], float]]:
    """What bars show: the cost where all of it is known, else tokens."""
    if total.cost_usd and not total.unknown_cost_requests:
        return "cost", lambda group: group.cost_usd or 0
    return "tokens", lambda group: group.tokens


def usage(
    found: Usage, profile: str, others: Sequence[WhatIf], notes: Sequence[str], width: int
) -> list[str]:
    """The overview: totals, models and days with bars, and the other sections that have a line."""
    lines = [*title(found, profile)]
    if not found.total.tries:
        return lines
    for by in ("model", "day"):
        lines += ["", *_overview(found, by, width)]
    if found.groups["key"] and any(group.name for group in found.groups["key"]):
        lines += ["", *_right(("KEY", "REQUESTS", "FAILED", "COST"), [
            (named(key, "key"), count(key.requests), count(key.failures), cost(key))
            for key in found.groups["key"]
        ])]  # fmt: skip
    if found.fallbacks:
        lines += ["", *columns([("ASKED", "FAILED", "SERVED BY", "REQUESTS"), *(
            (plain(one.asked), plain(one.failed), plain(one.served_by), count(one.requests))
            for one in found.fallbacks[:SHOWN]
        )])]  # fmt: skip
    if others:
        rows = [(plain(other.model), dollars(other.cost_usd)) for other in others]
        used = ("(actual)", cost(found.total))
        lines += ["", *columns([("THE SAME TOKENS ON", "COST"), used, *rows])]
    for note in notes:  # its cure stands below it
        lines += ["", *note.replace("    -> ", "\n  -> ").split("\n")]
    return lines


def title(found: Usage, profile: str) -> list[str]:
    """The period, and its sums in two lines."""
    total = found.total
    if not found.ever:
        return [f"no usage yet for the profile {profile}"]
    first = f"profile {profile}, {span(found.period)}"
    failed = f", {tries(total.failures, 'failed ')}" if total.failures else ""
    refused = f", {counted(total.refusals)} refused" if total.refusals else ""
    if not total.tries:
        nothing = f"no usage in this period{refused}"
        return [first, f"{nothing}    -> --since takes 90d or a date"]
    used = (
        f"{count(total.input_tokens)} input tokens, {count(total.cache_read_tokens)} read from "
        f"the prompt cache, {count(total.cache_write_tokens)} written to it, "
        f"{count(total.output_tokens)} output tokens"
    )
    lines = [first, f"{cost(total)} for {counted(total.requests)}{failed}{refused}", used]
    if total.estimated_requests:
        lines.append(estimated(total))
    if total.cache_read_tokens or total.cache_write_tokens:
        lines.append(
            f"the prompt cache held {percent(total.cache_hit_rate)} of the input and saved "
            f"{dollars(total.prompt_saved_usd)}"
        )
    if total.cache_hits:
        lines.append(
            f"the response cache answered {counted(total.cache_hits)} and saved "
            f"{dollars(total.saved_usd)}"
        )
    return lines


def estimated(total: Group) -> str:
    """Which numbers of tokens are none that a provider has told."""
    whose = counted(total.estimated_requests)
    return f"~: the tokens of {whose} are estimated, because no provider reported all of them"


def warnings(found: Usage) -> list[str]:
    """What is worth a look."""
    return [
        f"{named(group, 'model')}: none of {count(group.input_tokens)} input tokens came from a "
        f"prompt cache ({counted(group.answered)}); its provider may not have one    "
        f"-> llmswitch doctor --live {shlex.quote(named(group, 'model'))}"
        for group in never_cached(found.groups["model"])
    ]


def counted(requests: int) -> str:
    """How many requests, in words."""
    return "1 request" if requests == 1 else f"{count(requests)} requests"


def tries(number: int, kind: str = "") -> str:
    """How many, in words."""
    return f"1 {kind}try" if number == 1 else f"{count(number)} {kind}tries"


def _overview(found: Usage, by: str, width: int) -> list[str]:
    groups = found.groups[by]
    what, size = measure(found.total)
    rows = _right((by.upper(), "REQUESTS", "TOKENS", "COST"), [
        (named(g, by), count(g.requests), tokens(g), _short_cost(g)) for g in groups
    ])  # fmt: skip
    table = max(map(len, rows))
    room = min(_WIDEST, width - table - 2)
    if room < _NARROWEST:
        return rows
    most = max(map(size, groups)) or 1
    drawn = [f"BY {what.upper()}", *(_bar(size(group) / most, room) for group in groups)]
    return [f"{row.ljust(table)}  {bar}".rstrip() for row, bar in zip(rows, drawn, strict=True)]


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + _BARS[eighths % 8].strip()


def one_kind(found: Usage, profile: str, by: str) -> list[str]:
    """The totals, then all columns of one kind of group."""
    if not found.total.tries:
        return title(found, profile)
    groups = found.groups[by]
    shown = first(by, groups)
    head = (by.upper(), "REQUESTS", "FAILED", "INPUT", "CACHED", "WRITTEN", "OUTPUT", "HITS",
            "1ST BYTE", "TOK/S", "COST")  # fmt: skip
    lines = _right(head, [
        (
            named(group, by), count(group.requests), count(group.failures),
            count(group.input_tokens), count(group.cache_read_tokens),
            count(group.cache_write_tokens), count(group.output_tokens),
            percent(group.cache_hit_rate),
            "-" if group.first_byte_seconds is None else f"{group.first_byte_seconds:.1f}s",
            "-" if group.tokens_per_second is None else f"{group.tokens_per_second:.0f}",
            _short_cost(group),
        )
        for group in shown
    ])  # fmt: skip
    if hidden := len(groups) - len(shown):
        lines.append(f"and {hidden} more    -> --json or --csv has all")
    return [*title(found, profile), "", *lines]


def _short_cost(group: Group) -> str:
    if group.cost_usd is None or not group.unknown_cost_requests:
        return dollars(group.cost_usd)
    return f"{dollars(group.cost_usd)} + {count(group.unknown_cost_requests)} unknown"


def _right(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, all but the first and the last of numbers that end under each other."""
    cells = [head, *rows]
    last = len(head) - 1
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    return columns([
        [text.rjust(width) if 0 < at < last else text
         for at, (text, width) in enumerate(zip(row, widths, strict=True))]
        for row in cells
    ])  # fmt: skip


def row_data(group: Group, by: str, period: Period) -> dict[str, Any]:
    """A group with its raw numbers, as --json and --csv have them."""
    data = group._asdict()
    last = data.pop("last")
    name = data.pop("name")
    return {by: name} | data | {"last": last and period.at(last).isoformat(timespec="seconds")}


def data(
    found: Usage, profile: str, by: str, others: Sequence[WhatIf], notes: Sequence[str]
) -> dict[str, Any]:
    """What `usage --json` says."""
    rows = {name: [row_data(group, name, found.period) for group in found.groups[name]]
            for name in found.groups}  # fmt: skip
    total = row_data(found.total, by, found.period)
    del total[by]
    return {
        "profile": profile,
        "since": found.period.at(found.period.since).isoformat(timespec="seconds"),
        "until": found.period.at(found.period.until).isoformat(timespec="seconds"),
        "by": by,
        "rows": rows[by],
        "total": total,
        "keys": rows["key"],
        "fallbacks": [one._asdict() for one in found.fallbacks],
        "what_if": [one._asdict() for one in others],
        "notes": list(notes),
    }


def as_csv(found: Usage, by: str) -> str:
    """One line for each group. No name is taken for a formula where the file is opened."""
    text = io.StringIO()
    rows = [row_data(group, by, found.period) for group in found.groups[by]]
    head = row_data(found.total, by, found.period)
    writer = csv.DictWriter(text, list(head), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        name = "".join(char if char.isprintable() else " " for char in row[by] or "")
        writer.writerow(row | {by: f"'{name}" if name.lstrip()[:1] in tuple("=+-@") else name})
    return text.getvalue()
