"""`llmswitch client`: keys for other programs and machines."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from llmswitch.cli.common import JsonOption, ProfileOption, chosen, own_home, show

client_app = typer.Typer(
    help="Keys for other programs and machines, each with its own usage and budgets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(help="What the client is called: laptop, ci.")]


@client_app.command("add")
def add_client(name: NameArgument, as_json: JsonOption = False) -> None:
    """Make a key and show it, this once; only a digest of it is kept."""
    from llmswitch.cli import text
    from llmswitch.usage import clients

    key = clients.add(own_home(), name, time.time())
    show(text.client_added(name, key), {"name": name, "key": key}, as_json)


@client_app.command("list")
def list_clients(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the clients that have a key, and what each has used of a profile this month."""
    from llmswitch.cli import text
    from llmswitch.profile.load import load_profile
    from llmswitch.render import plan
    from llmswitch.usage import clients

    home, ref = chosen(profile)
    wanted = load_profile(ref.file, plan.shown_path(ref.file)).clients
    used = clients.usage(home.ledger(ref), time.time())
    found = clients.all_clients(home)
    notes = clients.notes(home, wanted)
    rows = [clients.data(client, used.get(client.name, clients.Usage())) for client in found]
    show(text.clients(rows, notes), {"clients": rows, "notes": notes}, as_json)


@client_app.command("remove")
def remove_client(name: NameArgument, as_json: JsonOption = False) -> None:
    """Take a client's key away; its next request is refused."""
    from llmswitch.cli import text
    from llmswitch.usage import clients

    clients.remove(own_home(), name)
    show(text.client_removed(name), {"removed": name}, as_json)
