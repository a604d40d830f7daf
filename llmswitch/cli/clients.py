"""The commands `client add`, `client list` and `client remove`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from llmswitch.budgets import dollars
from llmswitch.cli.common import JsonOption, ProfileOption, chosen, group, own_home, show
from llmswitch.columns import columns

client_app = group("Manage keys for other programs and machines.")
NameArgument = Annotated[str, typer.Argument(help="The client's name, such as laptop or ci.")]


@client_app.command("add")
def add_client(name: NameArgument, as_json: JsonOption = False) -> None:
    """Create a client's key and show it once; only a digest is stored."""
    from llmswitch.usage import clients

    key = clients.add(own_home(), name, time.time())
    lines = [
        f"the key of {name}, which cannot be shown again:",
        f"  {key}",
        "it works with every gateway of this installation; Claude Code takes it as",
        "ANTHROPIC_AUTH_TOKEN",
    ]
    show(lines, {"name": name, "key": key}, as_json)


@client_app.command("list")
def list_clients(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the clients with a key, and what each used this month."""
    from llmswitch.profile.load import load_profile
    from llmswitch.render import plan
    from llmswitch.usage import clients

    home, ref = chosen(profile)
    wanted = load_profile(ref.file, plan.shown_path(ref.file)).clients
    used = clients.usage(home.ledger(ref), time.time())
    found = clients.all_clients(home)
    notes = clients.notes(home, wanted)
    rows = [clients.data(client, used.get(client.name, clients.Usage())) for client in found]
    lines = [*_table(rows), *(f"note: {note}" for note in notes)]
    show(lines, {"clients": rows, "notes": notes}, as_json)


@client_app.command("remove")
def remove_client(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a client's key; its next request is refused."""
    from llmswitch.usage import clients

    clients.remove(own_home(), name)
    show([f"removed {name}: its next request is refused"], {"removed": name}, as_json)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The clients with a key: when it was created, last use, and cost of this month."""
    if not rows:
        return ["no client has a key    -> llmswitch client add NAME"]
    cells = [("CLIENT", "CREATED", "LAST USE", "THIS MONTH")]
    for row in rows:
        last = _local(row["last_used"]) if row["last_used"] else "never"
        unknown = f" and {row['month_unknown']} at an unknown price" if row["month_unknown"] else ""
        cells.append((row["name"], _local(row["made"]), last, dollars(row["month_usd"]) + unknown))
    return columns(cells)


def _local(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
