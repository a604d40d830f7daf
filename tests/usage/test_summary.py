"""`usage`: what the ledger holds, summed; by whom, when, with which key, and what it cost."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmswitch import ledger
from llmswitch.budgets import dollars
from llmswitch.errors import LlmswitchError
from llmswitch.ledger import Try
from llmswitch.profile.schema import Price
from llmswitch.usage import summary, tables, what_if
from tests.command import json_here, run_here
from tests.conftest import CHECKOUT, User

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
ALWAYS = summary.Period(0, NOON * 2, UTC)
PROFILE = """
models:
  opus: {model: anthropic/claude-opus-4-5, price: {input: 5, output: 25, cache_read: 0.5}}
  glm: {model: zai/glm-4.7, price: {input: 1, output: 2, cache_read: 0, cache_write: 3}}
  free: {model: ollama/qwen}
gateway: {port: 4000}
"""
PLAIN = Try(
    ended=NOON,
    request="r1",
    session="s1",
    agent=None,
    client="gateway",
    asked="opus",
    model="opus",
    provider="anthropic",
    upstream="claude-opus-4-5",
    key="ANTHROPIC_API_KEY",
    streamed=True,
    input=100,
    output=10,
    cache_read=300,
    cache_write=0,
    cost=0.5,
    prompt_saved=0.25,
    first_byte=1.0,
    seconds=2.0,
    status=200,
    error=None,
    cache_hit=False,
    saved=None,
    fallback_from=None,
    worker="1",
)
FAILED = PLAIN._replace(
    input=0, output=0, cache_read=0, cost=None, prompt_saved=None, first_byte=None, status=529
)
GLM = PLAIN._replace(model="glm", provider="zai", key="ZAI_API_KEY", upstream="glm-4.7")
DAY_OF_WORK = [
    PLAIN,
    FAILED._replace(request="r2", first_byte=99.0),
    GLM._replace(request="r2", fallback_from="opus", cost=None, prompt_saved=None, cache_read=0,
                 cache_write=50, agent="a1", first_byte=3.0, seconds=8.0, output=90),
    PLAIN._replace(request="r3", session="s2", ended=NOON - DAY, first_byte=2.0),
    PLAIN._replace(request="r4", session="s2", cache_hit=True, cost=0.0, saved=0.75, client="ci",
                   prompt_saved=None, first_byte=None),
]  # fmt: skip


def write(file: Path, tries: Sequence[Try]) -> Path:
    """A ledger that holds these tries."""
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = ledger.open_to_write(file)
    ledger.insert(connection, tries)
    connection.close()
    return file


def used(user: User, tries: Sequence[Try]) -> Path:
    """A user whose profile `work` has been used."""
    user.write_profile(PROFILE)
    return write(user.state / "ledger" / "work.db", tries)


def group(name: str | None, *numbers: Any) -> dict[str, Any]:
    """A group as a dictionary, given all but its last time."""
    return dict(zip(summary.Group._fields, (name, *numbers, None), strict=True))


def sums(found: list[summary.Group]) -> list[dict[str, Any]]:
    """The same of what was read."""
    return [one._replace(last=None)._asdict() for one in found]


def test_every_sum_of_a_day_of_work(tmp_path: Path) -> None:
    """All four kinds of tokens, a failure, a fallback, an unknown cost and a cached answer, each
    counted once where it belongs; an answer from the response cache has no tokens.
    """
    found = summary.read(write(tmp_path / "l.db", DAY_OF_WORK), ALWAYS, summary.BY)
    # requests, tries, failures, answered; input, output, read, written; usd, unknown, saved,
    # prompt_saved; hits, rate, first byte, tokens per second; refusals, estimated
    day = (4, 5, 1, 3, 300, 110, 600, 50, 1.0, 1, 0.75, 0.5, 1, 600 / 950, 2.0, 110 / 12, 0, 0)
    assert sums([found.total]) == [group(None, *day)]
    opus = (4, 4, 1, 2, 200, 20, 600, 0, 1.0, 0, 0.75, 0.5, 1, 0.75, 1.5, 5.0, 0, 0)
    glm = (1, 1, 0, 1, 100, 90, 0, 50, None, 1, 0.0, None, 0, 0.0, 3.0, 11.25, 0, 0)
    assert sums(found.groups["model"]) == [group("opus", *opus), group("glm", *glm)]
    assert sums(found.groups["provider"]) == [group("anthropic", *opus), group("zai", *glm)]
    assert sums(found.groups["key"]) == [
        group("ANTHROPIC_API_KEY", *opus),
        group("ZAI_API_KEY", *glm),
    ]
    tries = {by: [(one.name, one.tries) for one in found.groups[by]] for by in found.groups}
    assert tries["day"] == [("2026-11-23", 1), ("2026-11-24", 4)]
    assert tries["session"] == [("s1", 3), ("s2", 2)]
    assert tries["client"] == [("gateway", 4), ("ci", 1)]
    assert tries["agent"] == [(None, 4), ("a1", 1)]
    assert found.fallbacks == [summary.Fallback("opus", "opus", "glm", 1)]


TRIES = st.lists(
    st.builds(
        PLAIN._replace,
        ended=st.floats(NOON - 3 * DAY, NOON),
        request=st.sampled_from(["r1", "r2", "r3", "r4"]),
        session=st.sampled_from([None, "s1", "s2"]),
        agent=st.none() | st.text(max_size=3),
        client=st.text(max_size=3),
        model=st.sampled_from(["opus", "glm"]),
        provider=st.sampled_from(["anthropic", "zai"]),  # without one it is a refusal
        key=st.sampled_from([None, "A", "B"]),
        input=st.integers(0, 10**9),
        output=st.integers(0, 10**9),
        cache_read=st.integers(0, 10**9),
        cache_write=st.integers(0, 10**9),
        cost=st.none() | st.integers(0, 1000),
        prompt_saved=st.none() | st.integers(-1000, 1000),
        status=st.sampled_from([200, 429, 499]),
        cache_hit=st.booleans(),
        saved=st.none() | st.integers(0, 1000),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TRIES)
def test_groups_add_up_to_the_total(tries: list[Try]) -> None:
    """However tries are grouped, nothing is lost and nothing counted twice."""
    with TemporaryDirectory() as folder:
        found = summary.read(write(Path(folder, "l.db"), tries), ALWAYS, summary.BY)
    for by, groups in found.groups.items():
        for field in (
            "tries", "failures", "answered", "input_tokens", "output_tokens", "cache_read_tokens",
            "cache_write_tokens", "cost_usd", "saved_usd", "prompt_saved_usd", "cache_hits",
        ):  # fmt: skip
            parts = sum(getattr(one, field) or 0 for one in groups)
            assert parts == (getattr(found.total, field) or 0), (by, field)
        assert sum(one.requests for one in groups) >= found.total.requests
    assert found.total.requests == len({one.request for one in tries})


NO_KEY = PLAIN._replace(
    client=ledger.NO_CLIENT, asked="", model="", provider=None, upstream=None, key=None,
    session=None, input=0, output=0, cache_read=0, cost=0.0, prompt_saved=None, first_byte=None,
    status=401, error="authentication_error",
)  # fmt: skip
REFUSED = [
    NO_KEY._replace(request="r8"),
    NO_KEY._replace(request="r9", client="ci", asked="opus", model="opus", status=429),
    NO_KEY._replace(request="r1", client="gateway", asked="opus", model="opus", status=429),
]


def test_a_refusal_is_no_request_and_no_failure(tmp_path: Path) -> None:
    """Nothing was sent to anybody; one whose model is not known stands in no list of models, and a
    request that was refused for one model and answered by another is one request.
    """
    found = summary.read(write(tmp_path / "l.db", [PLAIN, *REFUSED]), ALWAYS, summary.BY)
    total = found.total
    assert (total.requests, total.tries, total.failures, total.refusals) == (1, 1, 0, 3)
    assert (total.cost_usd, total.unknown_cost_requests, total.tokens) == (0.5, 0, 410)
    shown = {by: [(one.name, one.requests, one.refusals) for one in groups]
             for by, groups in found.groups.items()}  # fmt: skip
    assert shown == {
        "model": [("opus", 1, 2)],
        "provider": [("anthropic", 1, 0)],
        "day": [("2026-11-24", 1, 3)],
        "session": [("s1", 1, 0)],
        "client": [("gateway", 1, 1), ("(no key)", 0, 1), ("ci", 0, 1)],
        "agent": [(None, 1, 3)],
        "key": [("ANTHROPIC_API_KEY", 1, 0)],
    }
    assert tables.title(found, "work")[1] == "$0.50 for 1 request, 3 requests refused"
    found = summary.read(write(tmp_path / "refused.db", REFUSED), ALWAYS, ["model"])
    assert tables.title(found, "work")[1] == (
        "no usage in this period, 3 requests refused    -> --since takes 90d or a date"
    )


def test_a_client_that_left_is_no_failure(user: User) -> None:
    """What it got is counted as an answer, by `status` too."""
    left = PLAIN._replace(ended=time.time(), status=ledger.CLIENT_LEFT, error="ClientLeft")
    file = used(user, [left, left._replace(request="r2", output=0)])
    total = summary.read(file, summary.period("1h", None, time.time(), UTC), []).total
    assert (total.tries, total.failures, total.answered, total.refusals) == (2, 0, 1, 0)
    [today] = json_here(user, "status")["today"]
    assert (today["answers"], today["cost_usd"]) == (2, 1.0)


def test_estimated_tokens_are_marked(user: User) -> None:
    """In the table, in words, as data and on the page; not for models that are told."""
    now = time.time()
    used(user, [
        PLAIN._replace(ended=now, request="r1"),
        GLM._replace(ended=now, request="r2", estimated=True),
    ])  # fmt: skip
    said = "~: the tokens of 1 request are estimated, because no provider reported all of them"
    printed = run_here(user, "usage").stdout.splitlines()
    assert printed[3] == said
    rows = [line.split()[:3] for line in printed[printed.index("") + 2 :][:2]]
    assert sorted(rows) == [["glm", "1", "~410"], ["opus", "1", "410"]]
    found = json_here(user, "usage")
    assert [found["total"]["estimated_requests"]] == [1]
    marks = {row["model"]: row["estimated_requests"] for row in found["rows"]}
    assert marks == {"opus": 0, "glm": 1}
    page = user.root / "usage.html"
    assert run_here(user, "usage", "--html", str(page)).returncode == 0
    assert f'<p class="note">{said}</p>' in page.read_text()
    assert "<td>~410</td>" in page.read_text()


def test_a_ledger_of_before_is_read(tmp_path: Path) -> None:
    """By the commands, though no gateway of this version has written it yet."""
    file = write(tmp_path / "l.db", [PLAIN])
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE tries DROP COLUMN estimated")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    total = summary.read(file, ALWAYS, []).total
    assert (total.requests, total.estimated_requests, total.cost_usd) == (1, 0, 0.5)


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("today", None, "2026-11-24T00:00+01:00", "2026-11-24T13:00:01+01:00"),
        ("yesterday", "yesterday", "2026-11-23T00:00+01:00", "2026-11-24T00:00+01:00"),
        ("7d", "24h", "2026-11-17T13:00+01:00", "2026-11-23T13:00+01:00"),
        ("2026-10-25", "2026-10-25", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("2026-11-01T09:30", "2026-11-02T10:00Z", "2026-11-01T09:30+01:00", "2026-11-02T10:00Z"),
        (None, None, "2026-10-25T13:00+01:00", "2026-11-24T13:00:01+01:00"),
    ],
)
def test_what_since_and_until_take(since: str, until: str, first: str, last: str) -> None:
    """Days are those of the clock on the wall, whole, also when summer time ends in them."""
    found = summary.period(since, until, NOON, ZoneInfo("Europe/Berlin"))
    wanted = (datetime.fromisoformat(text).timestamp() for text in (first, last))
    assert found[:2] == tuple(wanted)


@pytest.mark.parametrize("text", ["", "soon", "7", "-7d", "2026-13-01", "99999d9", "\x1b[31m"])
def test_what_names_no_time_is_said_with_examples(text: str) -> None:
    """One sentence, and what would have been right."""
    with pytest.raises(LlmswitchError) as failed:
        summary.moment("--since", text, NOON, UTC)
    assert failed.value.message == f"invalid time {text!r} for --since"
    assert "2026-11-01" in failed.value.hint


def test_the_wrong_way_round() -> None:
    """An empty period is a mistake, not an empty answer."""
    with pytest.raises(LlmswitchError) as failed:
        summary.period("today", "2026-01-01", NOON, UTC)
    assert failed.value.message == "--since today is not before --until 2026-01-01"
    assert failed.value.hint == "swap them"


def test_a_period_takes_its_first_moment_and_not_its_last(tmp_path: Path) -> None:
    """So two periods that touch count nothing twice."""
    file = write(tmp_path / "l.db", [PLAIN])
    for period, tries in ((NOON, NOON + 1), 1), ((NOON - 1, NOON), 0):
        assert summary.read(file, summary.Period(*period, UTC), []).total.tries == tries


def test_days_are_local(tmp_path: Path) -> None:
    """A try at 23:50 UTC is one of tomorrow in Kolkata, whose hours are halves of ours."""
    late = datetime(2026, 11, 24, 18, 29, 59, tzinfo=UTC).timestamp()
    file = write(tmp_path / "l.db", [PLAIN._replace(ended=late), PLAIN._replace(ended=late + 1)])
    found = summary.read(file, ALWAYS._replace(zone=ZoneInfo("Asia/Kolkata")), ["day"])
    assert [one.name for one in found.groups["day"]] == ["2026-11-24", "2026-11-25"]


def test_the_same_tokens_on_each_model() -> None:
    """Each kind at its own price; a price that is 0 is 0, one that is missing is that of input."""
    million = 1_000_000
    total = summary.Group(None, 1, 1, 0, 1, million, million, million, million, None, 1, 0, 0, 0,
                        None, None, None, 0, 0, None)  # fmt: skip
    prices = {
        "dear": Price(input=5, output=25, cache_read=0.5),
        "unknown": None,
        "cheap": Price(input=1, output=2, cache_read=0, cache_write=3),
        "free": Price(input=0, output=0),
    }
    assert what_if.what_if(total, prices) == [
        what_if.WhatIf("free", 0),
        what_if.WhatIf("cheap", 6),
        what_if.WhatIf("dear", 35.5),
        what_if.WhatIf("unknown", None),
    ]


@pytest.mark.parametrize(
    ("requests", "change", "warned"),
    [
        (20, {"cache_read": 0, "input": 4096}, True),
        (19, {"cache_read": 0, "input": 4096}, False),
        (20, {"cache_read": 1, "input": 4096}, False),
        (20, {"cache_read": 0, "input": 4095}, False),
        (20, {"cache_read": 0, "input": 4096, "status": 500}, False),
        (20, {"cache_read": 0, "input": 4096, "cache_hit": True}, False),
    ],
)
def test_a_prompt_cache_that_never_hits(
    tmp_path: Path, requests: int, change: dict[str, Any], warned: bool
) -> None:
    """Twenty long prompts that a provider answered, and nothing from its cache: worth a word."""
    tries = [PLAIN._replace(request=str(number), **change) for number in range(requests)]
    found = summary.read(write(tmp_path / "l.db", tries), ALWAYS, ["model"])
    said = (
        "opus: none of 82k input tokens came from a prompt cache (20 requests); its provider may "
        "not have one    -> llmswitch doctor --live opus"
    )
    assert tables.warnings(found) == ([said] if warned else [])


def test_what_a_person_reads(tmp_path: Path) -> None:
    """Totals, models and days with bars, keys, fallbacks, what others would have cost, warnings."""
    period = summary.Period(NOON - 2 * DAY, NOON + 1, UTC)
    found = summary.read(write(tmp_path / "l.db", DAY_OF_WORK), period, ["model", "day", "key"])
    others = [what_if.WhatIf("glm", 0.00085), what_if.WhatIf("free", None)]
    assert tables.usage(found, "work", others, ["what    -> a cure"], 100) == [
        "profile work, 2026-11-22 12:00 to 2026-11-24 12:00",
        "$1.00 + 1 request of unknown price for 4 requests, 1 failed try",
        "300 input tokens, 600 read from the prompt cache, 50 written to it, 110 output tokens",
        "the prompt cache held 63% of the input and saved $0.50",
        "the response cache answered 1 request and saved $0.75",
        "",
        "MODEL  REQUESTS  TOKENS  COST     BY TOKENS",
        "opus          4     820  $1.00    ██████████████████████████████",
        "glm           1     240  unknown  ████████▊",
        "",
        "DAY         REQUESTS  TOKENS  COST               BY TOKENS",
        "2026-11-23         1     410  $0.50              ██████████████████▉",
        "2026-11-24         3     650  $0.50 + 1 unknown  ██████████████████████████████",
        "",
        "KEY                REQUESTS  FAILED  COST",
        "ANTHROPIC_API_KEY         4       1  $1.00",
        "ZAI_API_KEY               1       0  unknown",
        "",
        "ASKED  FAILED  SERVED BY  REQUESTS",
        "opus   opus    glm        1",
        "",
        "THE SAME TOKENS ON  COST",
        "(actual)            $1.00 + 1 request of unknown price",
        "glm                 $0.0008",
        "free                unknown",
        "",
        "what",
        "  -> a cure",
    ]


def test_bars_leave_before_they_break_a_line(tmp_path: Path) -> None:
    """In a narrow terminal there are none."""
    found = summary.read(write(tmp_path / "l.db", [PLAIN]), ALWAYS, ["model", "day", "key"])
    for width in range(20, 140):
        lines = tables.usage(found, "work", [], [], width)
        bars = [line for line in lines if "█" in line]
        assert all(len(line) <= width for line in bars)
        assert len(bars) == 2 or width < 50


def test_numbers_are_short_and_exact_enough_to_tell() -> None:
    """Counts have three or four characters, never `1000k`; what nobody knows is no money of 0, and
    neither is a little; 0% means never.
    """
    counts = {
        0: "0", 999: "999", 1000: "1.0k", 9949: "9.9k", 9950: "10k", 999_499: "999k",
        999_500: "1.0M", 12_345_678: "12M", 5 * 10**12: "5000G",
    }  # fmt: skip
    assert {number: tables.count(number) for number in counts} == counts
    money = {
        None: "unknown", 0: "$0.00", 0.00001: "<$0.0001", 0.0042: "$0.0042", 12.3: "$12.30",
        1234.5: "$1,234.50", -0.5: "-$0.50", -2: "-$2.00",
    }  # fmt: skip
    assert {value: dollars(value) for value in money} == money
    shares = {None: "-", 0: "0%", 0.001: "<1%", 0.999: "99%"}
    assert {rate: tables.percent(rate) for rate in shares} == shares


def test_scripts_get_raw_numbers(user: User) -> None:
    """`usage --json`: the contract, with null for what nobody knows."""
    now = time.time()
    used(user, [one._replace(ended=one.ended - NOON + now - 60) for one in DAY_OF_WORK])
    found = json_here(user, "usage", "--by", "provider", "--since", "7d")
    assert {name: found[name] for name in ("profile", "by", "fallbacks", "what_if", "notes")} == {
        "profile": "work",
        "by": "provider",
        "fallbacks": [{"asked": "opus", "failed": "opus", "served_by": "glm", "requests": 1}],
        "what_if": [
            {"model": "glm", "cost_usd": (300 + 110 * 2 + 50 * 3) / 1e6},
            {"model": "opus", "cost_usd": (300 * 5 + 110 * 25 + 600 * 0.5 + 50 * 5) / 1e6},
            {"model": "free", "cost_usd": None},
        ],
        "notes": [],
    }
    last = datetime.fromtimestamp(now - 60).astimezone().isoformat(timespec="seconds")
    assert found["total"] == {
        "requests": 4, "tries": 5, "failures": 1, "answered": 3, "input_tokens": 300,
        "output_tokens": 110, "cache_read_tokens": 600, "cache_write_tokens": 50, "cost_usd": 1.0,
        "unknown_cost_requests": 1, "saved_usd": 0.75, "prompt_saved_usd": 0.5, "cache_hits": 1,
        "cache_hit_rate": 600 / 950, "first_byte_seconds": 2.0, "tokens_per_second": 110 / 12,
        "refusals": 0, "estimated_requests": 0, "last": last,
    }  # fmt: skip
    assert [(row["provider"], row["tries"], row["cost_usd"]) for row in found["rows"]] == [
        ("anthropic", 4, 1.0),
        ("zai", 1, None),
    ]
    assert [row["key"] for row in found["keys"]] == ["ANTHROPIC_API_KEY", "ZAI_API_KEY"]


@pytest.mark.parametrize("by", summary.BY)
def test_every_kind_of_group_can_be_asked_for(user: User, by: str) -> None:
    """As a table, as JSON and as CSV, with the same rows in the same order."""
    used(user, [one._replace(ended=time.time()) for one in DAY_OF_WORK])
    rows = json_here(user, "usage", "--by", by)["rows"]
    table = run_here(user, "usage", "--by", by).stdout.splitlines()
    assert table[6].split()[:3] == [by.upper(), "REQUESTS", "FAILED"]
    assert len(table) == 7 + len(rows)
    lines = list(csv.DictReader(io.StringIO(run_here(user, "usage", "--by", by, "--csv").stdout)))
    assert [(line[by], line["cost_usd"]) for line in lines] == [
        (row[by] or "", "" if row["cost_usd"] is None else str(row["cost_usd"])) for row in rows
    ]


HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    "line\nbreak\r\x85\u2028",
    "\x9b31m\x7f",
    "\u202egnp.exe",
    "=HYPERLINK(1)",
    " +1",
    "\t-1",
    "@SUM(A1)",
    "x" * 5000,
    "<script>alert(1)</script>",
]


def test_names_that_a_client_made_up_steer_nothing(user: User) -> None:
    """No terminal and no spreadsheet: control characters are shown as such, a formula is text."""
    tries = [
        PLAIN._replace(request=name, session=name, agent=name, asked=name, ended=time.time(),
                       fallback_from="glm")
        for name in HOSTILE
    ]  # fmt: skip
    used(user, tries)
    for arguments in (), ("--by", "session"), ("--by", "agent"), ("--csv", "--by", "session"):
        done = run_here(user, "usage", *arguments)
        assert done.returncode == 0, done.stderr
        assert all(char.isprintable() for char in done.stdout.replace("\n", "")), arguments
        assert max(map(len, done.stdout.splitlines())) < 200 or "--csv" in arguments
    done = run_here(user, "usage", "--json", "--by", "session")
    assert all(" " <= char <= "~" for char in done.stdout.replace("\n", ""))
    assert {row["session"] for row in json.loads(done.stdout)["rows"]} == set(HOSTILE)
    done = run_here(user, "usage", "--csv", "--by", "session")
    names = [line["session"] for line in csv.DictReader(io.StringIO(done.stdout))]
    assert {name for name in names if name.startswith("'")} == {
        "'=HYPERLINK(1)", "' +1", "' -1", "'@SUM(A1)",
    }  # fmt: skip
    assert not any(name.strip().startswith(("=", "+", "-", "@")) for name in names)


def test_a_ledger_that_another_program_keeps(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for (here a moment), then said."""
    monkeypatch.setattr(ledger, "BUSY_SECONDS", 0.1)
    file = used(user, [PLAIN])
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    done = run_here(user, "usage")
    holder.close()
    assert (done.returncode, done.stderr) == (
        1,
        f"another program has locked the ledger {file}\n-> try again in a moment\n",
    )
    assert run_here(user, "usage").returncode == 0


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    """A row that something else wrote keeps nobody from the rest."""
    file = write(tmp_path / "l.db", [PLAIN])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE tries SET session = CAST(X'61ff' AS TEXT)")
    connection.close()
    assert summary.read(file, ALWAYS, ["session"]).groups["session"][0].name == "a\ufffd"


