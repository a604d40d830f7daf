"""What is on a machine before `init` asks anything. Reads only."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from llmswitch.claude.login import has_login
from llmswitch.claude.program import Version, ask_version, find_claude
from llmswitch.claude.wrapper import list_installed
from llmswitch.doctor.checks_client import check_plain_claude
from llmswitch.doctor.context import Context
from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home
from llmswitch.profile import catalogue, model_lists
from llmswitch.profile.providers import Provider, is_local
from llmswitch.profile.schema import Gateway, Profile
from llmswitch.profile.secrets import known_keys

_LOCAL_SECONDS = 0.3  # a server on this machine answers in a hundredth
_CLIENT_SECONDS = 5.0
_PORTS = 100


class Found(NamedTuple):
    """What was found. `keys` are the set variables of each provider that has all it needs;
    `clouds` are those of them that read the cloud's own credentials, which are often set for
    something else. `servers` are the models that the servers on this machine list. `redirect` says
    what redirects plain `claude`; `port` is the gateway's usual one, or the next that is free.
    """

    keys: dict[str, tuple[str, ...]]
    clouds: frozenset[str]
    servers: dict[str, model_lists.Answer]
    claude: tuple[Path, Version] | None
    login: bool
    wrappers: list[Path]
    redirect: str | None
    port: int


def look(
    home: Home, environ: Mapping[str, str], folder: Path, profile: Profile | None, now: float
) -> Found:
    """Look at keys, servers, the client, its settings, and the wrappers in `folder` and on PATH."""
    there = catalogue.providers(profile)
    variables = dict(_keys(there, known_keys(environ, home).names))
    plain = check_plain_claude(Context(environ, home, None, folder, now))
    client, first = _client(environ), Gateway().port
    return Found(
        keys=variables,
        clouds=frozenset(name for name in variables if there[name].key is None),
        servers=_servers(there),
        claude=client,
        login=client is not None and bool(has_login(environ)),
        wrappers=list_installed(folder, environ),
        redirect=plain.message if plain.level == "warning" else None,
        port=next(filter(_is_free, range(first, first + _PORTS)), first),
    )


def _keys(there: Mapping[str, Provider], names: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, provider in there.items():
        wanted = (*([provider.key] if provider.key else ()), *provider.env)
        if wanted and names.issuperset(wanted):
            yield name, wanted


def _servers(there: Mapping[str, Provider]) -> dict[str, model_lists.Answer]:
    local = {name: provider for name, provider in there.items() if is_local(provider)}
    with ThreadPoolExecutor(max(1, len(local))) as pool:
        answers = pool.map(
            lambda one: model_lists.ask_models(one, None, _LOCAL_SECONDS), local.values()
        )
        return {name: said for name, said in zip(local, answers, strict=True) if said.models}


def _client(environ: Mapping[str, str]) -> tuple[Path, Version] | None:
    try:
        claude = find_claude(environ)
        return claude, ask_version(claude, _CLIENT_SECONDS)
    except LlmswitchError:
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((Gateway().host, port))
        except OSError:
            return False
        return True
