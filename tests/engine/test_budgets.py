"""Budgets: their periods and sums, and a gateway that refuses what nothing is left for."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.budgets import Account, Budget, Per, dollars, look_up, period
from llmswitch.engine.budget import Open, Spending
from llmswitch.ledger import insert, open_to_write
from tests.conftest import User
from tests.engine.test_ledger import ROW
from tests.gateways import Reply
from tests.ledgers import House
from tests.upstream import Behaviour, Usage

pytestmark = pytest.mark.timeout(300)


# ------------------------------------------------------------------ periods


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clocks go forward and back."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(*moment: int) -> float:
    """A moment in local time, in seconds since 1970."""
    return datetime(*moment).timestamp()  # type: ignore[arg-type]  # noqa: DTZ001 - local


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("per", "now", "start", "end"),
    [
        ("day", (2026, 11, 24, 23, 59), (2026, 11, 24), (2026, 11, 25)),
        ("day", (2026, 3, 29, 12), (2026, 3, 29), (2026, 3, 30)),
        ("week", (2026, 11, 29, 20), (2026, 11, 23), (2026, 11, 30)),
        ("week", (2026, 11, 30, 0), (2026, 11, 30), (2026, 12, 7)),
        ("month", (2026, 2, 28, 23), (2026, 2, 1), (2026, 3, 1)),
        ("month", (2026, 12, 31, 23), (2026, 12, 1), (2027, 1, 1)),
    ],
)
def test_a_period_is_of_local_time(
    per: Per, now: tuple[int, ...], start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    """From midnight, from Monday, from the first; also on the days that have 23 or 25 hours."""
    assert period(per, at(*now)) == (at(*start), at(*end))


@pytest.mark.usefixtures("berlin")
@given(
    per=st.sampled_from(["day", "week", "month"]),
    now=st.floats(min_value=1_000_000_000, max_value=4_000_000_000),
)
def test_periods_follow_each_other_without_a_gap(per: Per, now: float) -> None:
    """Every moment is in one of them, and the next begins where it ends."""
    found = period(per, now)
    assert found.start <= now < found.end
    assert period(per, found.start) == period(per, found.end - 0.001) == found
    assert period(per, found.end).start == found.end


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0.00"),
        (12.5, "$12.50"),
        (1234.567, "$1,234.57"),
        (0.8, "$0.80"),
        (0.01, "$0.01"),
        (0.0271, "$0.0271"),
        (0.00042, "$0.0004"),
        (0.00001234, "<$0.0001"),
    ],
)
def test_little_money_is_not_shown_as_none(usd: float, said: str) -> None:
    """Below a dollar there are four digits, where they are needed."""
    assert dollars(usd) == said


# ------------------------------------------------------------------ sums


class Clock:
    """Tells the time that a test wants."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


NOON = at(2026, 11, 24, 12)
DAY = Budget(10.0, "day")


def spending(file: Path, clock: Clock, *budgets: Budget, worker: str = "me") -> Spending:
    """The accounts of a worker, as they are when it starts."""
    made = Spending(budgets or (DAY,), file, worker, clock)
    made.refresh()
    return made


def spent(of: Spending) -> list[float]:
    """What each account has spent."""
    return [account.spent for account in of.accounts()]


def refused(of: Spending, request: str = "r", **more: Any) -> Account | None:
    """What forbids a request for GLM, at a dollar per million tokens of output."""
    info = {
        "llmswitch_provider": "zai",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
    }
    wanted = Open(request, "glm-4.7", info, "gateway", 0)
    return of.reserve(wanted._replace(**more))


def test_nothing_is_counted_twice(tmp_path: Path) -> None:
    """A worker counts its own rows in memory and those of others from the ledger; a third, later
    one counts both from there.
    """
    file, clock = tmp_path / "l.db", Clock(NOON)
    first, second = (spending(file, clock, worker=worker) for worker in ("a", "b"))
    with closing(open_to_write(file)) as connection:
        for worker, of in (("a", first), ("b", second)):
            row = ROW._replace(ended=NOON, cost=2.0, worker=worker)
            of.add(row)
            insert(connection, [row])
    assert spent(first) == spent(second) == [2.0]
    first.refresh()
    second.refresh()
    assert spent(first) == spent(second) == [4.0]
    assert spent(spending(file, clock, worker="c")) == [4.0]


