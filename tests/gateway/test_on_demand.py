"""A gateway that `claude-multi` has started goes when nobody uses it, and never under a session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from llmswitch.engine.idle import Use
from llmswitch.gateway import lease
from tests.conftest import CHECKOUT, Mission
from tests.gateways import Gateway, running_below, wait_for, worker_pids
from tests.shell import Shell, take_shell
from tests.soak import size
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("on-demand"), pytest.mark.timeout(300)]

GRACE = 2  # seconds


def grace(mission: Mission, seconds: int) -> None:
    """The profile with another grace time."""
    file = mission.write()
    text = file.read_text(encoding="utf-8")
    more = f"gateway: {{port: {mission.port}, idle_timeout: {seconds}}}"
    file.write_text(text.replace(f"gateway: {{port: {mission.port}}}", more), encoding="utf-8")


@pytest.fixture
def shell(mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose profile has a short grace time; nothing runs yet."""
    grace(mission, GRACE)
    return take_shell(mission, tmp_path / "shell")


@dataclass
class Session:
    """An open session of `claude-multi`; its client waits."""

    process: subprocess.Popen[str]
    said: str = ""

    def end(self) -> None:
        """As a user would."""
        self.said += self.process.communicate(timeout=60)[1]


@contextmanager
def session(shell: Shell, env: Mapping[str, str] | None = None) -> Iterator[Session]:
    """`claude-multi` with a client that waits until its input is closed."""
    process = subprocess.Popen(
        [shell.wrapper],
        env={**shell.env, "FAKE_DO": "wait", **(env or {})},
        cwd=shell.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    while (line := process.stdout.readline()) != "waiting\n":
        assert line, "the client did not start"
    one = Session(process)
    try:
        yield one
    finally:
        if process.returncode is None:
            one.end()


def is_gone(shell: Shell) -> bool:
    """Whether no process works in the folder of the gateway."""
    return running_below(shell.user.run_folder()) == []


def master(shell: Shell) -> int:
    """The pid that the state file names; fails where it names none."""
    pid = shell.user.gateway_state()["pid"]
    assert isinstance(pid, int)
    return pid


def test_it_goes_after_the_last_session(shell: Shell, mission: Mission) -> None:
    """While one of two sessions is open it stays, however long nothing is asked; when the last has
    ended, or was killed, it stops after the grace time, not before, leaves nothing behind, and is
    told to be as after `down`. The next session starts it anew.
    """
    with session(shell) as first, session(shell) as second:
        pid = master(shell)
        line = shell.user.run("status").stdout.splitlines()[0]
        where = f"running on 127.0.0.1:{mission.port}, pid {pid}, profile work"
        assert line == f"{where}; stops {GRACE} seconds after the last session"
        assert shell.user.json("status")["goes_after"] == GRACE
        first.end()
        time.sleep(GRACE + 3)
        assert master(shell) == pid
        assert not is_gone(shell)
        os.kill(second.process.pid, signal.SIGKILL)
        ended = time.monotonic()
        second.end()
    time.sleep(max(0.0, ended + GRACE - 0.5 - time.monotonic()))
    assert not is_gone(shell), "before its time"
    wait_for(lambda: is_gone(shell))
    assert shell.user.gateway_state()["pid"] is None
    assert (shell.user.run_folder() / "state.json").stat().st_mode & 0o777 == 0o600
    assert shell.user.run("status").stdout.startswith("not running (profile work)")
    checks = json.loads(shell.user.run("doctor", "--json").stdout)["checks"]
    said = {row["name"]: row["message"] for row in checks}
    assert said["process"] == "not running; claude-multi starts it"
    assert f"nobody has used the gateway for {GRACE} seconds" in (
        (shell.user.run_folder() / "gateway.log").read_text()
    )
    with session(shell):
        assert master(shell) != pid
        assert Gateway(mission.url, shell.user.gateway_key()).ask("glm-4.7").status == 200


def test_what_the_user_started_or_confirmed_stays(shell: Shell) -> None:
    """`up` in between makes it stay, and says so; what `up` or `restart` has started stays, also
    when sessions come and go and reload it; `status` says so.
    """
    with session(shell):
        done = shell.user.run("up", "--quiet")
        assert done.stdout.endswith("; it no longer stops by itself\n"), done.stdout
        pid = master(shell)
    time.sleep(GRACE + 3)
    assert master(shell) == pid
    assert "; stays until llmswitch down\n" in shell.user.run("status").stdout
    assert "stays" not in shell.user.run("up", "--quiet").stdout, "nothing new"
    with session(shell):
        pass
    assert "reloaded" in shell.run(env={"ZAI_API_KEY": "another"}).stderr
    time.sleep(GRACE + 3)
    assert shell.user.json("status")["pid"] == pid
    assert shell.user.json("status")["goes_after"] == 0


def test_a_reload_by_a_session_leaves_it_on_demand(shell: Shell, mission: Mission) -> None:
    """It goes after the new grace time of the profile, and with 0 it stays."""
    assert shell.run().returncode == 0
    grace(mission, 0)
    assert "reloaded" in shell.run().stderr
    time.sleep(GRACE + 3)
    assert shell.user.json("status")["goes_after"] == 0
    grace(mission, 1)
    assert "reloaded" in shell.run().stderr
    wait_for(lambda: is_gone(shell))


def test_an_open_request_keeps_it(shell: Shell, mission: Mission) -> None:
    """What a session has left running, and a worker that a reload has replaced, finish what they
    were asked, however long that takes; the grace time begins anew with the answer.
    """
    assert shell.run().returncode == 0
    gateway = Gateway(mission.url, shell.user.gateway_key())
    mission.zai.behave(Behaviour(delay=1.0, events=3 * GRACE + 2), "glm-4.7")
    with ThreadPoolExecutor() as pool:
        before = pool.submit(gateway.ask, "glm-4.7")
        wait_for(lambda: mission.zai.requests)
        assert "reloaded" in shell.run(env={"ZAI_API_KEY": "another"}).stderr
        assert before.result().status == 200
    pid = master(shell)
    assert gateway.ask("glm-4.7").status == 200, "by the only worker now"
    ended = time.monotonic()
    assert master(shell) == pid
    wait_for(lambda: is_gone(shell))
    assert time.monotonic() - ended > GRACE - 0.5


@pytest.mark.soak
def test_a_machine_that_slept_cuts_nobody(shell: Shell, mission: Mission) -> None:
    """After a sleep the grace time begins anew: a request that is on its way is answered."""
    assert shell.run().returncode == 0
    processes = [psutil.Process(master(shell)), *map(psutil.Process, worker_pids(shell.user))]
    for process in processes:
        process.suspend()
    gateway = Gateway(mission.url, shell.user.gateway_key())
    with ThreadPoolExecutor() as pool:
        time.sleep(GRACE + Use.gap + 1)
        asked = pool.submit(gateway.ask, "glm-4.7")
        time.sleep(0.2)
        for process in processes:
            process.resume()
        assert asked.result().status == 200


@pytest.mark.soak
def test_a_session_in_the_moment_of_going(shell: Shell, mission: Mission) -> None:
    """It has a gateway that answers: the old one, or a new one."""
    grace(mission, 1)
    pids = set()
    for number in range(5):
        with session(shell):
            pids.add(master(shell))
            assert Gateway(mission.url, shell.user.gateway_key()).ask("glm-4.7").status == 200
        time.sleep(1 + number / 3)
    assert len(pids) > 1, "it never went"


GOING = """
import os, sys, time
from pathlib import Path
from llmswitch.engine.idle import use
from llmswitch.run_files import IDLE, ON_DEMAND, WORKERS
WORKERS.mkdir()
(WORKERS / str(os.getpid())).touch()
ON_DEMAND.touch()
use.every = 0
use.open_lease()
use.start_clock()
print("up", flush=True)
while not use.is_over(0.02):
    pass
time.sleep(0.03)
Path("ended").touch()
"""


@pytest.mark.soak
def test_a_lease_in_the_moment_of_going(tmp_path: Path) -> None:
    """Many times, with all that is tight: whoever got a lease has a gateway that has not decided to
    go and does not while it is held, or one that has done its last act.
    """
    outcomes: Counter[bool] = Counter()
    for number in range(size(60, 20)):
        run = tmp_path / str(number)
        run.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", GOING],
            cwd=run,
            env={"PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        time.sleep(0.010 + number % 20 / 1000)
        with lease.hold(run):
            went = (run / "workers" / "idle").exists()
            assert (run / "ended").exists() == went
            time.sleep(0.05)
            assert (run / "workers" / "idle").exists() == went
        process.communicate(timeout=20)
        outcomes[went] += 1
    assert min(outcomes[True], outcomes[False]) > 1, outcomes


def test_a_lease_file_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody can tell who is there, and the gateway stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / str(os.getpid())).touch()
    lease.mark(tmp_path, on_demand=True)
    use = Use()
    use.every = 0
    use.open_lease()
    with lease.hold(tmp_path):
        (tmp_path / "leases").unlink()
        assert not use.is_over(1e-9)
        with lease.hold(tmp_path):
            assert not use.is_over(1e-9)
    assert not use.is_over(1e-9)
    assert use.lease
    use.lease.close()
    use.open_lease()
    assert use.is_over(1e-9), "the same with the file that is there"
    use.lease.close()


# ------------------------------------------------------------------ the next start


@pytest.mark.timeout(900)  # five starts
def test_the_next_start_is_not_waited_for(shell: Shell, mission: Mission) -> None:
    """Where the same configuration has served before, the client starts as soon as the port is
    held, and its first request waits for its answer; after a change it is given a gateway that
    answers. A start that fails behind a client's back is reported when that has ended, and the
    next session says why.
    """
    assert shell.run().stderr.startswith("started work on ")
    wait_for(lambda: is_gone(shell))
    done = shell.run()
    pid = master(shell)
    where = f"127.0.0.1:{mission.port}, pid {pid}"
    assert done.stderr == f"starting work on {where}; its first answer takes a few seconds\n"
    assert done.stdout == "out\n"
    assert not (shell.user.run_folder() / "workers" / "served").exists(), "it was not waited for"
    assert Gateway(mission.url, shell.user.gateway_key()).ask("glm-4.7").status == 200
    wait_for(lambda: is_gone(shell))
    broken = {"SSL_CERT_FILE": "/nowhere"}
    with session(shell, broken) as one:
        wait_for(lambda: is_gone(shell), 120)
        one.end()
    assert one.said.endswith(
        "llmswitch: the gateway failed to start\n-> llmswitch up --profile work    (says why)\n"
    )
    done = shell.run(env=broken)
    assert done.returncode == 1
    assert done.stderr.startswith("the gateway failed to start: ")
    grace(mission, 1)
    assert shell.run().stderr.startswith("started work on ")
