"""What the ledger adds to a request: one gateway with that callback switched on and off in turns.

Two processes that are the same differ by more than what is looked for (1.02 and 1.05 were seen), so
it is one process, and `bench.ledger_switch` in it.
"""

from __future__ import annotations

import http
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from bench.lines import Line
from bench.stage import Recipe, Stage, stop
from bench.wire import NotMeasuredError, Target, free_ports, send

_CALLBACK = "llmswitch.engine.hooks.hooks"
_SWITCH = Path(__file__).with_name("ledger_switch.py")  # not imported: it imports LiteLLM
_SAYS = "bench: the ledger is"  # what the switch listens for
_AT_ONCE = 20  # requests in flight
_MODEL = "glm-4.7"
_SETTLED = 0.3  # seconds: what a batch leaves to do afterwards is done within, and not in the next


class Load(NamedTuple):
    """Streamed requests with and without: `rounds` times `batch`, in turns; at once fewer rounds of
    `wide`, since a batch must be many waves for its first and last not to matter.
    """

    rounds: int
    batch: int
    wide: int


def measure_ledger(stage: Stage, load: Load, tell: Callable[[str], None]) -> list[Line]:
    """Seconds of each request with and without the ledger, one at a time and many at once; the
    rows that were written must be as many as the requests with it.
    """
    stage.start_ours()
    recipe = Recipe.of(stage.gateway())
    [port] = free_ports(1)
    folder = _copy(recipe, stage.root / "switched", stage.ours.port, port)
    stage.stop_ours()
    file = stage.root / "switched.db"
    env = {**recipe.env, "CONFIG_FILE_PATH": str(folder / "litellm_config.yaml")}
    process = stage.spawn(
        "switched", recipe.command, {**env, "LLMSWITCH_LEDGER": str(file)}, folder
    )
    measured = _Measured(Target(port, stage.ours.key), load, tell)
    try:
        stage.wait("switched", measured.target, process)
        time.sleep(1)
        before = _rows(file)
        alone = measured.times(1)
        at_first = _own_memory(process.pid)
        at_once = measured.times(_AT_ONCE)
        grown = _own_memory(process.pid) - at_first
        time.sleep(1)
        if (written := _rows(file) - before) != measured.to_be_written:
            raise NotMeasuredError(f"{written} rows for {measured.to_be_written} requests")
    finally:
        stop(process)
    return [
        Line("a streamed request, with the ledger against without", "ms", *alone, "ratio", 1.02),
        Line(f"{_AT_ONCE} of them at once, likewise", "ms", *at_once, "ratio", 1.02),
        Line("memory of the worker grown by the latter", "MB", [[grown]]),
    ]


def _copy(recipe: Recipe, folder: Path, ours: int, port: int) -> Path:
    """The folder of a gateway that is the same but for its port and the switch."""
    shutil.copytree(recipe.folder, folder, ignore=shutil.ignore_patterns("__pycache__", "workers"))
    (folder / "workers").mkdir()
    shutil.copy(_SWITCH, folder)
    for name, old, new in (
        ("litellm_config.yaml", _CALLBACK, f"{_CALLBACK}, ledger_switch.switch"),
        ("gunicorn.conf.py", f":{ours}'", f":{port}'"),
    ):
        text = (folder / name).read_text()
        if old not in text:
            raise NotMeasuredError(f"{name} has no {old!r} to change")
        (folder / name).write_text(text.replace(old, new))
    return folder


class _Measured:
    def __init__(self, target: Target, load: Load, tell: Callable[[str], None]) -> None:
        self.target = target
        self.load = load
        self.tell = tell
        self.to_be_written = 0

    def times(self, at_once: int) -> tuple[list[list[float]], list[list[float]]]:
        """Seconds of each request, with and without the ledger: a round is a batch of each, and
        every other round begins without.
        """
        found: tuple[list[list[float]], list[list[float]]] = ([], [])
        rounds, batch = self.load.rounds, self.load.batch
        if at_once > 1:
            rounds, batch = max(rounds // 6, 1), self.load.wide
        with ThreadPoolExecutor(at_once) as pool:
            self._batch(pool, "on", batch)
            self._batch(pool, "off", batch)
            for number in range(rounds):
                self.tell(f"ledger, {at_once} at once, round {number + 1} of {rounds}")
                for index in (0, 1) if number % 2 else (1, 0):
                    found[index].append(self._batch(pool, ("on", "off")[index], batch))
        return found

    def _batch(self, pool: ThreadPoolExecutor, ledger: str, batch: int) -> list[float]:
        self._ask(f"{_SAYS} {ledger}")
        time.sleep(_SETTLED)
        took = list(pool.map(self._ask, ["Say who you are."] * batch))
        time.sleep(_SETTLED)
        # The request that switches it on counts itself, and the one that switches it off does not.
        self.to_be_written += (batch + 1) if ledger == "on" else 0
        return took

    def _ask(self, text: str) -> float:
        with closing(HTTPConnection("127.0.0.1", self.target.port, timeout=60)) as connection:
            body = self.target.body(_MODEL, stream=True, text=text)
            answer = send(connection, self.target, body)
        if answer.status != http.HTTPStatus.OK or b"message_stop" not in answer.body:
            raise NotMeasuredError(f"{_MODEL} answered {answer.status}\n{answer.body[:500]!r}")
        return answer.last


def _rows(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        number: int = connection.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
        return number


def _own_memory(master: int) -> float:
    """Bytes that only the worker has."""
    [worker] = psutil.Process(master).children()
    return float(median(psutil.Process(worker.pid).memory_full_info().uss for _ in range(3)))