def test_sessions_are_the_newest_twenty(user: User) -> None:
    """With a line that says how many more there are, and agents the dearest; JSON has all."""
    now = time.time()
    used(user, [
        PLAIN._replace(request=f"r{n}", session=f"s{n}", agent=f"a{n}", ended=now - n, cost=n)
        for n in range(23)
    ])  # fmt: skip
    for by, names in ("session", range(20)), ("agent", range(22, 2, -1)):
        table = run_here(user, "usage", "--by", by).stdout.splitlines()
        assert [line.split()[0] for line in table[6:-1]] == [f"{by[0]}{n}" for n in names]
        assert table[-1] == "and 3 more    -> --json or --csv has all"
        assert len(json_here(user, "usage", "--by", by)["rows"]) == 23


def test_before_the_first_request(user: User) -> None:
    """No ledger yet is nothing wrong, and nothing is made by looking."""
    user.write_profile(PROFILE)
    done = run_here(user, "usage")
    assert (done.returncode, done.stdout) == (0, "no usage yet for the profile work\n")
    found = json_here(user, "usage")
    assert (found["rows"], found["total"]["requests"], found["total"]["cost_usd"]) == ([], 0, 0)
    assert run_here(user, "usage", "--csv").stdout.startswith("model,requests,")
    assert not (user.state / "ledger").exists()


