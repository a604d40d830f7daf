"""Sessions of the real Claude Code through the gateway: without a terminal, and everything that
the client asks for by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmswitch.ledger import CLIENT_LEFT
from tests.clients import newest_and_oldest
from tests.conftest import Mission
from tests.gateways import Gateway
from tests.ready_made import OPUS, SONNET
from tests.seat import (
    Seat,
    ask,
    bring,
    conversation,
    leave,
    ledger,
    switch,
    take_seat,
    wait_for_request,
)
from tests.terminal import Terminal, type_command
from tests.upstream import CLASSIFIER, Behaviour, Tool, Usage

pytestmark = [pytest.mark.xdist_group("client-sessions"), pytest.mark.timeout(900)]

MODELS = {
    "anthropic": {OPUS.model.id, SONNET.model.id},
    "zai": {"glm-4.7", "GLM-4.5-Air"},
    "mine": {"qwen3"},
}
"""What each upstream may be asked for."""


@newest_and_oldest
def test_print_mode(seat: Seat, running_mission: Mission) -> None:
    """`-p` answers on stdout and says nothing on stderr: with a prompt, with one on stdin, as JSON;
    `--continue` and `--resume` go on with the same conversation. A name that the profile does not
    have fails with a sentence, and no other model answers in its place.
    """
    first = seat.run("--model", "glm-4.7", "-p", "word-one")
    assert (first.stdout, first.returncode) == ("I am glm-4.7 at zai\n", 0)
    piped = seat.run("--model", "qwen", "-p", stdin="word-two\nand its second line")
    assert (piped.stdout, piped.stderr, piped.returncode) == ("I am qwen3 at mine\n", "", 0)
    assert "and its second line" in str(wait_for_request(running_mission, "word-two").body)

    done = seat.run("-p", "--output-format", "json", "word-three")
    told = json.loads(done.stdout)
    assert (told["result"], told["is_error"], done.stderr) == ("I am glm-4.7 at zai", False, "")
    assert wait_for_request(running_mission, "word-three").session == told["session_id"]

    assert seat.run("--continue", "-p", "word-four").stdout == "I am glm-4.7 at zai\n"
    four = wait_for_request(running_mission, "word-four")
    assert four.session == told["session_id"]
    assert "word-three" in str(four.body["messages"])
    assert "word-one" not in str(four.body["messages"])
    resumed = seat.run("--resume", told["session_id"], "--model", "opus", "-p", "word-five")
    assert resumed.stdout == f"I am {OPUS.model.id} at anthropic\n"
    five = wait_for_request(running_mission, "word-five")
    assert five.session == told["session_id"]
    assert "word-four" in str(five.body["messages"])

    for upstream in running_mission.upstreams:
        upstream.clear()
    done = seat.run("--model", "nosuch", "-p", "word")
    assert done.returncode == 1
    assert done.stdout.startswith("There's an issue with the selected model (nosuch).")
    assert not list(conversation(running_mission.upstreams))


PROVIDERS = {
    "messages": ("glm-4.7", "zai", "glm-4.7"),
    "chat": ("qwen", "mine", "qwen3"),
    "anthropic": ("opus", "anthropic", OPUS.model.id),
}
"""By the dialect of the provider: the name in the profile, the upstream, its model."""


@newest_and_oldest
@pytest.mark.parametrize("dialect", PROVIDERS)
def test_tools_make_the_round_trip(dialect: str, seat: Seat, running_mission: Mission) -> None:
    """A call of Bash and one of Read reach the client whole, are run, and their results reach the
    same model, which then answers; quotes, line ends and non-ASCII text survive both ways.
    """
    name, where, model = PROVIDERS[dialect]
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
        done = seat.run("--model", name, "--allowedTools", "Bash,Read", "-p", "use the tool")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"I am {model} at {where} and the tool said:")
        assert result in done.stdout
        asked = [(request.body or {})["model"] for _, request in conversation([upstream])]
        assert asked == [model, model]
    others = [each for each in running_mission.upstreams if each.name != where]
    assert not list(conversation(others)), "another provider was asked"


@newest_and_oldest
def test_the_users_own_settings_are_kept(
    seat: Seat, running_mission: Mission, tmp_path: Path
) -> None:
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
    running_mission.zai.behave(Behaviour(tool=tool), "glm-4.7")
    for given in (["--settings", json.dumps(theirs)], [f"--settings={file}"]):
        done = seat.run(*given, "-p", "use it")
        assert f"the tool said: kept\n{running_mission.url}" in done.stdout, done
    assert json.loads(file.read_text()) == theirs


@newest_and_oldest
def test_subagents_are_served_and_told_apart(seat: Seat, running_mission: Mission) -> None:
    """Agents that the session starts, of the built-in type Explore and with a model of their own,
    are asked of models of the profile, whatever the user set for agents elsewhere, and the session
    gets their answers. In the ledger all rows carry the session's id, those of an agent its own.
    """
    seat.more["CLAUDE_CODE_SUBAGENT_MODEL"] = "users-model"
    before = len(ledger(running_mission))
    assert seat.run("-p", "word").returncode == 0
    offered = wait_for_request(running_mission, "word").body["tools"]
    agent = next(tool for tool in offered if tool["name"] in {"Agent", "Task"})
    properties = agent["input_schema"]["properties"]
    assert {"haiku", "opus", "sonnet"} <= set(properties["model"]["enum"])
    waits = {"run_in_background": False} if "run_in_background" in properties else {}
    spawned = {
        ("Explore", None): (r"I am (glm-4\.7|GLM-4\.5-Air) at zai", {"glm-4.7", "glm-4.5"}),
        ("general-purpose", "haiku"): ("I am GLM-4.5-Air at zai", {"glm-4.5"}),
        ("general-purpose", "opus"): (f"I am {OPUS.model.id} at anthropic", {"opus"}),
    }
    for (kind, model), (answer, names) in spawned.items():
        order = {"description": "look", "prompt": "task", "subagent_type": kind, **waits}
        order |= {"model": model} if model else {}
        running_mission.zai.behave(Behaviour(tool=Tool(agent["name"], order)), "glm-4.7")
        done = seat.run("-p", f"word-{kind}-{model}", "--output-format", "json")
        told = json.loads(done.stdout)
        assert told["result"].startswith("I am glm-4.7 at zai and the tool said:"), done
        said = told["result"].partition("the tool said:")[2]
        assert re.search(answer, said), f"{kind} with {model}: {said}"
        rows = [r for r in ledger(running_mission) if r["session"] == told["session_id"]]
        of_agent = [row for row in rows if row["agent"]]
        assert len({row["agent"] for row in of_agent}) == 1
        assert {row["model"] for row in of_agent} <= names
        asked = {row["model"] for row in rows if not row["agent"]}
        assert {"glm-4.7"} <= asked <= {"glm-4.7", "glm-4.5"}, "the small one writes a title"
    assert_all_served(running_mission, before)


def assert_all_served(mission: Mission, before: int) -> None:
    """Every request since then had a name of the profile, and was answered or given up by the
    client.
    """
    rows = ledger(mission)[before:]
    assert rows
    assert [row for row in rows if row["status"] not in (200, CLIENT_LEFT)] == []
    for upstream in mission.upstreams:
        asked = {request.body["model"] for request in upstream.requests if request.body}
        assert asked <= MODELS[upstream.name]


def bodies(mission: Mission) -> list[dict[str, Any]]:
    """What the upstreams have been asked."""
    return [one.body for up in mission.upstreams for one in tuple(up.requests) if one.body]


@newest_and_oldest
def test_what_the_client_asks_by_itself_is_served(
    client: Callable[[], Path], one_mission: Mission, tmp_path: Path
) -> None:
    """Titles, /compact, plan mode, the classifier of auto mode and the counting of /context: every
    request has a name of the profile and gets 200, and the small ones go to the haiku role.
    """
    auto = ("label: Qwen3", "label: Qwen3, behaves_as: claude-opus-4-8")  # has auto mode
    mission = bring(one_mission, auto)
    seat = take_seat(mission, client(), tmp_path)
    before = len(ledger(mission))
    with seat.open() as terminal:
        for text in ("please do a lot of work on the parser", "and then the lexer too"):
            ask(terminal, mission, text)
        titles = {body["model"] for body in bodies(mission) if not body.get("tools")}
        assert titles == {"GLM-4.5-Air"}
        type_command(terminal, "/compact")
        terminal.wait_for(re.compile("⎿ .*Compacted"))
        enter_mode(terminal, "plan mode on")
        assert ask(terminal, mission, "word-plan").model == "glm-4.7"
        switch(terminal, "qwen")
        enter_mode(terminal, "auto mode on")
        for upstream in mission.upstreams:
            upstream.clear()
        made = seat.project / "made in auto mode"
        tool = Tool("Bash", {"command": f"sh -c 'echo x > \"{made}\"'", "description": "make"})
        mission.mine.behave(Behaviour(tool=tool), "qwen3")
        type_command(terminal, "word-auto")
        terminal.wait_for("and the tool said:")
        mission.mine.heal()
        assert made.read_text() == "x\n"
        assert any(CLASSIFIER in str(body) for body in bodies(mission)), "no classifier was asked"
        type_command(terminal, "/context")
        terminal.wait_for(re.compile("Context [Uu]sage"))
        assert leave(terminal) == 0
    assert_all_served(mission, before)


def enter_mode(terminal: Terminal, name: str) -> None:
    """Press Shift-Tab until the line below the box names the mode."""
    for _ in range(6):
        if name in terminal.wait_idle(0.4).splitlines()[-1]:
            return
        terminal.send("\x1b[Z")
    raise AssertionError(f"{name} was not reached:\n{terminal.text()}")


SPENT = (
    r"API Error: Request rejected \(429\) · llmswitch: budget total/day: \$\d+\.\d\d of \$0\.01 "
    r"spent, until \d{4}-\d\d-\d\d 00:00; or: llmswitch budget raise total/day USD --profile work"
)


@newest_and_oldest
def test_a_spent_budget_is_told_at_once(
    client: Callable[[], Path], one_mission: Mission, tmp_path: Path
) -> None:
    """Which budget, how much, until when and the cure stand on the screen, with `-p` and in a
    session, and no upstream is asked: what the client took for passing it would try ten times.
    """
    mission = bring(one_mission, extra="budgets: [{usd: 0.01, per: day}]\n")
    mission.zai.behave(Behaviour(usage=Usage(0, 1_000_000)), "glm-4.7")
    Gateway(mission.url, mission.user.gateway_key()).ask("glm-4.7")
    ledger(mission)
    seat = take_seat(mission, client(), tmp_path)
    before = len(ledger(mission))
    done = seat.run("-p", "word")
    assert done.returncode == 1
    assert re.fullmatch(SPENT, done.stdout.strip()), done
    with seat.open() as terminal:
        type_command(terminal, "word")
        shown = terminal.wait_for("budget raise")
        assert re.search(SPENT, " ".join(shown.split())), shown
        assert leave(terminal) == 0
    assert not [each for each in mission.upstreams if each.requests]
    assert {row["status"] for row in ledger(mission)[before:]} == {429}
