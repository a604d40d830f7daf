"""The commands `budget status` and `budget raise`: parse, call, print. No logic."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from llmswitch.cli.common import JsonOption, ProfileOption, chosen, show

app = typer.Typer(
    help="What may be spent, and what is left of it.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Each budget of the profile in its period: how much is spent, and until when it counts."""
    from llmswitch.cli import text_status
    from llmswitch.profile.load import load_profile
    from llmswitch.usage import spent

    home, ref = chosen(profile)
    found = spent.accounts(load_profile(ref.file), home.ledger(ref), time.time())
    show(text_status.budgets(found), {"budgets": [item.data() for item in found]}, as_json)


@app.command("raise")
def raise_(
    name: Annotated[str, typer.Argument(help="A budget's name, such as total/month.")],
    usd: Annotated[float, typer.Argument(min=0.01, help="How much more, in USD.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let more be spent until the budget's period ends; the gateway knows at once."""
    from llmswitch.cli import text_status
    from llmswitch.profile.load import load_profile
    from llmswitch.usage import spent

    home, ref = chosen(profile)
    account = spent.raise_budget(load_profile(ref.file), home.ledger(ref), name, usd, time.time())
    show(text_status.raised(account), account.data(), as_json)