def test_nothing_in_this_period(user: User) -> None:
    """A ledger that has other days says so."""
    used(user, [PLAIN._replace(ended=1.0)])
    done = run_here(
        user, "usage", "--since", "2026-11-01", "--until", "2026-11-02", env={"TZ": "UTC"}
    )
    assert done.stdout == (
        "profile work, 2026-11-01 00:00 to 2026-11-03 00:00\n"
        "no usage in this period    -> --since takes 90d or a date\n"
    )


def test_a_broken_profile_still_shows_its_usage(user: User) -> None:
    """What others would have cost is left out, and the reason said."""
    used(user, [PLAIN._replace(ended=time.time())])
    file = user.write_profile("models: {opus: nonsense}")
    done = run_here(user, "usage")
    assert done.returncode == 0, done.stderr
    assert "$0.50 for 1 request" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"the profile {file} is not valid, so the costs on other models are left out"
    )


def spoil(file: Path, how: str) -> None:
    """Make a ledger one that cannot be read."""
    if how == "garbage":
        file.write_bytes(b"this is no database at all" * 100)
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    else:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(how)


@pytest.mark.parametrize(
    ("how", "message", "hint"),
    [
        ("garbage", "the ledger {} is damaged: ", "(a new one is started)"),
        ("DROP TABLE tries", "the ledger {} is damaged: ", "(a new one is started)"),
        (
            "PRAGMA user_version = 999",
            "the ledger {} was written by a newer llmswitch",
            "update llmswitch",
        ),
        ("a folder", "the ledger {} cannot be read: ", "make the file and its folder"),
    ],
)
def test_a_ledger_that_cannot_be_read(user: User, how: str, message: str, hint: str) -> None:
    """One sentence and one cure, for whatever is wrong with the file."""
    file = used(user, [PLAIN])
    spoil(file, how)
    done = run_here(user, "usage")
    said, cure, *rest = done.stderr.splitlines()
    assert (done.returncode, done.stdout, rest) == (1, "", [])
    assert said.startswith(message.format(file))
    assert cure.startswith("-> ")
    assert hint in cure


