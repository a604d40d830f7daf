"""One session of Claude Code through the gateway: what the wrapper runs.

    python -m llmswitch.claude.session PROFILE [claude's own arguments...]

Standard library only, as run.py. Everything slow (profile, rendering, starting) is left to
`llmswitch up`, and done only when something has changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from llmswitch.claude.ensure import ensure
from llmswitch.claude.login import gateway_access, is_wanted
from llmswitch.claude.run import Access, exit_as, run_client
from llmswitch.paths import Home, find_profile
from llmswitch.profile.secrets import gateway_key, known_keys


def main(argv: Sequence[str] | None = None) -> None:
    """Run Claude Code through the gateway, and exit as it exits."""
    profile, *arguments = sys.argv[1:] if argv is None else argv
    exit_as(lambda: run_session(profile, arguments, os.environ))


def run_session(profile: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client through a profile's gateway; returns as run_client."""

    def through_gateway(home: Home) -> Access:
        ref = find_profile(home, profile or None, environ)
        run, key = home.run(ref), gateway_key(home)
        used = ensure(ref, run, key, known_keys(environ, home))
        clients = used.state.clients
        with_login = is_wanted(clients)

        def credential(surroundings: Mapping[str, str]) -> dict[str, Any]:
            return {"env": gateway_access(key, surroundings, with_login=with_login)}

        return Access(run, clients, used.state.roles, credential, used=used)

    return run_client(through_gateway, arguments, environ)


if __name__ == "__main__":
    main()
