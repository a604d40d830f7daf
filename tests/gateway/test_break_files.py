"""Every file of llmswitch, removed or spoilt while a gateway runs: what clients notice, what the
commands say, and that one command brings it back.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

import pytest

from tests.conftest import User, free_port, make_user
from tests.gateways import Gateway, running_below, wait_for
from tests.ledgers import CALM
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("break-files"), pytest.mark.timeout(300)]

PROFILE = """
models: {{quick: mine/quick, slow: mine/slow}}
providers: {{mine: {{dialect: messages, base_url: "{url}", key: MINE_KEY}}}}
gateway: {{port: {port}}}
"""
EVENTS = 40
RUNS = "running on {address}, pid {pid}, profile work; "
STAYS = RUNS + "stays until llmswitch down"
UP = "already running work on {address}, pid {pid}\n"
RELOADED = "reloaded work on {address}, pid {pid}; open requests finish as they began\n"
NO_PROFILE = "there is no profile named 'work'; there are: "
MISTAKE = "{root}/llmswitch/profiles/work.yaml:2: "
KEYS = "the key file {root}/llmswitch/keys.json is damaged\n"
RUN = "state/run/work"
LEDGER = "the ledger {state}/ledger/work.db is damaged: file is not a database"


class Break(NamedTuple):
    """A file below LLMSWITCH_HOME and what is put into it (None: it is removed); how what
    `status` and `up` say begins, and what the doctor finds, by the name of its check.
    """

    file: str
    content: bytes | None
    status: str
    up: str
    check: str
    level: str
    message: str

    @property
    def name(self) -> str:
        """As pytest shows it."""
        return f"{self.file} {'removed' if self.content is None else 'spoilt'}"


BREAKS = [
    Break("profiles/work.yaml", None, NO_PROFILE, NO_PROFILE, "profile", "error", NO_PROFILE),
    Break("profiles/work.yaml", b"models: {quick: ollama/x}\nmodells: 1\n",
          RUNS + "stays until llmswitch down; the profile has changed since    -> llmswitch up",
          MISTAKE, "profile", "error", ""),
    Break("default-profile", None, "no profile is chosen and no default is set\n",
          "no profile is chosen and no default is set\n", "profile", "error", "no profile is"),
    Break("keys.json", b"{", STAYS, KEYS, "kept keys", "error", KEYS[:-1]),
    Break(f"{RUN}/leases", None, STAYS, UP, "liveliness", "ok", "the gateway answers; it stays"),
    Break(f"{RUN}/workers", None, STAYS, UP, "process", "ok", "pid {pid}, "),
    Break(f"{RUN}/gateway.log", None, STAYS, UP, "liveliness", "ok", "the gateway answers"),
    Break("state/gateway.key", None, RUNS[:-2], RELOADED, "liveliness", "ok", "the gateway ans"),
    Break("state/ledger/work.db", None, STAYS, UP, "ledger", "ok", ""),
    Break("state/ledger/work.db", b"spoilt" * 9999, STAYS, UP, "ledger", "error", LEDGER),
]  # fmt: skip


class Place(NamedTuple):
    """A gateway that runs, and its upstream."""

    user: User
    upstream: FakeUpstream
    port: int

    def told(self, text: str) -> str:
        """A sentence of the table."""
        return text.format(
            address=f"127.0.0.1:{self.port}",
            pid=MASTERS[self.port],
            root=self.user.root,
            state=self.user.state,
            run=self.user.run_folder(),
        )


MASTERS: dict[int, int] = {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all; each test leaves it as it was."""
    user = make_user(tmp_path_factory.mktemp("files"))
    with FakeUpstream("mine", record=False) as upstream:
        upstream.behave(Behaviour(reply="1", events=EVENTS, delay=0.1), "slow")
        port = free_port()
        user.write_profile(PROFILE.format(url=upstream.url, port=port))
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        MASTERS[port] = user.gateway_state()["pid"]
        yield Place(user, upstream, port)
        user.run("down")
        user.stop_everything()


