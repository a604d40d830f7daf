"""`llmswitch service`: a gateway that the user's own service manager starts at login."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle
from llmswitch.gateway.manager import Service, installed, managed, service_of
from llmswitch.gateway.state import State, read_state, running, write_state
from llmswitch.paths import Home, ProfileRef, expanded, write_private
from llmswitch.profile.keys import kept_keys
from llmswitch.profile.secrets import find_key
from llmswitch.render.litellm_config import named_variables, render_agent, render_unit
from llmswitch.render.menu import make_menu
from llmswitch.render.plan import render

_CARRIED = ("LLMSWITCH_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
Progress = Callable[[str], None]


class Installed(NamedTuple):
    """What an installation did, the gateway's url, and the keys that only this shell has."""

    service: Service
    did: Literal["installed", "updated", "nothing"]
    state: State
    only_here: list[str]


def install(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], progress: Progress
) -> Installed:
    """Write the service of a profile and start it, in place of a gateway that runs.

    Raises LlmswitchError for a service that could never start, before anything is written.
    """
    service = service_of(ref, home, environ)
    if service.there and not service.is_ours:
        raise LlmswitchError(
            f"{service.file} was not written by this installation",
            "move it away, or set LLMSWITCH_HOME as it was when that service was installed",
        )
    only_here = _keys_of_this_shell(ref, home, environ)
    seen, text = service.asked(), wanted_text(service, ref)
    did: Literal["installed", "updated"] = "updated" if service.there else "installed"
    if is_current(service, ref) and seen.pid:
        done = lifecycle.up(ref, home, environ, progress)
        return Installed(service, "nothing", done.state, only_here)
    stop(ref, home, environ, progress)
    service.file.parent.mkdir(parents=True, exist_ok=True)
    write_private(service.file, text)
    service.load()
    return Installed(service, did, lifecycle.up(ref, home, environ, progress).state, only_here)


def uninstall(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """Stop the service of a profile and remove its file; None where there is none."""
    service = installed(ref, home, environ)
    if service is not None:
        remove(service)
    return service


def remove(service: Service) -> None:
    """The same of a service that is known."""
    service.remove()
    _note_stopped(service)


def stop(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], progress: Progress
) -> State | None:
    """Stop the gateway of a profile, also one that a service runs; returns what ran."""
    service = managed(ref, home, environ)
    if service is not None:
        progress("stopping the service")
        state = running(service.run)
        service.stop()
        _note_stopped(service)
        if state is not None and running(service.run) is None:
            return state
    return lifecycle.down(home.run(ref), progress)


def _note_stopped(service: Service) -> None:
    """A gateway that its manager has stopped has not died."""
    try:
        state = read_state(service.run)
    except LlmswitchError:
        return
    if state is not None and state.pid is not None and running(service.run) is None:
        write_state(service.run, state._replace(pid=None, started=""))


def _keys_of_this_shell(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> list[str]:
    """The variables of the profile that only this shell has: a service sees no shell, only what
    `key set` has kept. Raises LlmswitchError where it could not start without them.
    """
    kept = kept_keys(home)
    rendered = render(ref, {**kept, **environ})
    profile, menu = rendered.profile, make_menu(rendered.profile, set(rendered.profile.key_names))
    password = [profile.cache.key] if profile.cache and profile.cache.key else []
    wanted = [*profile.key_names, *password, *sorted(named_variables(profile, menu))]
    only_here = [
        name for name in dict.fromkeys(wanted) if name not in kept and find_key(name, environ)
    ]
    try:
        render(ref, kept)
    except LlmswitchError as error:
        if not only_here:
            raise
        raise LlmswitchError(
            f"a service cannot use {' and '.join(only_here)} of this shell",
            f"llmswitch key set {only_here[0]}",
        ) from error
    return only_here


def wanted_text(service: Service, ref: ProfileRef) -> str:
    """What the file of a service holds when it is installed from the shell of `service`."""
    environ = service.environ
    exports = {name: str(expanded(environ[name])) for name in _CARRIED if environ.get(name)}
    command = [sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--foreground"]
    command += ["--profile", ref.argument]
    if service.by_launchd:
        return render_agent(service.name, command, exports, str(service.log))
    return render_unit(ref.name, command, exports, str(service.home.state))


def is_current(service: Service, ref: ProfileRef) -> bool:
    """Whether the file of a service is of this version and this installation."""
    try:
        return service.file.read_text(encoding="utf-8") == wanted_text(service, ref)
    except (OSError, UnicodeDecodeError):
        return False


def status(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> dict[str, Any]:
    """`service status --json`. `current`: its file is of this version; `manager`: there is one."""
    service = installed(ref, home, environ)
    if service is None:
        return {"installed": False, "name": None}
    seen = service.seen()
    return {
        "installed": True,
        "name": service.name,
        "file": str(service.file),
        "current": is_current(service, ref),
        "manager": seen is not None,
        "pid": seen.pid if seen else None,
        "failed": seen.failed if seen else None,
        "log": service.log_command(),
    }
