"""The commands `providers` and `models`: parse, call, print. No logic."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from llmswitch.cli.common import (
    JsonOption,
    ProfileOption,
    chosen,
    chosen_if_any,
    keys_here,
    opened_keys,
    show,
)

app = typer.Typer(rich_markup_mode=None)
ProviderOption = Annotated[str | None, typer.Option("--provider", help="Of this provider alone.")]


def providers(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """The providers that are known, and whether their keys are set."""
    from llmswitch.cli import text_models
    from llmswitch.profile import catalogue, model_lists

    home, loaded = chosen_if_any(profile)
    rows = catalogue.provider_rows(loaded, keys_here(home).names, model_lists.known(home))
    show(text_models.providers(rows), {"providers": rows}, as_json)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    *,
    provider: ProviderOption = None,
    search: Annotated[str, typer.Option(help="With this in their name.")] = "",
    ask: Annotated[
        bool, typer.Option("--refresh", help="Ask the providers whose key is set for their lists.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """The models that are known: context, price, whether the key is set, what the profile has."""
    if context.invoked_subcommand:
        return
    from llmswitch.cli import text_models
    from llmswitch.profile import catalogue, model_lists

    home, loaded = chosen_if_any(profile)
    if ask:
        answers = catalogue.ask(loaded, opened_keys(home), provider)
        model_lists.remember(home, answers, time.strftime("%Y-%m-%d"))
        show(text_models.refreshed(answers), text_models.refreshed_data(answers), as_json)
        raise typer.Exit(all(answer.trouble for answer in answers.values()))
    rows = catalogue.model_rows(
        loaded, keys_here(home).names, model_lists.known(home), provider, search
    )
    show(text_models.models(rows), {"models": rows}, as_json)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="provider/model, such as zai/glm-5.3.")],
    name: Annotated[str | None, typer.Option("--name", help="What /model calls it.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a model to the profile; the rest of the file stays as it is, to the byte."""
    from llmswitch.cli import text_models
    from llmswitch.profile import catalogue, edit, model_lists
    from llmswitch.profile.load import load_profile
    from llmswitch.render.plan import shown_path

    home, ref = chosen(profile)
    said, shown = model_lists.known(home), shown_path(ref.file)
    own, value, known = catalogue.entry(edit.before(ref.file, shown), said, model)
    called = name or own
    done = edit.add(home, ref, shown, called, value)
    loaded = load_profile(ref.file, shown)
    row = catalogue.model_row(loaded, keys_here(home).names, said, called)
    page = loaded.provider_of(loaded.models[called]).key_page
    lines = text_models.added(row, called, shown, done, known, page)
    show(lines, {"name": called, "added": done, **row}, as_json)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="What /model calls it.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a model out of the profile; the rest of the file stays as it is, to the byte."""
    from llmswitch.profile import edit
    from llmswitch.render.plan import shown_path

    home, ref = chosen(profile)
    shown = shown_path(ref.file)
    edit.remove(home, ref, shown, name)
    show([f"removed {name} from {shown}", "-> llmswitch up"], {"name": name}, as_json)
