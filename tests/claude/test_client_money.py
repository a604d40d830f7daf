"""What the real Claude Code makes of money: a spent budget, what a session cost, whose it was."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import clients
from tests.conftest import Mission, start_mission
from tests.gateways import wait_for
from tests.ready_made import OPUS
from tests.seat import Seat, ask, leave, switch, take_seat, wait_for_request
from tests.terminal import type_command
from tests.upstream import Behaviour, Tool, Usage

pytestmark = [pytest.mark.xdist_group("client-money"), pytest.mark.timeout(900)]

Fetch = Callable[[], Path]
both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
AT_ONCE = 60.0
"""Seconds. A refusal that the client takes for passing is tried ten times, for three minutes."""
SPENT = (
    r"API Error: Request rejected \(429\) · llmswitch: budget total/day: \$2\.20 of \$0\.01 spent, "
    r"until \d{4}-\d\d-\d\d 00:00; or: llmswitch budget raise total/day USD --profile work"
)


def rows(mission: Mission, session: str, number: int) -> list[dict[str, Any]]:
    """The session's rows in the ledger, once there are so many."""
    found: list[dict[str, Any]] = []

    def read() -> bool:
        with closing(sqlite3.connect(mission.user.state / "ledger" / "work.db")) as ledger:
            ledger.row_factory = sqlite3.Row
            selected = ledger.execute(
                "SELECT * FROM tries WHERE session = ? ORDER BY id", (session,)
            )
            found[:] = [dict(row) for row in selected]
        return len(found) >= number

    wait_for(read)
    return found


@pytest.fixture(scope="module")
def spent_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose budget is spent by its first answer."""
    for mission in start_mission(tmp_path_factory.mktemp("spent")):
        mission.write("budgets: [{usd: 0.01, per: day}]\n")
        mission.zai.behave(Behaviour(usage=Usage(0, 1_000_000)), "glm-4.7")
        seat = take_seat(mission, clients.newest(), tmp_path_factory.mktemp("spender") / "seat")
        assert seat.run("-p", "word").stdout == "I am glm-4.7 at zai\n"
        yield mission


@both
def test_a_spent_budget_is_told_at_once(
    client: Fetch, spent_mission: Mission, tmp_path: Path
) -> None:
    """Which budget, how much, until when and the cure stand on the screen within seconds, with `-p`
    and in a session, and no upstream is asked.
    """
    seat = take_seat(spent_mission, client(), tmp_path)
    began = time.monotonic()
    done = seat.run("-p", "word")
    assert time.monotonic() - began < AT_ONCE
    assert done.returncode == 1
    assert re.fullmatch(SPENT, done.stdout.strip()), done
    with seat.open() as terminal:
        type_command(terminal, "word")
        shown = terminal.wait_for("budget raise", timeout=AT_ONCE)
        assert re.search(SPENT, " ".join(shown.split())), shown
        assert leave(terminal) == 0
    assert not [each for each in spent_mission.upstreams if each.requests]


@pytest.fixture
def seat(client: Fetch, running_mission: Mission, tmp_path: Path) -> Seat:
    """A seat with the client of the test."""
    return take_seat(running_mission, client(), tmp_path)


@both
def test_the_ledger_tells_sessions_and_agents_apart(seat: Seat, running_mission: Mission) -> None:
    """All rows of one session carry the id that the client calls it by, and only those of its
    subagent that agent's.
    """
    seat.run("-p", "word")
    offered = wait_for_request(running_mission, "word").body["tools"]
    agent = next(tool for tool in offered if tool["name"] in {"Agent", "Task"})
    waits = {"run_in_background": False} if "run_in_background" in str(agent) else {}
    order = {"description": "look", "prompt": "task", "subagent_type": "general-purpose"}
    tool = Tool(agent["name"], {**order, "model": "haiku", **waits})
    running_mission.zai.behave(Behaviour(tool=tool), "glm-4.7")
    try:
        done = seat.run("-p", "word-two", "--output-format", "json")
    finally:
        running_mission.zai.behave(Behaviour(), "glm-4.7")
    told = json.loads(done.stdout)
    assert "I am GLM-4.5-Air at zai" in told["result"]
    found = rows(running_mission, told["session_id"], 3)
    of_agent = [row for row in found if row["agent"]]
    assert {row["model"] for row in of_agent} == {"glm-4.5"}
    assert len({row["agent"] for row in of_agent}) == 1
    assert {row["model"] for row in found if not row["agent"]} == {"glm-4.7"}


USED = Usage(41_234, 20_345, 10_456, 5_567)


@pytest.fixture
def dear(running_mission: Mission) -> Iterator[Mission]:
    """The mission with answers whose every kind of token costs something."""
    models = [
        (running_mission.zai, "glm-4.7"),
        (running_mission.zai, "GLM-4.5-Air"),
        (running_mission.anthropic, OPUS.model.id),
    ]
    for upstream, model in models:
        upstream.behave(Behaviour(usage=USED), model)
    yield running_mission
    for upstream, model in models:
        upstream.behave(Behaviour(), model)


@pytest.mark.parametrize("model", ["glm-4.7", "glm-4.5", "opus"])
def test_the_client_says_what_the_ledger_says(dear: Mission, tmp_path: Path, model: str) -> None:
    """On 2.1.332 the cost of a session with `-p` is that of its rows in the ledger, to the cent:
    input, output, and what the provider's cache read and wrote.
    """
    seat = take_seat(dear, clients.newest(), tmp_path)
    done = seat.run("--model", model, "-p", "word", "--output-format", "json")
    told = json.loads(done.stdout)
    cost = sum(row["cost"] for row in rows(dear, told["session_id"], 1))
    assert cost > 0.03
    assert round(told["total_cost_usd"], 2) == round(cost, 2)


STATUS_LINE = """#!/bin/sh
sed 's/.*"total_cost_usd":\\([0-9.]*\\).*/so far \\1 USD/'
"""


def test_cost_and_status_line_agree_with_the_ledger(dear: Mission, tmp_path: Path) -> None:
    """On 2.1.332 with LLMSWITCH_CLIENT_PRICES=1, in a session that has asked models of two
    providers, and what the client asks by itself: `/cost` and the user's status line.
    """
    script = tmp_path / "status-line"
    script.write_text(STATUS_LINE)
    script.chmod(0o755)
    settings = {"statusLine": {"type": "command", "command": str(script)}}
    seat = take_seat(dear, clients.newest(), tmp_path / "seat", settings)
    seat.more["LLMSWITCH_CLIENT_PRICES"] = "1"
    with seat.open() as terminal:
        session = ask(terminal, dear, "word-one").session
        assert session
        switch(terminal, "opus")
        ask(terminal, dear, "word-two")
        terminal.wait_idle(2)
        cost = sum(row["cost"] for row in rows(dear, session, 2))
        shown = re.search(r"so far ([\d.]+) USD", terminal.text())
        assert shown, terminal.text()
        assert round(float(shown.group(1)), 2) == round(cost, 2)
        type_command(terminal, "/cost")
        said = re.compile(r"Estimated cost:\s+\$([\d.]+)")
        told = said.search(terminal.wait_for(said))
        assert told
        assert float(told.group(1)) == round(cost, 2)
        terminal.send("\x1b")
        assert leave(terminal) == 0
