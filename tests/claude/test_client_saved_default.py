"""The user's saved default and the real Claude Code: what is picked in `claude-multi` is kept for
`claude-multi`, and plain `claude` never hears of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import clients
from tests.conftest import Mission
from tests.ready_made import OPUS
from tests.seat import PATIENCE, ask, choose, leave, open_menu, take_seat
from tests.terminal import Terminal

pytestmark = [pytest.mark.xdist_group("saved-default"), pytest.mark.timeout(900)]

OWN = '{"model":"claude-sonnet-4-5-20250929",\t"cleanupPeriodDays" : 99}\n\n'


@pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
def test_the_pick_is_kept_and_plain_claude_as_it_was(
    client: Callable[[], Path], running_mission: Mission, tmp_path: Path
) -> None:
    """The next `claude-multi` starts with what was picked, plain `claude` with the user's own
    default; a pick of Default goes back to the profile's; settings.json, a link into somebody's
    dotfiles, stays what it was.
    """
    seat = take_seat(running_mission, client(), tmp_path)
    dotfile = tmp_path / "dotfiles.json"
    dotfile.write_text(OWN)
    seat.settings.symlink_to(dotfile)
    with seat.open() as terminal:
        pick(terminal, "GLM-4.5 Air")
        assert ask(terminal, running_mission, "word-picked").model == "GLM-4.5-Air"
        assert leave(terminal) == 0
    assert seat.pick == "glm-4.5" or (seat.pick == "haiku" and seat.claude == clients.oldest())
    assert seat.run("-p", "hello").stdout == "I am GLM-4.5-Air at zai\n"

    upstream = running_mission.anthropic
    plain = {"ANTHROPIC_BASE_URL": upstream.url, "ANTHROPIC_AUTH_TOKEN": "t"}
    done = subprocess.run(
        [seat.claude, "-p", "hello"],
        env={**seat.env, **plain, "ANTHROPIC_API_KEY": ""},
        cwd=seat.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "I am claude-sonnet-4-5-20250929 at anthropic\n", done

    with seat.open() as terminal:
        pick(terminal, "Default (recommended)")
        assert leave(terminal) == 0
    assert seat.pick == ""
    assert seat.run("-p", "hello").stdout == "I am glm-4.7 at zai\n"
    assert seat.settings.is_symlink()
    assert dotfile.read_text() == OWN


def pick(terminal: Terminal, label: str) -> None:
    """Pick a row of the menu by its number."""
    rows = open_menu(terminal)
    choose(terminal, str(next(row.number for row in rows if row.label == label)))


def test_a_session_that_is_killed(running_mission: Mission, tmp_path: Path) -> None:
    """After a kill -9 of wrapper and client, the next session puts the user's own default back and
    starts with what was picked.
    """
    seat = take_seat(running_mission, clients.newest(), tmp_path)
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


def test_two_sessions_at_once(running_mission: Mission, tmp_path: Path) -> None:
    """Two open sessions each keep the model that was picked in them; the last pick is kept, and
    after both settings.json is what it was.
    """
    seat = take_seat(running_mission, clients.newest(), tmp_path)
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
