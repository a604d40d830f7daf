"""The commands `key set`, `key list`, `key remove`, `key check` and `key renew-gateway`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmswitch.cli.common import (
    JsonOption,
    ProfileOption,
    chosen_if_any,
    group,
    opened_keys,
    own_home,
    places_here,
    read_secret,
    short,
    show,
)
from llmswitch.columns import columns

if TYPE_CHECKING:
    from llmswitch.gateway.key_renewal import Renewed
    from llmswitch.paths import Home
    from llmswitch.profile.model_lists import Answer

app = group("Store and check your provider keys.")
WhichArgument = Annotated[
    str, typer.Argument(metavar="PROVIDER|VARIABLE", help="Such as zai, or ZAI_API_KEY.")
]


@app.command("set")
def set_(which: WhichArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Store a key: typed unseen, or read from standard input."""
    from llmswitch.profile import catalogue, keys

    home, loaded = chosen_if_any(profile)
    name, provider = catalogue.variable(loaded, which)
    key = keys.usable(read_secret(f"the key for {name}"), name)
    wrong = next(keys.key_problems(key, provider), None)
    lines, place = store(home, name, key)
    if wrong:
        page = f"; get one from {provider.key_page}" if provider and provider.key_page else ""
        lines.insert(1, f"warning: it {wrong}{page}")
    show(lines, {"name": name, "place": place, "warning": wrong}, as_json)


def store(home: Home, name: str, key: str) -> tuple[list[str], str]:
    """Store a key; what is said of it, and its place."""
    from llmswitch.profile import keys

    place = keys.set_key(home, name, key)
    lines = [f"stored {name} in {place_name(home, place)}"]
    if places_here(home, [name])[name] == "environment":
        lines.append(f"note: this shell also sets {name}, which is used first    -> unset {name}")
    return lines, place


def place_name(home: Home, place: str | None) -> str:
    """Where a key comes from, as a person says it."""
    from llmswitch.profile.keys import KEYRING

    places = {"keyring": KEYRING, "file": short(home.keys), "environment": "the environment"}
    return places.get(place or "", "nowhere: not set")


@app.command("list")
def list_(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show where each key comes from, if it is set."""
    from llmswitch.profile import catalogue
    from llmswitch.profile.secrets import stored_keys

    home, loaded = chosen_if_any(profile)
    known = catalogue.variables(loaded)
    names = [*known, *sorted(stored_keys(home).names - known.keys())]
    places = places_here(home, names)
    rows = [{"name": name, "of": known.get(name, []), "place": places[name]} for name in names]
    cells = [("KEY", "OF", "COMES FROM")]
    cells += [
        (name, ", ".join(known.get(name, [])) or "-", place_name(home, places[name]))
        for name in names
    ]
    show(columns(cells), {"keys": rows}, as_json)


@app.command()
def remove(
    which: WhichArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Remove a key that `key set` stored."""
    from llmswitch.profile import catalogue, keys

    home, loaded = chosen_if_any(profile)
    name, _ = catalogue.variable(loaded, which)
    place = keys.remove_key(home, name)
    lines = [f"`key set` has not stored {name}"]
    if place:
        lines = [
            f"removed {name} from {place_name(home, place)}",
            "a running gateway keeps it until: llmswitch restart",
        ]
    show(lines, {"name": name, "was": place}, as_json)


@app.command()
def check(
    provider: Annotated[str, typer.Argument(help="Such as zai.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a provider whether it accepts your key."""
    from llmswitch.profile import catalogue

    home, loaded = chosen_if_any(profile)
    answers = catalogue.check_keys(loaded, opened_keys(home), provider)
    lines = [line for name, answer in answers.items() for line in _checked(provider, name, answer)]
    keys = {
        name: {"accepted": _accepted(answer), "trouble": answer.trouble}
        for name, answer in answers.items()
    }
    show(lines, {"keys": keys}, as_json)
    raise typer.Exit(any(answer.trouble for answer in answers.values()))


def _accepted(answer: Answer) -> bool | None:
    """Whether a provider accepts a key; None where it did not say so."""
    if answer.trouble is None:
        return True
    return False if answer.refused else None


def _checked(provider: str, name: str, answer: Answer) -> list[str]:
    if answer.trouble is None:
        return [f"{provider} accepts {name}"]
    if answer.refused:
        return [f"{name}: {provider} {answer.trouble}", f"-> llmswitch key set {name}"]
    return [
        f"{name} could not be checked: {provider} {answer.trouble}",
        "-> llmswitch doctor --live    (asks the models themselves)",
    ]


@app.command("renew-gateway")
def renew_gateway(as_json: JsonOption = False) -> None:
    """Replace the gateway's own key; the old one stops working."""
    from llmswitch.cli import progress
    from llmswitch.gateway import key_renewal

    with progress.shown() as tell:
        done = key_renewal.renew(own_home(), os.environ, tell)
    data = {
        "file": str(done.file),
        "reloaded": [{"profile": one.profile, "url": one.url} for one in done.reloaded],
        "failed": [failure._asdict() for failure in done.failed],
    }
    show(_renewed(done), data, as_json)
    raise typer.Exit(bool(done.failed))


def _renewed(done: Renewed) -> list[str]:
    """What `key renew-gateway` did, and who needs the new key."""
    from llmswitch.health import address_of

    lines = [f"created a new gateway key: {short(done.file)}"]
    told = [(one.profile, address_of(one.url)) for one in done.reloaded]
    lines += [f"{profile} on {address} accepts it" for profile, address in told]
    for failure in done.failed:
        lines.append(f"{failure.profile} still accepts the old key: {failure.message}")
        lines.append(f"-> {failure.hint}")
    users = [
        ("open sessions", "end them, then: claude-multi --continue"),
        ("VS Code", "llmswitch env --format vscode, or: llmswitch code"),
        ("shells, CI, containers, SDKs", "llmswitch env"),
    ]
    lines += ["these still have the old key; how each gets the new one:"]
    return [*lines, *(f"  {line}" for line in columns(users)), "client keys stay as they are"]
