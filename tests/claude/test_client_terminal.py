"""The real Claude Code in a shell, behind `claude-multi`: what is picked in it, and how it is
stopped and resumed, interrupted, ended by a signal, killed, and sent to the background.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import clients
from tests.clients import newest_and_oldest
from tests.conftest import Mission
from tests.ready_made import OPUS, SONNET
from tests.seat import (
    PATIENCE,
    Seat,
    ask,
    choose,
    leave,
    open_menu,
    pick,
    take_seat,
    wait_for_request,
)
from tests.terminal import INPUT_BOX, Terminal, type_command

pytestmark = [pytest.mark.xdist_group("client-terminal"), pytest.mark.timeout(900)]

OWN = '{"model":"claude-sonnet-4-5-20250929",\t"cleanupPeriodDays" : 99}\n\n'


@pytest.fixture
def newest_seat(running_mission: Mission, tmp_path: Path) -> Iterator[Seat]:
    """A seat with the newest client, after which nothing of it is left running."""
    seat = take_seat(running_mission, clients.newest(), tmp_path)
    yield seat
    end_everything(seat)


def end_everything(seat: Seat) -> None:
    """Kill the client's background service and sessions: all that has this seat's home."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(seat.home):
                process.kill()
        except psutil.Error:
            continue


@newest_and_oldest
def test_a_pick_is_kept_and_plain_claude_as_it_was(
    seat: Seat, running_mission: Mission, tmp_path: Path
) -> None:
    """The next `claude-multi` starts with what was picked, plain `claude` with the user's own
    default; a pick of Default goes back to the profile's; settings.json, a link into somebody's
    dotfiles, stays what it was.
    """
    dotfile = tmp_path / "dotfiles.json"
    dotfile.write_text(OWN)
    seat.settings.symlink_to(dotfile)
    with seat.open() as terminal:
        pick(terminal, "GLM-4.5 Air")
        assert ask(terminal, running_mission, "word-picked").model == "GLM-4.5-Air"
        assert leave(terminal) == 0
    assert seat.pick == "glm-4.5" or (seat.pick == "haiku" and seat.claude == clients.oldest())
    assert seat.run("-p", "hello").stdout == "I am GLM-4.5-Air at zai\n"

    plain = {"ANTHROPIC_BASE_URL": running_mission.anthropic.url, "ANTHROPIC_AUTH_TOKEN": "t"}
    done = seat.run_plain({**plain, "ANTHROPIC_API_KEY": ""}, "-p", "hello")
    assert done.stdout == "I am claude-sonnet-4-5-20250929 at anthropic\n", done

    with seat.open() as terminal:
        pick(terminal, "Default (recommended)")
        assert leave(terminal) == 0
    assert seat.pick == ""
    assert seat.run("-p", "hello").stdout == "I am glm-4.7 at zai\n"
    assert seat.settings.is_symlink()
    assert dotfile.read_text() == OWN


def test_a_session_that_is_killed(newest_seat: Seat) -> None:
    """After a kill -9 of wrapper and client, the next session puts the user's own default back and
    starts with what was picked.
    """
    seat = newest_seat
    seat.settings.write_text(OWN)
    with seat.open() as terminal:
        pick(terminal, "Qwen3")
        children = psutil.Process(terminal.pid).children()
        for pid in (terminal.pid, *(child.pid for child in children)):
            os.kill(pid, signal.SIGKILL)
        assert terminal.wait_exit() == -signal.SIGKILL
    assert json.loads(seat.settings.read_text())["model"] == "qwen"
    assert seat.run("-p", "hello").stdout == "I am qwen3 at mine\n"
    assert seat.settings.read_text() == OWN


@pytest.mark.soak
def test_two_sessions_at_once(newest_seat: Seat, running_mission: Mission) -> None:
    """Two open sessions each keep the model that was picked in them; the last pick is kept, and
    after both settings.json is what it was.
    """
    seat = newest_seat
    seat.settings.write_text(OWN)
    with seat.open() as one, seat.open() as two:
        pick(one, OPUS.label)
        pick(two, "GLM-4.5 Air")
        assert leave(one) == 0
        assert seat.settings.read_text() == OWN
        assert ask(two, running_mission, "word-two").model == "GLM-4.5-Air"
        assert leave(two) == 0
    assert seat.settings.read_text() == OWN
    assert seat.pick == "glm-4.5"


@newest_and_oldest
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


@newest_and_oldest
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"]
)
def test_signals_end_the_session(seat: Seat, number: signal.Signals, code: int) -> None:
    """A signal to the wrapper ends the client as the client ends of it, and a pick is put back."""
    with seat.open() as terminal:
        pick(terminal, "GLM-4.5 Air")
        assert json.loads(seat.settings.read_text())
        os.kill(terminal.pid, number)
        assert terminal.wait_exit() == code
    assert not seat.settings.exists()
    assert seat.pick in {"glm-4.5", "haiku"}


@pytest.mark.soak
def test_a_background_session(newest_seat: Seat, running_mission: Mission) -> None:
    """`claude-multi --bg` starts a session in the background that goes to the gateway and outlives
    the command; `logs` shows it and `stop` ends it.
    """
    seat = newest_seat
    done = seat.run("--model", "qwen", "--bg", "word-background")
    assert done.returncode == 0, done.stderr
    found = re.search(r"claude stop (\w+)", done.stdout)
    assert found, done.stdout
    assert wait_for_request(running_mission, "word-background").upstream == "mine"
    assert "word-background" in seat.run("logs", found[1]).stdout
    stopped = seat.run("stop", found[1])
    assert stopped.returncode == 0, stopped.stderr


@pytest.mark.soak
def test_the_view_of_agents(newest_seat: Seat, running_mission: Mission) -> None:
    """A session that is started in the view of `claude-multi agents` goes to the gateway; attached
    to, its menu is the profile's, and a pick made there is kept for `claude-multi` alone.
    """
    seat = newest_seat
    own = '{"model":"claude-sonnet-4-5-20250929"}'
    seat.settings.write_text(own)
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