def test_a_budget_ends_with_its_period(tmp_path: Path) -> None:
    """At the first moment of the next one everything is there again, whatever the ledger says of
    the last.
    """
    file, clock = tmp_path / "l.db", Clock(NOON)
    of = spending(file, clock, DAY, Budget(10.0, "month"))
    of.add(ROW._replace(ended=NOON, cost=10.0))
    assert refused(of) is not None
    clock.now = period("day", NOON).end - 0.001
    assert spent(of) == [10.0, 10.0]
    clock.now += 0.001
    assert spent(of) == [0.0, 10.0]
    account = refused(of)
    assert account is not None
    assert account.budget.per == "month"
    clock.now = period("month", NOON).end
    assert refused(of) is None


def test_a_budget_counts_what_it_names(tmp_path: Path) -> None:
    """All the names that it has must be those of the try."""
    file, clock = tmp_path / "l.db", Clock(NOON)
    budgets = [
        Budget(1, "day"),
        Budget(1, "day", model="opus"),
        Budget(1, "day", provider="zai"),
        Budget(1, "day", client="ci"),
        Budget(1, "day", provider="zai", client="ci"),
    ]
    assert [budget.name for budget in budgets] == [
        "total/day",
        "model:opus/day",
        "provider:zai/day",
        "client:ci/day",
        "client:ci+provider:zai/day",
    ]
    tries = [("glm-4.7", "zai", "ci"), ("glm-4.7", "zai", "gateway"), ("opus", "an", "ci")]
    rows = [
        ROW._replace(ended=NOON, cost=0.125, model=model, provider=provider, client=client)
        for model, provider, client in tries
    ]
    of = spending(file, clock, *budgets)
    for row in rows:
        of.add(row)
    expected = [0.375, 0.125, 0.25, 0.25, 0.125]
    assert spent(of) == expected
    with closing(open_to_write(file)) as connection:
        insert(connection, rows)
        insert(connection, [ROW._replace(ended=NOON, cost=None), ROW._replace(cost=9.0)])
    assert spent(spending(file, clock, *budgets, worker="later")) == expected


def test_a_budget_that_is_nearly_spent_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, at 80 %."""
    of = spending(tmp_path / "l.db", Clock(NOON))
    for _ in range(10):
        of.add(ROW._replace(ended=NOON, cost=0.99))
    until = datetime.fromtimestamp(period("day", NOON).end).astimezone()
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        f"the budget total/day: $8.91 of $10.00 spent, until {until:%Y-%m-%d %H:%M}"
    ]


def test_a_ledger_that_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was known stays known."""
    file, clock = tmp_path / "l.db", Clock(NOON)
    with closing(open_to_write(file)) as connection:
        insert(connection, [ROW._replace(ended=NOON, cost=3.0)])
    of = spending(file, clock)
    for part in tmp_path.iterdir():
        part.unlink()
    file.write_bytes(b"damaged" * 1000)
    of.refresh()
    assert spent(of) == [3.0]
    assert caplog.messages == [
        "budgets go on from memory: the ledger cannot be read: file is not a database"
    ]


# ------------------------------------------------------------------ the gateway

PROFILE = """
models:
  small: {{model: zai/small, price: {{input: 1, output: 1}}, budget: {{usd: 1, per: day}}}}
  spill: {{model: zai/spill, price: {{input: 1, output: 1}}, budget: {{usd: 1, per: day}},
          fallbacks: [small, free]}}
  far: {{model: zai/far, price: {{input: 1, output: 1}}, budget: {{usd: 1, per: day}},
        fallbacks: [spill]}}
  month: {{model: mine/month, price: {{input: 1, output: 1}}}}
  free: {{model: free/free, price: {{input: 0, output: 0}}}}
  unknown: free/unknown
providers:
  zai: {{base_url: "{zai}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  free: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
budgets: [{{usd: 3, per: month, provider: mine}}]
gateway: {{port: {port}}}
litellm: {{litellm_settings: {{request_timeout: {timeout}}}}}
"""
HALF = Usage(input=400_000, output=100_000)  # of the budget of `small`
_timeouts = itertools.count(100)


