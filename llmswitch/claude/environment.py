"""The way to the gateway for what `claude-multi` does not start: editors, CI, SDKs, containers."""

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
from llmswitch.render.menu import Menu
from llmswitch.render.plan import draw

# Formats for a program on the machine where the user is logged in.
EDITORS = ("vscode",)


class Way(NamedTuple):
    """The variables by which a client reaches a gateway, and the models that it cannot have so."""

    variables: dict[str, str]
    without: list[str]


def way(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], *, with_login: bool = False
) -> Way:
    """The address and key of a profile's gateway, and the models that stand for Claude's names.

    `with_login` is for where the user's Claude login is, and so for editors alone: elsewhere the
    models that it pays for are left out. Raises LlmswitchError for a profile that cannot be used.
    """
    state = read_state(home.run(ref))
    known = known_keys(environ, home)
    held = state.keys if is_ours(state) and state else {}
    drawing = draw(ref, known.values, {*known.hidden, *held})
    listens = drawing.profile.gateway
    menu, without = drawing.menu, [row.name for row in drawing.menu.served if row.needs_login]
    if without and not with_login:
        menu = _without(drawing.profile, menu, without)
    settings = make_settings(menu, "rows", url_of(listens.host, listens.port))
    told = {name: value for name, value in settings["env"].items() if value}
    login = with_login and bool(without)
    access = gateway_access(gateway_key(home), {}, with_login=login)
    found = {
        "ANTHROPIC_BASE_URL": told.pop("ANTHROPIC_BASE_URL"),
        **access,
        "ANTHROPIC_MODEL": settings["model"],
        # One custom row is all that variables can name; this lists every model.
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        **{name: value for name, value in told.items() if "CUSTOM_MODEL_OPTION" not in name},
    }
    return Way(found, [] if login else without)


def _without(profile: Profile, menu: Menu, names: Sequence[str]) -> Menu:
    """A menu without some of its models; their roles go to the default, or to the first left."""
    rows = tuple(row for row in menu.served if row.name not in names)
    if not rows:
        raise LlmswitchError(
            "every model of the profile needs your Claude login, which only Claude Code can send",
            "claude-multi    (or in VS Code: llmswitch code)",
        )
    left = {row.name for row in rows}
    wanted = profile.role("default")
    default = wanted if wanted in left else rows[0].name
    return Menu(rows, {role: n if n in left else default for role, n in menu.roles.items()})


def left_out(way: Way) -> str:
    """What is said of the models that variables cannot reach; nothing where there are none."""
    names = ", ".join(way.without)
    said = "left out; only Claude Code with your Claude login can use such a model"
    return f"note: {names}: {said}\n" if names else ""


def run_code(
    arguments: Sequence[str], values: Mapping[str, str], environ: Mapping[str, str]
) -> NoReturn:
    """Become VS Code, with these variables. Never returns."""
    program = shutil.which("code", path=environ.get("PATH"))
    if program is None:
        raise LlmswitchError(
            "there is no `code` on PATH",
            "llmswitch env --format vscode    (what belongs into VS Code's settings.json)",
        )
    told = {name: value for name, value in environ.items() if name != "ANTHROPIC_API_KEY"}
    os.execve(program, [program, *arguments], told | dict(values))  # noqa: S606 - no shell wanted


def _sh(values: Mapping[str, str]) -> list[str]:
    # A key of Anthropic's beside ours would be sent along.
    return ["unset ANTHROPIC_API_KEY", *(f"export {k}={shlex.quote(v)}" for k, v in values.items())]


def _fish(values: Mapping[str, str]) -> list[str]:
    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return ["set -e ANTHROPIC_API_KEY", *(f"set -gx {k} {quoted(v)}" for k, v in values.items())]


def _json(values: Mapping[str, str]) -> list[str]:
    return [json.dumps(values, indent=2, ensure_ascii=False)]


def _vscode(values: Mapping[str, str]) -> list[str]:
    listed = [{"name": name, "value": value} for name, value in values.items()]
    setting = {"claudeCode.environmentVariables": listed}
    return [json.dumps(setting, indent=2, ensure_ascii=False)]


def _github_actions(values: Mapping[str, str]) -> list[str]:
    """A workflow is public, so the key is a secret of the repository. YAML would take JSON's escape
    of an emoji for two halves.
    """
    shown = {**values, TOKEN: f"${{{{ secrets.{TOKEN} }}}}"}
    quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in shown.items()}
    return ["env:", *(f"  {name}: {value}" for name, value in quoted.items())]


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
