"""`llmswitch wrapper ...`: parse, call one function, print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from llmswitch.cli.common import (
    BIN,
    JsonOption,
    ProfileOption,
    chosen,
    chosen_if_any,
    keys_here,
    own_home,
    show,
)
from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_profile_if_any

app = typer.Typer(
    help="The commands that start Claude Code: claude-multi, and one for each provider.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_USUAL = "claude-multi"


def _direct_providers() -> list[str]:
    """What completes `--direct`."""
    from llmswitch.claude.direct_menu import possible

    try:
        return possible(chosen_if_any(None)[1])
    except LlmswitchError:  # a profile with mistakes: this is not the place to tell them
        return possible(None)


def _not_empty(provider: str | None) -> str | None:
    """What a variable of the shell that is not set makes of `--direct` is no provider, and is not
    the gateway either.
    """
    if provider == "":
        raise LlmswitchError("--direct is empty and names no provider", "llmswitch providers")
    return provider


DirOption = Annotated[Path, typer.Option("--dir", help="The folder it is in.")]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="What the command is called.",
        show_default="claude-multi; with --direct as the catalogue says",
    ),
]
DirectOption = Annotated[
    str | None,
    typer.Option(
        "--direct",
        metavar="PROVIDER",
        help="Of this provider alone, with no gateway.",
        autocompletion=_direct_providers,
        callback=_not_empty,
    ),
]


@app.command("install")
def install_wrapper(
    name: NameOption = None,
    folder: DirOption = BIN,
    direct: DirectOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the command that starts Claude Code with every model of the profile."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import text

    if direct:
        _install_direct(direct, name, folder, profile, as_json)
        return
    _, ref = chosen(profile)
    done = wrapper.install(ref, _USUAL if name is None else name, folder, os.environ)
    data = {"file": str(done.file), "did": done.did, "on_path": done.on_path}
    show(text.installed(done), data, as_json)


def _install_direct(
    provider: str, name: str | None, folder: Path, profile: str | None, as_json: bool
) -> None:
    from llmswitch.claude import direct_menu, wrapper
    from llmswitch.cli import text

    home = own_home()
    ref = find_profile_if_any(home, profile, os.environ)
    drawn = direct_menu.render(provider, ref)
    # The default profile is looked for at each start: it may come later, or be another then.
    named = ref.argument if ref and (profile or os.environ.get("LLMSWITCH_PROFILE")) else ""
    called = direct_menu.wrapper_name(provider, ref) if name is None else name
    done = wrapper.install(wrapper.Direct(provider, named), called, folder, os.environ)
    key_set = bool(keys_here(home).names & set(drawn["keys"])) if drawn["keys"] else None
    models = list(drawn["clients"]["picker"]["ids"])
    data = {
        "file": str(done.file),
        "did": done.did,
        "on_path": done.on_path,
        "direct": provider,
        "models": models,
        "key_set": key_set,
    }
    cure = drawn["cure"] if key_set is False else None
    show(text.installed_direct(done, drawn["label"], models, cure), data, as_json)


@app.command("uninstall")
def uninstall_wrapper(
    name: NameOption = None,
    folder: DirOption = BIN,
    direct: DirectOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the command away again."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import text

    called = _USUAL if name is None else name
    if direct and name is None:
        from llmswitch.claude.direct_menu import wrapper_name

        called = wrapper_name(direct, find_profile_if_any(own_home(), profile, os.environ))
    file = wrapper.uninstall(called, folder, direct)
    data = {"removed": str(file) if file else None}
    show(text.uninstalled(file, called, folder), data, as_json)


@app.command("list")
def list_wrappers(folder: DirOption = BIN, as_json: JsonOption = False) -> None:
    """List the commands that llmswitch wrote, in the folder and on PATH."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import text

    found = wrapper.list_installed(folder, os.environ)
    direct = {str(file): of.provider for file in found if (of := wrapper.direct_of(file))}
    data = {"wrappers": [str(file) for file in found], "direct": direct}
    show(text.wrappers(found, direct), data, as_json)
