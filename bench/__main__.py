"""Measure llmswitch, print the table, and write it down where asked.

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
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from bench.lines import LEGEND, Line, markdown_table, text_table
from bench.measures import MEASURES, Counts
from bench.stage import NotMeasuredError, staged
from llmswitch import __version__
from tests.clients import NEWEST

RESULTS = Path(__file__).with_name("results.md")
DEFAULT = Counts(starts=5, commands=20, sessions=8, instances=3, requests=70, recoveries=3, load=90)
QUICK = Counts(starts=1, commands=5, sessions=2, instances=1, requests=40, recoveries=1, load=4)
_FAILURES = (
    NotMeasuredError,
    OSError,
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
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.name}")
    arguments = parser.parse_args()
    counts = QUICK if arguments.quick else DEFAULT
    began, load = time.monotonic(), os.getloadavg()[0]
    groups, failed = measure(arguments.only or list(MEASURES), counts)
    header = machine(counts)
    header["load average"] = f"{load:.1f} before, {os.getloadavg()[0]:.1f} after"
    header["took"] = f"{time.monotonic() - began:.0f} s"

    lines = [line for group in groups.values() for line in group]
    for name, value in header.items():
        print(f"{name}: {value}")
    if lines:
        print(f"\n{text_table(lines)}\n\n{LEGEND}")
    for name, reason in failed.items():
        print(f"\nnot measured: {name}: {reason}", file=sys.stderr)
    if arguments.json:
        found = {name: [line.data() for line in group] for name, group in groups.items()}
        data = {"machine": header, "measures": found, "not_measured": failed}
        arguments.json.write_text(json.dumps(data, indent=1))
    if arguments.write:
        RESULTS.write_text(page(header, lines))
    return 1 if failed else 0


def measure(names: list[str], counts: Counts) -> tuple[dict[str, list[Line]], dict[str, str]]:
    """The lines of each measurement, and why others could not be made."""
    groups: dict[str, list[Line]] = {}
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
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}",
        "versions": f"llmswitch {__version__}, LiteLLM {version('litellm')}, "
        f"Claude Code {NEWEST}, Python {platform.python_version()}",
        "rounds": ", ".join(f"{count} {name}" for name, count in counts._asdict().items()),
    }


def page(header: dict[str, str], lines: list[Line]) -> str:
    """results.md."""
    facts = "\n".join(f"- {name}: {value}" for name, value in header.items())
    return f"# Results of `make bench`\n\n{facts}\n\n{markdown_table(lines)}\n\n{LEGEND}\n"


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
