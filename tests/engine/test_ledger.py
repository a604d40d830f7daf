"""The ledger: its form, the thread that writes it whatever becomes of the file, and the gateway
that goes on meanwhile.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmswitch import ledger
from llmswitch.engine import ledger_writer as writing
from llmswitch.engine.ledger_writer import Writer
from llmswitch.ledger import NewerError, Try, insert, open_to_read, open_to_write
from tests.conftest import CHECKOUT
from tests.gateways import wait_for, worker_pids
from tests.ledgers import House
from tests.ready_made import OPUS
from tests.soak import size
from tests.upstream import Behaviour, Usage

pytestmark = pytest.mark.timeout(300)

ROW = Try(
    ended=1_700_000_000.0,
    request="r",
    session="s",
    agent=None,
    client="gateway",
    asked="glm-4.7",
    model="glm-4.7",
    provider="zai",
    upstream="glm-4.7",
    key="ZAI_API_KEY",
    streamed=True,
    input=1,
    output=2,
    cache_read=3,
    cache_write=4,
    cost=0.5,
    prompt_saved=None,
    first_byte=0.1,
    seconds=0.2,
    status=200,
    error=None,
    cache_hit=False,
    saved=None,
    fallback_from=None,
    worker="w",
)


def count(file: Path) -> int:
    """The rows of a ledger, 0 where there is none."""
    connection = open_to_read(file)
    if connection is None:
        return 0
    with closing(connection):
        number: int = connection.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
        return number


def integrity(file: Path) -> str:
    """What SQLite says of the whole file."""
    with closing(sqlite3.connect(file)) as connection:
        said: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
        return said


# ------------------------------------------------------------------ its form


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every column has its place."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        insert(connection, [ROW, ROW._replace(cost=None, status=500, error="Timeout")])
    with closing(sqlite3.connect(file)) as connection:
        columns = ", ".join(Try._fields)
        rows = connection.execute(f"SELECT {columns} FROM tries ORDER BY id")  # noqa: S608
        assert [Try(*row) for row in rows] == [
            ROW,
            ROW._replace(cost=None, status=500, error="Timeout"),
        ]


def test_its_files_are_the_users_alone(tmp_path: Path) -> None:
    """SQLite's own two as well."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        insert(connection, [ROW])
        modes = {part.name: oct(part.stat().st_mode & 0o777) for part in tmp_path.iterdir()}
    assert modes == {"l.db": "0o600", "l.db-wal": "0o600", "l.db-shm": "0o600"}


