"""The settings that make Claude Code show and use the models of a menu.

Measured with 2.1.197, 2.1.330 and 2.1.332. Standard library only: the wrapper imports this on every
start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # pydantic behind it takes longer to import than the whole wrapper
    from llmswitch.render.menu import Menu, Row

# How the client's menu is filled: by rows of ours, or by a few fixed rows that variables describe.
MenuSupport = Literal["picker", "rows"]
MENU_SUPPORTS: tuple[MenuSupport, ...] = ("picker", "rows")
_ROLES = ("opus", "sonnet", "haiku", "fable")
ALIASES = (*_ROLES, "opusplan", "best")  # the names that the client resolves itself
_ONE_MORE = "ANTHROPIC_CUSTOM_MODEL_OPTION"

_KNOWN_WINDOW = 200_000
_SMALLEST_COMPACTION = 100_000  # CLAUDE_CODE_AUTO_COMPACT_WINDOW is raised to this
_MILLION = 1_000_000
# A Claude model whose requests every Anthropic-compatible host understands: thinking with a
# budget, no system-role message, a window of 200k.
PLAIN_BEHAVIOUR = "claude-sonnet-4-5"
# What would send the session elsewhere, or another credential along with ours. An empty value in
# the settings' `env` block beats both the user's settings.json and exported variables.
_NEUTRALISED = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    _ONE_MORE,
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_VERTEX_BASE_URL",
    "CLAUDE_CODE_AUTO_MODE_MODEL",
    "CLAUDE_CODE_BG_CLASSIFIER_MODEL",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
)
# The same, but the client obeys these before it reads any settings.
TAKEN_AWAY = ("ANTHROPIC_UNIX_SOCKET", "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST")
# What sends a plain `claude` to another host, as another, or to a model that Claude does not know.
HIJACKING = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_MODEL",
    *(name for name in _NEUTRALISED if name.startswith("CLAUDE_CODE_USE_")),
    *TAKEN_AWAY,
)


def wants_login(menu: Menu) -> bool:
    """Whether the client is to use the user's Claude login: a model of the menu needs it."""
    return any(row.needs_login for row in menu.served)


def plain_name(wire: str) -> str:
    """The profile's name of a model id: one of wire_ids, or as LiteLLM lists it for Claude Code."""
    name = re.sub(r"\[1m\]$", "", wire, flags=re.IGNORECASE)
    encoded = name.removeprefix("claude-router-")
    if encoded == name:
        return name
    try:
        return bytes.fromhex(encoded).decode()
    except (ValueError, UnicodeDecodeError):
        return name


def compaction_window(menu: Menu, support: MenuSupport) -> Row | None:
    """The row whose context window limits the whole session, None where none has to.

    The client can be told 200k or 1M for one model. A smaller window holds for the session, but
    for windows under 100k in the picker: those it can be told apart (see max_context).
    """
    return _smallest(menu, _SMALLEST_COMPACTION if support == "picker" else 0, _KNOWN_WINDOW)


def max_context(menu: Menu) -> Row | None:
    """The row with the smallest window under 100k: the client takes one such number for all
    models that it does not know (CLAUDE_CODE_MAX_CONTEXT_TOKENS).
    """
    return _smallest(menu, 0, _SMALLEST_COMPACTION)


def _smallest(menu: Menu, least: int, below: int) -> Row | None:
    """The row with the smallest context window of those in a range of tokens."""
    found = [row for row in menu.served if row.context is not None and least <= row.context < below]
    return min(found, key=lambda row: row.context or 0, default=None)


def make_client(menu: Menu, support: MenuSupport, url: str) -> dict[str, Any]:
    """What a session is made of: settings, model ids by name, whether a Claude login is used."""
    settings = make_settings(menu, support, url)
    return {"settings": settings, "ids": wire_ids(menu, support), "login": wants_login(menu)}


def unlisted(client: Mapping[str, Any]) -> list[str]:
    """The models that have no row of their own in the menu of a client with fixed rows."""
    if client["login"]:
        return [*client["ids"]]
    env = client["settings"]["env"]
    rows = {env.get(variable) for variable in (*map(_role_variable, _ROLES), _ONE_MORE)}
    return [name for name, wire in client["ids"].items() if wire not in rows]


