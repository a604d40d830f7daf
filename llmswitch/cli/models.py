"""The commands `providers`, `models`, `models add` and `models remove`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from llmswitch.cli.common import (
    Commands,
    JsonOption,
    ProfileOption,
    chosen,
    chosen_if_any,
    context_and_price,
    keys_here,
    opened_keys,
    show,
)
from llmswitch.columns import columns

app = typer.Typer(rich_markup_mode=None, cls=Commands)
ProviderOption = Annotated[str | None, typer.Option("--provider", help="Only this provider's.")]
_NO_KEY = {"key": "needs none", "subscription": "your Claude login"}  # by `auth`


def providers(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the known providers, and whether their keys are set."""
    from llmswitch.profile import catalogue, model_lists

    home, loaded = chosen_if_any(profile)
    rows = catalogue.provider_rows(loaded, keys_here(home).names, model_lists.known(home))
    cells = [("PROVIDER", "DIALECT", "MODELS", "KEY")]
    cells += [(row["name"], row["dialect"], str(row["models"]), _key_of(row)) for row in rows]
    show(columns(cells), {"providers": rows}, as_json)


def _key_of(row: Mapping[str, Any]) -> str:
    """The key of a provider; its page for those who lack it."""
    if row["key"] is None:
        return _NO_KEY[row["auth"]]
    if row["key_set"]:
        return f"{row['key']} is set"
    return f"{row['key']} is not set" + (f": {row['key_page']}" if row["key_page"] else "")


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    *,
    provider: ProviderOption = None,
    search: Annotated[str, typer.Option(help="Only names that contain this.")] = "",
    ask: Annotated[
        bool, typer.Option("--refresh", help="Ask the providers whose key is set for their lists.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the known models: context, price, key, use in the profile."""
    if context.invoked_subcommand:
        return
    from llmswitch.profile import catalogue, model_lists

    home, loaded = chosen_if_any(profile)
    said = model_lists.known(home)
    if ask:
        answers = catalogue.ask(loaded, opened_keys(home), provider)
        model_lists.remember(home, answers, time.strftime("%Y-%m-%d"))
        data = {
            name: {"models": [one["id"] for one in answer.models], "trouble": answer.trouble}
            for name, answer in answers.items()
        }
        lines = [
            f"{name} {answer.trouble or f'lists {len(answer.models)}'}"
            for name, answer in answers.items()
        ]
        none = ["no provider was asked: no key is set    -> llmswitch providers"]
        show(lines or none, {"providers": data}, as_json)
        raise typer.Exit(all(answer.trouble for answer in answers.values()))
    rows = catalogue.model_rows(loaded, keys_here(home).names, said, provider, search)
    show(_table(rows), {"models": rows}, as_json)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """A row for each model."""
    from llmswitch.profile.schema import Price

    if not rows:
        return ["no known model matches; ask the providers: llmswitch models --refresh"]
    cells = [("MODEL", "CONTEXT", "PRICE", "KEY", "IN THE PROFILE")]
    for row in rows:
        known = Price(**row["price"]) if row["price"] else None
        context, price = context_and_price(row["context"], known)
        if row["auth"] == "subscription":
            price = "Claude subscription"
        key = "set" if row["key_set"] else f"{' or '.join(row['keys'])} is not set"
        if row["key_set"] is None:
            key = _NO_KEY[row["auth"]]
        cells.append((row["model"], context, price, key, ", ".join(row["in_profile"]) or "-"))
    return columns(cells)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="provider/model, such as zai/glm-5.3.")],
    name: Annotated[str | None, typer.Option("--name", help="Its name in /model.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a model to the profile; the rest of the file stays."""
    from llmswitch.profile import catalogue, edit, model_lists
    from llmswitch.profile.load import load_profile
    from llmswitch.render.plan import shown_path

    home, ref = chosen(profile)
    said, file = model_lists.known(home), shown_path(ref.file)
    own, value, known = catalogue.entry(edit.before(ref.file, file), said, model)
    called = name or own
    done = edit.add(home, ref, file, called, value)
    loaded = load_profile(ref.file, file)
    row = catalogue.model_row(loaded, keys_here(home).names, said, called)
    lines = [f"added {called} ({row['model']}) to {file}"]
    if not known:
        provider, _, wanted = row["model"].partition("/")
        lines.append(f"note: {provider} is not known to have {wanted}; check the spelling")
    if row["key_set"] is False:
        page = loaded.provider_of(loaded.models[called]).key_page
        where = f"    (from {page})" if page else ""
        lines.append(f"note: left out until {' or '.join(row['keys'])} is set{where}")
    lines = [*lines, "-> llmswitch up"] if done else [f"{file} already has {called}"]
    show(lines, {"name": called, "added": done, **row}, as_json)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Its name in /model.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a model from the profile; the rest of the file stays."""
    from llmswitch.profile import edit
    from llmswitch.render.plan import shown_path

    home, ref = chosen(profile)
    file = shown_path(ref.file)
    edit.remove(home, ref, file, name)
    show([f"removed {name} from {file}", "-> llmswitch up"], {"name": name}, as_json)
