"""The real Claude Code in a shell, behind `claude-multi`: stopped and resumed, interrupted, ended
by a signal, and sent to the background.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import clients
from tests.conftest import Mission
from tests.ready_made import OPUS, SONNET
from tests.seat import (
    PATIENCE,
    Seat,
    ask,
    choose,
    open_menu,
    take_seat,
    wait_for_request,
)
from tests.terminal import INPUT_BOX, Terminal, type_command

pytestmark = [pytest.mark.xdist_group("client-terminal"), pytest.mark.timeout(900)]

Fetch = Callable[[], Path]
both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])


@pytest.fixture
def seat(client: Fetch, running_mission: Mission, tmp_path: Path) -> Iterator[Seat]:
    """A seat with the client of the test, after which nothing of it is left running."""
    taken = take_seat(running_mission, client(), tmp_path)
    yield taken
    end_everything(taken)


def end_everything(seat: Seat) -> None:
    """Kill the client's background service and sessions: all that has this seat's home."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(seat.home):
                process.kill()
        except psutil.Error:
            continue


@both
def test_in_a_shell(seat: Seat, running_mission: Mission) -> None:
    """Ctrl-Z gives the shell its prompt back and `fg` the session; two Ctrl-C end it with the
    client's exit code.
    """
    shell = {**seat.env, "PS1": "shell> "}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], shell, seat.project) as terminal:
        terminal.wait_for("shell>")
        terminal.send("claude-multi\r")
        ask(terminal, running_mission, "word-before")
        terminal.send("\x1a")
        terminal.wait_for(re.compile(r"Stopped +claude-multi\n+shell>"))
        terminal.send("echo still $((40 + 2)); clear\r")
        terminal.wait_gone("Stopped")
        terminal.send("fg\r")
        terminal.wait_for(INPUT_BOX)
        after = ask(terminal, running_mission, "word-after")
        assert "word-before" in str(after.body["messages"])
        terminal.interrupt()
        terminal.wait_for("Ctrl-C again to exit")
        terminal.interrupt()
        terminal.wait_for(re.compile(r"claude --resume \S+\n+shell>"))
        terminal.send("echo code=$?\r")
        terminal.wait_for("code=0")


@both
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"]
)
def test_signals_end_the_session(seat: Seat, number: signal.Signals, code: int) -> None:
    """A signal to the wrapper ends the client as the client ends of it, and a pick is put back."""
    with seat.open() as terminal:
        row = next(row for row in open_menu(terminal) if row.label.startswith("Qwen3"))
        choose(terminal, str(row.number))
        assert json.loads(seat.settings.read_text())
        os.kill(terminal.pid, number)
        assert terminal.wait_exit() == code
    assert not seat.settings.exists()
    assert seat.pick == "qwen"


@both
def test_a_background_session(seat: Seat, running_mission: Mission) -> None:
    """`claude-multi --bg` starts a session in the background that goes to the gateway and outlives
    the command; `logs` shows it and `stop` ends it.
    """
    done = seat.run("--model", "qwen", "--bg", "word-background")
    assert done.returncode == 0, done.stderr
    found = re.search(r"claude stop (\w+)", done.stdout)
    assert found, done.stdout
    assert wait_for_request(running_mission, "word-background").upstream == "mine"
    assert "word-background" in seat.run("logs", found[1]).stdout
    stopped = seat.run("stop", found[1])
    assert stopped.returncode == 0, stopped.stderr


def test_the_view_of_agents(running_mission: Mission, tmp_path: Path) -> None:
    """A session that is started in the view of `claude-multi agents` goes to the gateway; attached
    to, its menu is the profile's, and a pick made there is kept for `claude-multi` alone.
    """
    seat = take_seat(running_mission, clients.newest(), tmp_path)
    own = '{"model":"claude-sonnet-4-5-20250929"}'
    seat.settings.write_text(own)
    try:
        with seat.open("agents") as terminal:
            terminal.wait_for("New sessions: GLM-4.7")
            type_command(terminal, "word-agent")
            asked = wait_for_request(running_mission, "word-agent")
            assert (asked.upstream, asked.model) == ("zai", "glm-4.7")
            terminal.wait_for("I am glm-4.7 at zai")
        listed = subprocess.run(
            [seat.claude, "agents", "--json"],
            env=seat.env,
            cwd=seat.project,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        (session,) = json.loads(listed.stdout)
        with seat.open("attach", session["id"]) as terminal:
            rows = open_menu(terminal)
            assert [row.label for row in rows[1:3]] == [OPUS.label, SONNET.label]
            choose(terminal, "7")
            asked = ask(terminal, running_mission, "word-attached")
            assert asked.upstream == "mine"
            assert json.loads(seat.settings.read_text())["model"] == "qwen"
            terminal.send("\x1a")
            assert terminal.wait_exit() == 0
        assert seat.settings.read_text() == own
        assert seat.pick == "qwen"
    finally:
        end_everything(seat)
