"""The measurements. Each takes a stage on which no gateway runs and leaves it so."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.compare import Effort, measure_compared
from bench.ledger import Load, measure_ledger
from bench.lines import Line, each
from bench.rivals import OURS, PLAIN, contenders
from bench.rows import Goal, Row
from bench.sessions import install_client, measure_sessions
from bench.stage import PROFILE, Recipe, Stage, Start, llmswitch
from bench.wire import NotMeasuredError, first_answer
from llmswitch.render.plan import _LITELLM
from tests import clients
from tests.conftest import CHECKOUT


class Counts(NamedTuple):
    """How often everything is measured."""

    warm_up: int  # rounds of starts and sessions that do not count
    starts: int
    commands: int
    sessions: int
    recoveries: int
    load: int  # batches of requests with and without the ledger
    compared: Effort


Tell = Callable[[str], None]


def measure_start(stage: Stage, counts: Counts, tell: Tell) -> list[Line | Row]:
    """From nothing to the first answer, and to the port that accepts."""
    starts: dict[str, list[Start]] = defaultdict(list)
    alone: list[Start] = []
    everyone = contenders(stage)
    for number in range(-counts.warm_up, counts.starts):
        tell(f"start {number + 1} of {counts.starts}")
        for index in in_turn(len(everyone), number):
            contender = everyone[index]
            started = contender.start()
            recipe = Recipe.of(stage.gateway()) if contender.name == OURS else None
            contender.stop()
            by_itself = [stage.start_process(recipe)] if recipe else []
            if number >= 0:  # those before only warm the disk's cache
                starts[contender.name].append(started)
                alone += by_itself
    ours, theirs = starts[OURS], starts[PLAIN]
    tell("import of LiteLLM")
    listed, whole = imports(counts.starts)

    def row(what: str, take: Callable[[Start], float], goal: float | None = None) -> Row:
        samples = {name: each(map(take, found)) for name, found in starts.items()}
        goals = [] if goal is None else [Goal(PLAIN, goal)]
        return Row(what, "s", samples, goals, plotted=goal is not None)

    return [
        row("start to the first answer", lambda start: start.answered, 0.55),
        row("start until the port accepts", lambda start: start.accepted),
        row("CPU used until the first answer", lambda start: start.cpu),
        Line(
            "the gateway's process alone to the first answer, against plain LiteLLM",
            "s",
            each(start.answered for start in alone),
            each(start.answered for start in theirs),
            "ratio",
        ),
        Line(
            "CPU of importing LiteLLM with the listed routes alone, against all of them",
            "s",
            each(listed),
            each(whole),
            "ratio",
        ),
        Line("`up` until it returns", "s", each(start.returned or 0.0 for start in ours)),
        Line(
            "the gateway's process until the port accepts",
            "s",
            each(start.accepted for start in alone),
            goal=0.3,
        ),
    ]


_IMPORT = """
import contextlib, importlib, resource, sys
from llmswitch.engine import patches, routes
built = patches.listed_routes(routes.BUILT) if sys.argv[1] == "listed" else contextlib.nullcontext()
with built as keep:
    app = importlib.import_module("litellm.proxy.proxy_server").app
    if keep:
        keep(app)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def imports(rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of a process that imports LiteLLM's application: with the routes of the gate
    alone, and with all of its own.
    """
    found: dict[str, list[float]] = {"listed": [], "whole": []}
    for number in range(2 * rounds):
        how = ("listed", "whole")[number % 2]
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, how],
            env={"HOME": "/nonexistent", **_LITELLM},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        found[how].append(float(done.stdout.splitlines()[-1]))
    return found["listed"], found["whole"]


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


MEASURES: dict[str, Callable[[Stage, Counts, Tell], Sequence[Line | Row]]] = {
    "start": measure_start,
    "commands": measure_commands,
    "client": measure_client,
    "sessions": lambda stage, counts, tell: measure_sessions(
        stage, range(-counts.warm_up, counts.starts), tell
    ),
    "compared": lambda stage, counts, tell: measure_compared(stage, counts.compared, tell),
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
