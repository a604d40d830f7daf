"""Models that their providers retire: from when one is told, and what."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from llmswitch.profile.load import parse_profile
from llmswitch.render.menu import make_rows, row_data
from llmswitch.render.retirement import retirements

DAY = datetime(2027, 1, 22, 12).astimezone()
ROWS = [
    row_data(row)
    for row in make_rows(
        parse_profile(
            """\
models: {one: mine/one, two: mine/two, new: mine/new, free: ollama/anything}
providers:
  mine:
    dialect: chat
    base_url: http://h
    models: [{id: one, retires: 2027-01-22, instead: new}, {id: two, retires: 2027-01-22}, new]
""",
            "p",
        ),
        (),
    )
]
INSTEAD = "in the profile, write mine/new instead"
CHOOSE = "choose another: llmswitch models --provider mine"


@pytest.mark.parametrize(
    ("left", "when"),
    [
        (91, None),
        (90, "retires on 2027-01-22"),
        (1, "retires on 2027-01-22"),
        (0, "was retired on 2027-01-22"),
        (-1, "was retired on 2027-01-22"),
        (-1000, "was retired on 2027-01-22"),
    ],
)
def test_one_is_told_from_ninety_days_before(left: int, when: str | None) -> None:
    """Which model, when, and what to write instead where that is known."""
    found = retirements(ROWS, (DAY - timedelta(days=left)).timestamp())
    assert [one.line for one in found] == (
        [
            f"one (mine/one) {when}    -> {INSTEAD}",
            f"two (mine/two) {when}    -> {CHOOSE}",
        ]
        if when
        else []
    )


def test_as_data() -> None:
    """The contract of `retiring` in `validate`, `status` and `doctor` with --json."""
    first, second = retirements(ROWS, (DAY - timedelta(days=50)).timestamp())
    assert first._asdict() == {
        "name": "one",
        "model": "mine/one",
        "date": "2027-01-22",
        "retired": False,
        "instead": "mine/new",
    }
    assert second.instead is None


def test_the_state_of_an_older_version_says_nothing() -> None:
    """Its rows have no such fields."""
    assert retirements([{"name": "opus", "label": "Claude Opus 4.5"}], DAY.timestamp()) == []
