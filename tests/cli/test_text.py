"""Results in the words that a person reads: whole outputs, line by line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmswitch.cli import text, text_status
from llmswitch.columns import columns
from llmswitch.paths import ProfileRef
from llmswitch.render.retirement import Retirement
from llmswitch.setup.write import Done

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


STATE = stand_in(url="http://127.0.0.1:4000", pid=4711, models=ROWS, roles={"default": "glm-4.7"})


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    """No white space at the end of a line."""
    assert columns([("a", "b", "c"), ("long", "", "")]) == ["a     b  c", "long"]


def test_the_models_are_a_table_that_says_who_is_left_out_and_why() -> None:
    """The default is marked; without one nothing is."""
    assert text.models(ROWS, "glm-4.7") == TABLE
    assert text.models(ROWS[:1], None)[1] == "glm-4.7  GLM-4.7  Z.ai · 200k · $0.60/$2.20 per Mtok"


@pytest.mark.parametrize(
    ("did", "line"),
    [
        ("started", "started on 127.0.0.1:4000, pid 4711"),
        (
            "starting",
            "starting on 127.0.0.1:4000, pid 4711; its first answer takes a few seconds",
        ),
        ("restarted", "restarted on 127.0.0.1:4000, pid 4711"),
        ("reloaded", "reloaded on 127.0.0.1:4000, pid 4711; open requests finish as they began"),
        ("nothing", "already running on 127.0.0.1:4000, pid 4711"),
    ],
)
def test_up_says_what_it_did_and_what_is_served(did: str, line: str) -> None:
    """One line, then the models; as JSON the same."""
    done = stand_in(did=did, state=STATE, stays=False)
    assert text.outcome(done) == [line, "", *TABLE]
    assert text.outcome_data(done) == {
        "did": did,
        "url": "http://127.0.0.1:4000",
        "pid": 4711,
        "models": ROWS,
    }


def test_quiet_up_says_one_line_and_what_is_left_out() -> None:
    """A model that is not in the menu is never passed over in silence."""
    done = stand_in(did="started", state=STATE, stays=False)
    assert text.outcome_in_short(done) == [
        "started on 127.0.0.1:4000, pid 4711",
        "opus is left out: ANTHROPIC_API_KEY is not set",
    ]


def test_down_says_what_it_stopped() -> None:
    """Or that there was nothing to stop."""
    assert text.stopped(STATE) == ["stopped 127.0.0.1:4000, pid 4711"]
    assert text.stopped(None) == ["not running"]


GOES = "; stops 10 minutes after the last session"
AT = "on 127.0.0.1:4000, pid 4711, profile work"
RUNS = {"running": True, "current": True}


@pytest.mark.parametrize(
    ("differs", "line"),
    [
        (RUNS, f"running {AT}{GOES}"),
        (
            RUNS | {"current": False},
            f"running {AT}{GOES}; the profile has changed since    -> llmswitch up",
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


def test_init_says_what_it_wrote_and_what_comes_next() -> None:
    """Or that it left a profile alone which was there, or what it added."""
    after = [
        "work is now the default profile",
        "",
        "next:  llmswitch validate           what the profile needs",
        "       llmswitch wrapper install    writes the command claude-multi",
        "       claude-multi                 Claude Code, with every model in /model",
    ]
    ref = ProfileRef("work", Path("/c/profiles/work.yaml"), "work")
    assert text.init(Done(ref, was_there=False)) == [
        "wrote /c/profiles/work.yaml: edit it as you like",
        *after,
    ]
    assert text.init(Done(ref, was_there=True)) == [
        "/c/profiles/work.yaml is there already and was left as it is",
        *after,
    ]
    assert text.init(Done(ref, was_there=True, added=("opus", "glm-5.3"))) == [
        "added opus, glm-5.3 to /c/profiles/work.yaml",
        *after,
    ]


@pytest.mark.parametrize(
    ("did", "line"),
    [
        ("installed", "installed /b/claude-multi"),
        ("updated", "updated /b/claude-multi"),
        ("nothing", "/b/claude-multi is up to date"),
    ],
)
def test_a_wrapper_says_how_to_run_it(did: str, line: str) -> None:
    """By its name where PATH finds it, else by its path."""
    done = stand_in(did=did, file=Path("/b/claude-multi"), on_path=True)
    assert text.installed(done) == [line, "run it: claude-multi"]
    done.on_path = False
    assert text.installed(done) == [
        line,
        "/b is not on your PATH; until it is, run /b/claude-multi",
    ]


def test_uninstalling_says_what_is_gone() -> None:
    """Or that there was nothing."""
    assert text.uninstalled(Path("/b/x"), "x", Path("/b")) == ["removed /b/x"]
    assert text.uninstalled(None, "x", Path("/b")) == ["there is no x in /b"]


def test_a_valid_profile_is_said_to_be_so_and_what_to_know_of_it() -> None:
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


def test_files_are_shown_under_their_names() -> None:
    """With an empty line between two, as `head` and `tail` do."""
    assert text.files({"a": "1\n2\n", "b": "3\n"}) == [
        "==> a <==",
        "1",
        "2",
        "",
        "==> b <==",
        "3",
    ]


def test_the_demo_shows_each_answer_and_how_to_go_on() -> None:
    """The end of `try` is the beginning of the real thing."""
    answers = [stand_in(model="parrot", text="You said: Hi", pieces=3)]
    assert text.demo(STATE, answers) == [
        "a gateway ran on http://127.0.0.1:4000 with two offline models:",
        "",
        *TABLE,
        "",
        "parrot said, streamed in 3 pieces:",
        "  You said: Hi",
        "",
        "it is stopped again, and nothing is left behind. With your own keys:",
        "  llmswitch init    finds or asks for a key, and sets everything up",
        "  claude-multi      Claude Code, with every model in /model",
    ]