@pytest.fixture
def shop(stage: House) -> House:
    """A gateway whose models cost half a dollar an answer, in which nothing was spent yet."""
    if [*stage.user.state.rglob("*.db")]:
        stage.heal()  # all that was used before is written
        in_the_last_period(stage)
    stage.bring(PROFILE, timeout=next(_timeouts))  # a new worker, which reads the ledger
    for name in ("zai", "mine"):
        stage.upstreams[name].behave(Behaviour(usage=HALF))
    return stage


def in_the_last_period(shop: House) -> None:
    """As if all that was used had been used in the month before."""
    with closing(sqlite3.connect(shop.ledger)) as connection, connection:
        connection.execute("UPDATE tries SET ended = ended - 40 * 86400")
        connection.execute("UPDATE raises SET at = at - 40 * 86400")


def spend(shop: House, model: str, times: int = 1) -> None:
    """Have a model answer, and wait until it is written down."""
    for _ in range(times):
        assert shop.gateway.ask(model).status == 200
        shop.rows(1)


def ask_twice(shop: House, model: str) -> Iterator[Reply]:
    """Whole, and as a stream; the provider of `small` is not asked."""
    shop.clear()
    for stream in (False, True):
        yield shop.gateway.ask(model, stream=stream)
    assert "zai" not in shop.received


def until_midnight() -> str:
    """When a budget of today ends, as it is said."""
    return period("day", time.time()).until


def test_the_first_request_over_a_budget_is_refused_until_its_period_ends(shop: House) -> None:
    """Before it costs anything, streamed or not, also after a restart and a reload, with its row in
    the ledger; tokens are counted all the same, and in the next period it is served again.
    """
    spend(shop, "small", 2)
    sentence = (
        f"llmswitch: budget model:small/day: $1.00 of $1.00 spent, until {until_midnight()}; "
        "or: llmswitch budget raise model:small/day USD --profile work"
    )

    def assert_refused() -> None:
        for reply in ask_twice(shop, "small"):
            assert reply.status == 429
            assert reply.error == {"type": "rate_limit_error", "message": sentence}
            assert reply.headers["x-should-retry"] == "false"
        for row in shop.rows(2):
            assert (row.asked, row.model, row.key, row.status) == ("small", "small", None, 429)
            assert (row.error, row.cost, row.input) == ("BudgetError", 0.0, 0)

    assert_refused()
    assert shop.user.run("restart").returncode == 0
    assert_refused()
    shop.bring(PROFILE, timeout=next(_timeouts))
    assert_refused()
    assert shop.gateway.count("small").status_code == 200
    assert shop.gateway.ask("spill").said == "I am spill at zai", "another has its own"
    in_the_last_period(shop)
    assert shop.gateway.ask("small").said == "I am small at zai"


def test_a_model_spills_to_a_fallback_that_has_budget_left(shop: House) -> None:
    """Past one that has none, as far as LiteLLM goes: to a fallback of a fallback."""
    spend(shop, "spill", 2)
    assert shop.gateway.ask("spill").said == "I am small at zai"
    shop.rows(2)
    spend(shop, "small")
    for reply in ask_twice(shop, "spill"):
        assert reply.said == "I am free at mine"
    served = [row for row in shop.rows(6) if row.status == 200]
    assert [(row.model, row.fallback_from) for row in served] == [("free", "spill")] * 2
    spend(shop, "far", 2)
    for reply in ask_twice(shop, "far"):
        assert reply.said == "I am free at mine"


def test_a_budget_of_a_provider_leaves_the_others_alone(shop: House) -> None:
    """It says which it is."""
    spend(shop, "month", 6)
    reply = shop.gateway.ask("month")
    assert reply.status == 429
    assert reply.error["message"].startswith(
        "llmswitch: budget provider:mine/month: $3.00 of $3.00 spent, until "
    )
    assert shop.gateway.ask("small").status == 200
    assert shop.gateway.ask("free").status == 200


