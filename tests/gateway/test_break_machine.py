"""What a machine does to a gateway: it is stopped, sleeps, has no room, no descriptors, another
time; its process is killed and its port is taken.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psutil
import pytest

from tests.clients import unavailable
from tests.conftest import User, free_port, make_user
from tests.gateways import Gateway, Reply, running_below, timed, wait_for, worker_pids
from tests.ledgers import CALM
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("break-machine"), pytest.mark.timeout(300)]

PROFILE = """
models:
  quick: {{model: mine/quick, price: &p {{input: 1000, output: 0}}}}
  slow: {{model: mine/slow, price: *p}}
providers: {{mine: {{dialect: messages, base_url: "{url}", key: MINE_KEY}}}}
budgets: [{{usd: 100, per: day}}]
gateway: {{port: {port}, idle_timeout: 3}}
{more}"""
EVENTS = 60
COST = 0.01  # USD, of one answer


@dataclass
class Place:
    """A gateway whose files are on a disk of their own, where the machine gives one."""

    user: User
    upstream: FakeUpstream
    port: int
    own_disk: bool

    @property
    def gateway(self) -> Gateway:
        """The gateway, with its key."""
        return Gateway(f"http://127.0.0.1:{self.port}", self.user.gateway_key())

    @property
    def pid(self) -> int:
        """Of the master, as the state file has it."""
        pid: int = self.user.gateway_state()["pid"]
        return pid

    def write(self, more: str = "") -> None:
        """The profile, with more lines."""
        text = PROFILE.format(url=self.upstream.url, port=self.port, more=more)
        self.user.write_profile(text)

    def line(self) -> str:
        """The first line of `status`."""
        return self.user.run("status").stdout.splitlines()[0]

    def check(self, name: str) -> tuple[str, str]:
        """What the doctor says of one thing: level and message."""
        rows = json.loads(self.user.run("doctor", "--json").stdout)["checks"]
        row = next(row for row in rows if row["name"] == name)
        return row["level"], row["message"]

    def ledger_state(self) -> dict[str, Any]:
        """What the gateway says of its ledger."""
        found: dict[str, Any] = self.gateway.send("GET", "/llmswitch/state").json()["ledger"]
        return found

    def rows(self) -> int:
        """How many tries are written down; none is under way."""
        time.sleep(CALM)
        wait_for(lambda: not self.ledger_state()["waiting"])
        if not self.ledger.exists():
            return 0
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as ledger:
            found: int = ledger.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
            return found

    @property
    def ledger(self) -> Path:
        """The file."""
        return self.user.state / "ledger" / "work.db"

    @contextmanager
    def stream(self, seconds: float = 6.0) -> Iterator[Future[Reply]]:
        """A stream that has begun, and has come whole when this is left."""
        delay = seconds / EVENTS
        self.upstream.behave(Behaviour(reply="1", events=EVENTS, delay=delay), "slow")
        seen = len(self.upstream.requests)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.gateway.ask, "slow", stream=True)
            wait_for(lambda: len(self.upstream.requests) > seen)
            yield answer
            said = answer.result().said
        assert said == "1" + "".join(f" {number}" for number in range(2, EVENTS + 1))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all; each test finds its gateway running."""
    user = make_user(tmp_path_factory.mktemp("machine"))
    disk = user.root / "llmswitch"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(disk)]
    own_disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        with FakeUpstream("mine") as upstream:
            yield Place(user, upstream, free_port(), own_disk)
            user.run("down")
    finally:
        user.stop_everything()
        if own_disk:
            wait_for(lambda: running_below(disk) == [])
            subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def place(shared: Place) -> Place:
    """The same, with room on its disk and its gateway running."""
    (shared.user.root / "llmswitch" / "fill").unlink(missing_ok=True)
    shared.write()
    done = shared.user.run("up")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(worker_pids(shared.user)) == 1)
    return shared


# ------------------------------------------------------------------ stopped, asleep