def test_an_older_form_is_brought_to_this_one_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, in one transaction; by whoever opens it first, once."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        insert(connection, [ROW])
    step = "ALTER TABLE tries ADD COLUMN more TEXT; CREATE TABLE another (x)"
    monkeypatch.setattr(ledger, "_STEPS", (*ledger._STEPS, step))
    with ThreadPoolExecutor(4) as pool:
        for connection in pool.map(lambda _: open_to_write(file), range(4)):
            connection.close()
    with closing(open_to_write(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(ledger._STEPS),)
        assert connection.execute("SELECT request, more FROM tries").fetchall() == [("r", None)]


def test_a_step_that_fails_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a migration would be worse than none."""
    file = tmp_path / "l.db"
    open_to_write(file).close()
    monkeypatch.setattr(ledger, "_STEPS", (*ledger._STEPS, "CREATE TABLE x (a); nonsense"))
    with pytest.raises(sqlite3.OperationalError):
        open_to_write(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(ledger._STEPS) - 1,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'x'").fetchall()


def test_the_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """Neither read nor written."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for opening in (open_to_read, open_to_write):
        with pytest.raises(NewerError):
            opening(file)


def test_there_is_none_before_anything_was_used(tmp_path: Path) -> None:
    """A look makes no file."""
    assert open_to_read(tmp_path / "l.db") is None
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ the thread that writes it


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """A writer that tries again soon."""
    monkeypatch.setattr(writing, "_AGAIN", 0.05)
    monkeypatch.setattr(ledger, "BUSY_SECONDS", 0.05)
    made = Writer(tmp_path / "ledger" / "l.db")
    made.start()
    yield made
    made.stop()


def test_rows_are_written_within_a_second(writer: Writer) -> None:
    """Each of them, in their order."""
    for number in range(1200):
        writer.put(ROW._replace(request=str(number)))
    wait_for(lambda: count(writer.file) == 1200, 5)
    with closing(sqlite3.connect(writer.file)) as connection:
        found = [row[0] for row in connection.execute("SELECT request FROM tries ORDER BY id")]
    assert found == [str(number) for number in range(1200)]
    assert (writer.trouble, writer.waiting, writer.lost) == (None, 0, 0)


def test_what_was_put_is_written_when_it_stops(writer: Writer) -> None:
    """A gateway that is told to go loses nothing."""
    for _ in range(2000):
        writer.put(ROW)
    writer.stop()
    assert count(writer.file) == 2000


@pytest.mark.parametrize(
    "break_it",
    [
        lambda file: shutil.rmtree(file.parent),
        lambda file: file.rename(file.with_name("away.db")),
    ],
    ids=["the folder removed", "the file moved"],
)
def test_a_ledger_that_is_gone_is_begun_anew(writer: Writer, break_it: Any) -> None:
    """SQLite itself would write on into a file that nobody sees any more."""
    writer.put(ROW)
    wait_for(lambda: count(writer.file) == 1)
    break_it(writer.file)
    writer.put(ROW)
    wait_for(lambda: count(writer.file) == 1)
    assert writer.trouble is None


def lock(file: Path) -> sqlite3.Connection:
    """Hold a ledger as another program may."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_rows_wait_while_the_file_is_locked(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """They are kept, and written when it is free; the log has a line for the trouble and one for
    its end, however long it takes.
    """
    caplog.set_level(logging.INFO, "gunicorn.error")
    writer.put(ROW)
    wait_for(lambda: count(writer.file) == 1)
    with closing(lock(writer.file)):
        for _ in range(10):
            writer.put(ROW)
        wait_for(lambda: writer.trouble == "database is locked")
        time.sleep(0.5)
        assert writer.waiting == 10
    wait_for(lambda: count(writer.file) == 11)
    wait_for(lambda: writer.trouble is None)
    assert [record.getMessage() for record in caplog.records] == [
        f"the ledger {writer.file} cannot be written: database is locked; requests go on",
        f"the ledger {writer.file} is written again",
    ]


def test_a_damaged_file_is_told_and_not_touched(tmp_path: Path, writer: Writer) -> None:
    """What can be saved of it is the user's to decide; with it out of the way all goes on."""
    writer.stop()
    writer.file.unlink(missing_ok=True)
    writer.file.parent.mkdir(exist_ok=True)
    writer.file.write_bytes(b"not a database at all" * 100)
    second = Writer(writer.file)
    second.start()
    second.put(ROW)
    wait_for(lambda: second.trouble == "file is not a database")
    assert writer.file.read_bytes() == b"not a database at all" * 100
    writer.file.rename(tmp_path / "damaged.db")
    wait_for(lambda: count(second.file) == 1)
    second.stop()


@pytest.mark.parametrize(
    "unfit",
    [
        ROW._replace(input=10**30),
        ROW._replace(session="\ud800"),
        ROW._replace(seconds=float("nan")),
        ROW._replace(model=None),  # type: ignore[arg-type]
        ROW._replace(error={}),  # type: ignore[arg-type]
    ],
    ids=["too much", "no text", "no number", "nothing", "no value"],
)
def test_a_row_that_no_table_can_hold_is_lost_alone(writer: Writer, unfit: Try) -> None:
    """Those around it are written, and it is known that one is lost."""
    for row in (ROW, unfit, ROW, unfit, ROW):
        writer.put(row)
    wait_for(lambda: count(writer.file) == 3, 5)
    writer.put(ROW)
    wait_for(lambda: count(writer.file) == 4, 5)
    assert (writer.trouble, writer.waiting, writer.lost) == (None, 0, 2)


def test_memory_has_an_end(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what cannot be written the newest rows are kept, and how many were lost is known."""
    monkeypatch.setattr(writing, "KEPT", 100)
    writer.put(ROW)
    wait_for(lambda: count(writer.file) == 1)
    with closing(lock(writer.file)):
        for number in range(150):
            writer.put(ROW._replace(request=str(number)))
        assert (writer.waiting, writer.lost) == (100, 50)
    wait_for(lambda: count(writer.file) == 101)
    with closing(sqlite3.connect(writer.file)) as connection:
        rows = connection.execute("SELECT request FROM tries ORDER BY id")
        assert [row[0] for row in rows] == ["r", *(str(number) for number in range(50, 150))]


FULL = """
import resource, sys, time
from pathlib import Path
from llmswitch.engine.ledger_writer import Writer
from tests.engine.test_ledger import ROW, count
file = Path(sys.argv[1])
writer = Writer(file)
writer.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for number in range(3000):
    writer.put(ROW._replace(session="x" * 200))
end = time.monotonic() + 20
while writer.trouble is None and time.monotonic() < end:
    time.sleep(0.01)
print(writer.trouble)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.stop(20)
print(count(file))
"""


def test_a_full_disk_loses_no_row_that_is_kept(tmp_path: Path) -> None:
    """A limit of the size of files stands for it: SQLite is refused the write either way."""
    file = tmp_path / "l.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(file)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    trouble, rows = done.stdout.splitlines()
    assert trouble in {"disk I/O error", "database or disk is full"}
    assert rows == "3000"
    assert integrity(file) == "ok"


# ------------------------------------------------------------------ the gateway

PROFILE = f"""
models: {{{{opus: {OPUS.model.model}, glm: zai/glm-4.7, qwen: mine/qwen3}}}}
providers:
  anthropic: {{{{base_url: "{{an}}"}}}}
  zai: {{{{base_url: "{{zai}}/api/anthropic"}}}}
  mine: {{{{dialect: chat, base_url: "{{mine}}/v1", key: MINE_KEY}}}}
gateway: {{{{port: {{port}}}}}}
"""


def ledger_row(house: House) -> dict[str, Any]:
    """What the doctor says of the ledger."""
    checks = json.loads(house.user.run("doctor", "--json").stdout)["checks"]
    found: dict[str, Any] = next(check for check in checks if check["name"] == "ledger")
    return found


def test_requests_go_on_over_a_damaged_ledger(house: House) -> None:
    """`status` and the doctor say it with the cure; with the cure done, all of it is written. So it
    is where its folder cannot be written.
    """
    user = house.user
    assert house.gateway.ask("glm").status == 200
    house.rows(1)
    file = house.ledger
    kept = file.parent.rename(file.parent.with_name("kept"))
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"damaged" * 1000)
    for stream in (False, True, False):
        assert house.gateway.ask("glm", stream=stream).said == "I am glm-4.7 at zai"
    wait_for(lambda: user.json("status")["ledger"]["trouble"])
    expected = {"trouble": "file is not a database", "waiting": 3, "lost": 0}
    assert user.json("status")["ledger"] == expected
    assert (
        "the ledger cannot be written: file is not a database; requests go on, 3 rows wait, "
        "0 are lost    -> llmswitch doctor"
    ) in user.run("status").stdout.splitlines()
    found = ledger_row(house)
    assert found["level"] == "error"
    assert "file is not a database" in found["message"]
    file.unlink()
    wait_for(lambda: count(file) == 3)
    assert user.json("status")["ledger"]["trouble"] is None
    assert ledger_row(house)["message"] == "3 tries are recorded"

    shutil.rmtree(file.parent)
    file.parent.write_text("a file where the folder was")
    assert house.gateway.ask("opus").status == 200
    wait_for(lambda: user.json("status")["ledger"]["trouble"])
    file.parent.unlink()
    wait_for(lambda: count(file) == 1)
    shutil.rmtree(file.parent)
    kept.rename(file.parent)


@pytest.mark.parametrize(("model", "name"), [("glm", "zai"), ("qwen", "mine")])
def test_the_first_byte_is_when_the_client_has_it(house: House, model: str, name: str) -> None:
    """In a stream that goes on for long, native or translated; a try takes until its last byte."""
    house.upstreams[name].behave(Behaviour(events=5, delay=0.4))
    began = time.monotonic()
    with house.gateway.streaming(model) as lines:
        next(lines)
        seen = time.monotonic() - began
        assert [line for line in lines if "message_stop" in line]
    (row,) = house.rows(1)
    assert row.first_byte is not None
    assert row.first_byte <= seen
    assert row.seconds - row.first_byte >= 4 * 0.4 - 0.1


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_cached_for_an_hour_has_its_own_price(house: House, stream: bool) -> None:
    """As LiteLLM's map has it: 8 USD per million tokens of Opus 5.5, where 5 are usual."""
    house.upstreams["an"].behave(
        Behaviour(usage=Usage(input=0, output=1000, cache_write=300_000, hour=100_000))
    )
    house.gateway.ask("opus", stream=stream)
    (row,) = house.rows(1)
    assert row.cache_write == 300_000
    assert row.cost == pytest.approx(0.2 * 5 + 0.1 * 8 + 0.001 * 20)


def test_a_gateway_that_stops_has_written_everything(house: House) -> None:
    """Also the answers of its last moment."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: house.gateway.ask("glm", stream=True), range(40)))
    assert [answer.status for answer in answers] == [200] * 40
    assert house.user.run("down").returncode == 0
    assert len(house.since()) == 40
    assert integrity(house.ledger) == "ok"
    assert house.user.run("up").returncode == 0


@pytest.mark.soak
def test_a_killed_worker_loses_only_what_was_in_flight(house: House) -> None:
    """Under load and ten readers, with kill -9 in the middle: every answer that was complete for a
    second is in the ledger, no reader is refused, and the file is sound.
    """
    over = threading.Event()
    finished: list[float] = []

    def keep_asking(number: int) -> None:
        while not over.is_set():
            try:
                if house.gateway.ask("glm", stream=number % 2 == 0).status == 200:
                    finished.append(time.monotonic())
            except Exception:  # noqa: BLE001 - what is in flight may break
                time.sleep(0.05)

    with ThreadPoolExecutor(18) as pool:
        tasks = [pool.submit(keep_asking, number) for number in range(8)]
        wait_for(lambda: finished)
        time.sleep(2)
        readers = [pool.submit(house.user.run, "usage", "--json") for _ in range(10)]
        time.sleep(2)
        [worker] = worker_pids(house.user)
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        in_time = sum(1 for moment in finished if moment < killed - 1)
        found = len(house.since())
        wait_for(lambda: finished[-1] > killed + 0.5)
        over.set()
        for task in tasks:
            task.result()
        read = [reader.result() for reader in readers]
    assert [done.returncode for done in read] == [0] * 10, read
    assert all(json.loads(done.stdout)["total"]["requests"] > 0 for done in read)
    assert 0 < in_time <= found
    assert integrity(house.ledger) == "ok"
    wait_for(lambda: len(house.since()) >= found)


@pytest.mark.soak
def test_thousands_of_streams_are_thousands_of_rows(house: House) -> None:
    """And the memory of the worker does not grow with them."""
    number = size(2000, 400)

    def ask(_number: int) -> int:
        return house.gateway.ask("glm", stream=True).status

    with ThreadPoolExecutor(50) as pool:
        assert {*pool.map(ask, range(200))} == {200}  # warm
        house.rows(200)
        [worker] = worker_pids(house.user)
        at_first = psutil.Process(worker).memory_full_info().uss
        assert {*pool.map(ask, range(number))} == {200}
    grown = psutil.Process(worker).memory_full_info().uss - at_first
    rows = house.rows(number)
    assert len({row.request for row in rows}) == number
    assert grown < 40_000_000, f"{grown / 1e6:.0f} MB"
