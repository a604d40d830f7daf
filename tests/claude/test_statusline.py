"""`statusline`: what Claude Code shows below its box, within 50 ms."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmswitch.claude import statusline
from llmswitch.ledger import insert, open_to_write
from tests import clients
from tests.conftest import Mission, free_port, start_mission
from tests.engine.test_ledger import ROW
from tests.ready_made import OPUS
from tests.seat import ask, take_seat

pytestmark = [pytest.mark.xdist_group("statusline"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission with two budgets, running; two sessions have cost something."""
    for each in start_mission(tmp_path_factory.mktemp("mission")):
        each.write("budgets: [{usd: 50, per: month}, {usd: 1, per: day, model: opus}]\n")
        file = each.user.state / "ledger" / "work.db"
        file.parent.mkdir(parents=True)
        now = ROW._replace(ended=time.time())
        with closing(open_to_write(file)) as connection:
            insert(connection, [now._replace(session="s1", model="opus", cost=0.25)] * 2)
            insert(connection, [now._replace(session="s2", cost=0.0361)])
            insert(connection, [now._replace(session="s2", model="qwen", cost=None)])
        done = each.user.run("up")
        assert done.returncode == 0, done.stderr
        yield each
        each.user.run("down")


def shown(mission: Mission, said: Any, *arguments: str) -> str:
    """The line that the command prints for what Claude Code tells."""
    done = subprocess.run(
        [sys.executable, "-m", "llmswitch", "statusline", *arguments],
        env=mission.user.env,
        cwd=mission.user.home,
        input=said if isinstance(said, str) else json.dumps(said),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def model(name: str, session: str = "s1") -> dict[str, Any]:
    """What Claude Code tells, as far as it is used."""
    return {"session_id": session, "model": {"id": name, "display_name": f"shown {name}"}}


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (model("opus"), f"{OPUS.label} · Anthropic · $0.50 · $0.50 left of model:opus/day"),
        (
            model("glm-4.7", "s2"),
            "GLM-4.7 · Z.ai · $0.0361 and more, of unknown price · $0.50 left of model:opus/day",
        ),
        (
            model("claude-router-" + b"qwen".hex(), "none yet"),
            "Qwen3 · My server · $0.00 · $0.50 left of model:opus/day",
        ),
        (model("claude-opus-4-8"), "shown claude-opus-4-8"),
        ({"model": None}, ""),
        ({}, ""),
    ],
    ids=["two answers", "one without a price", "as an editor calls it", "not ours", "null", "no"],
)
def test_the_line(mission: Mission, said: dict[str, Any], line: str) -> None:
    """The label, the provider, the session's cost, and the budget that is nearest to its end."""
    assert " · ".join(statusline.line(said, None, mission.user.env)) == line


def test_it_never_fails(mission: Mission) -> None:
    """Whatever it is given; nothing of that steers the terminal. A profile that is not there is no
    reason either, and is named as for every other command.
    """
    assert shown(mission, {"model": {"id": "\x1b[31mred\n"}}) == "[31mred\n"
    for said in ("no JSON", "[" * 100_000):
        assert shown(mission, said) == "\n"
    for form in (["--profile", "{}"], ["-p", "{}"], ["--profile={}"]):
        for name, line in (("work", f"{OPUS.label} · Anthropic"), ("nope", "shown opus\n")):
            said = shown(mission, model("opus"), *(part.format(name) for part in form))
            assert said.startswith(line)


def test_without_a_gateway(mission: Mission, tmp_path: Path) -> None:
    """It says what it knows: here the files are, and nothing listens."""
    shutil.copytree(mission.user.root / "llmswitch", tmp_path / "moved")
    file = tmp_path / "moved" / "state" / "run" / "work" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"port": free_port()}))
    moved = mission.user.env | {"LLMSWITCH_HOME": str(tmp_path / "moved")}
    assert statusline.line(model("opus"), None, moved) == [OPUS.label, "Anthropic", "$0.50"]


def test_it_loads_little(mission: Mission) -> None:
    """It runs after every answer: neither the command line nor the profile's rules are loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmswitch", "statusline"],
        env={k: v for k, v in mission.user.env.items() if not k.startswith("COVERAGE")},
        cwd=mission.user.home,
        input=json.dumps(model("opus")),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "llmswitch.claude.statusline" in loaded
    assert not loaded & {"typer", "click", "pydantic", "yaml", "http.client", "llmswitch.cli.app"}


@pytest.mark.timeout(900)
def test_the_real_client_shows_it(mission: Mission, tmp_path: Path) -> None:
    """Below its box, with what the session has cost."""
    program = Path(sys.executable).with_name("llmswitch")
    command = {"type": "command", "command": str(program) + " statusline"}
    seat = take_seat(mission, clients.newest(), tmp_path, {"statusLine": command})
    with seat.open() as terminal:
        ask(terminal, mission, "word")
        terminal.wait_for("GLM-4.7 · Z.ai · <$0.0001 · $0.50 left of model:opus/day")
