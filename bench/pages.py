"""What `--write` writes into the manual: all figures, the plot, and their part of the page about
performance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.lines import COLUMNS, LEGEND, Line, markdown_table
from bench.plot import plot
from bench.rivals import NONE
from bench.rows import CONTENDERS, GOAL_COLUMNS, Row
from tests.conftest import CHECKOUT

DOCS = Path("docs")
RESULTS, PLOT = DOCS / "explanation/benchmark.md", DOCS / "assets/benchmark.svg"
PERFORMANCE = DOCS / "explanation/performance.md"
NOTES = f"""\
Every gateway runs on the same machine at the same time, has the same models of one fake provider
on 127.0.0.1, and is asked in random turns. llmswitch has its ledger, a budget and its
authentication on; plain LiteLLM is `litellm --config` with a `master_key`; the Flask proxy is
`bench/flask_proxy.py`, which asks for no key, counts nothing and translates nothing;
claude-code-router writes no log, and passes native requests on as they are. `{NONE}` is the
provider itself; `+` is what comes on top of it. Memory and CPU are those of all processes of a
gateway, memory as PSS (pages that processes share are counted in parts)."""
_PART = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.DOTALL)


def tables(measured: Sequence[Line | Row]) -> dict[str, list[tuple[str, ...]]]:
    """Title and rows, the head first, of each table that has any."""
    rows = [row for row in measured if isinstance(row, Row)]
    lines = [line for line in measured if isinstance(line, Line)]
    found = {
        "Goals": [GOAL_COLUMNS, *(cells for row in rows for cells in row.goal_cells())],
        "Compared": [("what", *CONTENDERS), *(row.cells() for row in rows)],
        "llmswitch by itself": [COLUMNS, *(line.cells() for line in lines)],
    }
    return {title: table for title, table in found.items() if len(table) > 1}


def page(facts: Mapping[str, str], measured: Sequence[Line | Row]) -> str:
    """RESULTS."""
    parts = ["# Results of `make bench`"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    parts += [f"## {title}\n\n{markdown_table(table)}" for title, table in tables(measured).items()]
    return "\n\n".join([*parts, LEGEND, NOTES]) + "\n"


def part_for(results: str) -> str:
    """What PERFORMANCE shows of RESULTS: where it was measured, the plot and the goals."""
    facts = dict(re.findall(r"^- (machine|versions): (.*)$", results, re.MULTILINE))
    goals = results.partition("## Goals\n\n")[2].partition("\n\n")[0]
    return f"""\
![Bars of what is measured, llmswitch and four others](../assets/{PLOT.name})

On {facts["machine"]}; {facts["versions"]}. The goals that llmswitch is held to, met or not:

{goals}

[All figures]({RESULTS.name}), with their spread and how they were taken.
"""


def write(
    facts: Mapping[str, str], measured: Sequence[Line | Row], checkout: Path = CHECKOUT
) -> None:
    """Write all three."""
    results = page(facts, measured)
    (checkout / RESULTS).write_text(results, encoding="utf-8")
    (checkout / PLOT).write_text(
        plot([row for row in measured if isinstance(row, Row)]), encoding="utf-8"
    )
    performance = (checkout / PERFORMANCE).read_text(encoding="utf-8")
    part = part_for(results)
    (checkout / PERFORMANCE).write_text(_PART.sub(lambda _: part, performance), encoding="utf-8")


def part_of(performance: str) -> str:
    """What PERFORMANCE shows now; empty as long as nothing was written."""
    [part] = _PART.findall(performance)
    return str(part)
