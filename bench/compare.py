"""All gateways side by side: what they add to a request, how many they answer, what they use.

They run at once and are asked in random turns. One set of processes can be a few per cent faster
than the next, so there are several.
"""

from __future__ import annotations

import contextlib
import http
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from statistics import median
from typing import NamedTuple

from bench import disk
from bench.lines import each
from bench.load import load
from bench.rivals import FLASK, NONE, OURS, PLAIN, ROUTER, Contender, contenders, router_folder
from bench.rows import Goal, Row
from bench.stage import DELTAS, LONG, NATIVE, TRANSLATED, Stage, cpu, memory
from bench.wire import Answer, NotMeasuredError, Target, send
from tests.conftest import CHECKOUT

AT_ONCE = (1, 8, 32)
_AT_ONCE = 4  # requests in flight, where their CPU is measured
_SMALL = "Say who you are."
_LARGE = ((CHECKOUT / "README.md").read_text(encoding="utf-8") * 50)[:100_000]


class Effort(NamedTuple):
    """How often everything is measured; the names are shown with the results."""

    sets: int  # of processes of all gateways ...
    requests_of_a_kind: int  # ... with so many one at a time ...
    requests_for_cpu: int  # ... so many for their CPU, five times as many where they are short ...
    seconds_of_load: float  # ... at each number of requests at once ...
    requests_for_memory: int  # ... and, of the last set, so many for its growth
    seconds_of_pause: float  # what an answered request leaves to do is done within


class Kind(NamedTuple):
    """A kind of request."""

    what: str
    model: str
    stream: bool
    text: str

    def body(self, target: Target) -> bytes:
        """It, as that target wants it."""
        return target.body(self.model, stream=self.stream, text=self.text)

    def is_answered_by(self, answer: Answer) -> bool:
        """Whether all of the answer is there."""
        if self.stream:
            whole = answer.body.count(b"event: content_block_delta") == LONG
        else:
            whole = f" {DELTAS - 1} {DELTAS}".encode() in answer.body
        return answer.status == http.HTTPStatus.OK and whole


KINDS = [
    kind
    for way, (usual, long) in (("native", NATIVE), ("translated", TRANSLATED))
    for kind in (
        Kind(f"small body, {way}", usual, False, _SMALL),
        Kind(f"100 KB body, {way}", usual, False, _LARGE),
        Kind(f"{LONG} events, {way}", long, True, _SMALL),
    )
]
Rounds = list[list[float]]
Found = defaultdict[str, defaultdict[str, Rounds]]
"""Samples by what was measured and contender, a round for each set of processes."""


def measure_compared(stage: Stage, effort: Effort, tell: Callable[[str], None]) -> list[Row]:
    """Everything but the start, which needs them one at a time."""
    found: Found = defaultdict(lambda: defaultdict(list))
    everyone = contenders(stage)
    for number in range(effort.sets):
        with contextlib.ExitStack() as running:
            for contender in everyone:
                tell(f"comparison {number + 1} of {effort.sets}: start of {contender.name}")
                contender.start()
                running.callback(contender.stop)
            time.sleep(effort.seconds_of_pause)
            _memory(found, "idle", everyone)
            tell("one request at a time")
            for kind in KINDS:
                _latency(found, kind, stage.straight, everyone, effort.requests_of_a_kind)
            # The order is another one in every set.
            shuffled = random.sample(everyone, len(everyone))
            tell("CPU")
            for kind in KINDS:
                _cpu(found, kind, shuffled, effort)
            tell("requests at once")
            targets = [(NONE, stage.straight), *((one.name, one.target) for one in shuffled)]
            for at_once in AT_ONCE:
                for name, target in targets:
                    done = load(
                        target, KINDS[0].body(target), at_once, seconds=effort.seconds_of_load
                    )
                    found[_rate(at_once)][name].append([done.answered / done.seconds])
            _memory(found, "loaded", everyone)
            if number + 1 == effort.sets:
                tell(f"{effort.requests_for_memory} requests")
                for _, target in targets[1:]:
                    load(
                        target,
                        KINDS[0].body(target),
                        max(AT_ONCE[:-1]),
                        number=effort.requests_for_memory,
                    )
                _memory(found, "grown", everyone)
    return [*_rows(found, effort), *_sizes()]


