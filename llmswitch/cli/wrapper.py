"""The commands `wrapper install`, `wrapper uninstall` and `wrapper list`."""

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
    group,
    keys_here,
    own_home,
    short,
    show,
)
from llmswitch.columns import columns, counted
from llmswitch.errors import LlmswitchError
from llmswitch.paths import find_profile_if_any

app = group("The commands that start Claude Code, such as claude-multi.")
USUAL = "claude-multi"


def _direct_providers() -> list[str]:
    """What completes `--direct`."""
    from llmswitch.claude.direct_menu import possible

    try:
        return possible(chosen_if_any(None)[1])
    except LlmswitchError:  # a profile with mistakes: this is not the place to report them
        return possible(None)


def _not_empty(provider: str | None) -> str | None:
    """Refuse the empty `--direct` that an unset shell variable leaves."""
    if provider == "":
        raise LlmswitchError("--direct needs a provider", "llmswitch providers")
    return provider


DirOption = Annotated[Path, typer.Option("--dir", help="The wrappers' folder.")]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="The command's name.",
        show_default="claude-multi, or the provider's own",
    ),
]
DirectOption = Annotated[
    str | None,
    typer.Option(
        "--direct",
        metavar="PROVIDER",
        help="Connect to this provider itself, without a gateway.",
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
    """Write the command that starts Claude Code with a profile."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import text

    if direct:
        _install_direct(direct, name, folder, profile, as_json)
        return
    _, ref = chosen(profile)
    done = wrapper.install(ref, USUAL if name is None else name, folder, os.environ)
    show(text.installed(done, ref.name), text.installed_data(done), as_json)


def _install_direct(
    provider: str, name: str | None, folder: Path, profile: str | None, as_json: bool
) -> None:
    from llmswitch.claude import direct_menu, wrapper
    from llmswitch.cli import text

    home = own_home()
    ref = find_profile_if_any(home, profile, os.environ)
    drawn = direct_menu.render(provider, ref)
    # The default profile is looked up at each start: it may be created later, or change.
    named = ref.argument if ref and (profile or os.environ.get("LLMSWITCH_PROFILE")) else ""
    called = direct_menu.wrapper_name(provider, ref) if name is None else name
    done = wrapper.install(wrapper.Direct(provider, named), called, folder, os.environ)
    key_set = bool(keys_here(home).names & set(drawn["keys"])) if drawn["keys"] else None
    models = list(drawn["clients"]["picker"]["ids"])
    lines = [
        *text.installed(done),
        f"it connects to {drawn['label']} itself, with {counted(len(models), 'model')} in /model",
        "budgets, fallbacks and usage need a gateway",
    ]
    if key_set is False:
        lines.append(f"first set the key: {drawn['cure']}")
    data = {"direct": provider, "models": models, "key_set": key_set}
    show(lines, text.installed_data(done) | data, as_json)


@app.command("uninstall")
def uninstall_wrapper(
    name: NameOption = None,
    folder: DirOption = BIN,
    direct: DirectOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a wrapper."""
    from llmswitch.claude import wrapper

    called = USUAL if name is None else name
    if direct and name is None:
        from llmswitch.claude.direct_menu import wrapper_name

        called = wrapper_name(direct, find_profile_if_any(own_home(), profile, os.environ))
    file = wrapper.uninstall(called, folder, direct)
    line = f"removed {short(file)}" if file else f"there is no {called} in {short(folder)}"
    show([line], {"removed": str(file) if file else None}, as_json)


@app.command("list")
def list_wrappers(folder: DirOption = BIN, as_json: JsonOption = False) -> None:
    """List the wrappers in the folder and on PATH, with profile and path."""
    from llmswitch.claude import wrapper

    files = wrapper.list_installed(folder, os.environ)
    direct = {str(file): of.provider for file in files if (of := wrapper.direct_of(file))}
    profiles = {str(file): name for file in files if (name := wrapper.profile_of(file))}
    cells = [("NAME", "PROFILE", "PATH")]
    for file in files:
        provider = direct.get(str(file))
        profile = short(profiles.get(str(file), "unknown"))
        profile = f"none: {provider} itself" if provider else profile
        cells.append((file.name, profile, short(file)))
    data = {"wrappers": [str(file) for file in files], "direct": direct, "profiles": profiles}
    show(columns(cells) if files else ["no wrapper is installed"], data, as_json)