def make_settings(menu: Menu, support: MenuSupport, url: str) -> dict[str, Any]:
    """The client's settings for a menu, all but the gateway's key and the model to start with."""
    env = _neutralised(menu) | {
        "ANTHROPIC_BASE_URL": url,
        # This block at the head of the system prompt defeats prompt caching at other providers.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        # Behind a gateway auto mode cannot use Anthropic's server; 2.1.330 says so in a dialog that
        # blocks the first action of a session.
        "CLAUDE_CODE_AUTO_MODE_SERVER": "0",
    }
    rows = {row.name: row for row in menu.served}
    ids = wire_ids(menu, support)
    for role in _ROLES:
        row = rows[menu.roles[role]]
        env |= _fixed_row(_role_variable(role), row, ids[row.name])
    if "subagent" in menu.roles:
        env["CLAUDE_CODE_SUBAGENT_MODEL"] = ids[menu.roles["subagent"]]
    if limit := compaction_window(menu, support):
        env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(max(limit.context or 0, _SMALLEST_COMPACTION))
    if small := max_context(menu):
        env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(small.context)
    settings: dict[str, Any] = {
        "env": env,
        "model": ids[menu.roles["default"]],
        "apiKeyHelper": "",  # the user's own would be run, and its key sent along
        "fallbackModel": [],
        "enforceAvailableModels": False,
    }
    if like_claude := {name: name for name in ids if name.startswith("claude-")}:
        # The user's own would send a model with such a name to another (2.1.330).
        settings["modelOverrides"] = like_claude
    if support == "picker":
        # Inert beside enforceAvailableModels; makes the Default row ours (2.1.330).
        env["ANTHROPIC_DEFAULT_MODEL"] = ids[menu.roles["default"]]
        options = [_option(row, ids[row.name]) for row in menu.served]
        settings["modelPicker"] = {"replaceBuiltInOptions": True, "options": options}
    else:
        env |= _fixed_rows(menu, ids)
    return settings


def _neutralised(menu: Menu) -> dict[str, str]:
    # The token of `claude setup-token` is a login too.
    kept = {"CLAUDE_CODE_OAUTH_TOKEN"} if wants_login(menu) else set()
    return {name: "" for name in _NEUTRALISED if name not in kept}


def _role_variable(role: str) -> str:
    return f"ANTHROPIC_DEFAULT_{role.upper()}_MODEL"


def _fixed_row(variable: str, row: Row, wire: str) -> dict[str, str]:
    return {
        variable: wire,
        f"{variable}_NAME": row.label,
        f"{variable}_DESCRIPTION": row.description,
    }


def _fixed_rows(menu: Menu, ids: Mapping[str, str]) -> dict[str, str]:
    """The variables for a client that lists no models beside the roles' but one."""
    env: dict[str, str] = {}
    listed = {menu.roles[role] for role in _ROLES}
    if extra := next((row for row in menu.served if row.name not in listed), None):
        env |= _fixed_row(_ONE_MORE, extra, ids[extra.name])
    if wants_login(menu) and not any("[1m]" in wire for wire in ids.values()):
        # With a login 2.1.197 lists a model of its own besides, which the gateway does not have.
        env["CLAUDE_CODE_DISABLE_1M_CONTEXT"] = "1"
    return env


def wire_ids(menu: Menu, support: MenuSupport) -> dict[str, str]:
    """How each served model is called between client and gateway, by its name. From a million
    tokens on, `[1m]` tells the client so; it takes the mark off before it sends.
    """
    ids = {}
    for row in menu.served:
        # With a menu of ours the client knows the windows of Anthropic's own models.
        known = support == "picker" and row.provider.dialect == "anthropic"
        large = not known and row.context is not None and row.context >= _MILLION
        ids[row.name] = f"{row.name}[1m]" if large else row.name
    return ids


def _option(row: Row, wire: str) -> dict[str, str]:
    option = {"model": wire, "label": row.label, "description": row.description}
    if behaviour := behaves_as(row):
        option["behavesAs"] = behaviour
    return option


def behaves_as(row: Row) -> str | None:
    """The Claude model that the newest client takes a model for, and so the form of its
    requests; None for a model that it does not know.
    """
    if row.model.behaves_as:
        return row.model.behaves_as
    if row.provider.dialect == "anthropic":
        return row.model.id
    small = row.context is not None and row.context < _SMALLEST_COMPACTION
    return None if small else PLAIN_BEHAVIOUR  # it would tell the client 200k
