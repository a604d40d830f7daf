"""What the ledger adds to a request: our gateway, and the very same one without that callback."""

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
from bench.stage import PROFILE, NotMeasuredError, Recipe, Stage, Target, free_ports, send, stop

_CALLBACK = "llmswitch.callbacks.ledger.ledger"
_AT_ONCE = 20  # requests in flight to one gateway
_MODEL = "glm-4.7"


class Load(NamedTuple):
    """Streamed requests to each gateway: `rounds` times `batch`, in turns."""

    rounds: int
    batch: int


def measure_ledger(stage: Stage, load: Load, tell: Callable[[str], None]) -> list[Line]:
    """Seconds of each request with and without the ledger, one at a time and many at once; the
    rows that were written must be as many as the requests.
    """
    stage.start_ours()
    recipe = Recipe.of(stage.gateway())
    [port] = free_ports(1)
    without = Target(port, stage.ours.key)
    folder = _copy_without(recipe, stage.root / "without", stage.ours.port, port)
    env = {**recipe.env, "CONFIG_FILE_PATH": str(folder / "litellm_config.yaml")}
    env["LLMSWITCH_LEDGER"] = str(stage.root / "without.db")
    process = stage.spawn("without", recipe.command, env, folder)
    try:
        stage.wait(without, process)
        targets = (stage.ours, without)
        file = stage.user.state / "ledger" / f"{PROFILE}.db"
        before = _rows(file)
        alone = _times(targets, load, 1, tell)
        at_first = _own_memory(stage)
        at_once = _times(targets, load, _AT_ONCE, tell)
        time.sleep(1)
        asked = 2 * load.rounds * load.batch
        if (written := _rows(file) - before) != asked + 2 * _warm_up(load):
            raise NotMeasuredError(f"{written} rows were written for {asked} requests")
        grown = _own_memory(stage) - at_first
        if _rows(stage.root / "without.db"):
            raise NotMeasuredError("the gateway without a ledger has written one")
    finally:
        stop(process)
        stage.stop_ours()
    return [
        Line("a streamed request, with the ledger against without", "ms", *alone, "ratio", 1.02),
        Line(f"{_AT_ONCE} of them at once, likewise", "ms", *at_once, "ratio", 1.02),
        Line("memory of the worker grown by the latter", "MB", [[grown]]),
    ]


def _copy_without(recipe: Recipe, folder: Path, ours: int, port: int) -> Path:
    """The folder of a gateway that is the same but for its port and the callback."""
    shutil.copytree(recipe.folder, folder, ignore=shutil.ignore_patterns("__pycache__", "workers"))
    (folder / "workers").mkdir()
    for name, old, new in (
        ("litellm_config.yaml", f", {_CALLBACK}", ""),
        ("gunicorn.conf.py", f":{ours}'", f":{port}'"),
    ):
        text = (folder / name).read_text()
        if old not in text:
            raise NotMeasuredError(f"{name} has no {old!r} to take out")
        (folder / name).write_text(text.replace(old, new))
    return folder


def _times(
    targets: tuple[Target, Target], load: Load, at_once: int, tell: Callable[[str], None]
) -> tuple[list[list[float]], list[list[float]]]:
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    with ThreadPoolExecutor(at_once) as pool:
        for target in targets:
            _batch(pool, target, _warm_up(load))
        for number in range(load.rounds):
            tell(f"ledger, {at_once} at once, round {number + 1} of {load.rounds}")
            for index in (0, 1) if number % 2 else (1, 0):
                found[index].append(_batch(pool, targets[index], load.batch))
    return found


def _warm_up(load: Load) -> int:
    return load.batch


def _batch(pool: ThreadPoolExecutor, target: Target, requests: int) -> list[float]:
    def ask(_: int) -> float:
        with closing(HTTPConnection("127.0.0.1", target.port, timeout=60)) as connection:
            began = time.perf_counter()
            status, answer = send(connection, target, _MODEL, stream=True)
            took = time.perf_counter() - began
        if status != http.HTTPStatus.OK or b"message_stop" not in answer:
            raise NotMeasuredError(f"{_MODEL} answered {status}\n{answer[:500]!r}")
        return took

    return list(pool.map(ask, range(requests)))


def _rows(file: Path) -> int:
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        number: int = connection.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
        return number


def _own_memory(stage: Stage) -> float:
    """Bytes that only the worker has."""
    [worker] = stage.gateway().children()
    return float(median(psutil.Process(worker.pid).memory_full_info().uss for _ in range(3)))
