"""One session of Claude Code through the gateway: what the wrapper runs.

    python -m llmswitch.claude.session PROFILE [claude's own arguments...]

Standard library only, and no module that loads more: this stands between Enter and the client's
prompt. Everything slow (profile, rendering, starting) is left to `llmswitch up`, and done only
when something has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.claude import managed_settings, saved_default
from llmswitch.claude.arguments import (
    GOES_ON,
    WITHOUT_MODEL,
    change_model,
    command_of,
    split_settings,
)
from llmswitch.claude.child import run_in_our_place
from llmswitch.claude.ensure import Used, ensure
from llmswitch.claude.login import gateway_access, is_wanted
from llmswitch.errors import LlmswitchError, as_text
from llmswitch.paths import LOOPBACK, Home, find_home, find_profile, write_private
from llmswitch.profile.secrets import gateway_key, known_keys
from llmswitch.render.claude_settings import (
    ALIASES,
    PICKER_FROM,
    Version,
    cannot_run,
    client_environment,
    find_claude,
    missing_rows,
    plain_name,
    rung_of,
    settings_in,
    shown,
    version_of,
)


class Access(NamedTuple):
    """What a session goes through.

    `run` is the folder of its settings and of its pick. `clients` are the settings and the model
    ids by rung, `roles` the model of each role, `aliases` other names that `--model` takes. `credential` gives the settings that carry a
    credential or say where it is, for the variables that the client would have without us;
    `with_login` says that the client is to use its own login. `carried` is exported to the client
    beside the user's own. `used` is the gateway, where there is one.
    """

    run: Path
    clients: Mapping[str, dict[str, Any]]
    roles: dict[str, str]
    credential: Callable[[Mapping[str, str]], dict[str, Any]]
    with_login: bool = False
    aliases: Mapping[str, str] = {}
    carried: Mapping[str, str] = {}
    used: Used | None = None


def main(argv: Sequence[str] | None = None) -> None:
    """Run Claude Code through the gateway, and exit as it exits."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    exit_as(lambda: run_session(arguments[0], arguments[1:], os.environ))


def exit_as(session: Callable[[], int]) -> None:
    """Exit as the client does; what goes wrong before is one sentence and a cure."""
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


