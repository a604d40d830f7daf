"""The user's Claude login, for profiles that have a subscription: how the gateway's key travels
beside it, and whether there is one. The login itself is the client's; nothing here keeps it.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llmswitch.claude.settings_files import user_settings

TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 - the name of a variable
HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
QUIET = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"
OWN_LOGIN = "CLAUDE_CODE_OAUTH_TOKEN"  # of `claude setup-token`
NO_LOGIN = "no Claude login was found"
LOG_IN = "claude    (and in it: /login)"
# Of the user's own headers: these would stand in the way of the login, or of the gateway's key.
_CREDENTIALS = ("authorization", "x-api-key", "x-litellm-api-key")


def gateway_access(
    key: str, surroundings: Mapping[str, str], *, with_login: bool
) -> dict[str, str]:
    """The variables by which the client opens the gateway.

    Beside a login the key goes in a header of its own, behind those that the user has set in
    `surroundings`: a token in ANTHROPIC_AUTH_TOKEN would be sent in place of the login. The client
    sends such headers to Anthropic too with what it asks there for itself (GET
    /api/claude_cli/bootstrap; 2.1.197, 2.1.330, 2.1.332), which QUIET switches off in each of them.
    """
    if not with_login:
        return {TOKEN: key}
    theirs = [
        line.strip()
        for line in surroundings.get(HEADERS, "").splitlines()
        if line.partition(":")[0].strip().lower() not in ("", *_CREDENTIALS)
    ]
    headers = "\n".join([*theirs, f"x-litellm-api-key: Bearer {key}"])
    return {TOKEN: "", HEADERS: headers, QUIET: "1"}


def is_wanted(clients: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the clients of a gateway, as its state has them, are to use the user's login."""
    return any(client["login"] for client in clients.values())


def notes(clients: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> list[str]:
    """What is said when a gateway starts whose clients need a login that is not there."""
    if not is_wanted(clients) or has_login(environ) is not False:
        return []
    return [f"note: {NO_LOGIN}, and a subscription pays for models of the profile    -> {LOG_IN}"]


def has_login(environ: Mapping[str, str]) -> bool | None:
    """Whether the client finds a login; None where that cannot be seen from outside: macOS keeps it
    in the keychain. Other tokens of the client's, those of MCP servers, are in the same file.
    """
    if environ.get(OWN_LOGIN):
        return True
    file = user_settings(environ).with_name(".credentials.json")
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(file.read_bytes())["claudeAiOauth"]:
            return True
    return None if sys.platform == "darwin" else False
