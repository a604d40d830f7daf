"""Measure llmswitch and others, print the tables, and write them down where asked.

It never fails on a goal: exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from bench import pages
from bench.compare import Effort
from bench.lines import LEGEND, Line, text_table
from bench.measures import MEASURES, Counts
from bench.rivals import CCR, node_version
from bench.rows import Row
from bench.stage import staged
from bench.wire import NotMeasuredError
from llmswitch import __version__
from tests.clients import NEWEST

DEFAULT = Counts(
    warm_up=1,
    starts=5,
    commands=20,
    sessions=8,
    recoveries=3,
    load=90,
    compared=Effort(3, 50, 40, 2, 5000, 0.5),
)
QUICK = Counts(
    warm_up=0,
    starts=1,
    commands=5,
    sessions=1,
    recoveries=1,
    load=4,
    compared=Effort(1, 10, 4, 0.5, 100, 0.2),
)
_FAILURES = (
    NotMeasuredError,
    OSError,
    EOFError,  # an answer under load that is cut
    AssertionError,  # a client of another version than it should be
    KeyError,  # a state file, or a time that a process does not tell
    ValueError,
    subprocess.SubprocessError,
    http.client.HTTPException,
    psutil.Error,
    pytest.skip.Exception,  # no client to be had
    pytest.fail.Exception,
)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all")
    parser.add_argument("--only", action="append", choices=MEASURES, help="can be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample, as JSON")
    parser.add_argument("--write", action="store_true", help="also write the results down")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("what is written down is measured as a whole: --write without --only")
    counts = QUICK if arguments.quick else DEFAULT
    began, load = time.monotonic(), os.getloadavg()[0]
    groups, failed = measure(arguments.only or list(MEASURES), counts)
    header = machine(counts)
    header["load average"] = f"{load:.1f} before, {os.getloadavg()[0]:.1f} after"
    header["took"] = f"{time.monotonic() - began:.0f} s"

    measured = [line for group in groups.values() for line in group]
    for name, value in header.items():
        print(f"{name}: {value}")
    for title, table in pages.tables(measured).items():
        print(f"\n{title}\n{text_table(table)}")
    print(f"\n{LEGEND}")
    for name, reason in failed.items():
        print(f"\nnot measured: {name}: {reason}", file=sys.stderr)
    if arguments.json:
        found = {name: [line.data() for line in group] for name, group in groups.items()}
        data = {"machine": header, "measures": found, "not_measured": failed}
        arguments.json.write_text(json.dumps(data, indent=1))
    if arguments.write:
        header |= {
            f"not measured: {name}": reason.splitlines()[0] for name, reason in failed.items()
        }
        pages.write(header, measured)
    return 1 if failed else 0


def measure(
    names: list[str], counts: Counts
) -> tuple[dict[str, Sequence[Line | Row]], dict[str, str]]:
    """The lines of each measurement, and why others could not be made."""
    groups: dict[str, Sequence[Line | Row]] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            with staged() as stage:
                groups[name] = MEASURES[name](stage, counts, _tell)
        except _FAILURES as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return groups, failed


def machine(counts: Counts) -> dict[str, str]:
    """Where and what was measured."""
    rounds = counts._asdict()
    rounds |= rounds.pop("compared")._asdict()
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}",
        "versions": f"llmswitch {__version__}, LiteLLM {version('litellm')}, "
        f"Flask {version('flask')}, claude-code-router {CCR}, Claude Code {NEWEST}, "
        f"Python {platform.python_version()}, Node {node_version()}",
        "rounds": ", ".join(f"{n} {name}" for name, n in rounds.items()).replace("_", " "),
    }


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _tell(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