def run_session(profile: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client through a profile's gateway; returns as run_client."""

    def gateway(home: Home) -> Access:
        ref = find_profile(home, profile or None, environ)
        run, key = home.run(ref), gateway_key(home)
        used = ensure(ref, run, key, known_keys(environ, home))
        state = used.state
        with_login = is_wanted(state.clients)

        def credential(surroundings: Mapping[str, str]) -> dict[str, Any]:
            return {"env": gateway_access(key, surroundings, with_login=with_login)}

        return Access(run, state.clients, state.roles, credential, with_login, used=used)

    return run_client(gateway, arguments, environ)


def run_client(
    find_access: Callable[[Home], Access], arguments: list[str], environ: Mapping[str, str]
) -> int:
    """Run the client with an access; returns its exit code, negative for a signal."""
    claude = find_claude(environ)
    command = command_of(arguments)
    if command in WITHOUT_MODEL:
        try:
            os.execve(claude, [str(claude), *arguments], environ)  # noqa: S606 - no shell wanted
        except OSError as error:
            raise cannot_run(claude, error) from error
    home = find_home(environ)
    theirs, rest = split_settings(arguments)  # a mistake there is told before anything is started
    managed_settings.check()
    version = version_of(claude, home.state / "claude-version.json")
    access = find_access(home)
    environ = {**environ, **access.carried}
    rung = rung_of(version)
    client = access.clients[rung]
    user_file = saved_default.settings_file(environ)
    pick = _Pick(access.run / "pick.json", access.roles, client["ids"])
    rest = change_model(rest, lambda name: pick.listed(access.aliases.get(name, name)))
    before = saved_default.note(user_file, home.state / "sessions", pick.names())
    _settle(before.left, pick)
    environment = client_environment(environ)
    if command not in GOES_ON:
        surroundings = {**environ, **_env_of(user_file), **_env_in(theirs)}
        credential = access.credential(surroundings)
        settings = _for_this_session(client, credential, pick.model(), surroundings)
        if _are_listed(theirs, user_file):
            # The client puts such lists together. Without one it answers a mistyped name better.
            settings.setdefault("availableModels", [*client["ids"].values()])
        merged = _merge(theirs, settings)
        rest = ["--settings", str(_write_settings(access.run, merged)), *rest]
        if rung == "rows" and not {"-p", "--print"} & set(arguments):
            _tell_what_is_missed(version, access, client)
    code = run_in_our_place(claude, rest, environment)
    _settle(saved_default.put_back(before), pick)
    if access.used and (lost := access.used.lost()):
        sys.stderr.write(lost)
    return code


def _settle(after: saved_default.After, pick: _Pick) -> None:
    """Keep what was picked, and tell what could not be put back."""
    if after.picked is not None:
        pick.remember(after.picked)
    if after.warning:
        sys.stderr.write(f"llmswitch: {after.warning}\n")


def _tell_what_is_missed(version: Version, access: Access, client: dict[str, Any]) -> None:
    if access.with_login:
        missing = [*client["ids"]]
        lists = f"with a Claude login, Claude Code {shown(version)} lists its own names in /model"
    else:
        missing = missing_rows(client["settings"]["env"], client["ids"])
        lists = f"Claude Code {shown(version)} does not list {', '.join(missing)} in /model"
    if missing:
        sys.stderr.write(
            f"llmswitch: {lists}; type /model {missing[0]}, or get {shown(PICKER_FROM)} or newer, "
            "which lists them: claude update\n"
        )


class _Pick:
    """The model picked in the last session of a profile: the next one starts with it."""

    def __init__(self, file: Path, roles: dict[str, str], ids: dict[str, str]) -> None:
        self.file = file
        self.roles = roles
        self.ids = ids

    def model(self) -> str | None:
        """The id of the remembered pick, None where there is none or it is no longer served."""
        try:
            name = json.loads(self.file.read_text())["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self.ids.get(self.roles.get(name, name))

    def remember(self, wire: str) -> None:
        """Keep a pick; "" is the row Default."""
        write_private(self.file, json.dumps({"model": plain_name(wire)}))

    def listed(self, name: str) -> str:
        """A name after `--model` as the menu has it: with the mark of a million tokens."""
        wire = self.ids.get(name, name)
        return wire if wire.endswith("[1m]") else name

    def names(self) -> set[str]:
        """Every value that a pick of this menu can leave in the user's settings."""
        plain = {*self.ids, *self.ids.values(), *ALIASES}
        return plain | {f"{name}[1m]" for name in plain}


def _for_this_session(
    client: dict[str, Any],
    credential: Mapping[str, Any],
    model: str | None,
    surroundings: Mapping[str, str],
) -> dict[str, Any]:
    """The menu's settings with what only a session knows: the credential, the model to start
    with, and a way around the user's proxy. `surroundings` are the variables that the client would
    have without us.
    """
    settings = _merge(client["settings"], credential)
    if model:
        settings["model"] = model
    outside = surroundings.get("NO_PROXY") or surroundings.get("no_proxy")
    around = f"{outside},{LOOPBACK}" if outside else LOOPBACK
    settings["env"] |= {"NO_PROXY": around, "no_proxy": around}
    return settings


def _are_listed(theirs: dict[str, Any], user_file: Path) -> bool:
    """Whether any settings of the user's or the project's say which models there are."""
    files = [user_file, *_project_files()]
    return any("availableModels" in given for given in (theirs, *map(settings_in, files)))


def _project_files() -> list[Path]:
    here = Path.cwd()
    folders = [folder / ".claude" for folder in (here, *here.parents)]
    return [
        folder / name for folder in folders for name in ("settings.json", "settings.local.json")
    ]


def _env_of(user_file: Path) -> dict[str, str]:
    """The `env` block of the user's own settings; it beats exported variables."""
    return _env_in(settings_in(user_file))


def _env_in(settings: Mapping[str, Any]) -> dict[str, str]:
    env = settings.get("env")
    return {name: str(value) for name, value in env.items()} if isinstance(env, dict) else {}


def _merge(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them, such as ours over the user's."""
    env = theirs.get("env")
    return {**theirs, **ours, "env": {**(env if isinstance(env, dict) else {}), **ours["env"]}}


def _write_settings(run: Path, settings: dict[str, Any]) -> Path:
    """Write the settings under a name made of their content.

    The client watches the file while it runs, so another session's must never replace it; and its
    background agents outlive the session, so it stays.
    """
    text = json.dumps(settings, ensure_ascii=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    file = run / "settings" / f"claude-settings-{digest}.json"
    if not file.exists():
        write_private(file, text)
    return file


if __name__ == "__main__":
    main()
