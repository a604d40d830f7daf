"""The commands: each parses its options, calls one function, prints and exits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NoReturn

import typer

from llmswitch import __version__
from llmswitch.cli import budget, gateway, init, key, logs, models, service, usage, wrapper
from llmswitch.cli.clients import client_app
from llmswitch.cli.common import (
    BIN,
    Commands,
    JsonOption,
    ProfileOption,
    chosen,
    confirm,
    keys_here,
    own_command,
    short,
    show,
)
from llmswitch.cli.wrapper import DirOption
from llmswitch.errors import LlmswitchError, as_text
from llmswitch.paths import find_home

if TYPE_CHECKING:
    from llmswitch.doctor.context import Context

Shell = Literal["bash", "zsh", "fish"]
Format = Literal["sh", "fish", "json", "vscode", "github-actions", "docker"]


class _Root(Commands):
    """The commands in four groups."""

    titles: ClassVar = {
        "Start": (
            "init", "up", "down", "restart", "wrapper", "service", "try", "completion", "uninstall"
        ),
        "Look": (
            "status", "doctor", "usage", "budget", "logs", "validate", "render", "statusline"
        ),
        "Models and keys": ("models", "providers", "key"),
        "Sharing": ("client", "env", "code"),
    }  # fmt: skip


# Each command imports what it uses: `llmswitch --help` and `status` are asked for often.
app = typer.Typer(
    cls=_Root,
    help="Every model you pay for, one keypress away in Claude Code's own /model menu.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init.init)
app.add_typer(wrapper.app, name="wrapper")
app.add_typer(budget.app, name="budget")
app.add_typer(usage.app, name="usage")
app.add_typer(client_app, name="client")
app.add_typer(models.app, name="models")
app.add_typer(key.app, name="key")
app.add_typer(service.app, name="service")

_COMPLETE = "_LLMSWITCH_COMPLETE"  # by which a shell asks for completions


def _show_version(wanted: bool) -> None:
    if wanted:
        show([f"llmswitch {__version__}"])
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command()
def validate(
    file: Annotated[str | None, typer.Argument(help="A profile's name or file.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a profile and list every mistake with its line."""
    from llmswitch.cli import text
    from llmswitch.profile import trust
    from llmswitch.profile.load import load_profile
    from llmswitch.render import advice, menu, plan
    from llmswitch.render.retirement import retirements
    from llmswitch.usage import clients

    home, ref = chosen(file or profile)
    loaded = load_profile(ref.file, plan.shown_path(ref.file))
    notes = advice.notes(loaded, keys_here(home).names) + clients.notes(home, loaded.clients)
    found = trust.look(loaded)
    rows = [menu.row_data(row) for row in menu.make_rows(loaded, ())]
    retiring = retirements(rows, time.time())
    data = {
        "profile": ref.name,
        "valid": True,
        "retiring": [one._asdict() for one in retiring],
        "notes": notes,
        "trust": trust.data(found),
    }
    shown = plan.shown_path(ref.file)
    lines = text.valid(shown, len(rows), retiring, notes, trust.lines(found))
    show(lines, data, as_json)


