"""What the real Claude Code does about an error of a provider: the same through the gateway as on
its own.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission
from tests.seat import Seat, conversation, take_seat
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("client-errors"), pytest.mark.timeout(900)]

MODEL = "glm-4.7"
TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
FAULTS = {
    "a prompt that is too long": Behaviour(status=400, error=TOO_LONG),
    "a request that is too large": Behaviour(status=413, error="Request exceeds the maximum size"),
    "overloaded": Behaviour(status=529, error="Overloaded", times=2),
    "a rate limit": Behaviour(status=429, error="slowly", times=1),
    "a model that is not there": Behaviour(status=404, error="model: glm-4.7"),
}


OPENAIS_WORDS = "This model's maximum context length is 8192 tokens."


@dataclass(frozen=True)
class Outcome:
    """What a client has said, and how often it has asked."""

    code: int
    said: str
    asked: int


def run(seat: Seat, mission: Mission, *arguments: str, alone: bool) -> Outcome:
    """`claude-multi …`, or the client at the same upstream without the gateway; on its screen a
    number that is about something is nothing to compare.
    """
    own = {
        "ANTHROPIC_BASE_URL": f"{mission.zai.url}/api/anthropic",
        "ANTHROPIC_AUTH_TOKEN": "z",
    }
    done = subprocess.run(
        [seat.claude if alone else "claude-multi", *arguments],
        env={**seat.env, **own} if alone else seat.env,
        cwd=seat.project,
        input="",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    asked = len([*conversation(mission.upstreams)])
    return Outcome(done.returncode, re.sub(r"~\d+", "~", done.stdout.strip()), asked)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_client_does_what_it_does_alone(
    fault: Behaviour, running_mission: Mission, tmp_path: Path
) -> None:
    """It says the same, and has asked as often, whether it asks again or gives up."""
    found = []
    for alone in (True, False):
        seat = take_seat(running_mission, clients.newest(), tmp_path / str(alone))
        running_mission.zai.behave(fault, MODEL)
        try:
            asked = ("--model", MODEL, "-p", "say it")
            found.append(run(seat, running_mission, *asked, alone=alone))
        finally:
            running_mission.zai.behave(Behaviour(), MODEL)
    assert found[0] == found[1]
    assert found[0].asked == (fault.times or 0) + 1 or found[0].code == 1


@pytest.mark.parametrize(
    ("model", "words", "alone"),
    [(MODEL, TOO_LONG, True), (MODEL, TOO_LONG, False), ("qwen", OPENAIS_WORDS, False)],
    ids=["alone", "through the gateway", "translated"],
)
def test_a_conversation_that_is_too_long_is_compacted(
    model: str, words: str, alone: bool, running_mission: Mission, tmp_path: Path
) -> None:
    """By the client itself, which then goes on; also where OpenAI's dialect has other words."""
    seat = take_seat(running_mission, clients.newest(), tmp_path)
    for turn in range(3):
        more = ["--continue"] if turn else []
        run(seat, running_mission, "--model", model, *more, "-p", "word " * 300, alone=alone)
    upstream = running_mission.mine if model == "qwen" else running_mission.zai
    upstream.clear()
    id_at_upstream = "qwen3" if model == "qwen" else MODEL
    upstream.behave(Behaviour(status=400, error=words, times=1), id_at_upstream)
    done = run(seat, running_mission, "--model", model, "--continue", "-p", "on", alone=alone)
    assert (done.code, done.said) == (0, f"I am {id_at_upstream} at {upstream.name}")
    lengths = [len(request.body["messages"]) for request in upstream.requests if request.body]
    assert len(lengths) > 2  # the summaries, and the question once more
    assert lengths[-1] < lengths[0]
