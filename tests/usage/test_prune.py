"""`usage prune`: old rows go, the rest and the gateway that writes it stay."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmswitch import ledger
from llmswitch.usage import prune
from tests.command import json_here, run_here
from tests.conftest import CHECKOUT, User
from tests.terminal import Terminal
from tests.usage.test_summary import DAY, PLAIN, used, write


def rows(file: Path) -> list[str]:
    """The requests that a ledger has."""
    connection = sqlite3.connect(file)
    found = [row[0] for row in connection.execute("SELECT request FROM tries ORDER BY id")]
    connection.close()
    return found


def old_and_new(user: User) -> Path:
    """A ledger with two rows from both sides of 90 days."""
    now = time.time()
    return used(user, [
        PLAIN._replace(request="old", session="a-secret-name", ended=now - 90 * DAY - 60),
        PLAIN._replace(request="new", ended=now - 90 * DAY + 60),
    ])  # fmt: skip


def test_what_is_older_goes_and_the_rest_stays(user: User) -> None:
    """It says how many; the second time there is nothing, and what is gone is not in the file."""
    file = old_and_new(user)
    done = run_here(user, "usage", "prune", "--older-than", "90d", "--yes")
    assert (done.returncode, done.stdout) == (0, "deleted 1 try of the profile work\n")
    assert rows(file) == ["new"]
    assert b"a-secret-name" not in file.read_bytes()
    done = run_here(user, "usage", "prune", "--older-than", "90d")
    assert (done.returncode, done.stdout) == (0, "nothing is older\n")


def test_it_is_asked_first(user: User) -> None:
    """Without a terminal it is a mistake, on one a question, and `n` deletes nothing."""
    file = old_and_new(user)
    done = run_here(user, "usage", "prune", "--older-than", "90d")
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 90 * DAY))
    question = f"this deletes 1 try of the profile work before {day}"
    assert (done.returncode, done.stderr) == (
        1,
        f"{question}; stdin is not a terminal\n-> pass --yes\n",
    )
    command = [sys.executable, "-m", "llmswitch", "usage", "prune", "--older-than", "90d"]
    with Terminal(command, user.env, cwd=user.home, columns=120) as terminal:
        terminal.wait_for(f"{question}; continue?")
        terminal.send("n\r")
        terminal.wait_for("Aborted")
    assert rows(file) == ["old", "new"]


def test_what_budgets_count_is_kept(user: User) -> None:
    """The running month, which is 31 days at most."""
    file = old_and_new(user)
    for when in ("31d", "24h", "today"):
        done = run_here(user, "usage", "prune", "--older-than", when, "--yes")
        assert (done.returncode, done.stderr) == (1, (
            "cannot delete the last 32 days: monthly budgets need them\n"
            f"-> --older-than 32d    (or llmswitch down, and delete {file})\n"
        ))  # fmt: skip
        assert rows(file) == ["old", "new"]


def test_the_profile_may_stand_before_the_command(user: User) -> None:
    """`usage --profile a prune` deletes nothing of the default profile."""
    file = old_and_new(user)
    other = user.state / "ledger" / "demo.db"
    other.write_bytes(file.read_bytes())
    found = json_here(user, "usage", "--profile", "demo", "prune", "--older-than", "90d", "--yes")
    assert found["deleted"] == 1
    assert (rows(file), rows(other)) == (["old", "new"], ["new"])


def test_before_the_first_request(user: User) -> None:
    """Nothing to delete, and no ledger is made."""
    user.write_profile("models: {opus: anthropic/claude-opus-4-5}")
    assert json_here(user, "usage", "prune", "--older-than", "90d")["deleted"] == 0
    assert not (user.state / "ledger").exists()


WRITER = """
import sys, time
from pathlib import Path
from llmswitch import ledger
from tests.usage.test_summary import PLAIN
connection = ledger.open_to_write(Path(sys.argv[1]))
connection.execute("PRAGMA busy_timeout = 1000")
print("writing", flush=True)
slowest, number = 0.0, 0
while not Path(sys.argv[2]).exists():
    number += 1
    began = time.monotonic()
    ledger.insert(connection, [PLAIN._replace(request=f"w{number}", ended=time.time())])
    slowest = max(slowest, time.monotonic() - began)
    time.sleep(0.002)
print(number, slowest)
"""


def many_old(file: Path, rows: int) -> Path:
    """A ledger with so many old rows."""
    old = (PLAIN._replace(request=f"o{number}", ended=float(number)) for number in range(rows))
    return write(file, list(old))


def test_between_any_two_thousand_rows_the_gateway_can_write(tmp_path: Path) -> None:
    """Nothing is locked while it pauses, and it pauses often."""
    file = many_old(tmp_path / "l.db", 20_000)
    gateway = ledger.open_to_write(file)
    gateway.execute("PRAGMA busy_timeout = 0")

    def meanwhile(_: float) -> None:
        ledger.insert(gateway, [PLAIN])

    assert prune.delete(file, 10.0**6, meanwhile) == 20_000
    gateway.close()
    assert rows(file) == ["r1"] * 10


@pytest.mark.soak
def test_the_gateway_writes_on_meanwhile(tmp_path: Path) -> None:
    """While 100,000 rows are deleted, a row of the gateway waits less than a second, and none is
    lost.
    """
    file, stop = many_old(tmp_path / "l.db", 10**5), tmp_path / "stop"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(stop)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout
    assert writer.stdout.readline() == "writing\n"
    assert prune.delete(file, 10.0**6) == 10**5
    stop.touch()
    out, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    number, slowest = out.split()
    print(f"{number} rows written, the slowest took {slowest} s")
    assert rows(file) == [f"w{n + 1}" for n in range(int(number))]
    assert float(slowest) < 1
