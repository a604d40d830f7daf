"""`usage --requests`: the last requests of the ledger, each as it ended."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from llmswitch.usage.requests import Request, data, last, table
from llmswitch.usage.summary import Period
from tests.conftest import User
from tests.usage.test_summary import ALWAYS, FAILED, GLM, NOON, PLAIN, write

REFUSED = FAILED._replace(
    request="r3", ended=NOON + 30, asked="", model="", provider=None, session="\x1b[2J", cost=0.0,
    status=404, error="not_found_error", seconds=0.001,
)  # fmt: skip
TRIES = [
    PLAIN,
    FAILED._replace(request="r2", ended=NOON + 10, seconds=2.0, error="OverloadedError", cost=0.0),
    GLM._replace(request="r2", ended=NOON + 18, client="ci", fallback_from="opus", seconds=8.0),
    REFUSED,
    FAILED._replace(request="r4", ended=NOON + 40, error="RateLimitError", status=429),
    PLAIN._replace(request="r5", ended=NOON + 50, status=499, error="ClientLeft"),
]
FELL_BACK = Request(
    ended=NOON + 18, client="ci", session="s1", model="opus", served="glm", provider="zai",
    status=200, tries=2, input=100, output=10, cache_read=300, cache_write=0, cost=0.5,
    seconds=10.0, error=None,
)  # fmt: skip


@pytest.fixture
def file(user: User) -> Path:
    """The ledger of the profile."""
    user.write_profile("models: {qwen: ollama/qwen}")
    return write(user.state / "ledger" / "work.db", TRIES)


@pytest.mark.parametrize(
    ("model", "errors", "number", "ended"),
    [
        (None, False, 9, [0, 18, 30, 40, 50]),
        (None, False, 2, [40, 50]),
        ("opus", False, 9, [0, 18, 40, 50]),
        ("glm", False, 9, [18]),
        (None, True, 9, [30, 40]),
        ("opus", True, 9, [40]),
        ("nosuch", False, 9, []),
    ],
)
def test_the_last_that_are_wanted(
    file: Path, model: str | None, errors: bool, number: int, ended: list[int]
) -> None:
    """All, the last few, of a model that was asked for or answered, or that got no answer; a client
    that has left is no error, and neither is a try before one that went well.
    """
    found = last(file, ALWAYS, number, model, errors)
    assert [one.ended - NOON for one in found] == ended


def test_a_request_is_the_sum_of_its_tries(file: Path) -> None:
    """The model that answered, and all that both tries took, from the start of the first."""
    assert last(file, ALWAYS, 9, "glm", errors=False) == [FELL_BACK]
    only_then = Period(NOON + 15, NOON + 20, UTC)
    assert last(file, only_then, 9, None, errors=False) == [FELL_BACK]
    [shown] = data([FELL_BACK], ALWAYS)
    assert shown == {
        "time": "2026-11-24T12:00:18.000+00:00",
        **{name: value for name, value in FELL_BACK._asdict().items() if name != "ended"},
    }


def test_the_table_has_a_line_for_each(file: Path) -> None:
    """A cost that nobody knows is unknown, and what a client sent steers no terminal."""
    until = Period(NOON - 1, NOON + 35, UTC)
    refused = "\N{REPLACEMENT CHARACTER}[2J    -            -          404     0       $0.00"
    assert table(last(file, until, 9, None, errors=False), until) == [
        "ENDED           CLIENT  MODEL        PROVIDER   STATUS  TOKENS  COST   TOOK   ERROR",
        "11-24 12:00:00  s1      opus         anthropic  200     410     $0.50  2.0s",
        "11-24 12:00:18  ci      opus -> glm  zai        200     410     $0.50  10.0s",
        f"11-24 12:00:30  {refused}  0.0s   not_found_error",
    ]


def test_the_command(user: User, file: Path) -> None:
    """Its options reach the ledger; what does not go together is refused."""
    since = ("--since", "2026-11-24", "--until", "2026-11-24")
    found = user.json("usage", "--requests", "-n", "1", "-m", "opus", "--errors", *since)
    assert [one["error"] for one in found["requests"]] == ["RateLimitError"]
    file.unlink()
    assert user.run("usage", "--requests").stdout == "no requests found\n"
    for wrong in (["--requests", "--csv"], ["--errors"], ["-m", "opus"]):
        assert user.run("usage", *wrong).returncode == 2
