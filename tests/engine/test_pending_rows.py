"""When a row of the ledger is written: both have spoken, or one of them does not for long."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmswitch.budgets import Budget
from llmswitch.engine import pending_rows, refusals
from llmswitch.engine.budget import Open, Spending
from llmswitch.engine.ledger_writer import Writer
from llmswitch.engine.refusals import Strangers, record_refusal
from llmswitch.engine.request import RequestContext
from llmswitch.engine.streams import Observer
from llmswitch.ledger import NO_CLIENT, Try
from tests.engine.test_ledger import ROW

DEPLOYMENT = "id-of-a-deployment"
INFO = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
WHOLE = b'data: {"type":"message_stop"}\n\n'


class Desk:
    """A writer and accounts as a worker has them, and one request that is being answered."""

    def __init__(self, file: Path) -> None:
        self.writer = Writer(file)
        self.spending = Spending([Budget(1, "day")], file, "me", lambda: ROW.ended)
        self.context = RequestContext("gateway", None, None, asked="glm-4.7")
        self.context.trying = DEPLOYMENT
        self.context.observer = Observer(is_stream=True)
        self.spending.reserve(Open(self.context.id, "glm-4.7", INFO, "gateway", 9))

    def see(self, body: bytes) -> None:
        """What the client gets."""
        assert self.context.observer is not None
        self.context.observer.see(body, more=False)

    def tell(self, row: Try = ROW) -> None:
        """LiteLLM tells what it took."""
        pending_rows.told(self.context, row, DEPLOYMENT)

    def end(self, *, left: bool = False) -> None:
        """The answer is over."""
        missing = ROW._replace(cost=None, input=0, output=0)
        pending_rows.ended(self.context, lambda _context: missing, left=left)

    @property
    def put(self) -> list[tuple[int, str | None, float | None]]:
        """What was put to be written: status, error, cost."""
        return [(row.status, row.error, row.cost) for row in self.writer._rows]

    @property
    def reserved(self) -> float:
        """What is held."""
        return self.spending.accounts()[0].reserved


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """One whose patience is short."""
    made = Desk(tmp_path / "l.db")
    monkeypatch.setattr(pending_rows, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(pending_rows, "writer", lambda: made.writer)
    monkeypatch.setattr(pending_rows, "spending", lambda: made.spending)
    monkeypatch.setattr(refusals, "writer", lambda: made.writer)
    yield made
    assert pending_rows._waiting == {}


def run(*steps: Callable[[], object]) -> None:
    """Do these on an event loop, then wait for longer than rows wait."""

    async def all_of_them() -> None:
        for step in steps:
            step()
        await asyncio.sleep(0.3)

    asyncio.run(all_of_them())


def test_it_waits_for_both_in_either_order(desk: Desk) -> None:
    """LiteLLM first, as it mostly is: the cost is known at once, the row when the end has come."""

    def check_waiting() -> None:
        assert desk.put == []
        assert (desk.reserved, desk.spending.accounts()[0].spent) == (0, 0.5)

    run(desk.tell, check_waiting, lambda: desk.see(WHOLE), desk.end)
    assert desk.put == [(200, None, 0.5)]


@pytest.mark.parametrize(
    ("body", "left", "expected"),
    [
        (WHOLE, False, (200, None, 0.5)),
        (WHOLE, True, (200, None, 0.5)),
        (b"", False, (502, "IncompleteStream", 0.5)),
        (b"", True, (499, "ClientLeft", 0.5)),
        (b'data: {"error": {"type": "api_error"}}\n', True, (500, "api_error", 0.5)),
    ],
)
def test_the_end_first(
    desk: Desk, body: bytes, left: bool, expected: tuple[int, str | None, float]
) -> None:
    """What the client saw decides what became of it; a client that goes after the end missed
    nothing, and an error is one whoever is left to see it.
    """

    def check_held() -> None:
        assert (desk.put, desk.reserved > 0) == ([], True)

    run(lambda: desk.see(body), lambda: desk.end(left=left), check_held, desk.tell)
    assert (desk.put, desk.reserved) == ([expected], 0)
    assert [row.status for row in desk.context.rows] == [expected[0]]


def test_an_end_that_does_not_come(desk: Desk) -> None:
    """The row is written without it."""
    run(desk.tell)
    assert desk.put == [(200, None, 0.5)]


def test_litellm_says_nothing(desk: Desk) -> None:
    """The row is written, with a cost that nobody knows; nothing stays held."""
    run(lambda: desk.see(WHOLE), desk.end)
    assert (desk.put, desk.reserved) == ([(200, None, None)], 0)


def test_a_client_that_left_before_the_answer_began(desk: Desk) -> None:
    """Is no failure either, whether LiteLLM tells of it or not."""
    desk.context.observer = None
    run(lambda: desk.end(left=True))
    assert (desk.put, desk.reserved) == ([(499, "ClientLeft", None)], 0)


def test_a_failed_try_is_written_at_once(desk: Desk) -> None:
    """What is held stays for the next try, until the request is over."""
    failed = ROW._replace(status=500, error="Timeout", cost=0.0)

    def check_held() -> None:
        assert desk.reserved > 0

    run(lambda: desk.tell(failed), check_held, desk.end)
    assert (desk.put, desk.reserved) == ([(500, "Timeout", 0.0)], 0)


def test_a_worker_that_leaves_writes_what_waits(desk: Desk) -> None:
    """At once."""

    def check() -> None:
        assert desk.put == [(200, None, 0.5)]

    run(desk.tell, pending_rows.finish_all, check)
    assert len(desk.put) == 1


def test_a_refusal_has_its_row(desk: Desk) -> None:
    """Of whom it was, and of nobody's tokens."""
    context = RequestContext("ci", "session", "agent")
    run(
        lambda: record_refusal(context, 404, "not_found_error"),
        lambda: record_refusal(context, 429, "rate_limit_error", model="opus"),
    )
    desk.writer.start()
    desk.writer.stop()
    with closing(sqlite3.connect(desk.writer.file)) as connection:
        rows = connection.execute(
            "SELECT client, session, agent, asked, model, provider, status, error, cost, "
            "input + output + cache_read + cache_write FROM tries ORDER BY id"
        ).fetchall()
    assert rows == [
        ("ci", "session", "agent", "", "", None, 404, "not_found_error", 0.0, 0),
        ("ci", "session", "agent", "opus", "opus", None, 429, "rate_limit_error", 0.0, 0),
    ]


def test_who_has_no_key_does_not_fill_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row at once, and then one that says how many more there were."""
    monkeypatch.setattr(refusals, "EVERY", 0.1)
    monkeypatch.setattr(refusals, "strangers", Strangers())

    def refuse() -> None:
        context = RequestContext(NO_CLIENT, "x" * 200, "y" * 200)
        record_refusal(context, 401, "authentication_error")

    run(*[refuse] * 5000)
    rows = list(desk.writer._rows)
    assert [(row.status, row.error, row.session) for row in rows] == [
        (401, "authentication_error", None),
        (401, "authentication_error x4999", None),
    ]
    run(refuse, refusals.strangers.sum_up)
    assert len(desk.writer._rows) == 3