def _rows(found: Found, effort: Effort) -> list[Row]:
    rows = []
    for kind in KINDS:
        large = kind.text is _LARGE
        # A translated stream is LiteLLM's own work all through.
        factor = 1 if kind.stream and kind.model in TRANSLATED else 0.8
        goals = [Goal(PLAIN, factor), *([Goal(ROUTER, 1)] if large else [])]
        what = f"added, {kind.what}"
        plotted = kind.model in NATIVE and (large or kind.stream)
        rows.append(Row(what, "ms", found[what], goals, added=True, plotted=plotted))
        if kind.stream:
            what = f"added to the first byte, {kind.what}"
            rows.append(Row(what, "ms", found[what], [Goal(PLAIN, 1)], added=True))
    for at_once in AT_ONCE:
        what = _rate(at_once)
        rows.append(Row(what, "/s", found[what], plotted=at_once == AT_ONCE[1]))
    for kind in KINDS:
        what = f"CPU of a request, {kind.what}"
        rows.append(Row(what, "ms", found[what], plotted=kind == KINDS[0]))
    loaded = Row("memory after load", "MB", found["loaded"], [Goal(PLAIN, 1.05)], plotted=True)
    return [
        *rows,
        Row("memory, idle", "MB", found["idle"]),
        loaded,
        Row(f"memory after {effort.requests_for_memory:,} requests more", "MB", found["grown"]),
    ]


def _rate(at_once: int) -> str:
    return f"requests per second, {at_once} at once"


def _memory(found: Found, when: str, everyone: Sequence[Contender]) -> None:
    for contender in everyone:
        found[when][contender.name].append([memory(contender.process())])


def _cpu(found: Found, kind: Kind, everyone: Sequence[Contender], effort: Effort) -> None:
    """CPU seconds of a gateway's processes for each request; a clock of 10 ms wants many."""
    number = effort.requests_for_cpu if kind.stream else 5 * effort.requests_for_cpu
    for contender in everyone:
        if kind.model in contender.models:
            before = cpu(contender.process())
            load(contender.target, kind.body(contender.target), _AT_ONCE, number=number)
            time.sleep(effort.seconds_of_pause)
            used = cpu(contender.process()) - before
            found[f"CPU of a request, {kind.what}"][contender.name].append([used / number])


def _latency(
    found: Found, kind: Kind, straight: Target, everyone: Sequence[Contender], requests: int
) -> None:
    """Every request by itself, over one open connection each, in random turns."""
    asked = {NONE: straight}
    asked |= {one.name: one.target for one in everyone if kind.model in one.models}
    bodies = {name: kind.body(target) for name, target in asked.items()}
    answers: dict[str, list[Answer]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        connections = {name: HTTPConnection("127.0.0.1", asked[name].port) for name in asked}
        for connection in connections.values():
            stack.enter_context(contextlib.closing(connection))
        warm_up = requests // 10 + 1
        for number in range(warm_up + requests):
            for name in random.sample(list(asked), len(asked)):
                answer = send(connections[name], asked[name], bodies[name])
                if not kind.is_answered_by(answer):
                    said = f"{answer.status}\n{answer.body[:500]!r}"
                    raise NotMeasuredError(f"{name}: {kind.what} was answered {said}")
                if number >= warm_up:
                    answers[name].append(answer)
    for what in ("added", "added to the first byte") if kind.stream else ("added",):
        times = {
            name: [answer.last if what == "added" else answer.first for answer in those]
            for name, those in answers.items()
        }
        base = median(times[NONE])
        for name, samples in times.items():
            added = samples if name == NONE else [sample - base for sample in samples]
            found[f"{what}, {kind.what}"][name].append(added)


def _sizes() -> list[Row]:
    ours = disk.of_llmswitch()
    sizes = {
        OURS: ours + disk.of_requirements("llmswitch"),
        PLAIN: disk.of_requirements("litellm[proxy]"),
        FLASK: disk.of_requirements("flask", "requests"),
        ROUTER: disk.of_folder(router_folder()),
    }
    samples = {name: each([size]) for name, size in sizes.items()}
    return [
        Row("size on disk, without Python and Node", "MB", samples),
        Row("of which llmswitch itself", "MB", {OURS: each([ours])}),
    ]
