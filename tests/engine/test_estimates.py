"""What an open request is thought to cost, and what budgets hold for it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmswitch.budgets import Budget
from llmswitch.engine.budget import Open, Spending
from llmswitch.engine.estimates import ANSWERS, GUESS, Estimates, prompt_tokens
from llmswitch.ledger import insert, open_to_write
from tests.engine.test_ledger import ROW

# USD per million tokens: 2 of the prompt, 10 of the answer.
INFO = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5, "llmswitch_provider": "zai"}
NOON = 1_700_000_000.0
ANSWERED = ROW._replace(
    ended=NOON, model="m", input=1000, output=500, cache_read=0, cache_write=0, cost=0.007
)


def estimate(answers: int, prompt: int, info: dict[str, Any] | None = None, **more: Any) -> float:
    """What is thought after so many answers."""
    made = Estimates()
    for _ in range(answers):
        made.add(ANSWERED._replace(**more))
    return made.usd("m", prompt, INFO if info is None else info)


def test_without_history_it_is_the_prompt_and_a_guess() -> None:
    """A thousand tokens of output."""
    assert estimate(0, 5000) == pytest.approx(5000 * 2e-6 + GUESS * 1e-5)


def test_it_is_what_the_last_answers_were_or_what_a_longer_prompt_makes_of_them() -> None:
    """Whichever is more."""
    assert estimate(3, 10) == pytest.approx(0.007)
    assert estimate(3, 100_000) == pytest.approx(100_000 * 2e-6 + 500 * 1e-5)


def test_what_the_providers_cache_held_of_late_is_cheap_again() -> None:
    """Claude Code sends a whole session each time; nine tenths of it at a tenth of the price."""
    cached: dict[str, Any] = {
        "input": 100_000,
        "cache_read": 900_000,
        "cost": 0.2 + 0.18 + 500 * 1e-5,
    }
    assert estimate(3, 2_000_000, **cached) == pytest.approx(2 * 0.38 + 500 * 1e-5)


def test_only_the_last_answers_count_and_no_failure_or_hit() -> None:
    """A model that has become terse is thought to be terse."""
    made = Estimates()
    made.add(ANSWERED._replace(cost=9.0))
    for _ in range(ANSWERS):
        made.add(ANSWERED)
    dear = ANSWERED._replace(cost=9.0)
    for row in (dear._replace(status=500), dear._replace(cache_hit=True)):
        made.add(row)
    assert made.usd("m", 0, INFO) == pytest.approx(0.007)


def test_what_has_no_price_is_not_estimated() -> None:
    """Neither an unknown nor a free model holds anything."""
    assert estimate(0, 1000, {}) == 0.0
    assert estimate(0, 1000, {"input_cost_per_token": 0, "output_cost_per_token": 0}) == 0.0


def test_a_worker_begins_with_what_the_ledger_has(tmp_path: Path) -> None:
    """The newest answers of each model, whoever wrote them."""
    file = tmp_path / "l.db"
    with closing(open_to_write(file)) as connection:
        insert(connection, [ANSWERED._replace(cost=9.0), *[ANSWERED] * ANSWERS])
        insert(connection, [ANSWERED._replace(model="other", cost=3.0)])
        made = Estimates()
        made.read(connection)
    assert made.usd("m", 0, INFO) == pytest.approx(0.007)
    assert made.usd("other", 0, INFO) == pytest.approx(3.0)


def test_a_prompt_is_measured_by_its_texts() -> None:
    """In every dialect; an image takes what an image takes, however long its bytes are."""
    text, picture = "x" * 4000, "A" * 4_000_000
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    url = {"url": f"data:image/png;base64,{picture}"}
    assert prompt_tokens({"messages": [{"content": text}], "system": [{"text": text}]}) == 2000
    assert prompt_tokens({"input": text, "instructions": text, "tools": [{"a": text}]}) == 3000
    assert prompt_tokens({"messages": [{"content": [{"source": source}]}]}) == 1600
    assert prompt_tokens({"messages": [{"content": [{"image_url": url}]}]}) == 1600
    assert prompt_tokens({"model": text, "messages": None, "input": [1, None]}) == 0


# ------------------------------------------------------------------ what is held


def made(tmp_path: Path, *budgets: Budget) -> Spending:
    """Accounts after one answer of the model `m`, which cost $0.007."""
    found = Spending(budgets, tmp_path / "l.db", "me", lambda: NOON)
    found.add(ANSWERED)
    return found


def wanted(request: str, model: str = "m") -> Open:
    """A request that is thought to cost $0.007, as the last one did."""
    return Open(request, model, INFO, "gateway", 0)


def reserved(spending: Spending) -> list[float]:
    """What is held of each budget, to a billionth."""
    return [round(account.reserved, 9) for account in spending.accounts()]


def test_as_many_are_let_in_as_fit(tmp_path: Path) -> None:
    """Three answers of $0.007 beside the one that is paid for, of $0.028."""
    spending = made(tmp_path, Budget(0.028, "day"))
    refused = [spending.reserve(wanted(f"r{n}")) for n in range(40)]
    assert [account is None for account in refused] == [True] * 3 + [False] * 37
    assert reserved(spending) == [0.021]


def test_what_is_held_comes_back_or_becomes_the_cost(tmp_path: Path) -> None:
    """To the last digit: nothing is held when nothing is open."""
    spending = made(tmp_path, Budget(0.028, "day"))
    for n in range(3):
        spending.reserve(wanted(f"r{n}"))
    spending.release("r0")
    assert spending.reserve(wanted("r3")) is None
    spending.add(ANSWERED)
    spending.release("r1")
    assert spending.reserve(wanted("r4")) is not None, "it was spent"
    for n in range(5):
        spending.release(f"r{n}")
    (account,) = spending.accounts()
    assert (account.reserved, account.held, account.spent) == (0, {}, 0.014)


def test_a_request_alone_may_spend_the_last_cent(tmp_path: Path) -> None:
    """Where nothing else is open; but nothing goes when all is spent."""
    spending = made(tmp_path, Budget(0.008, "day"))
    assert spending.reserve(wanted("first")) is None
    account = spending.reserve(wanted("second"))
    assert account is not None
    assert not account.is_spent
    spending.add(ANSWERED)
    spending.release("first")
    account = spending.reserve(wanted("second"))
    assert account is not None
    assert account.is_spent


def test_what_is_held_moves_with_a_fallback(tmp_path: Path) -> None:
    """From the budget of the one to that of the other; where that has no room, it stays."""
    spending = made(tmp_path, Budget(1, "day", model="m"), Budget(0.02, "day", model="fall"))
    assert spending.reserve(wanted("r")) is None
    assert reserved(spending) == [0.007, 0]
    assert spending.reserve(wanted("r", "fall")) is None
    guess = GUESS * 1e-5
    assert reserved(spending) == [0, guess]
    assert spending.reserve(wanted("other")) is None
    assert spending.reserve(wanted("second", "fall")) is None
    assert spending.reserve(wanted("other", "fall")) is not None
    assert reserved(spending) == [0.007, 2 * guess]


def test_what_costs_nothing_waits_for_nobody(tmp_path: Path) -> None:
    """A local model, below a budget of everything that open requests hold all of."""
    spending = made(tmp_path, Budget(0.014, "day"))
    assert spending.reserve(wanted("paid")) is None
    assert spending.reserve(wanted("paid too")) is not None
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    assert spending.reserve(wanted("free", "local")._replace(info=free)) is None


def test_another_key_of_the_same_model_holds_no_more(tmp_path: Path) -> None:
    """A second try of the same request."""
    spending = made(tmp_path, Budget(1, "day"))
    for _ in range(2):
        assert spending.reserve(wanted("r")) is None
    assert reserved(spending) == [0.007]
