"""The command `init`: a profile, then the gateway, the wrapper and the doctor."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmswitch.cli.ask import Screen
from llmswitch.cli.common import BIN, JsonOption, keys_here, own_home, show
from llmswitch.cli.wrapper import USUAL
from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmswitch.doctor.context import Context
    from llmswitch.gateway.lifecycle import Outcome
    from llmswitch.paths import Home, ProfileRef
    from llmswitch.render.menu import Row
    from llmswitch.setup.write import Done


def init(
    *,
    source: Annotated[
        str | None, typer.Option("--from", help="Use a ready-made profile, or a file of yours.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; use what is found.")
    ] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Write the profile and do nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Set everything up: the profile, the gateway and claude-multi.

    An existing profile is added to, never overwritten. LLMSWITCH_PROFILE names the profile to add
    to or to create. --json does not ask either; --from FILE needs your consent or --yes.
    """
    from llmswitch.cli import init_from, init_guide, text_init

    home = own_home()
    screen = Screen(asks=not (yes or as_json), silent=as_json)
    trust: dict[str, Any] = {}
    if source is None:
        done = init_guide.run(home, screen, os.environ)
    else:
        done, trust = init_from.copy(home, source, screen, yes)
    screen.tell(text_init.written(done))
    if no_start:
        screen.tell(text_init.next_by_hand(done, _wrapper_profile(home)))
        started: dict[str, Any] = {}
    else:
        started = _start(home, done, screen)
    data = {"name": done.ref.name, "file": str(done.ref.file), "was_there": done.was_there}
    if as_json:
        show([], data | {"added": list(done.added)} | trust | started, as_json)


def _wrapper_profile(home: Home) -> ProfileRef | None:
    """The profile that an installed claude-multi starts; None where there is neither."""
    from llmswitch.claude import wrapper

    file = BIN.expanduser() / USUAL
    if file in wrapper.list_installed(BIN, {}) and (name := wrapper.profile_of(file)):
        with suppress(LlmswitchError):
            return find_profile(home, name, {})
    return None


def _start(home: Home, done: Done, screen: Screen) -> dict[str, Any]:
    """Start the gateway, write the wrapper, ask the doctor; what came of it, for --json."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import text, text_init
    from llmswitch.doctor import checks
    from llmswitch.doctor.context import Context

    target = _choose_wrapper_profile(home, done, screen)
    context = Context(os.environ, home, done.ref.argument, BIN.expanduser(), time.time())
    rows = _rows(home, done, context)
    outcome = _up(home, done, screen) if any(row.reason is None for row in rows) else None
    made = wrapper.install(target, USUAL, BIN, os.environ)
    screen.tell(text.installed(made, target.name)[:1])
    results = checks.examine(replace(context))  # a copy, without what was read before the start
    if outcome:
        screen.tell(text_init.doctor(results))
    screen.tell([*text_init.without_gateway(rows), *text_init.next_steps(made, rows)])
    return {
        "gateway": text.outcome_data(outcome) if outcome else None,
        "wrapper": text.installed_data(made),
        "doctor": checks.worst(results),
    }


def _choose_wrapper_profile(home: Home, done: Done, screen: Screen) -> ProfileRef:
    """The profile for claude-multi: the new one, unless the user keeps another that it starts."""
    from llmswitch.cli import text_init

    before = _wrapper_profile(home)
    if before and before != done.ref:
        answer = screen.line(text_init.other_profile(before, done.ref)) or ""
        screen.took(answer)
        if answer.lower() in {"n", "no"}:
            screen.tell([f"to change it: llmswitch wrapper install --profile {done.ref.typed}"])
            return before
    return done.ref


def _rows(home: Home, done: Done, context: Context) -> Sequence[Row]:
    """The models of the profile, with the keys that are set or that a running gateway holds."""
    from llmswitch.profile.load import load_profile
    from llmswitch.render.menu import make_rows
    from llmswitch.render.plan import shown_path

    profile = load_profile(done.ref.file, shown_path(done.ref.file))
    return make_rows(profile, {*keys_here(home).names, *context.held})


def _up(home: Home, done: Done, screen: Screen) -> Outcome:
    from llmswitch.cli import progress, text
    from llmswitch.gateway import lifecycle

    with progress.shown() as tell:
        outcome = lifecycle.up(done.ref, home, os.environ, tell, on_demand=True)
    screen.tell(text.outcome_in_short(outcome))
    return outcome


def leave(code: int) -> typer.Exit:
    """Say that nothing was written; returns what ends the command."""
    sys.stderr.write("nothing was written\n")
    return typer.Exit(code)
