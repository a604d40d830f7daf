"""The measurements. Each takes a stage on which no gateway runs and leaves it so."""

from __future__ import annotations

import contextlib
import http.client
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from bench.ledger import Load, measure_ledger
from bench.lines import Line, each
from bench.sessions import install_client, measure_sessions
from bench.stage import (
    MODELS,
    PROFILE,
    NotMeasuredError,
    Recipe,
    Stage,
    Start,
    Target,
    first_answer,
    llmswitch,
    send,
)
from tests import clients


class Counts(NamedTuple):
    """How often everything is measured."""

    starts: int
    commands: int
    sessions: int
    instances: int  # pairs of gateways whose latency is measured ...
    requests: int  # ... with so many requests of each kind
    recoveries: int
    load: int  # batches of requests with and without the ledger


Tell = Callable[[str], None]


def measure_start(stage: Stage, counts: Counts, tell: Tell) -> list[Line]:
    """From nothing to the first answer, and to the port that accepts."""
    ours: list[Start] = []
    alone: list[Start] = []
    theirs: list[Start] = []

    def start_ours() -> None:
        ours.append(stage.start_ours())
        recipe = Recipe.of(stage.gateway())
        stage.stop_ours()
        alone.append(stage.start_process(recipe))

    def start_theirs() -> None:
        theirs.append(stage.start_theirs())
        stage.stop_theirs()

    for number in range(counts.starts + 1):
        tell(f"start {number} of {counts.starts}")
        for index in in_turn(2, number):
            (start_ours, start_theirs)[index]()
    for starts in (ours, alone, theirs):
        del starts[0]  # it only warmed the disk's cache
    plain = each(start.answered for start in theirs)
    answered = each(start.answered for start in ours)
    cpu = each(start.cpu for start in theirs)
    return [
        Line(
            "`up` to the first answer, against plain LiteLLM", "s", answered, plain, "ratio", 0.75
        ),
        Line(
            "the gateway's process alone to the first answer, likewise",
            "s",
            each(start.answered for start in alone),
            plain,
            "ratio",
        ),
        Line("`up` until it returns", "s", each(start.returned or 0.0 for start in ours)),
        Line(
            "CPU used until the first answer, likewise",
            "s",
            each(start.cpu for start in ours),
            cpu,
            "ratio",
        ),
        Line(
            "the gateway's process until the port accepts",
            "s",
            each(start.accepted for start in alone),
            goal=0.3,
        ),
        Line(
            "`up` until the port accepts, against plain LiteLLM",
            "s",
            each(start.accepted for start in ours),
            each(start.accepted for start in theirs),
            "ratio",
        ),
    ]


def measure_commands(stage: Stage, counts: Counts, tell: Tell) -> list[Line]:
    """What `--help`, `status` and `doctor` cost over a Python that does nothing."""
    env, home = stage.user.env, stage.user.home
    bare = Command([sys.executable, "-c", "pass"], env, home)
    usage = Command([*llmswitch(), "--help"], env, home)
    status = Command([*llmswitch(), "status"], env, home)
    doctor = Command(
        [*llmswitch(), "doctor"], env | {"LLMSWITCH_CLAUDE": str(clients.newest())}, home
    )
    tell("commands, gateway running")
    stage.start_ours()
    with_gateway = interleaved([bare, usage, status, doctor], counts.commands)
    stage.stop_ours()
    tell("commands, gateway not running")
    status.run()
    without = interleaved([bare, status], counts.commands)

    def line(what: str, ours: list[float], theirs: list[float], goal: float = 0.15) -> Line:
        name = f"{what}, against bare Python"
        return Line(name, "ms", each(ours), each(theirs), "difference", goal)

    return [
        line("`llmswitch --help`", with_gateway[1], with_gateway[0]),
        line("`llmswitch status`, running", with_gateway[2], with_gateway[0]),
        line("`llmswitch status`, not running, again", without[1], without[0]),
        line("`llmswitch doctor`, running", with_gateway[3], with_gateway[0], 1.0),
    ]


def measure_client(stage: Stage, counts: Counts, tell: Tell) -> list[Line]:
    """What the wrapper costs around the real Claude Code."""
    tell("Claude Code")
    stage.start_ours()
    env, project, wrapper, claude = install_client(stage)
    versions = [Command([program, "--version"], env, project) for program in (wrapper, claude)]
    version = interleaved(versions, counts.commands)

    tell("Claude Code, whole sessions")
    through = Command([wrapper, "-p", "hi"], env, project)
    through.run()
    # What the wrapper gave the client, given to the client straight.
    written = stage.user.run_folder(PROFILE).glob("settings/*.json")
    settings = max(written, key=lambda file: file.stat().st_mtime)
    straight = Command([claude, "--settings", str(settings), "-p", "hi"], env, project)
    straight.run()
    session = interleaved([through, straight], counts.sessions)
    stage.stop_ours()
    names = ("`claude-multi --version` against `claude`", "`claude-multi -p hi` against `claude`")
    return [
        Line(names[0], "ms", each(version[0]), each(version[1]), "difference", 0.06),
        Line(names[1], "ms", each(session[0]), each(session[1]), "difference"),
    ]


