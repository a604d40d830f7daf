"""The command `usage`: parse, call, print. No logic."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmswitch.cli.common import (
    Commands,
    JsonOption,
    ProfileOption,
    YesOption,
    chosen,
    confirm,
    show,
)
from llmswitch.paths import ProfileRef

if TYPE_CHECKING:
    from llmswitch.usage.summary import Period

app = typer.Typer(rich_markup_mode=None, cls=Commands)
By = Literal["model", "provider", "day", "session", "client", "agent", "key"]


@app.callback(invoke_without_command=True)
def usage(
    context: typer.Context,
    *,
    by: Annotated[By | None, typer.Option("--by", help="One kind, with all columns.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="today, yesterday, 7d, 24h, a date, a date with a time. [default: 30d]"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="The same; a whole day counts.")] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="The last requests, refused ones too.")
    ] = False,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="With --requests: how many.")
    ] = 20,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="With --requests: to a model, or answered by it."),
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="With --requests: those that got no answer.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    page: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write all of it as a page with charts."),
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was used and what it cost, by model, day and more."""
    if context.invoked_subcommand:
        return
    _check((as_json, as_csv, bool(page)), sums=bool(by or as_csv or page), requests=requests)
    if not requests and (model or errors):
        raise typer.BadParameter("--model and --errors need --requests")
    from llmswitch.usage import summary as ledger_of
    from llmswitch.usage import tables

    home, ref = chosen(profile)
    period = ledger_of.period(since, until, time.time(), None)
    if requests:
        _requests(home.ledger(ref), ref.name, period, (number, model, errors), as_json=as_json)
    elif as_csv or (by and not as_json and not page):
        kind = by or "model"
        found = ledger_of.read(home.ledger(ref), period, (kind,))
        csv = tables.as_csv(found, kind).splitlines() if as_csv else None
        show(tables.one_kind(found, ref.name, kind) if csv is None else csv)
    else:
        _overview(home.ledger(ref), ref, period, by or "model", page, as_json=as_json)


def _check(forms: tuple[bool, ...], *, sums: bool, requests: bool) -> None:
    if forms.count(True) > 1:
        raise typer.BadParameter("use only one of --json, --csv and --html")
    if requests and sums:
        raise typer.BadParameter("--requests cannot be combined with --by, --csv or --html")


def _requests(
    ledger: Path,
    name: str,
    period: Period,
    wanted: tuple[int, str | None, bool],
    *,
    as_json: bool,
) -> None:
    from llmswitch.usage import requests

    found = requests.last(ledger, period, *wanted)
    data = {"profile": name, "requests": requests.data(found, period)}
    show([json.dumps(data, indent=2)] if as_json else requests.table(found, period))


def _overview(
    ledger: Path, ref: ProfileRef, period: Period, kind: By, page: Path | None, *, as_json: bool
) -> None:
    from llmswitch.usage import summary, tables
    from llmswitch.usage.what_if import prices_of, what_if

    kinds = summary.BY if page else tuple(dict.fromkeys(("model", "day", "key", kind)))
    found = summary.read(ledger, period, kinds)
    prices, note = prices_of(ref.file)
    others = what_if(found.total, prices)
    notes = [*tables.warnings(found), *([note] if note else [])]
    if page:
        from llmswitch.usage.page import render, write

        write(page.expanduser(), render(found, ref.name, others, notes))
        show([f"wrote {page}"])
    elif as_json:  # in ASCII: a name may hold what steers a terminal
        show([json.dumps(tables.data(found, ref.name, kind, others, notes), indent=2)])
    else:
        width = shutil.get_terminal_size().columns
        show(tables.usage(found, ref.name, others, notes, width))


@app.command()
def prune(
    context: typer.Context,
    older_than: Annotated[str, typer.Option(help="90d, 52w, or a date.")],
    profile: ProfileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old rows; the gateway can keep running."""
    from llmswitch.usage import prune as old
    from llmswitch.usage.summary import Period, moment
    from llmswitch.usage.tables import tries

    above = context.parent.params["profile"] if context.parent else None
    home, ref = chosen(profile or above)
    file, now = home.ledger(ref), time.time()
    before = moment("--older-than", older_than, now, None)
    old.check(before, now, file)
    number = old.count(file, before)
    until = Period(before, now, None).at(before)
    if number and not yes:
        confirm(f"this deletes {tries(number)} of the profile {ref.name} before {until:%Y-%m-%d}")
    deleted = old.delete(file, before) if number else 0
    said = f"deleted {tries(deleted)} of the profile {ref.name}" if deleted else "nothing is older"
    data = {"deleted": deleted, "before": until.isoformat(timespec="seconds")}
    show([said], data, as_json)
