"""Run the real Claude Code at the end of a way to its models: what every wrapper does, whether a
gateway stands between or not.

Standard library only, and no module that loads more: this stands between Enter and the client's
prompt.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.claude import arguments as given
from llmswitch.claude import managed_settings, saved_default
from llmswitch.claude.child import run_as_child
from llmswitch.claude.ensure import Used
from llmswitch.claude.pick import Pick
from llmswitch.claude.program import (
    PICKER_FROM,
    Version,
    cannot_run,
    find_claude,
    menu_support,
    shown,
    version_of,
)
from llmswitch.claude.settings_files import (
    env_in,
    for_session,
    settings_in,
    user_settings,
    write_settings,
)
from llmswitch.errors import LlmswitchError, as_text
from llmswitch.paths import Home, find_home
from llmswitch.render.claude_settings import TAKEN_AWAY, unlisted


class Access(NamedTuple):
    """A session's way to its models.

    `run` is the folder of its settings and of its pick. `clients` are what make_client has made for
    each menu support, `roles` is the model of each role, `aliases` are other names that `--model`
    takes. `credential` makes the settings that carry a credential or say where it is, from the
    variables that the client would have without us. `carried` is exported to the client. `used` is
    the gateway, if there is one.
    """

    run: Path
    clients: Mapping[str, dict[str, Any]]
    roles: Mapping[str, str]
    credential: Callable[[Mapping[str, str]], dict[str, Any]]
    aliases: Mapping[str, str] = {}
    carried: Mapping[str, str] = {}
    used: Used | None = None


def exit_as(session: Callable[[], int]) -> None:
    """Exit as the client does; an error before that is one sentence and a cure."""
    try:
        code = session()
    except (LlmswitchError, OSError) as error:
        sys.stderr.write(as_text(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if code < 0:  # the client died of a signal: die of the same
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def run_client(
    find_access: Callable[[Home], Access], arguments: list[str], environ: Mapping[str, str]
) -> int:
    """Run the client with an access; returns its exit code, negative for a signal."""
    claude = find_claude(environ)
    command = given.command_of(arguments)
    if command in given.WITHOUT_MODEL:
        try:
            os.execve(claude, [str(claude), *arguments], environ)  # noqa: S606 - no shell wanted
        except OSError as error:
            raise cannot_run(claude, error) from error
    home = find_home(environ)
    theirs, rest = given.split_settings(arguments)  # a mistake there is told before all else
    managed_settings.check()
    version = version_of(claude, home.state / "claude-version.json")
    access = find_access(home)
    environ = {**environ, **access.carried}
    client = access.clients[menu_support(version)]
    pick = Pick(access.run / "pick.json", access.roles, client["ids"])
    rest = given.change_model(rest, lambda name: pick.wire(access.aliases.get(name, name)))
    user_file = user_settings(environ)
    before = saved_default.note(user_file, home.state / "sessions", pick.names())
    _settle(before.left, pick)
    if command not in given.GOES_ON:
        own = {**env_in(settings_in(user_file)), **env_in(theirs)}
        surroundings = {**environ, **{name: str(value) for name, value in own.items()}}
        credential = access.credential(surroundings)
        settings = for_session(client, theirs, credential, pick.model(), surroundings)
        rest = ["--settings", str(write_settings(access.run, settings)), *rest]
        if not {"-p", "--print"} & set(arguments):
            sys.stderr.write(_unlisted_note(version, client))
    # A variable that the client obeys before it reads any settings cannot be undone there.
    clean = {name: value for name, value in environ.items() if name not in TAKEN_AWAY}
    code = run_as_child(claude, rest, clean)
    _settle(saved_default.put_back(before), pick)
    if access.used and (lost := access.used.lost()):
        sys.stderr.write(lost)
    return code


def _settle(after: saved_default.After, pick: Pick) -> None:
    """Keep what was picked, and say what could not be put back."""
    if after.picked is not None:
        pick.remember(after.picked)
    if after.warning:
        sys.stderr.write(f"llmswitch: {after.warning}\n")


def _unlisted_note(version: Version, client: Mapping[str, Any]) -> str:
    """What is said of the models that have no row in the menu of an older client."""
    if version >= PICKER_FROM or not (missing := unlisted(client)):
        return ""
    name = f"Claude Code {shown(version)}"
    lists = f"{name} does not list {', '.join(missing)} in /model"
    if client["login"]:
        lists = f"with a Claude login, {name} lists its own names in /model"
    return (
        f"llmswitch: {lists}; type /model {missing[0]}, or get {shown(PICKER_FROM)} or newer, "
        "which lists them: claude update\n"
    )