def measure_latency(stage: Stage, counts: Counts, tell: Tell) -> list[Line]:
    """What the gateways add to a request, and their memory afterwards.

    One pair of processes can be a few per cent faster than the next, so there are several.
    """
    kinds = [(model, stream) for model in MODELS for stream in (False, True)]
    ours: dict[tuple[str, bool], list[list[float]]] = defaultdict(list)
    theirs: dict[tuple[str, bool], list[list[float]]] = defaultdict(list)
    memory: list[tuple[float, float]] = []
    for number in range(counts.instances):
        tell(f"latency, gateways {number + 1} of {counts.instances}")
        with stage.both():
            targets = [stage.straight, stage.ours, stage.theirs]
            for kind in kinds:
                straight, *through = _ask(targets, *kind, counts.requests)
                for samples, found in zip((ours, theirs), through, strict=True):
                    samples[kind].append([sample - median(straight) for sample in found])
            memory.append((_memory(stage.gateway()), _memory(stage.plain())))
    lines = [
        Line(
            f"added, {MODELS[model]}, {'streamed' if stream else 'whole'}, against plain LiteLLM",
            "ms",
            ours[model, stream],
            theirs[model, stream],
            "ratio",
            1.05,
        )
        for model, stream in kinds
    ]
    mine, plain = (each(values) for values in zip(*memory, strict=True))
    return [*lines, Line("memory (PSS) after these requests, likewise", "MB", mine, plain, "ratio")]


def measure_recovery(stage: Stage, counts: Counts, tell: Tell) -> list[Line]:
    """After a `kill -9` of the worker, and after a change of the profile. Plain LiteLLM has
    nothing that restarts it and reloads nothing: it is started again at once.
    """
    killed: list[float] = []
    reloaded: list[float] = []
    first: list[float] = []
    again: list[float] = []
    with stage.both():
        for number in range(counts.recoveries):
            tell(f"recovery {number + 1} of {counts.recoveries}")
            worker = max(stage.gateway().children(), key=psutil.Process.create_time)
            began = time.perf_counter()
            worker.kill()
            killed.append(first_answer(stage.ours, began, lambda: True)[1])

            stage.write_profile(f"GLM-4.7 for the {number}. time")
            began = time.perf_counter()
            done = stage.user.run("up")
            reloaded.append(time.perf_counter() - began)
            if done.returncode or not done.stdout.startswith("reloaded"):
                raise NotMeasuredError(f"`llmswitch up` did not reload\n{done.stdout}{done.stderr}")
            # The new worker's first request, which the client waits for.
            first.append(first_answer(stage.ours, time.perf_counter(), lambda: True)[1])

            began = time.perf_counter()
            stage.stop_theirs()
            stopped = time.perf_counter() - began
            again.append(stopped + stage.start_theirs().answered)
    return [
        Line("`kill -9` of the worker to the next answer", "s", each(killed)),
        Line(
            "`up` after a change, against a restart of plain LiteLLM",
            "s",
            each(reloaded),
            each(again),
            "ratio",
        ),
        Line("the first request after such a reload", "s", each(first)),
    ]


MEASURES: dict[str, Callable[[Stage, Counts, Tell], list[Line]]] = {
    "start": measure_start,
    "commands": measure_commands,
    "client": measure_client,
    "sessions": lambda stage, counts, tell: measure_sessions(stage, counts.starts, tell),
    "latency": measure_latency,
    "recovery": measure_recovery,
    "ledger": lambda stage, counts, tell: measure_ledger(stage, Load(counts.load, 50, 200), tell),
}


class Command(NamedTuple):
    """A command and where it runs."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path

    def run(self) -> float:
        """Seconds that it takes; it must succeed."""
        began = time.perf_counter()
        done = subprocess.run(
            self.argv,
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        took = time.perf_counter() - began
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise NotMeasuredError(f"{' '.join(self.argv)} failed ({done.returncode})\n{said}")
        return took


def in_turn(count: int, number: int) -> Sequence[int]:
    """The indices of `count` things, forwards in even rounds and backwards in odd ones."""
    return range(count) if number % 2 == 0 else range(count - 1, -1, -1)


def interleaved(commands: Sequence[Command], rounds: int) -> list[list[float]]:
    """Run each command once in every round, after one that does not count; seconds by command."""
    found: list[list[float]] = [[] for _ in commands]
    for number in range(rounds + 1):
        for index in in_turn(len(commands), number):
            took = commands[index].run()
            if number:
                found[index].append(took)
    return found


def _ask(targets: Sequence[Target], model: str, stream: bool, requests: int) -> list[list[float]]:
    """Seconds of every request to each target, over one open connection each, in random turns."""
    found: list[list[float]] = [[] for _ in targets]
    order = list(range(len(targets)))
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=60))
            )
            for target in targets
        ]
        warm_up = requests // 10 + 1
        for number in range(warm_up + requests):
            random.shuffle(order)
            for index in order:
                began = time.perf_counter()
                status, answer = send(connections[index], targets[index], model, stream=stream)
                took = time.perf_counter() - began
                if status != http.HTTPStatus.OK or (stream and b"message_stop" not in answer):
                    raise NotMeasuredError(f"{model} answered {status}\n{answer[:500]!r}")
                if number >= warm_up:
                    found[index].append(took)
    return found


def _memory(process: psutil.Process) -> float:
    """Bytes of a process and its children, shared pages counted once (where the system tells)."""
    family = [process, *process.children(recursive=True)]
    used = [member.memory_full_info() for member in family]
    return float(sum(getattr(info, "pss", info.uss) for info in used))
