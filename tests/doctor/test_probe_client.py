"""The live check that drives the real Claude Code through a real gateway."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmswitch.doctor.probe import NOT_USED, Cell
from llmswitch.doctor.probe_client import NOTE_FILE, drive
from tests import clients
from tests.conftest import Mission
from tests.upstream import Behaviour, Tool

pytestmark = [pytest.mark.xdist_group("probe-client"), pytest.mark.timeout(900)]


def driven(
    mission: Mission, folder: Path, behaviour: Behaviour, *, support: str = "picker", **more: Any
) -> Cell:
    """What a client makes of glm-4.7 when it behaves like this."""
    client = mission.user.gateway_state()["clients"][support]
    stray = {"ANTHROPIC_API_KEY": "stray", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **stray}
    claude = more.pop("claude", None) or clients.newest()
    mission.zai.clear()
    mission.zai.behave(behaviour, "glm-4.7")
    try:
        return drive(claude, client, mission.user.gateway_key(), "glm-4.7", folder, environ, **more)
    finally:
        mission.zai.behave(Behaviour(), "glm-4.7")


def reads(file: Path) -> Behaviour:
    """A model that reads a file and says what is in it."""
    return Behaviour(tool=Tool("Read", {"file_path": str(file)}))


@pytest.mark.parametrize(
    ("client", "support"),
    [
        pytest.param(clients.newest, "picker", id="newest"),
        pytest.param(clients.oldest, "rows", id="oldest", marks=pytest.mark.soak),
    ],
)
def test_a_healthy_model_reads_the_note(
    running: Mission, client: Callable[[], Path], support: str, tmp_path: Path
) -> None:
    """One call of a tool, its result, an answer; and nothing of the shell's gets in the way."""
    note = reads(tmp_path / "project" / NOTE_FILE)
    assert driven(running, tmp_path, note, support=support, claude=client()) == Cell("ok")
    with_tools = [one for one in running.zai.requests if (one.body or {}).get("tools")]
    assert len(with_tools) >= 2
    assert "stray" not in str(running.zai.requests)


def test_a_model_that_ignores_what_it_read(running: Mission, tmp_path: Path) -> None:
    """The tool was called, but for another file."""
    (tmp_path / "other").write_text("nothing of note\n")
    cell = driven(running, tmp_path, reads(tmp_path / "other"))
    assert (cell.level, cell.note) == ("warning", NOT_USED)


def test_a_model_that_refuses(running: Mission, tmp_path: Path) -> None:
    """The client's words, with those of the upstream in them."""
    cell = driven(running, tmp_path, Behaviour(status=400, error="no such luck"))
    assert (cell.level, cell.note) == ("error", "claude -p failed with exit code 1")
    assert "no such luck" in (cell.words or "")


def test_a_client_that_takes_too_long_or_is_none(running: Mission, tmp_path: Path) -> None:
    """Both are said in a sentence."""
    for name in ("slow", "none"):
        (tmp_path / name).mkdir()
    slow = Behaviour(events=2, delay=5)
    assert driven(running, tmp_path / "slow", slow, timeout=2) == Cell(
        "error", "claude -p did not answer within 2 s"
    )
    nothing = tmp_path / "nothing"
    assert driven(running, tmp_path / "none", Behaviour(), claude=nothing) == Cell(
        "failed", f"{nothing} cannot be run: No such file or directory"
    )
