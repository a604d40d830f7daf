"""Reloads and sudden deaths without end, under load: nothing is lost but what was on a process that
was killed, and nothing is left over.
"""

from __future__ import annotations

import fcntl
import random
import signal
import statistics
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import User, free_port
from tests.gateways import running_below, wait_for
from tests.soak import size
from tests.traffic import Cut, Traffic, clients_of
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("storm"), pytest.mark.timeout(1500)]

RELOADS, EACH = size(100, 15), 5  # a worker is killed in every fifth
EVENTS = 20
WHOLE = "1" + "".join(f" {number}" for number in range(2, EVENTS + 1))
PROFILE = """
models:
  native: {{model: mine/slow}}
  chat: {{model: rawchat/slow}}
  "{label}": {{model: mine/another}}
providers:
  mine: {{dialect: messages, base_url: "{url}", key: MINE_KEY}}
  rawchat: {{dialect: chat, base_url: "{url}/v1", key: MINE_KEY}}
gateway: {{port: {port}}}
"""


def workers(user: User) -> list[psutil.Process]:
    """Those that live."""
    found = psutil.Process(user.gateway_state()["pid"]).children()
    return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def kill_one(user: User, port: int) -> tuple[float, set[int]]:
    """Kill any worker, and tell when, and the ports of the clients that it had. One that has gone
    by itself meanwhile is no kill: another is chosen.
    """
    while True:
        try:
            [victim] = random.sample(workers(user), 1)
            victim.send_signal(signal.SIGSTOP)  # so it takes no more connections
            had = _clients_once_stopped(victim, port)
            victim.kill()
        except (psutil.NoSuchProcess, ValueError, AssertionError):
            time.sleep(0.01)
            continue
        return time.monotonic(), had


def _clients_once_stopped(worker: psutil.Process, port: int) -> set[int]:
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED, 2)
    return clients_of(worker.pid, port)


def one_worker(user: User) -> psutil.Process:
    """The only worker, once those that leave have left."""
    folder = user.run_folder() / "workers"

    def calm() -> bool:
        there = [str(one.pid) for one in workers(user)]
        return len(there) == 1 and [f.name for f in folder.iterdir() if f.name.isdigit()] == there

    wait_for(calm, 90)
    [found] = workers(user)
    return found


def memory(*processes: psutil.Process) -> int:
    """What they take, in kB; what they share is counted once."""
    texts = [Path(f"/proc/{one.pid}/smaps_rollup").read_text() for one in processes]
    return sum(int(line.split()[1]) for t in texts for line in t.splitlines() if "Pss:" in line)


def left(user: User, port: int) -> dict[str, object]:
    """What a gateway at rest has: files, descriptors of the master, sockets of clients, leases."""
    run = user.run_folder()
    master = psutil.Process(user.gateway_state()["pid"])
    worker = one_worker(user)
    wait_for(lambda: not clients_of(worker.pid, port))
    with (run / "leases").open("rb") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while anyone holds one
    files = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    return {
        "files": {"workers/PID" if Path(file).name.isdigit() else file for file in files},
        "descriptors": master.num_fds(),
        "listens": len(master.net_connections("tcp")),
        "processes": len(master.children(recursive=True)),
    }


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells of memory")
def test_storm(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """100 reloads and 20 `kill -9` under 8 streaming clients: no request is refused, none is cut
    but those on a worker that was killed, and the client's own retry saves each of those; no
    process, socket, file or lease is left over, and memory is as before.
    """
    port = free_port()
    killed: list[tuple[float, set[int]]] = []
    with FakeUpstream("mine", record=False) as upstream:
        upstream.behave(Behaviour(reply="1", events=EVENTS, delay=0.05))

        def change(number: int) -> None:
            user.write_profile(PROFILE.format(url=upstream.url, port=port, label=f"m{number}"))
            done = user.run("up")
            assert (done.returncode, done.stderr) == (0, "")
            wanted = "started" if number == 0 else "reloaded"
            assert done.stdout.startswith(f"{wanted} work on 127.0.0.1:{port}, pid {master or ''}")

        def traffic() -> Traffic:
            return Traffic(port, user.gateway_key(), WHOLE, ("native", "chat"))

        def rest() -> tuple[dict[str, object], int]:
            with traffic() as warm:
                warm.wait_for_more(100)
            assert (warm.wrong, warm.cuts) == ([], [])
            return left(user, port), memory(psutil.Process(master), one_worker(user))

        def kill_later() -> None:
            time.sleep(random.uniform(0, 1))
            killed.append(kill_one(user, port))

        master = 0
        change(0)
        master = user.gateway_state()["pid"]
        for number in range(1, 4):
            change(number)
        before, pss = rest()
        with traffic() as storm:
            for number in range(RELOADS):
                killer = threading.Thread(target=kill_later)
                if number % EACH == 0:
                    killer.start()
                change(10 + number)
                if number % EACH == 0:
                    killer.join()
            storm.wait_for_more(20)
        after, pss_after = rest()
    assert storm.wrong == []
    assert [cut for cut in storm.cuts if not is_excused(cut, killed)] == []
    assert len(killed) == RELOADS // EACH
    assert after == before
    assert pss_after < 1.05 * pss
    assert user.gateway_state()["pid"] == master
    assert user.run("down").returncode == 0
    assert running_below(user.root) == []
    with capsys.disabled():
        wait = statistics.median(storm.waits) if storm.waits else 0.0
        print(
            f"\n{storm.answered} answers, {len(storm.cuts)} cut, asked again: first byte after "
            f"{wait:.2f} s; {pss} kB before, {pss_after} kB after"
        )


def is_excused(cut: Cut, killed: list[tuple[float, set[int]]]) -> bool:
    """Whether it was on a worker that was killed just then."""
    return any(cut.port in had and -1 < cut.at - at < 10 for at, had in killed)