@contextmanager
def lost(user: User, broken: Break) -> Iterator[None]:
    """A file is removed or spoilt; what is the user's own, or nothing else makes, comes back."""
    file, aside = user.root / "llmswitch" / broken.file, user.root / "aside"
    aside.mkdir()
    for part in file.parent.glob(f"{file.name}*"):  # also what SQLite has beside a ledger
        shutil.move(part, aside)
    if broken.content is not None:
        file.write_bytes(broken.content)
    try:
        yield
    finally:
        if "state/" not in broken.file or "ledger" in broken.file or not file.exists():
            for part in file.parent.glob(f"{file.name}*"):
                part.unlink()
            for part in aside.iterdir():
                shutil.move(part, file.parent)
        shutil.rmtree(aside)


@pytest.mark.parametrize("broken", BREAKS, ids=[broken.name for broken in BREAKS])
def test_a_file_that_is_lost_while_it_runs(place: Place, broken: Break) -> None:
    """A stream goes on, new requests are answered, by the same master; the commands say what is
    wrong; after `up`, or with the file back, all is as before, also the worker's successor.
    """
    user = place.user
    gateway = Gateway(f"http://127.0.0.1:{place.port}", user.gateway_key())
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stream = pool.submit(gateway.ask, "slow", stream=True)
        assert gateway.ask("quick").status == 200
        stack.enter_context(lost(user, broken))
        assert gateway.ask("quick").status == 200
        done = user.run("status")
        assert (done.stdout or done.stderr).startswith(place.told(broken.status))
        rows = json.loads(user.run("doctor", "--json").stdout)["checks"]
        row = next(row for row in rows if row["name"] == broken.check)
        assert row["level"] == broken.level
        assert row["message"].startswith(place.told(broken.message))
        done = user.run("up")
        assert (done.stdout or done.stderr).startswith(place.told(broken.up))
        assert Gateway(gateway.url, user.gateway_key()).ask("quick").status == 200
        said = stream.result().said
    assert said == "1" + "".join(f" {number}" for number in range(2, EVENTS + 1))
    assert user.run("up").stdout.startswith("already running work on ")
    assert user.run("status").stdout.splitlines()[0] == place.told(STAYS)
    assert user.gateway_state()["pid"] == MASTERS[place.port]


def test_a_spoilt_ledger_loses_no_row(place: Place) -> None:
    """What is asked while the file is no ledger is written once the old one is back, which has all
    that was in it.
    """
    file = place.user.state / "ledger" / "work.db"
    gateway = Gateway(f"http://127.0.0.1:{place.port}", place.user.gateway_key())

    def state() -> dict[str, Any]:
        found: dict[str, Any] = gateway.send("GET", "/llmswitch/state").json()["ledger"]
        return found

    def rows() -> int:
        time.sleep(CALM)
        wait_for(lambda: not state()["waiting"])
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
            found: int = ledger.execute("SELECT COUNT(*) FROM tries").fetchone()[0]
            return found

    assert gateway.ask("quick").status == 200
    before = rows()
    with lost(place.user, BREAKS[-1]):
        for _ in range(3):
            assert gateway.ask("quick").status == 200
        wait_for(lambda: state()["trouble"] == "file is not a database")
        wait_for(lambda: state()["waiting"] == 3)
    assert rows() == before + 3


def test_a_gateway_whose_profile_is_gone_can_be_stopped(place: Place) -> None:
    """`down` knows it by its name; a profile that never ran is no such one."""
    (place.user.root / "llmswitch/profiles/work.yaml").unlink()
    done = place.user.run("down")
    assert done.stdout == place.told("stopped {address}, pid {pid}\n")
    assert running_below(place.user.root) == []
    done = place.user.run("down", "--profile", "nosuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("there is no profile named 'nosuch'; there are: ")
