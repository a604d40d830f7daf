"""What the real Claude Code does about an error of a provider: the same through the gateway as on
its own.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission
from tests.seat import Seat, conversation, take_seat
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("client-errors"), pytest.mark.timeout(900)]

MODEL = "glm-4.7"
TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
OPENAIS_WORDS = "This model's maximum context length is 8192 tokens."
FAULTS = {
    "a prompt that is too long": Behaviour(status=400, error=TOO_LONG),
    "a request that is too large": Behaviour(status=413, error="Request exceeds the maximum size"),
    "overloaded": Behaviour(status=529, error="Overloaded", times=2),
    "a rate limit": Behaviour(status=429, error="slowly", times=1),
    "a model that is not there": Behaviour(status=404, error="model: glm-4.7"),
}


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Exit code and output, without a number that is about something."""
    return done.returncode, re.sub(r"~\d+", "~", done.stdout.strip())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_client_does_what_it_does_alone(
    fault: Behaviour, running_mission: Mission, tmp_path: Path
) -> None:
    """It says the same, and has asked as often, whether it asks again or gives up."""
    zai = running_mission.zai
    own = {"ANTHROPIC_BASE_URL": f"{zai.url}/api/anthropic", "ANTHROPIC_AUTH_TOKEN": "z"}
    asking = ("--model", MODEL, "-p", "say it")
    found = []
    for alone in (True, False):
        seat = take_seat(running_mission, clients.newest(), tmp_path / str(alone))
        zai.behave(fault, MODEL)
        done = seat.run_plain(own, *asking) if alone else seat.run(*asking)
        found.append((said(done), len([*conversation([zai])])))
    assert found[0] == found[1]
    ((code, _), asked), _ = found
    assert asked == (fault.times or 0) + 1 or code == 1


@pytest.mark.parametrize(
    ("model", "words"), [(MODEL, TOO_LONG), ("qwen", OPENAIS_WORDS)], ids=["messages", "translated"]
)
def test_a_conversation_that_is_too_long_is_compacted(
    model: str, words: str, running_mission: Mission, tmp_path: Path
) -> None:
    """By the client itself, which then goes on; also where OpenAI's dialect has other words."""
    seat: Seat = take_seat(running_mission, clients.newest(), tmp_path)
    for turn in range(2):
        seat.run("--model", model, *["--continue"] * turn, "-p", "word " * 300)
    upstream = running_mission.mine if model == "qwen" else running_mission.zai
    upstream.clear()
    id_at_upstream = "qwen3" if model == "qwen" else MODEL
    upstream.behave(Behaviour(status=400, error=words, times=1), id_at_upstream)
    done = seat.run("--model", model, "--continue", "-p", "on")
    assert said(done) == (0, f"I am {id_at_upstream} at {upstream.name}")
    lengths = [len(request.body["messages"]) for request in upstream.requests if request.body]
    assert len(lengths) > 2  # the summaries, and the question once more
    assert lengths[-1] < lengths[0]
