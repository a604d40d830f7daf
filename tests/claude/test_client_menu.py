"""The `/model` menu of the real Claude Code, newest and oldest, with the mission's profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission, start_mission
from tests.ready_made import GLM, OPUS, SONNET
from tests.seat import (
    Seat,
    ask,
    choose,
    leave,
    open_menu,
    switch,
    take_seat,
)
from tests.terminal import INPUT_BOX, MenuRow, Terminal, type_command

pytestmark = [pytest.mark.xdist_group("client-menu"), pytest.mark.timeout(900)]

ROWS = {
    OPUS.label: (OPUS.description, "anthropic", OPUS.model.id),
    SONNET.label: (SONNET.description, "anthropic", SONNET.model.id),
    GLM.label: (GLM.description, "zai", GLM.model.id),
    "GLM-4.7": ("Z.ai · 200k · $0.60/$2.20 per Mtok", "zai", "glm-4.7"),
    "GLM-4.5 Air": ("Z.ai · 128k · $0.20/$1.10 per Mtok", "zai", "GLM-4.5-Air"),
    "Qwen3": ("My server · 200k · price unknown", "mine", "qwen3"),
}
"""What is beside each label, and who is asked for which model when it is picked."""
Fetch = Callable[[], Path]
both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])


@pytest.fixture
def seat(client: Fetch, running_mission: Mission, tmp_path: Path) -> Seat:
    """A seat with the client of the test."""
    return take_seat(running_mission, client(), tmp_path)


def number_of(rows: list[MenuRow], label: str) -> str:
    """The key of a row. The older client shows what the gateway tells it in one line."""
    return str(next(row.number for row in rows if row.label.partition(" · ")[0] == label))


def refusal(seat: Seat, name: str) -> str:
    """What the client says of a name that it cannot have."""
    if seat.claude == clients.oldest():
        return f"Model '{name}' is not available. Your organization restricts model selection."
    return f"Model '{name}' not found"


def not_recognized(terminal: Terminal) -> bool:
    """Whether the client says of any model that it does not know it."""
    return "recognized" in terminal.text() or "assumed to be" in terminal.text()


def test_newest_menu_is_default_and_the_profile(running_mission: Mission, tmp_path: Path) -> None:
    """On 2.1.332 the menu is Default and exactly the profile's rows, each with provider, context
    window and price beside its label, and no word that a model is not recognized.
    """
    seat = take_seat(running_mission, clients.newest(), tmp_path)
    with seat.open() as terminal:
        terminal.wait_for(INPUT_BOX)
        assert not not_recognized(terminal)
        rows = open_menu(terminal)
        assert [(row.number, row.label, row.description) for row in rows] == [
            (
                1,
                "Default (recommended)",
                "Use the default model (currently GLM-4.7) · Set by ANTHROPIC_DEFAULT_MODEL",
            ),
            *((n, label, row[0]) for n, (label, row) in enumerate(ROWS.items(), start=2)),
        ]
        assert [row.label for row in rows if row.current] == ["GLM-4.7"]
        assert not not_recognized(terminal)
        choose(terminal, "\x1b")
        assert leave(terminal) == 0


def test_oldest_menu_lists_every_model(running_mission: Mission, tmp_path: Path) -> None:
    """On 2.1.197 the menu is Default, the models that have a role, and those of a million tokens
    and all others as the gateway lists them; each model of the profile is there with provider,
    context window and price.
    """
    seat = take_seat(running_mission, clients.oldest(), tmp_path)
    with seat.open() as terminal:
        rows = open_menu(terminal)
        now = f"currently {OPUS.label} · {OPUS.description}"
        default = f"Use the default model ({now}) · $5/$25 per Mtok"
        assert [(row.label, row.description) for row in rows] == [
            ("Default (recommended)", default),
            ("GLM-4.7", ROWS["GLM-4.7"][0]),
            *((row.label, row.description) for row in (OPUS, SONNET)),
            ("GLM-4.5 Air", ROWS["GLM-4.5 Air"][0]),
            *((f"{row.label} · {row.description}", "From gateway") for row in (OPUS, SONNET, GLM)),
            (f"Qwen3 · {ROWS['Qwen3'][0]}", "From gateway"),
        ]
        assert [row.label for row in rows if row.current] == ["GLM-4.7"]
        choose(terminal, "\x1b")
        assert leave(terminal) == 0


@both
def test_every_row_is_served_by_its_own_model(seat: Seat, running_mission: Mission) -> None:
    """Each row, picked one after the other in one session by its number, sends the next request to
    its own provider and model, and so does Default; the session stays the same.
    """
    served = {**{label: row[1:] for label, row in ROWS.items()}}
    older = seat.claude == clients.oldest()
    served["Default (recommended)"] = served[OPUS.label if older else "GLM-4.7"]
    sessions = set()
    with seat.open() as terminal:
        first = ask(terminal, running_mission, "word-start")
        assert (first.upstream, first.model) == ("zai", "glm-4.7")
        for turn, (label, (upstream, model)) in enumerate(served.items()):
            choose(terminal, number_of(open_menu(terminal), label))
            asked = ask(terminal, running_mission, f"word-{turn}")
            assert asked.upstream == upstream, label
            assert asked.model.startswith(model), label
            assert "word-start" in str(asked.body["messages"]), f"{label}: another session"
            sessions.add(asked.session)
            if upstream == "anthropic":
                continue
            # What every host understands: no adaptive thinking, no message of the system's.
            assert (asked.body.get("thinking") or {}).get("type") != "adaptive", label
            roles = {message["role"] for message in asked.body["messages"]}
            assert upstream == "mine" or older or roles == {"user", "assistant"}, label
        assert not not_recognized(terminal)
        assert leave(terminal) == 0
    assert sessions == {first.session, None}, "None is the provider that is not told the session"


@both
def test_enter_and_a_typed_name_switch(seat: Seat, running_mission: Mission) -> None:
    """A row that is picked with Enter, and a typed `/model glm-4.5`, change the model of the next
    request of the same session; a name that the profile does not have is refused in the client's
    words and changes nothing.
    """
    with seat.open() as terminal:
        first = ask(terminal, running_mission, "word-first")
        rows = open_menu(terminal)
        cursor = next(row.number for row in rows if row.selected)
        down = int(number_of(rows, SONNET.label)) - cursor
        choose_with_arrows(terminal, down)
        picked = ask(terminal, running_mission, "word-picked")
        assert (picked.upstream, picked.model) == ("anthropic", SONNET.model.id)

        switch(terminal, "glm-4.5")
        typed = ask(terminal, running_mission, "word-typed")
        assert (typed.upstream, typed.model) == ("zai", "GLM-4.5-Air")

        type_command(terminal, "/model nosuch")
        terminal.wait_for(refusal(seat, "nosuch"))
        still = ask(terminal, running_mission, "word-still")
        assert (still.upstream, still.model) == ("zai", "GLM-4.5-Air")
        assert {picked.session, typed.session, still.session} == {first.session}
        assert leave(terminal) == 0


def choose_with_arrows(terminal: Terminal, down: int) -> None:
    """Move the cursor, then Enter."""
    for _ in range(abs(down)):
        terminal.send("\x1b[B" if down > 0 else "\x1b[A")
        terminal.wait_idle(0.2)
    choose(terminal, "\r")


@both
def test_typed_glm_47(seat: Seat, running_mission: Mission) -> None:
    """`/model glm-4.7` as the very first thing of a session that began with another model."""
    with seat.open("--model", "opus") as terminal:
        switch(terminal, "glm-4.7")
        asked = ask(terminal, running_mission, "word")
        assert (asked.upstream, asked.model) == ("zai", "glm-4.7")
        assert leave(terminal) == 0


@pytest.fixture(scope="module")
def keyless_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission in whose shell only ZAI_API_KEY is set; its gateway is not started yet."""
    for mission in start_mission(tmp_path_factory.mktemp("keyless")):
        mission.user.keys = {"ZAI_API_KEY": "zai-own"}
        yield mission


@both
def test_a_model_without_its_key_is_not_in_the_menu(
    client: Fetch, keyless_mission: Mission, tmp_path: Path
) -> None:
    """Models whose key is not set are not listed, a role that one of them has goes to the default
    model, and a typed name of one is refused in the client's words.
    """
    mission = keyless_mission
    seat = take_seat(mission, client(), tmp_path)
    with seat.open() as terminal:
        rows = open_menu(terminal)
        labels = {row.label.partition(" · ")[0] for row in rows}
        assert labels == {"Default (recommended)", GLM.label, "GLM-4.7", "GLM-4.5 Air"}
        assert not any("Qwen" in str(row) or "Anthropic" in str(row) for row in rows)
        choose(terminal, "1")
        asked = ask(terminal, mission, "word-default")
        assert (asked.upstream, asked.model) == ("zai", "glm-4.7")
        type_command(terminal, "/model qwen")
        terminal.wait_for(refusal(seat, "qwen"))
        assert leave(terminal) == 0
    assert mission.mine.requests == []
    assert mission.anthropic.requests == []
