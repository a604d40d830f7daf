"""A gateway whose workers die again and again stops, and everyone says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import User, free_port
from tests.gateways import wait_for, worker_pids

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("crash"), pytest.mark.timeout(300)]
REASON = "3 workers died within 30 seconds"


def kill_one(user: User) -> None:
    """Kill the worker that serves, once those that leave have left."""
    folder = user.run_folder() / "workers"

    def serving() -> list[int]:
        return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]

    wait_for(lambda: len(serving()) == 1)
    [pid] = serving()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in serving())


def test_a_crash_loop_stops_the_gateway(user: User) -> None:
    """On the screen in the foreground, in `status` and in `doctor`; reloads are no deaths, what has
    died before one does not count after it, and the next `up` forgets it.
    """
    profile = f"gateway: {{port: {free_port()}}}\n"
    user.write_profile("models: {a: demo/parrot}\n" + profile)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "up", "--foreground"],
        env=user.env,
        cwd=user.home,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_for((user.run_folder() / "workers/served").exists)
        for count in range(2, 6):  # four reloads: the workers that leave are told to
            if count > 3:
                kill_one(user)
                kill_one(user)
            models = ", ".join(f"m{number}: demo/parrot" for number in range(count))
            user.write_profile(f"models: {{{models}}}\n" + profile)
            assert user.run("up").stdout.startswith("reloaded work on ")
        kill_one(user)
        kill_one(user)
        wait_for(lambda: user.json("status")["running"])
        assert worker_pids(user)
        kill_one(user)
        shown = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert shown.splitlines()[-1].endswith(f"Reason: {REASON}")
    found = user.json("status")
    assert (found["running"], found["stopped"]) == (False, REASON)
    first = user.run("status").stdout.splitlines()[0]
    assert first == f"not running: it stopped by itself, {REASON}    -> llmswitch logs"
    rows = json.loads(user.run("doctor", "--json").stdout)["checks"]
    [row] = [row for row in rows if row["name"] == "process"]
    assert (row["level"], row["message"]) == (
        "error",
        f"the gateway stopped unexpectedly: {REASON}",
    )
    assert row["hint"] == ("llmswitch up --profile work    (why: llmswitch logs --profile work)")
    assert user.run("up").stdout.startswith("started work on ")
    assert user.json("status")["stopped"] is None
    user.run("down")
