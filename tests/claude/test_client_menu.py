"""The `/model` menu of the real Claude Code with the mission's profile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmswitch.profile.providers import catalogue_data
from tests import clients
from tests.conftest import Mission, free_port, make_user
from tests.gateways import NO_WAY_OUT, Gateway
from tests.profile.test_catalogue import PROVIDERS
from tests.ready_made import GLM, OPUS, SONNET
from tests.seat import ask, bring, choose, leave, open_menu, pick, switch, take_seat
from tests.terminal import INPUT_BOX, MenuRow, Terminal, menu_rows, type_command
from tests.upstream import FakeUpstream

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


def not_recognized(terminal: Terminal) -> bool:
    """Whether the client says of any model that it does not know it."""
    return "recognized" in terminal.text() or "assumed to be" in terminal.text()


def test_the_menu_is_default_and_the_profile(running_mission: Mission, tmp_path: Path) -> None:
    """On 2.1.332 it is Default and exactly the profile's rows, each with provider, context window
    and price beside its label. Each row, picked by its number in one session, is served by its own
    provider and model, in a form that it understands; so are a row picked with the arrows and
    Enter, and a typed name. A name that is not in the profile leaves the model as it is.
    """
    seat = take_seat(running_mission, clients.newest(), tmp_path)
    default = "Default (recommended)"
    with seat.open("--model", "opus") as terminal:
        terminal.wait_for(INPUT_BOX)
        switch(terminal, "glm-4.7")  # as the very first thing
        first = ask(terminal, running_mission, "word-start")
        assert (first.upstream, first.model) == ("zai", "glm-4.7")
        rows = open_menu(terminal)
        now = "Use the default model (currently GLM-4.7) · Set by ANTHROPIC_DEFAULT_MODEL"
        assert [(row.number, row.label, row.description) for row in rows] == [
            (1, default, now),
            *((n, label, row[0]) for n, (label, row) in enumerate(ROWS.items(), start=2)),
        ]
        assert [row.label for row in rows if row.current] == ["GLM-4.7"]
        choose(terminal, "\x1b")
        sessions = {first.session}
        served = {label: row[1:] for label, row in ROWS.items()} | {default: ("zai", "glm-4.7")}
        for turn, (label, (upstream, model)) in enumerate(served.items()):
            pick(terminal, label)
            asked = ask(terminal, running_mission, f"word-{turn}")
            assert (asked.upstream, asked.model) == (upstream, model), label
            assert "word-start" in str(asked.body["messages"]), f"{label}: another session"
            sessions.add(asked.session)
            if upstream != "anthropic":  # what every host understands
                assert (asked.body.get("thinking") or {}).get("type") != "adaptive", label
                roles = {message["role"] for message in asked.body["messages"]}
                assert upstream == "mine" or roles == {"user", "assistant"}, label
        assert sessions == {first.session, None}, (
            "None is the provider that is not told the session"
        )
        cursor = next(row.number for row in open_menu(terminal) if row.selected)
        for _ in range(abs(cursor - 3)):
            terminal.send("\x1b[B" if cursor < 3 else "\x1b[A")
            terminal.wait_idle(0.2)
        choose(terminal, "\r")
        assert ask(terminal, running_mission, "word-enter").model == SONNET.model.id
        switch(terminal, "glm-4.5")
        type_command(terminal, "/model nosuch")
        terminal.wait_for("Model 'nosuch' not found")
        still = ask(terminal, running_mission, "word-still")
        assert (still.upstream, still.model) == ("zai", "GLM-4.5-Air")
        assert not not_recognized(terminal)
        assert leave(terminal) == 0


def window(terminal: Terminal) -> str:
    """The size of the context window, as `/context` shows it."""
    type_command(terminal, "/context")
    found = re.compile(r"[\d.]+k?/([\d.]+[km]) tokens")
    shown: str = found.findall(terminal.wait_for(found, 60))[-1]
    type_command(terminal, "/clear")
    terminal.wait_gone(found)
    return shown


CLAUDES = "claude-sonnet-4-5-20250929"
WINDOWS = f"""\
  big: {{model: mine/big, label: Big, context: 1000000}}
  small: {{model: mine/small, label: Small, context: 64000}}
  {CLAUDES}: anthropic/claude-opus-4-5-20251101