def test_a_gateway_that_hangs(place: Place) -> None:
    """`status` and `doctor` say that it does not answer, not that it is not there; `down` ends it
    at once.
    """
    pid = place.pid
    os.killpg(pid, signal.SIGSTOP)
    where = f"127.0.0.1:{place.port}, pid {pid}"
    with timed("to see that it hangs"):
        line = place.line()
    assert line == f"not answering on {where}, profile work    -> llmswitch restart"
    found = place.user.json("status")
    assert (found["running"], found["pid"], found["starting"]) == (False, pid, False)
    assert place.check("liveliness") == ("error", "the gateway does not answer")
    with timed("`down` of one that hangs"):
        done = place.user.run("down")
    assert (done.returncode, done.stdout) == (0, f"stopped {where}\n")
    assert running_below(place.user.root) == []


def test_a_machine_that_sleeps(place: Place) -> None:
    """For 20 seconds nothing of the gateway runs; then a stream goes on where it was, a request
    that came meanwhile is answered, and the gateway does not take the sleep for idle time.
    """
    (place.user.run_folder() / "on-demand").touch()
    pid, workers = place.pid, worker_pids(place.user)
    with place.stream(), ThreadPoolExecutor(1) as pool:
        os.killpg(pid, signal.SIGSTOP)
        waiting = pool.submit(place.gateway.ask, "quick")
        time.sleep(20)
        os.killpg(pid, signal.SIGCONT)
        with timed("an answer after a sleep"):
            assert waiting.result().status == 200
    assert (place.pid, worker_pids(place.user)) == (pid, workers)


# ------------------------------------------------------------------ no room


def fill(place: Place) -> Path:
    """Leave not one byte."""
    if not place.own_disk:
        unavailable("mounting a small disk needs root")
    file = place.user.root / "llmswitch" / "fill"
    with file.open("wb", buffering=0) as stream:
        for size in (1_000_000, 4096, 1):
            with pytest.raises(OSError, match="No space left on device"):
                write_on(stream, b"x" * size)
    return file


def write_on(stream: RawIOBase, data: bytes) -> NoReturn:
    """Write until it cannot go on."""
    while True:
        stream.write(data)


def no_room(place: Place, name: str = "") -> str:
    """What a command says then."""
    file = place.user.run_folder() / name
    return (
        f"{file} cannot be used: No space left on device\n"
        "-> make room on that disk, or set LLMSWITCH_HOME to another folder\n"
    )


def test_a_full_disk(place: Place) -> None:
    """Requests go on, also when a worker dies; `status` and `doctor` say that the ledger cannot be
    written, and every row is there once it can; neither `restart` nor a reload ends what runs.
    """
    pid, before, asked = place.pid, place.rows(), 0
    place.write("cache: {type: local}")
    config = (place.user.run_folder() / "litellm_config.yaml").read_bytes()
    full = fill(place)
    with place.stream(3):
        while not place.ledger_state()["trouble"]:
            for _ in range(20):  # the ledger may have some room of its own
                assert place.gateway.ask("quick").status == 200
            asked += 20
    full_disk = "(database or disk is full|disk I/O error)"  # and it is tried again all the time
    in_status = re.compile(f"the ledger cannot be written: {full_disk}; requests go on, ")
    wait_for(lambda: in_status.match(place.user.run("status").stdout.splitlines()[1]))
    in_doctor = re.compile(
        f"the gateway cannot write {re.escape(str(place.ledger))}: {full_disk}; "
    )
    wait_for(lambda: in_doctor.match(place.check("ledger")[1]))

    done = place.user.run("restart")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", no_room(place))
    done = place.user.run("up")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == no_room(place)
    assert (place.user.run_folder() / "litellm_config.yaml").read_bytes() == config
    assert place.gateway.ask("quick").status == 200
    full.unlink()
    with timed("until the ledger is written again"):
        wait_for(lambda: place.ledger_state()["trouble"] is None)
    assert place.rows() == before + asked + 2

    full = fill(place)
    (worker,) = worker_pids(place.user)
    os.kill(worker, signal.SIGKILL)
    assert place.gateway.ask("quick").status == 200
    assert place.pid == pid
    done = place.user.run("down")
    assert (done.returncode, done.stdout) == (0, f"stopped 127.0.0.1:{place.port}, pid {pid}\n")
    assert running_below(place.user.root) == []
    files = {file: file.read_bytes() for file in place.user.state.rglob("*") if file.is_file()}
    done = place.user.run("up")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", no_room(place))
    assert running_below(place.user.root) == []
    after = {file: file.read_bytes() for file in place.user.state.rglob("*") if file.is_file()}
    assert after == files
    full.unlink()
    assert place.user.run("up").stdout.startswith("started work on ")


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="only Linux has prlimit")
def test_no_descriptors_left(place: Place) -> None:
    """What is open goes on; new connections wait or are closed; when there are descriptors again
    the same worker answers again.
    """
    (pid,) = worker_pids(place.user)
    assert place.gateway.ask("slow", stream=True).status == 200  # what a first one opens is open
    worker = psutil.Process(pid)
    limits = worker.rlimit(psutil.RLIMIT_NOFILE)
    refused = 0
    with place.stream():
        taken = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = next(number for number in itertools.count() if number not in taken)
        worker.rlimit(psutil.RLIMIT_NOFILE, (lowest_free, limits[1]))
        with httpx.Client(trust_env=False, timeout=1) as client:
            for _ in range(40):
                try:
                    client.get(f"{place.gateway.url}/health/liveliness")
                except httpx.HTTPError:
                    refused += 1
        worker.rlimit(psutil.RLIMIT_NOFILE, limits)
        with timed("an answer when there are descriptors"):
            wait_for(lambda: place.user.json("status")["running"])
            assert place.gateway.ask("quick").status == 200
    assert refused
    assert worker_pids(place.user) == {pid}


