"""One session of Claude Code at one provider, with no gateway: what a direct wrapper runs.

    python -m llmswitch.claude.direct PROVIDER PROFILE [claude's own arguments...]

PROFILE may be empty: then the default one counts, where there is one. Standard library only, as
the session; the menu is rendered anew only when the profile, the catalogue, LiteLLM's price map or
llmswitch itself is another than last time.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmswitch import __version__
from llmswitch.claude.run import Access, exit_as, run_client
from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, ProfileRef, find_profile_if_any, stamp, write_private
from llmswitch.profile.secrets import find_key, inside_name, known_keys, missing_reason

_NO_KEY = "none"  # of a server that needs none: without any, the client would send another's


def main(argv: Sequence[str] | None = None) -> None:
    """Run Claude Code at a provider, and exit as it exits."""
    provider, profile, *arguments = sys.argv[1:] if argv is None else argv
    exit_as(lambda: run_direct(provider, profile, arguments, os.environ))


def run_direct(
    provider: str, profile: str, arguments: list[str], environ: Mapping[str, str]
) -> int:
    """Run the client; returns its exit code, negative for a signal."""
    return run_client(
        lambda home: find_access(provider, profile, home, environ), arguments, environ
    )


def find_access(provider: str, profile: str, home: Home, environ: Mapping[str, str]) -> Access:
    """What leads a session to a provider, with that provider's key alone."""
    ref = find_profile_if_any(home, profile or None, environ)
    run = home.direct(provider, ref)
    menu = _menu(provider, ref, run / "menu.json")
    credential = _credential(menu, home, environ)
    return Access(
        run=run,
        clients=menu["clients"],
        roles=menu["roles"],
        aliases=menu["aliases"],
        credential=lambda _: credential,
        carried=_carried(menu, environ),
    )


def _credential(menu: Mapping[str, Any], home: Home, environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings by which the client gets the provider's key: a command that prints it.

    2.1.197 and 2.1.330 run it when they first need it, ask nothing, send what it prints as Bearer
    and as x-api-key, and with it send no login of the user's. Where that login is what opens the
    provider, it is the client's to send.
    """
    names = menu["keys"]
    if menu["clients"]["rows"]["login"]:
        return {"env": {"ANTHROPIC_AUTH_TOKEN": ""}}
    if not names:
        return {"env": {"ANTHROPIC_AUTH_TOKEN": _NO_KEY}}
    if not known_keys(environ, home).names & set(names):
        raise LlmswitchError(
            f"{missing_reason(names)}, so {menu['label']} cannot be asked", menu["cure"]
        )
    command = [sys.executable, "-E", "-P", "-m", "llmswitch.claude.key_helper"]
    command += [str(home.config), str(home.state), *names]
    return {"apiKeyHelper": shlex.join(command), "env": {"ANTHROPIC_AUTH_TOKEN": ""}}


def _carried(menu: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The key of this shell past a client that is told that its variable is empty."""
    emptied = {*menu["clients"]["rows"]["settings"]["env"], "ANTHROPIC_AUTH_TOKEN"}
    found = {name: find_key(name, environ) for name in menu["keys"] if name in emptied}
    return {inside_name(name): key for name, key in found.items() if key}


def _menu(provider: str, ref: ProfileRef | None, file: Path) -> dict[str, Any]:
    """The menu as it was rendered last; anew if something that it is made of has changed."""
    made_of = (__version__, str(ref.file) if ref else None)
    try:
        kept: dict[str, Any] = json.loads(file.read_bytes())
        same = (kept["version"], kept["profile"]) == made_of
        if same and all(stamp(Path(part)) == seen for part, seen in kept["parts"].items()):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, damaged, or a part is gone
    from llmswitch.claude import direct_menu  # all that is slow

    fresh = direct_menu.render(provider, ref)
    write_private(file, json.dumps(fresh, ensure_ascii=False))
    return fresh


if __name__ == "__main__":
    main()
