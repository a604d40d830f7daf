"""Tool calls of the real Claude Code through the gateway, to a provider of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission
from tests.ready_made import OPUS
from tests.seat import conversation, take_seat
from tests.upstream import Behaviour, Tool

pytestmark = [pytest.mark.xdist_group("client-tools"), pytest.mark.timeout(900)]

PROVIDERS = {
    "messages": ("glm-4.7", "zai", "glm-4.7"),
    "chat": ("qwen", "mine", "qwen3"),
    "anthropic": ("opus", "anthropic", OPUS.model.id),
}
"""By the dialect of the provider: the name in the profile, the upstream, its model."""


@pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
@pytest.mark.parametrize("dialect", PROVIDERS)
def test_tools_make_the_round_trip(
    client: Callable[[], Path], dialect: str, running_mission: Mission, tmp_path: Path
) -> None:
    """A call of Bash and one of Read reach the client whole, are run, and their results reach the
    same model, which then answers; quotes, line ends and non-ASCII text survive both ways.
    """
    name, where, model = PROVIDERS[dialect]
    seat = take_seat(running_mission, client(), tmp_path)
    note = seat.project / "a note.txt"
    note.write_text('line one\n"zwei" ☃ drei\n', encoding="utf-8")
    command = "printf '%s\\n' \"quoted 'twice' ☃\" $((6 * 7))"
    tools = [
        (Tool("Bash", {"command": command, "description": "say"}), "quoted 'twice' ☃\n42"),
        (Tool("Read", {"file_path": str(note)}), '"zwei" ☃ drei'),
    ]
    upstream = next(each for each in running_mission.upstreams if each.name == where)
    for tool, result in tools:
        upstream.clear()
        upstream.behave(Behaviour(tool=tool), model)
        try:
            done = seat.run("--model", name, "--allowedTools", "Bash,Read", "-p", "use the tool")
        finally:
            upstream.behave(Behaviour(), model)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.startswith(f"I am {model} at {where} and the tool said:")
        assert result in done.stdout
        first, second = (request for _, request in conversation([upstream]))
        assert [(first.body or {})["model"], (second.body or {})["model"]] == [model, model]
    others = [each for each in running_mission.upstreams if each.name != where]
    assert not list(conversation(others)), "another provider was asked"
