"""Sessions of the real Claude Code through the gateway: without a terminal, and everything that
the client asks for by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmswitch.ledger import CLIENT_LEFT
from tests import clients
from tests.conftest import Mission, start_mission
from tests.ready_made import NAMES, OPUS, SONNET
from tests.seat import (
    Seat,
    answers_since,
    ask,
    asked_of,
    choose,
    conversation,
    leave,
    newest_row,
    open_menu,
    switch,
    take_seat,
    wait_for_request,
)
from tests.terminal import Terminal, type_command
from tests.upstream import CLASSIFIER, Behaviour, Request, Tool

pytestmark = [pytest.mark.xdist_group("client-sessions"), pytest.mark.timeout(900)]

Fetch = Callable[[], Path]
both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
MODELS = {
    "anthropic": {OPUS.model.id, SONNET.model.id},
    "zai": {"glm-4.7", "GLM-4.5-Air"},
    "mine": {"qwen3"},
}
"""What each upstream may be asked for."""


@pytest.fixture(scope="module")
def a_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission with a model that the newest client takes for one that has auto mode."""
    for mission in start_mission(tmp_path_factory.mktemp("mission")):
        profile = mission.write()
        text = profile.read_text().replace(
            "label: Qwen3", "label: Qwen3, behaves_as: claude-opus-4-8"
        )
        profile.write_text(text)
        yield mission


@pytest.fixture
def seat(client: Fetch, a_mission: Mission, tmp_path: Path) -> Seat:
    """A seat with the client of the test."""
    return take_seat(a_mission, client(), tmp_path)


@both
def test_print_mode(seat: Seat, a_mission: Mission) -> None:
    """`-p` answers on stdout and says nothing on stderr: with a prompt, with one on stdin, as JSON;
    `--continue` and `--resume` go on with the same conversation.
    """
    first = seat.run("--model", "glm-4.7", "-p", "word-one")
    assert (first.stdout, first.returncode) == ("I am glm-4.7 at zai\n", 0)
    piped = seat.run("--model", "qwen", "-p", stdin="word-two\nand its second line")
    assert (piped.stdout, piped.stderr, piped.returncode) == ("I am qwen3 at mine\n", "", 0)
    assert "and its second line" in str(wait_for_request(a_mission, "word-two").body["messages"])

    done = seat.run("-p", "--output-format", "json", "word-three")
    told = json.loads(done.stdout)
    assert (told["result"], told["is_error"], done.stderr) == ("I am glm-4.7 at zai", False, "")
    assert wait_for_request(a_mission, "word-three").session == told["session_id"]

    assert seat.run("--continue", "-p", "word-four").stdout == "I am glm-4.7 at zai\n"
    four = wait_for_request(a_mission, "word-four")
    assert four.session == told["session_id"]
    assert "word-three" in str(four.body["messages"])
    assert "word-one" not in str(four.body["messages"])
    resumed = seat.run("--resume", told["session_id"], "--model", "opus", "-p", "word-five")
    assert resumed.stdout == f"I am {OPUS.model.id} at anthropic\n"
    five = wait_for_request(a_mission, "word-five")
    assert five.session == told["session_id"]
    assert "word-four" in str(five.body["messages"])


