"""A profile of forty models over all the providers of the catalogue that need no cloud, from the
file to the menu of the real Claude Code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from llmswitch.profile.providers import catalogue_data
from tests import clients
from tests.conftest import Mission, free_port, make_user
from tests.gateways import NO_WAY_OUT, Gateway
from tests.profile.test_catalogue import PROVIDERS
from tests.seat import ask, choose, leave, open_menu, take_seat
from tests.terminal import MenuRow, Terminal, menu_rows
from tests.upstream import FakeUpstream

pytestmark = [pytest.mark.xdist_group("client-forty"), pytest.mark.timeout(600)]

both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
KNOWN = [
    f"{name}/{one['id'] if isinstance(one, dict) else one}"
    for name in PROVIDERS
    for one in catalogue_data()[name].get("models", ())[:3]
]
LOCAL = ["ollama/qwen3", "lm-studio/loaded", "llama.cpp/loaded", "vllm/served"]
UNKNOWN = [f"openrouter/vendor/model-{number}" for number in range(39 - len(KNOWN) - len(LOCAL))]
TARGETS = [*KNOWN, *LOCAL, *UNKNOWN, "last/of-forty"]
NAMES = [f"m{number}-{target.rpartition('/')[2]}" for number, target in enumerate(TARGETS)]
OURS = "llmswitch-"
"""What each label begins with, so that a row of the client's own is told apart."""


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A gateway that runs with such a profile; the last model is one that can be asked."""
    user = make_user(tmp_path_factory.mktemp("forty"))
    user.keys = NO_WAY_OUT | {
        data["key"]: "own" for data in catalogue_data().values() if data["key"]
    }
    with FakeUpstream("last") as last:
        mission = Mission(user, last, last, last, free_port())
        models = {
            name: {"model": target, "label": f"{OURS}{number}"}
            for number, (name, target) in enumerate(zip(NAMES, TARGETS, strict=True))
        }
        profile = {
            "models": models,
            "providers": {"last": {"dialect": "chat", "base_url": f"{last.url}/v1", "key": None}},
            "gateway": {"port": mission.port},
        }
        user.write_profile(yaml.safe_dump(profile, sort_keys=False))
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission
        user.run("down")
        user.stop_everything()


def test_they_are_forty_of_more_than_twelve() -> None:
    """The profile is what this module says that it is."""
    assert len(TARGETS) == 40
    assert len({target.partition("/")[0] for target in TARGETS}) > 12


def test_the_gateway_lists_forty(forty: Mission) -> None:
    """`status` and GET /v1/models have every model of the profile, in its order."""
    rows = forty.user.json("status")["models"]
    assert [row["name"] for row in rows if row["available"]] == NAMES
    answer = Gateway(forty.url, forty.user.gateway_key()).send("GET", "/v1/models").json()
    assert [row["id"] for row in answer["data"]] == NAMES


@both
def test_the_menu_lists_forty(client: Callable[[], Path], forty: Mission, tmp_path: Path) -> None:
    """Each label is a row of `/model`, none twice, and the last one can be picked and answers."""
    seat = take_seat(forty, client(), tmp_path)
    with seat.open() as terminal:
        open_menu(terminal)
        rows = walk(terminal)
        labels = [row.label.partition(" · ")[0] for row in rows]
        ours = [label for label in labels if label.startswith(OURS)]
        assert sorted(ours) == sorted(f"{OURS}{number}" for number in range(40))
        assert [label for label in labels if label not in ours] == ["Default (recommended)"]
        go_to(terminal, f"{OURS}39")
        choose(terminal, "\r")
        assert ask(terminal, forty, "the last of forty").model == "of-forty"
        assert leave(terminal) == 0


def walk(terminal: Terminal) -> list[MenuRow]:
    """Every row of the open menu: the client shows ten at a time, and scrolls with the arrows."""
    found: dict[int, MenuRow] = {}
    while True:
        rows = menu_rows(terminal.wait_idle(0.2))
        if rows[-1].number in found and any(row.selected and row.number == 1 for row in rows):
            return [found[number] for number in sorted(found)]
        found |= {row.number: row for row in rows}
        terminal.send("\x1b[B")


def go_to(terminal: Terminal, label: str) -> None:
    """Put the cursor on a row."""
    while not any(
        row.selected and row.label.partition(" · ")[0] == label
        for row in menu_rows(terminal.wait_idle(0.2))
    ):
        terminal.send("\x1b[B")
