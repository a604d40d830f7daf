"""The environment for what `claude-multi` does not start: editors, CI, SDKs, containers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from llmswitch.claude.login import TOKEN, gateway_access
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import is_ours, read_state
from llmswitch.health import url_of
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.schema import Profile
from llmswitch.profile.secrets import gateway_key, known_keys
from llmswitch.render.claude_settings import make_settings
from llmswitch.render.menu import Menu, make_menu
from llmswitch.render.plan import render

# Formats for a program on the machine where the user is logged in.
EDITORS = ("vscode",)


class ClientEnvironment(NamedTuple):
    """The variables by which a client reaches a gateway, and the models that it cannot have so."""

    variables: dict[str, str]
    without: list[str]

    @property
    def note(self) -> str:
        """What is said of those models; empty if there are none."""
        names = ", ".join(self.without)
        said = "left out; only Claude Code with your Claude login can use such a model"
        return f"note: {names}: {said}\n" if names else ""


def client_environment(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], *, with_login: bool = False
) -> ClientEnvironment:
    """The address and key of a profile's gateway, and the models that stand for Claude's names.

    `with_login` is for where the user's Claude login is, and so for editors alone: elsewhere the
    models that it pays for are left out. Raises LlmswitchError for a profile that cannot be used.
    """
    state = read_state(home.run(ref))
    known = known_keys(environ, home)
    held = state.keys if is_ours(state) and state else {}
    rendered = render(ref, known.values, {*known.hidden, *held})
    menu, without = rendered.menu, [row.name for row in rendered.menu.served if row.needs_login]
    login = with_login and bool(without)
    if without and not login:
        menu = _without_login(rendered.profile, menu)
    gateway = rendered.profile.gateway
    settings = make_settings(menu, "rows", url_of(gateway.host, gateway.port))
    told = {
        name: value
        for name, value in settings["env"].items()
        if value and "CUSTOM_MODEL_OPTION" not in name
    }
    variables = told | gateway_access(gateway_key(home), {}, with_login=login)
    variables["ANTHROPIC_MODEL"] = settings["model"]
    # One custom row is all that variables can describe; this lists every model.
    variables["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] = "1"
    first = ("ANTHROPIC_BASE_URL", TOKEN)
    ordered = {name: variables[name] for name in first if name in variables} | variables
    return ClientEnvironment(ordered, [] if login else without)


def _without_login(profile: Profile, menu: Menu) -> Menu:
    """The menu of the models that need no login; the roles of the others go to its default."""
    left = {row.name: row.model for row in menu.served if not row.needs_login}
    if not left:
        raise LlmswitchError(
            "every model of the profile needs your Claude login, which only Claude Code can send",
            "claude-multi    (or in VS Code: llmswitch code)",
        )
    keys = {key for row in menu.rows for key in row.keys}
    return make_menu(profile.model_copy(update={"models": left}), keys)


def run_code(
    arguments: Sequence[str], values: Mapping[str, str], environ: Mapping[str, str]
) -> NoReturn:
    """Become VS Code, with these variables. Never returns."""
    program = shutil.which("code", path=environ.get("PATH"))
    if program is None:
        raise LlmswitchError(
            "VS Code's command `code` is not on PATH",
            "llmswitch env --format vscode    (what to put into VS Code's settings.json)",
        )
    clean = {name: value for name, value in environ.items() if name != _NO_OTHER_KEY}
    os.execve(program, [program, *arguments], {**clean, **values})  # noqa: S606 - no shell wanted


_NO_OTHER_KEY = "ANTHROPIC_API_KEY"  # would be sent beside ours


def _sh(values: Mapping[str, str]) -> list[str]:
    return [f"unset {_NO_OTHER_KEY}", *(f"export {k}={shlex.quote(v)}" for k, v in values.items())]


def _fish(values: Mapping[str, str]) -> list[str]:
    escaped = {n: v.replace("\\", "\\\\").replace("'", "\\'") for n, v in values.items()}
    return [f"set -e {_NO_OTHER_KEY}", *(f"set -gx {n} '{v}'" for n, v in escaped.items())]


def _json(value: object) -> list[str]:
    return [json.dumps(value, indent=2, ensure_ascii=False)]


def _vscode(values: Mapping[str, str]) -> list[str]:
    listed = [{"name": name, "value": value} for name, value in values.items()]
    return _json({"claudeCode.environmentVariables": listed})


def _github_actions(values: Mapping[str, str]) -> list[str]:
    """A workflow is public, so the key is a secret of the repository. YAML would take JSON's escape
    of an emoji for two halves.
    """
    shown = {**values, TOKEN: f"${{{{ secrets.{TOKEN} }}}}"}
    return ["env:", *(f"  {n}: {json.dumps(v, ensure_ascii=False)}" for n, v in shown.items())]


def _docker(values: Mapping[str, str]) -> list[str]:
    """A file for `docker run --env-file`, which takes everything behind `=` as it stands."""
    return [f"{name}={value}" for name, value in values.items()]


FORMATS: dict[str, Callable[[Mapping[str, str]], list[str]]] = {
    "sh": _sh,
    "fish": _fish,
    "json": _json,
    "vscode": _vscode,
    "github-actions": _github_actions,
    "docker": _docker,
}