def test_a_raise_counts_at_once_and_until_the_period_ends(shop: House) -> None:
    """Twice raised is raised by both, also from a shell with another time zone, where the day began
    at another moment; the next period has the profile's budget again.
    """
    spend(shop, "small", 2)
    assert shop.gateway.ask("small").status == 429
    east = {"TZ": "Asia/Tokyo"}
    done = shop.user.run("budget", "raise", "model:small/day", "0.25", env=east)
    assert done.returncode == 0
    shop.rows(1)
    spend(shop, "small")
    assert shop.gateway.ask("small").status == 429
    done = shop.user.run("budget", "raise", "model:small/day", "1")
    assert (done.returncode, done.stdout) == (
        0,
        f"model:small/day is $2.25 until {until_midnight()}; $1.50 is spent\n",
    )
    shop.bring(PROFILE, timeout=next(_timeouts))
    assert shop.gateway.ask("small").status == 200
    in_the_last_period(shop)
    [budget] = [one for one in shop.user.json("budget", "status")["budgets"]
                if one["name"] == "model:small/day"]  # fmt: skip
    assert budget["limit_usd"] == 1.0


def test_what_is_left_is_shown_with_and_without_a_gateway(shop: House) -> None:
    """A row for each budget; `status` warns from 80 % on."""
    spend(shop, "small")
    assert not [line for line in shop.user.run("status").stdout.splitlines() if "budget" in line]
    shop.upstreams["zai"].behave(Behaviour(usage=Usage(input=300_000, output=0)))
    spend(shop, "small")
    midnight, end = until_midnight(), period("month", time.time()).until
    expected = f"""\
BUDGET               SPENT  OF     LEFT   UNTIL
model:small/day      $0.80  $1.00  $0.20  {midnight}  ████████████████░░░░ 80%
model:spill/day      $0.00  $1.00  $1.00  {midnight}  ░░░░░░░░░░░░░░░░░░░░ 0%
model:far/day        $0.00  $1.00  $1.00  {midnight}  ░░░░░░░░░░░░░░░░░░░░ 0%
provider:mine/month  $0.00  $3.00  $3.00  {end}  ░░░░░░░░░░░░░░░░░░░░ 0%
"""
    assert shop.user.run("budget", "status").stdout == expected
    assert (
        f"budget model:small/day: $0.80 of $1.00 spent, until {midnight}"
        "    -> llmswitch budget raise model:small/day USD --profile work"
    ) in shop.user.run("status").stdout.splitlines()
    shop.user.run("down")
    assert shop.user.run("budget", "status").stdout == expected
    assert shop.user.run("up").returncode == 0


def test_a_name_that_no_budget_has(user: User) -> None:
    """The nearest one is in the cure."""
    user.write_profile("models: {a: ollama/x}\nbudgets: [{usd: 5, per: month}]\n")
    done = user.run("budget", "raise", "total", "5")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        (
            "there is no budget 'total'; there are: total/month\n"
            "-> llmswitch budget raise total/month 5\n"
        ),
    )
    assert user.run("budget", "raise", "total/month", "-5").returncode == 2
    for usd in ("nan", "inf", "1e308"):
        done = user.run("budget", "raise", "total/month", usd)
        assert (done.returncode, done.stderr) == (
            1,
            (
                f"invalid amount {float(usd):g} for a budget raise: up to 1,000,000 USD\n"
                "-> llmswitch budget raise total/month 10\n"
            ),
        )
    user.write_profile("models: {a: ollama/x}\n")
    assert user.run("budget", "status").stdout == (
        "the profile has no budgets; write for example: budgets: [{usd: 50, per: month}]\n"
    )
    assert user.json("budget", "status") == {"budgets": []}


def test_what_no_budget_can_count_is_told(user: User) -> None:
    """A price that nobody knows is not 0."""
    user.write_profile(
        "models: {a: ollama/x, b: {model: ollama/y, price: {input: 1, output: 1}}}\n"
        "budgets: [{usd: 5, per: month}, {usd: 1, per: day, model: b}]\n"
    )
    notes = user.json("validate")["notes"]
    assert "the budget total/month cannot count a: their price is unknown" in notes
    assert not [note for note in notes if "model:b/day" in note]


def test_an_account_from_the_ledger_is_the_gateways(tmp_path: Path) -> None:
    """The commands and the gateway sum alike."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        insert(connection, [ROW._replace(ended=NOON, cost=2.5)])
        account = Account(DAY, period("day", NOON))
        look_up(connection, account)
    assert (account.spent, account.limit, account.is_spent) == (2.5, 10.0, False)
    assert file.stat().st_mode & 0o777 == 0o600