# ------------------------------------------------------------------ another time

CLOCK = """
import time
from pathlib import Path
from typing import Any, NoReturn

from litellm.integrations.custom_logger import CustomLogger

_FILE, _REAL = Path(__file__).with_name("offset"), time.time
time.time = lambda: _REAL() + float(_FILE.read_text() or 0)
hook = CustomLogger()
"""


def test_a_clock_that_jumps(place: Place) -> None:
    """A day forward, a day back and home again: no row is lost, each counts for the day that it
    has, a session's gateway stays, and one that nobody uses goes all the same.
    """
    run = place.user.run_folder()
    offset = run / "offset"
    (run / "clock.py").write_text(CLOCK)
    offset.write_text("0")
    place.write("litellm: {litellm_settings: {callbacks: [clock.hook]}}")
    assert place.user.run("up").stdout.startswith("reloaded work on ")

    def spent() -> float:
        said = place.gateway.send("GET", "/llmswitch/state").json()
        found: float = said["budgets"][0]["spent_usd"]
        return found

    def wait_for_spent(usd: float) -> None:
        wait_for(lambda: abs(spent() - usd) < 1e-6)

    before, rows, pid = spent(), place.rows(), place.pid
    with (run / "leases").open("rb") as session:
        fcntl.flock(session, fcntl.LOCK_SH)
        (run / "on-demand").touch()
        with place.stream(5):
            for days, spent_then in ((0, before), (1, 0.0), (-1, 0.0), (0, before + COST)):
                offset.write_text(str(days * 86400))
                wait_for_spent(spent_then)
                assert place.gateway.ask("quick").status == 200
                wait_for_spent(spent_then + COST)
        assert place.rows() == rows + 5
        assert abs(spent() - before - 3 * COST) < 1e-6
        time.sleep(4)
        assert place.pid == pid
        offset.write_text(str(-86400))
    wait_for(lambda: running_below(place.user.root) == [], 20)
    assert place.user.gateway_state()["pid"] is None


# ------------------------------------------------------------------ killed


def test_a_master_that_is_killed(place: Place) -> None:
    """Its worker leaves too; `status` and `doctor` say that nothing runs; where someone else has
    taken the port meanwhile, `up` names them; else it starts anew.
    """
    pid = place.pid
    os.kill(pid, signal.SIGKILL)
    with timed("until its worker has left"):
        wait_for(lambda: running_below(place.user.root) == [])
    assert place.line() == "not running (profile work)    -> llmswitch up"
    level, message = place.check("process")
    assert (level, message) == ("warning", f"the gateway (pid {pid}) crashed or was killed")
    with socket.create_server(("127.0.0.1", place.port)):
        done = place.user.run("up")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"127.0.0.1:{place.port} is in use by {psutil.Process().name()} (pid {os.getpid()})\n"
            "-> stop it, or set another `gateway: {port: ...}` in the profile\n"
        )
        level, message = place.check("port")
        assert level == "error"
    with timed("until `up` has started it"):
        done = place.user.run("up")
    assert done.stdout.startswith(f"started work on 127.0.0.1:{place.port}, pid ")
    assert place.gateway.ask("quick").status == 200
