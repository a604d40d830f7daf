"""The commands `key set`, `list` and their like: parse, call, print. No logic."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from llmswitch.cli.common import (
    JsonOption,
    ProfileOption,
    chosen_if_any,
    opened_keys,
    own_home,
    places_here,
    read_secret,
    show,
)

app = typer.Typer(
    help="Your keys: kept in the system's keyring or a private file, never shown.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
WhichArgument = Annotated[
    str, typer.Argument(metavar="PROVIDER|VARIABLE", help="Such as zai, or ZAI_API_KEY.")
]


@app.command("set")
def set_(which: WhichArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Keep a key, which is typed unseen or comes from standard input."""
    from llmswitch.cli import text_keys
    from llmswitch.profile import catalogue, keys

    home, loaded = chosen_if_any(profile)
    name, provider = catalogue.variable(loaded, which)
    key = keys.usable(read_secret(f"the key for {name}"), name)
    wrong = next(keys.key_problems(key, provider), None)
    place = keys.set_key(home, name, key)
    beaten = places_here(home, [name])[name] == "environment"
    page = provider.key_page if provider else None
    lines = text_keys.kept(name, place, home.keys, wrong, page)
    lines += text_keys.shadowed(name) if beaten else []
    show(lines, {"name": name, "place": place, "warning": wrong}, as_json)


@app.command("list")
def list_(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Where each key comes from: the environment, the keyring, the file, or nowhere."""
    from llmswitch.cli import text_keys
    from llmswitch.profile import catalogue
    from llmswitch.profile.secrets import stored_keys

    home, loaded = chosen_if_any(profile)
    known = catalogue.variables(loaded)
    names = [*known, *sorted(stored_keys(home).names - known.keys())]
    places = places_here(home, names)
    rows = [{"name": name, "of": known.get(name, []), "place": places[name]} for name in names]
    show(text_keys.listed(rows, home.keys), {"keys": rows}, as_json)


@app.command()
def remove(
    which: WhichArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Forget a key that `key set` has kept."""
    from llmswitch.cli import text_keys
    from llmswitch.profile import catalogue, keys

    home, loaded = chosen_if_any(profile)
    name, _ = catalogue.variable(loaded, which)
    place = keys.remove_key(home, name)
    show(text_keys.removed(name, place, home.keys), {"name": name, "was": place}, as_json)


@app.command()
def check(
    provider: Annotated[str, typer.Argument(help="Such as zai.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a provider whether it takes your key, by the cheapest request there is."""
    from llmswitch.cli import text_keys
    from llmswitch.profile import catalogue

    home, loaded = chosen_if_any(profile)
    answers = catalogue.check_keys(loaded, opened_keys(home), provider)
    show(text_keys.checked(answers, provider), text_keys.checked_data(answers), as_json)
    raise typer.Exit(any(answer.trouble for answer in answers.values()))


@app.command("renew-gateway")
def renew_gateway(as_json: JsonOption = False) -> None:
    """Make a new key for the gateway itself; the old one opens nothing any more."""
    from llmswitch.cli import progress, text_keys
    from llmswitch.gateway import key_renewal

    with progress.shown() as tell:
        done = key_renewal.renew(own_home(), os.environ, tell)
    show(text_keys.renewed(done), text_keys.renewed_data(done), as_json)
    raise typer.Exit(bool(done.failed))