roles:"""


def test_context_windows(one_mission: Mission, tmp_path: Path) -> None:
    """On 2.1.332 `/context` shows each model's own window: a million (also of a name after
    `--model`), 64k, 200k; with a model of 128k in the menu the session is limited to that. A name
    of the profile that is a Claude model's means what the profile says, also where the user's own
    settings send that id to another provider's model.
    """
    air = ("    model: zai/GLM-4.5-Air\n", "    model: zai/GLM-4.5-Air\n    context: 200000\n")
    bring(one_mission, ("roles:", WINDOWS), air)
    overrides = {"modelOverrides": {CLAUDES: "users-model", "claude-opus-4-5": "users-model"}}
    seat = take_seat(one_mission, clients.newest(), tmp_path, overrides)
    with seat.open("--model", "big") as terminal:
        found = {"Big": window(terminal)}
        for label in ("Small", "GLM-4.7"):
            pick(terminal, label)
            found[label] = window(terminal)
        assert found == {"Big": "1m", "Small": "64k", "GLM-4.7": "200k"}
        assert not not_recognized(terminal)
        assert leave(terminal) == 0
    done = seat.run("--model", CLAUDES, "-p", "word")
    assert done.stdout == "I am claude-opus-4-5-20251101 at anthropic\n", done
    bring(one_mission, ("roles:", WINDOWS))
    with seat.open("--model", "glm-4.7") as terminal:
        assert window(terminal) == "128k"
        assert leave(terminal) == 0


OLDEST = [
    ("Default (recommended)", "Use the default model (currently opus[1m]) · $5/$25 per Mtok"),
    ("GLM-4.7", ROWS["GLM-4.7"][0]),
    (OPUS.label, OPUS.description),
    (SONNET.label, SONNET.description),
    ("GLM-4.5 Air", ROWS["GLM-4.5 Air"][0]),
    (GLM.label, GLM.description),
]


def test_the_oldest_client_reaches_every_model(running_mission: Mission, tmp_path: Path) -> None:
    """2.1.197 has a row for the model of each role and one more, each served by its own model; what
    has no row is told with the way to it, and is reached by its name.
    """
    seat = take_seat(running_mission, clients.oldest(), tmp_path)
    with seat.open() as terminal:
        terminal.wait_for(INPUT_BOX)
        assert (
            "llmswitch: Claude Code 2.1.197 does not list qwen in /model; type /model qwen, or get "
            "2.1.242 or newer, which lists them: claude update"
        ) in " ".join(terminal.text().split("\n"))
        rows = open_menu(terminal)
        assert sorted((row.label, row.description) for row in rows) == sorted(OLDEST)
        choose(terminal, "\x1b")
        for turn, row in enumerate(rows[1:]):
            pick(terminal, row.label)
            asked = ask(terminal, running_mission, f"word-{turn}")
            assert (asked.upstream, asked.model) == ROWS[row.label][1:], row.label
        switch(terminal, "qwen")
        assert ask(terminal, running_mission, "word-typed").model == "qwen3"
        type_command(terminal, "/model nosuch")
        terminal.wait_for("Model 'nosuch' not found")
        assert leave(terminal) == 0
    assert seat.run("--model", "qwen", "-p", "word").stdout == "I am qwen3 at mine\n"


KNOWN = [
    f"{name}/{one['id'] if isinstance(one, dict) else one}"
    for name in PROVIDERS
    for one in catalogue_data()[name].get("models", ())[:3]
]
LOCAL = ["ollama/qwen3", "lm-studio/loaded", "llama.cpp/loaded", "vllm/served"]
UNKNOWN = [f"openrouter/vendor/model-{number}" for number in range(39 - len(KNOWN) - len(LOCAL))]
TARGETS = [*KNOWN, *LOCAL, *UNKNOWN, "last/of-forty"]
NAMES = [f"m{number}-{target.rpartition('/')[2]}" for number, target in enumerate(TARGETS)]
LABELS = [f"llmswitch-{number}" for number in range(40)]


@pytest.fixture
def forty(tmp_path: Path) -> Iterator[Mission]:
    """A gateway that runs with a profile of forty models over all the providers of the
    catalogue that need no cloud; the last model is one that can be asked.
    """
    user = make_user(tmp_path / "forty")
    keys = {data["key"]: "own" for data in catalogue_data().values() if data["key"]}
    user.keys = NO_WAY_OUT | keys
    with FakeUpstream("last") as last:
        mission = Mission(user, last, last, last, free_port())
        models = zip(NAMES, TARGETS, LABELS, strict=True)
        profile = {
            "models": {name: {"model": to, "label": label} for name, to, label in models},
            "providers": {"last": {"dialect": "chat", "base_url": f"{last.url}/v1", "key": None}},
            "gateway": {"port": mission.port},
        }
        user.write_profile(yaml.safe_dump(profile, sort_keys=False))
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission
        user.run("down")
        user.stop_everything()


@pytest.mark.soak
def test_forty_models(forty: Mission, tmp_path: Path) -> None:
    """`status`, GET /v1/models and the menu have every model of the profile in its order, none
    twice; the last one can be picked and answers.
    """
    assert len({target.partition("/")[0] for target in TARGETS}) > 12
    rows = forty.user.json("status")["models"]
    assert [row["name"] for row in rows if row["available"]] == NAMES
    answer = Gateway(forty.url, forty.user.gateway_key()).send("GET", "/v1/models").json()
    assert [row["id"] for row in answer["data"]] == NAMES
    seat = take_seat(forty, clients.newest(), tmp_path)
    with seat.open() as terminal:
        open_menu(terminal)
        assert [row.label for row in walk(terminal)] == ["Default (recommended)", *LABELS]
        while not any(row.selected and row.label == LABELS[-1] for row in shown(terminal)):
            terminal.send("\x1b[B")
        choose(terminal, "\r")
        assert ask(terminal, forty, "the last of forty").model == "of-forty"
        assert leave(terminal) == 0


def shown(terminal: Terminal) -> list[MenuRow]:
    """The rows that the open menu shows: ten at a time."""
    return menu_rows(terminal.wait_idle(0.2))


def walk(terminal: Terminal) -> list[MenuRow]:
    """Every row of the open menu, which scrolls with the arrows."""
    found: dict[int, MenuRow] = {}
    while True:
        rows = shown(terminal)
        if rows[-1].number in found and any(row.selected and row.number == 1 for row in rows):
            return [found[number] for number in sorted(found)]
        found |= {row.number: row for row in rows}
        terminal.send("\x1b[B")