WRITER = """
import sys, time
from pathlib import Path
from llmswitch import ledger
from llmswitch.budgets import dollars
from tests.usage.test_summary import PLAIN
connection = ledger.open_to_write(Path(sys.argv[1]))
print("writing", flush=True)
number, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    number += 1
    one = PLAIN._replace(request=f"w{number}", ended=time.time(), input=1000)
    ledger.insert(connection, [one, one._replace(input=-1000 + 7)])
print(number)
"""


@pytest.mark.soak
def test_ten_readers_beside_a_writer(user: User) -> None:
    """Nobody fails or waits for another, and no sum has half of a transaction in it."""
    file = used(user, [PLAIN._replace(ended=time.time(), input=0)])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), "8"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout
    assert writer.stdout.readline() == "writing\n"
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "llmswitch", "usage", "--json"],
            env=user.env,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(10)
    ]
    seen = []
    for reader in readers:
        out, err = reader.communicate(timeout=100)
        assert (reader.returncode, err) == (0, "")
        total = json.loads(out)["total"]
        assert total["input_tokens"] == 7 * (total["requests"] - 1)
        assert total["tries"] == 2 * total["requests"] - 1
        seen.append(total["requests"])
    out, _ = writer.communicate(timeout=100)
    assert writer.returncode == 0
    assert int(out) > max(seen) - 2
    assert max(seen) > 1, "no reader met the writer"
