"""Results in the words that a person reads: whole outputs, line by line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmswitch.cli import text, text_status
from llmswitch.columns import columns, counted
from llmswitch.gateway import lease
from llmswitch.render.retirement import Retirement

ROWS: list[dict[str, Any]] = [
    {
        "name": "glm-4.7",
        "label": "GLM-4.7",
        "description": "Z.ai · 200k · $0.60/$2.20 per Mtok",
        "available": True,
        "reason": None,
    },
    {
        "name": "opus",
        "label": "Claude Opus 4.5",
        "description": "Anthropic · 200k · $5/$25 per Mtok",
        "available": False,
        "reason": "ANTHROPIC_API_KEY is not set",
    },
]
TABLE = [
    "MODEL              LABEL            PROVIDER, CONTEXT, PRICE",
    "glm-4.7 (default)  GLM-4.7          Z.ai · 200k · $0.60/$2.20 per Mtok",
    "opus               Claude Opus 4.5  left out: ANTHROPIC_API_KEY is not set",
]
RETIRING = Retirement("opus", "an/claude-x", "2027-01-22", retired=False, instead="an/claude-y")


def stand_in(**attributes: Any) -> Any:
    """Something that has just what a report looks at."""
    return cast(Any, SimpleNamespace(**attributes))


STATE = stand_in(
    url="http://127.0.0.1:4000",
    pid=4711,
    profile="work",
    models=ROWS,
    roles={"default": "glm-4.7"},
)


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    """No white space at the end of a line."""
    assert columns([("a", "b", "c"), ("long", "", "")]) == ["a     b  c", "long"]


def test_one_model_is_no_plural() -> None:
    """Nor are two one."""
    assert [counted(number, "model") for number in (0, 1, 2)] == ["0 models", "1 model", "2 models"]


@pytest.mark.parametrize(
    ("did", "stays", "line"),
    [
        ("started", False, "started work on 127.0.0.1:4000, pid 4711"),
        (
            "starting",
            False,
            "starting work on 127.0.0.1:4000, pid 4711; its first answer takes a few seconds",
        ),
        ("restarted", False, "restarted work on 127.0.0.1:4000, pid 4711"),
        (
            "reloaded",
            False,
            "reloaded work on 127.0.0.1:4000, pid 4711; open requests finish as they began",
        ),
        (
            "nothing",
            True,
            "already running work on 127.0.0.1:4000, pid 4711; it no longer stops by itself",
        ),
    ],
)
def test_up_names_the_profile_and_what_is_served(did: str, stays: bool, line: str) -> None:
    """One line, then the models, the default marked; shorter with --quiet; the same as JSON."""
    done = stand_in(did=did, state=STATE, stays=stays)
    assert text.outcome(done) == [line, "", *TABLE]
    assert text.outcome_in_short(done) == [
        line,
        "opus is left out: ANTHROPIC_API_KEY is not set",
    ]
    assert text.outcome_data(done) == {
        "did": did,
        "url": "http://127.0.0.1:4000",
        "pid": 4711,
        "models": ROWS,
    }


def test_down_says_what_it_stopped() -> None:
    """Or that there was nothing to stop."""
    assert text.stopped(STATE) == ["stopped 127.0.0.1:4000, pid 4711"]
    assert text.stopped(None) == ["not running"]


AT = "on 127.0.0.1:4000, pid 4711, profile work"
RUNS = {"running": True, "current": True}


@pytest.mark.parametrize(
    ("differs", "line"),
    [
        (RUNS, f"running {AT}; {lease.stops(600)}"),
        (
            RUNS | {"current": False},
            f"running {AT}; {lease.stops(600)}; the profile has changed since    -> llmswitch up",
        ),
        ({"pid": None}, "not running (profile work)    -> llmswitch up"),
        ({}, f"not answering {AT}    -> llmswitch restart"),
        ({"starting": True}, f"starting {AT}"),
    ],
)
def test_status_is_one_line_and_the_models(differs: dict[str, Any], line: str) -> None:
    """With the command that cures what is not as it should be."""
    found: dict[str, Any] = {
        "running": False,
        "starting": False,
        "current": False,
        "profile": "work",
        "url": "http://127.0.0.1:4000",
        "pid": 4711,
        "models": ROWS,
        "default": "glm-4.7",
        "ledger": None,
        "budgets": [],
        "goes_after": 600,
        "service": None,
        "stopped": None,
        "today": [],
        "retiring": [],
    }
    assert text_status.status(found | differs) == [line, "", *TABLE]


@pytest.mark.parametrize(
    ("did", "line"),
    [
        ("installed", "installed /b/claude-multi; it starts the profile work"),
        ("updated", "updated /b/claude-multi; it starts the profile work"),
        ("nothing", "/b/claude-multi is up to date; it starts the profile work"),
    ],
)
def test_a_wrapper_says_what_it_starts_and_how_to_run_it(did: str, line: str) -> None:
    """By its name where PATH finds it, else by its path."""
    done = stand_in(did=did, file=Path("/b/claude-multi"), on_path=True)
    assert text.installed(done, "work") == [line, "run it: claude-multi"]
    done.on_path = False
    assert text.installed(done, "work") == [
        line,
        "/b is not on PATH; until it is, run /b/claude-multi",
    ]


def test_a_valid_profile_and_what_to_know_of_it() -> None:
    """One model is one model."""
    assert text.valid("p.yaml", 1, [], [], []) == ["p.yaml is valid: 1 model"]
    assert text.valid("p.yaml", 2, [RETIRING], ["x", "y"], ["A -> b (c)"]) == [
        "p.yaml is valid: 2 models",
        f"warning: {RETIRING.line}",
        "note: x",
        "note: y",
        "if you did not write it:",
        "  A -> b (c)",
    ]


def test_the_demo_shows_each_answer_and_how_to_continue() -> None:
    """The end of `try` is the beginning of the real thing, by commands that work from here."""
    answers = [stand_in(model="parrot", text="You said: Hi")]
    assert text.demo(STATE, answers, ".venv/bin/llmswitch") == [
        "a gateway ran on http://127.0.0.1:4000 with two offline models:",
        "",
        *TABLE,
        "",
        "parrot answered:",
        "  You said: Hi",
        "",
        "it is stopped again, and left nothing behind. With your own keys:",
        "  .venv/bin/llmswitch init   finds keys or asks for one, and sets everything up",
        "  ~/.local/bin/claude-multi  then: Claude Code, with every model in /model",
    ]