@both
def test_the_users_own_settings_are_kept(seat: Seat, a_mission: Mission, tmp_path: Path) -> None:
    """What `--settings` says, as JSON or as a file, holds in the session (a variable, a
    permission), but for what makes it go to the gateway.
    """
    theirs = {
        "env": {"OWN": "kept", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"},
        "permissions": {"allow": ["Bash(printenv:*)"]},
        "model": "users-model",
        "availableModels": ["haiku"],
    }
    file = tmp_path / "my settings.json"
    file.write_text(json.dumps(theirs))
    tool = Tool("Bash", {"command": "printenv OWN ANTHROPIC_BASE_URL", "description": "say"})
    a_mission.zai.behave(Behaviour(tool=tool), "glm-4.7")
    try:
        for given in (["--settings", json.dumps(theirs)], [f"--settings={file}"]):
            done = seat.run(*given, "-p", "use it")
            assert f"the tool said: kept\n{a_mission.url}" in done.stdout, done
    finally:
        a_mission.zai.behave(Behaviour(), "glm-4.7")
    assert json.loads(file.read_text()) == theirs


@both
def test_an_unknown_model_is_refused(seat: Seat, a_mission: Mission) -> None:
    """`--model` with a name that the profile does not have fails with a sentence, and no other
    model answers in its place.
    """
    done = seat.run("--model", "nosuch", "-p", "word")
    assert done.returncode == 1
    if seat.claude == clients.oldest():
        assert done.stderr == (
            f"the profile has no model 'nosuch'; it has: {', '.join(NAMES)}\n-> --model opus\n"
        )
        assert done.stdout == ""
    else:
        assert done.stdout.startswith("There's an issue with the selected model (nosuch).")
    assert not list(conversation(a_mission.upstreams))


@both
def test_subagents_are_served(seat: Seat, a_mission: Mission) -> None:
    """Agents that the session starts, of the built-in type Explore and with a model of their own,
    are asked of models of the profile, whatever the user set for agents elsewhere, and the session
    gets their answers.
    """
    seat.more["CLAUDE_CODE_SUBAGENT_MODEL"] = "users-model"
    assert seat.run("-p", "word").returncode == 0
    before = newest_row(a_mission)
    offered = wait_for_request(a_mission, "word").body["tools"]
    agent = next(tool for tool in offered if tool["name"] in {"Agent", "Task"})
    properties = agent["input_schema"]["properties"]
    assert {"haiku", "opus", "sonnet"} <= set(properties["model"]["enum"])
    waits = {"run_in_background": False} if "run_in_background" in properties else {}
    spawned = {
        ("Explore", None): r"I am (glm-4\.7|GLM-4\.5-Air) at zai",
        ("general-purpose", "haiku"): "I am GLM-4.5-Air at zai",
        ("general-purpose", "opus"): f"I am {OPUS.model.id} at anthropic",
    }
    for (kind, model), answer in spawned.items():
        order = {"description": "look", "prompt": "task", "subagent_type": kind, **waits}
        order |= {"model": model} if model else {}
        a_mission.zai.behave(Behaviour(tool=Tool(agent["name"], order)), "glm-4.7")
        try:
            done = seat.run("-p", f"word-{kind}-{model}")
        finally:
            a_mission.zai.behave(Behaviour(), "glm-4.7")
        assert done.stdout.startswith("I am glm-4.7 at zai and the tool said:"), done
        said = done.stdout.partition("the tool said:")[2]
        assert re.search(answer, said), f"{kind} with {model}: {said}"
    assert_all_served(a_mission, before)


def assert_all_served(mission: Mission, before: int) -> None:
    """Every request since then had a name of the profile, and was answered or given up by the
    client.
    """
    answers = answers_since(mission, before)
    assert answers
    assert [each for each in answers if each[1] not in (200, CLIENT_LEFT)] == []
    for upstream in mission.upstreams:
        asked = {request.body["model"] for request in upstream.requests if request.body}
        assert asked <= MODELS[upstream.name]


@both
def test_what_the_client_asks_by_itself_is_served(seat: Seat, a_mission: Mission) -> None:
    """Titles, /compact, plan mode, the classifier of auto mode and the counting of /context: every
    request has a name of the profile and gets 200, and the small ones go to the haiku role.
    """
    a_mission.user.run("up")
    before = newest_row(a_mission)
    with seat.open() as terminal:
        for text in ("please do a lot of work on the parser", "and then the lexer too"):
            ask(terminal, a_mission, text)
        titles = [
            asked_of(up, r) for up in a_mission.upstreams for r in small_requests(up.requests)
        ]
        assert {title.model for title in titles} == {"GLM-4.5-Air"}
        type_command(terminal, "/compact")
        terminal.wait_for(re.compile("⎿ .*Compacted"))
        enter_mode(terminal, "plan mode on")
        planned = ask(terminal, a_mission, "word-plan")
        assert (planned.upstream, planned.model) == ("zai", "glm-4.7")
        switch(terminal, "qwen")
        enter_mode(terminal, "auto mode on")
        for upstream in a_mission.upstreams:
            upstream.clear()
        made = seat.project / "made in auto mode"
        tool = Tool("Bash", {"command": f"sh -c 'echo x > \"{made}\"'", "description": "make"})
        a_mission.mine.behave(Behaviour(tool=tool), "qwen3")
        try:
            type_command(terminal, "word-auto")
            terminal.wait_for("and the tool said:")
        finally:
            a_mission.mine.behave(Behaviour(), "qwen3")
        assert made.read_text() == "x\n"
        judged = [
            asked_of(up, request)
            for up in a_mission.upstreams
            for request in up.requests
            if CLASSIFIER in str(request.body)
        ]
        assert judged, "no classifier was asked"
        type_command(terminal, "/context")
        terminal.wait_for(re.compile("Context [Uu]sage"))
        assert leave(terminal) == 0
    assert_all_served(a_mission, before)


def small_requests(requests: list[Request]) -> list[Request]:
    """The recorded requests that offer no tools."""
    return [request for request in requests if request.body and not request.body.get("tools")]


WINDOWS = """models:
  two: {model: mine/two, label: Two, context: 200000}
  big: {model: mine/big, label: Big, context: 1000000}
  small: {model: mine/small, label: Small, context: 64000}
  native: {model: anthropic/claude-sonnet-4-5-20250929, label: Native}
  claude-sonnet-4-5-20250929: anthropic/claude-opus-4-5-20251101
roles: {default: two}
"""


@pytest.fixture(scope="module")
def windows_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose models have context windows of many sizes."""
    for mission in start_mission(tmp_path_factory.mktemp("windows")):
        providers = mission.write().read_text().partition("providers:")[2]
        mission.user.write_profile(f"{WINDOWS}providers:{providers}")
        yield mission


def window(terminal: Terminal) -> str:
    """The size of the context window, as `/context` shows it."""
    type_command(terminal, "/context")
    found = re.compile(r"[\d.]+k?/([\d.]+[km]) tokens")
    shown: str = found.findall(terminal.wait_for(found, 60))[-1]
    type_command(terminal, "/clear")
    terminal.wait_gone(found)
    return shown


def test_context_windows(windows_mission: Mission, tmp_path: Path) -> None:
    """On 2.1.332 `/context` shows each model's own window: a million (also of a name after
    `--model`), 64k, 200k; and with a model of 128k in the menu the session is limited to that.
    """
    seat = take_seat(windows_mission, clients.newest(), tmp_path)
    with seat.open("--model", "big") as terminal:
        assert window(terminal) == "1m"
        found = {}
        for label in ("Small", "Two"):
            row = next(row for row in open_menu(terminal) if row.label == label)
            choose(terminal, str(row.number))
            found[label] = window(terminal)
        assert found == {"Small": "64k", "Two": "200k"}
        assert "recognized" not in terminal.text()
        asked = ask(terminal, windows_mission, "word")
        assert (asked.upstream, asked.model) == ("mine", "two")
        assert leave(terminal) == 0
    profile = windows_mission.user.root / "llmswitch" / "profiles" / "work.yaml"
    middle = "  mid: {model: mine/mid, label: Mid, context: 128000}\nroles:"
    profile.write_text(profile.read_text().replace("roles:", middle))
    with seat.open("--model", "native") as terminal:
        assert window(terminal) == "128k"
        assert leave(terminal) == 0


@both
def test_a_model_that_is_named_like_a_claude_model(
    client: Fetch, windows_mission: Mission, tmp_path: Path
) -> None:
    """A name of the profile that is the id of a Claude model means what the profile says, also
    where the user's own settings send that id to another provider's model.
    """
    name = "claude-sonnet-4-5-20250929"
    overrides = {"modelOverrides": {name: "users-model", "claude-opus-4-5": "users-model"}}
    seat = take_seat(windows_mission, client(), tmp_path, overrides)
    done = seat.run("--model", name, "-p", "word")
    assert done.stdout == "I am claude-opus-4-5-20251101 at anthropic\n", done


def enter_mode(terminal: Terminal, name: str) -> None:
    """Press Shift-Tab until the line below the box names the mode."""
    for _ in range(6):
        if name in terminal.wait_idle(0.4).splitlines()[-1]:
            return
        terminal.send("\x1b[Z")
    raise AssertionError(f"{name} was not reached:\n{terminal.text()}")