@app.command()
def render(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Print the files that `up` would write, and write nothing."""
    from llmswitch.claude import rendered_files
    from llmswitch.cli import text

    _, ref = chosen(profile)
    rendered = rendered_files.rendered(ref, os.environ)
    show(text.files(rendered), {"files": rendered}, as_json)


app.command()(gateway.up)
app.command()(gateway.down)
app.command()(gateway.restart)


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show whether the gateway runs, and which models it serves."""
    from llmswitch.cli import text_status
    from llmswitch.gateway.status import find

    home, ref = chosen(profile)
    found = find(ref, home, os.environ, time.time())
    show(text_status.status(found), found, as_json)


app.command()(logs.logs)


@app.command()
def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="With --live: these alone.")
    ] = None,
    profile: ProfileOption = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every check, not only what is wrong.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Ask each model all that Claude Code needs: costs money.")
    ] = False,
    client: Annotated[
        bool, typer.Option("--client", help="With --live: run the real `claude -p` too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --live: do not ask.")] = False,
    to_post: Annotated[
        bool, typer.Option("--report", help="As Markdown for a public issue, redacted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find what is wrong, and how to fix it. Stays on this machine but with --live."""
    from llmswitch.cli import text
    from llmswitch.doctor import checks
    from llmswitch.doctor.context import Context
    from llmswitch.doctor.issue_report import markdown

    context = Context(os.environ, find_home(os.environ), profile, BIN.expanduser(), time.time())
    if live:
        _ask_models(context, models or [], client, yes, as_json)
    if models or client or yes:
        raise typer.BadParameter("MODEL, --client and --yes need --live")
    results = checks.examine(context)
    screen = text.doctor_screen(results, everything=everything)
    lines = [markdown(context, results)] if to_post else screen
    show(lines, checks.data(results, context), as_json)
    raise typer.Exit(checks.worst(results) == "error")


def _ask_models(
    context: Context, models: Sequence[str], client: bool, yes: bool, as_json: bool
) -> NoReturn:
    from llmswitch.cli import progress, text
    from llmswitch.doctor import live, probe

    prepared = live.prepare(context, models, client)
    if not yes:
        confirm(prepared.question)
    with progress.shown() as tell:
        results = live.ask(prepared, tell)
    show(text.matrix(results), probe.data(results), as_json)
    raise typer.Exit(live.failed(results))


@app.command()
def env(
    form: Annotated[Format, typer.Option("--format", "-f", help="Who reads them.")] = "sh",
    profile: ProfileOption = None,
) -> None:
    """Print the variables that connect editors, CI and SDKs."""
    from llmswitch.claude import environment

    home, ref = chosen(profile)
    found = environment.client_environment(
        ref, home, os.environ, with_login=form in environment.EDITORS
    )
    show(environment.FORMATS[form](found.variables))
    sys.stderr.write(found.note)


@app.command(context_settings={"ignore_unknown_options": True})
def code(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="Passed to VS Code.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Start VS Code with Claude Code connected to the gateway."""
    from llmswitch.claude import environment

    home, ref = chosen(profile)
    found = environment.client_environment(ref, home, os.environ, with_login=True)
    environment.run_code(arguments or [], found.variables, os.environ)


@app.command()
def statusline(profile: ProfileOption = None) -> None:
    """Print Claude Code's status line: model, provider, cost, budget."""
    from llmswitch.claude import statusline as lines

    lines.main(["--profile", profile] if profile else [])


@app.command("try")
def try_demo(as_json: JsonOption = False) -> None:
    """Try it offline: two demo models, no keys, nothing left behind."""
    from llmswitch.cli import progress, text
    from llmswitch.setup import demo

    with progress.shown() as tell, demo.demo_gateway(os.environ, tell) as (state, key):
        answers = [demo.ask(state, key, row) for row in state.models]
    data = {"models": state.models, "answers": [answer._asdict() for answer in answers]}
    show(text.demo(state, answers, own_command()), data, as_json)


app.command("providers")(models.providers)


@app.command()
def uninstall(
    folder: DirOption = BIN,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Remove usage, profiles and keys too; do not ask.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove everything llmswitch wrote; asks what to keep."""
    from llmswitch.cli import progress
    from llmswitch.setup import uninstall

    home = find_home(os.environ)
    found = uninstall.look(home, folder, os.environ)
    if not yes:
        confirm("this stops every gateway and removes the wrappers and all generated files")

    def remove(what: str, there: Sequence[object]) -> bool:
        return yes or not there or typer.confirm(f"remove {what} too?", err=True)

    choice = uninstall.Choice(
        usage=remove("the record of usage and cost", found.ledgers),
        profiles=remove("your profiles", found.profiles),
        keys=remove("the keys that `key set` stored", found.keys),
    )
    with progress.shown() as tell:
        gone = uninstall.remove(home, found, choice, os.environ, tell)
    last = "the program itself: pip uninstall llmswitch    (or pipx, uv tool)"
    show([*map(short, (*gone.removed, *gone.left)), last], gone._asdict(), as_json)


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="Your shell.")],
) -> None:
    """Print the script that lets Tab complete commands and profiles."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="llmswitch", complete_var=_COMPLETE, shell=shell)
    show([script])


def _open_closed_streams() -> None:
    """Open /dev/null where a shell has closed an output (`>&-`): Python leaves None there, and the
    next file that is opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if name != "stdin" and getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def main() -> None:
    """The `llmswitch` command. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C."""
    _open_closed_streams()
    if _COMPLETE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        app(prog_name="llmswitch")
    except (LlmswitchError, OSError) as error:
        sys.stderr.write(short(as_text(error)))
        sys.exit(1)
