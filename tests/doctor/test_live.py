"""`llmswitch doctor --live`: the models that are named are asked, after the user has said yes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from llmswitch.columns import columns
from llmswitch.doctor.live import cost
from tests.clients import newest
from tests.conftest import Mission
from tests.manual import assert_shown
from tests.ready_made import NAMES
from tests.terminal import Terminal
from tests.upstream import Behaviour, Tool, Usage

pytestmark = pytest.mark.timeout(900)

HEALTHY = Behaviour(
    reply="marmalade",
    tool=Tool("read_note", {"name": "todo"}),
    caches=True,
    usage=Usage(input=5000),
)


@pytest.fixture
def live(running: Mission) -> Iterator[Mission]:
    """The mission with models that can do everything."""
    for upstream in running.upstreams:
        upstream.clear()
        upstream.behave(HEALTHY)
    running.zai.behave(HEALTHY, "glm-4.7")
    yield running
    for upstream in running.upstreams:
        upstream.behave(Behaviour())
    running.zai.behave(Behaviour(), "glm-4.7")


def test_every_model(live: Mission) -> None:
    """Without names every model is asked, and the matrix has a row for each."""
    done = live.user.run("doctor", "--live", "--yes")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert re.split(" {2,}", lines[0]) == [
        *("MODEL", "answer", "stream", "tools", "client body", "count", "cache", "A-B-A")
    ]
    assert [line.split()[0] for line in lines[1:7]] == NAMES


def test_named_models(live: Mission) -> None:
    """Only what is named is asked, but for the one that is switched to; an upstream's words are
    shown, and an error is exit code 1.
    """
    live.zai.behave(Behaviour(status=400, error="balance is exhausted"), "glm-4.7")
    done = live.user.run("doctor", "--live", "glm-4.7", "--yes")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "MODEL    answer  stream  tools  client body  count  cache  A-B-A\n"
        "glm-4.7  ERROR   -       -      -            -      -      -\n"
        "\n"
        "glm-4.7, answer: HTTP 400: balance is exhausted\n"
    )
    assert len(live.zai.requests) == 1
    assert not live.anthropic.requests
    found = json.loads(live.user.run("doctor", "--live", "glm-4.7", "--yes", "--json").stdout)
    assert found[0]["model"] == "glm-4.7"
    assert found[0]["checks"][0] == {
        "name": "answer",
        "level": "error",
        "note": "HTTP 400",
        "words": "balance is exhausted",
        "cure": None,
        "seconds": None,
    }


def test_nothing_is_asked_without_a_yes(live: Mission) -> None:
    """What it may cost is said first; without a terminal nobody can agree; `n` ends it."""
    done = live.user.run("doctor", "--live", "glm-4.7", "qwen")
    assert (done.returncode, done.stdout) == (1, "")
    question = "this sends real requests to 2 models, for at most $0.20 and what qwen costs"
    assert done.stderr == f"{question}; stdin is not a terminal\n-> pass --yes\n"
    command = [sys.executable, "-m", "llmswitch", "doctor", "--live", "glm-4.7", "qwen"]
    env = {**live.user.env, "TERM": "xterm"}
    with Terminal(command, env, live.user.home, columns=120) as terminal:
        terminal.wait_for(f"{question}; continue? [y/N]:")
        terminal.send("n\r")
        assert terminal.wait_exit() == 1
        assert "Traceback" not in terminal.text()
    assert not any(upstream.requests for upstream in live.upstreams)


def test_what_cannot_be_asked(live: Mission) -> None:
    """A name that is not served, what needs --live, a profile of other models, no gateway."""

    def refused(*arguments: str) -> tuple[int, str, str]:
        done = live.user.run("doctor", *arguments)
        return done.returncode, done.stdout, done.stderr

    said = f"the gateway serves no model 'nosuch'; it serves: {', '.join(NAMES)}"
    cure = "-> llmswitch doctor --live opus"
    assert refused("--live", "nosuch", "--yes") == (1, "", f"{said}\n{cure}\n")
    code, _, said = refused("glm-4.7")
    assert code == 2
    assert "MODEL, --client and --yes need --live" in said
    up = "-> llmswitch up --profile"
    file = live.user.write_profile("models: {new: ollama/new}\n", "other")
    assert refused("--live", "--yes") == (1, "", f"the gateway is not running\n{up} other\n")
    file.unlink()
    file = live.write()
    file.write_text("models: {new: ollama/new}\n")
    said = "the gateway serves no model of the profile work as it is now"
    assert refused("--live", "--yes") == (1, "", f"{said}\n{up} work\n")
    live.write()


def test_with_the_real_client(live: Mission) -> None:
    """With --client a last column says whether the real `claude -p` does its work with the model,
    and a model that calls no tool is reported.
    """
    env = {"LLMSWITCH_CLAUDE": str(newest())}
    live.zai.behave(replace(HEALTHY, tool=None, reply="no"), "glm-4.7")
    done = live.user.run("doctor", "--live", "--client", "glm-4.7", "--yes", env=env, timeout=300)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("A-B-A  claude -p"), done.stderr
    assert lines[1].split()[0] == "glm-4.7"
    assert lines[1].endswith("ERROR")
    said = "glm-4.7, claude -p: the model did not call the tool that it was told to call: no"
    assert lines[-1] == said


def test_the_manual_shows_what_it_prints(live: Mission) -> None:
    """One model that can do everything, and one whose provider refuses a field."""

    def refuse(body: dict[str, Any]) -> str | None:
        there = "context_management" in body
        return "context_management: Extra inputs are not permitted" if there else None

    live.zai.behave(replace(HEALTHY, refuse=refuse), "GLM-4.5-Air")
    done = live.user.run("doctor", "--live", "glm-4.7", "glm-4.5", "--yes")
    live.zai.behave(Behaviour(), "GLM-4.5-Air")
    lines = done.stdout.splitlines()
    cells = [re.split(" {2,}", re.sub(r"ok [\d.]+ s", "ok N s", line)) for line in lines[:3]]
    said = "\n".join([*columns(cells), *lines[3:]])
    assert_shown("llmswitch doctor --live glm-4.7 glm-4.5 --yes", said)


@pytest.mark.parametrize(
    ("usd", "unknown", "said"),
    [
        (None, ["a"], "at an unknown price"),
        (0.0, ["a"], "free of charge and what a costs"),
        (0.001, [], "for at most $0.01"),
        (1.234, ["a", "b"], "for at most $1.23 and what a, b cost"),
    ],
)
def test_the_cost_in_words(usd: float | None, unknown: list[str], said: str) -> None:
    """A price that nobody knows is never 0, and a small one is not either."""
    assert cost(usd, unknown) == said
