"""The commands `up`, `down` and `restart`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from llmswitch.cli.common import JsonOption, ProfileOption, chosen, own_home, show
from llmswitch.paths import find_run

VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Let LiteLLM log everything.")]


def up(
    profile: ProfileOption = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in this terminal until Ctrl-C.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print one line, and the models left out.")
    ] = False,
    verbose: VerboseOption = False,
    on_demand: Annotated[bool, typer.Option("--on-demand", hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the gateway with the profile as it is now, or reload it."""
    from llmswitch.claude import login
    from llmswitch.cli import progress, text
    from llmswitch.gateway import lifecycle

    home, ref = chosen(profile)
    if foreground:
        lifecycle.run_in_foreground(ref, home, os.environ, verbose=verbose)
    with progress.shown() as tell:
        done = lifecycle.up(ref, home, os.environ, tell, on_demand=on_demand, verbose=verbose)
    lines = text.outcome_in_short(done) if quiet else text.outcome(done)
    notes = login.notes(done.state.clients, os.environ)
    if verbose:
        notes = [*text.not_verbose(done), *notes]
    show([*lines, *notes], text.outcome_data(done), as_json)


def down(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Stop the gateway; open requests get time to finish."""
    from llmswitch.cli import progress, text
    from llmswitch.gateway import service

    home = own_home()
    ref = find_run(home, profile, os.environ)
    with progress.shown() as tell:
        stopped = service.stop(ref, home, os.environ, tell)
    show(text.stopped(stopped), {"stopped": stopped is not None}, as_json)


def restart(
    profile: ProfileOption = None, verbose: VerboseOption = False, as_json: JsonOption = False
) -> None:
    """Stop the gateway and start it with the keys that are set now."""
    from llmswitch.cli import progress, text
    from llmswitch.gateway import lifecycle

    home, ref = chosen(profile)
    with progress.shown() as tell:
        done = lifecycle.restart(ref, home, os.environ, tell, verbose=verbose)
    show(text.outcome(done), text.outcome_data(done), as_json)
