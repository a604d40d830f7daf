"""A new key for the gateway: written, and given to every gateway that runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle
from llmswitch.gateway.process import Progress
from llmswitch.gateway.state import State, running
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.keys import mark_anew
from llmswitch.profile.secrets import renew_gateway_key
from llmswitch.run_files import STATE


class Failure(NamedTuple):
    """A gateway that still takes the old key: its profile, why, and what to do."""

    profile: str
    message: str
    hint: str


class Renewed(NamedTuple):
    """The file of the new key, the gateways that take it, and those that do not."""

    file: Path
    reloaded: list[State]
    failed: list[Failure]


def renew(home: Home, environ: Mapping[str, str], progress: Progress) -> Renewed:
    """Make a new gateway key, and have each gateway that runs take it in place of the old one.

    A gateway gets it as by `up`: with its profile as it stands, and without losing a request.
    """
    mark_anew(home, renew_gateway_key(home))
    renewed = Renewed(home.gateway_key, [], [])
    for file in sorted(home.state.glob(f"run/*/{STATE}")):
        run = file.parent
        try:
            state = running(run)
        except LlmswitchError:  # damaged, and nothing runs there
            continue
        if state is None:
            continue
        ref = ProfileRef(state.profile, Path(state.profile_file), run.name)
        try:
            done = lifecycle.up(ref, home, environ, progress, on_demand=True)
        except LlmswitchError as error:
            hint = f"{error.hint}    (or: llmswitch down --profile {ref.typed})"
            renewed.failed.append(Failure(ref.name, error.message, hint))
        else:
            renewed.reloaded.append(done.state)
    return renewed
