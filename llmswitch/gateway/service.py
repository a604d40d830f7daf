"""`llmswitch service`: a gateway that the user's own service manager starts.

With systemd the port is open from login on, and the first request starts the gateway; launchd
starts it at login.
"""

from __future__ import annotations

import plistlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmswitch import __version__
from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle, lost
from llmswitch.gateway.state import State, read_state, write_state
from llmswitch.gateway.systemd import Service, installed, is_of, managed, numeric, service_of
from llmswitch.paths import Home, ProfileRef, expanded, make_private_folder, write_private
from llmswitch.profile.keys import kept_keys
from llmswitch.profile.load import load_profile
from llmswitch.profile.schema import Profile
from llmswitch.profile.secrets import find_key, gateway_key
from llmswitch.render.claude_settings import MARK
from llmswitch.render.litellm_config import named_variables, render_units
from llmswitch.render.plan import draw, shown_path
from llmswitch.run_files import LOG

_CARRIED = ("LLMSWITCH_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
_STOP_SECONDS = 45  # those of process.STOP_SECONDS, and a little
Progress = Callable[[str], None]


class Installed(NamedTuple):
    """What an installation did, and the keys of this shell that a service does not see."""

    service: Service
    did: Literal["installed", "updated", "nothing"]
    address: str
    started: bool
    only_here: list[str]


def install(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], progress: Progress
) -> Installed:
    """Write the service of a profile and have its manager take it. A gateway that runs goes over
    to it: it is stopped, and started again by the service.

    Raises LlmswitchError for a service that could never start, before anything is written.
    """
    service = service_of(ref, environ)
    if service.there and not is_of(service, home):
        raise LlmswitchError(
            f"{service.files[0]} is not of this installation, so it is left alone",
            "move it away, or set LLMSWITCH_HOME as it was when that service was installed",
        )
    profile, only_here = _without_this_shell(ref, home, environ)
    seen = service.asked()
    sandbox = service.private_users if service.there else service.can_have_private_users()
    texts = wanted_texts(ref, profile, home, environ, private_users=sandbox)
    did: Literal["installed", "updated", "nothing"] = "updated" if service.there else "installed"
    if _is_current(service, texts) and seen.holds and not seen.failed:
        address = profile.gateway.address
        return Installed(service, "nothing", address, seen.pid is not None, only_here)
    running = lost.running(home.run(ref)) is not None
    stop(ref, home, environ, progress)
    make_private_folder(home.state)
    gateway_key(home)
    for file, text in zip(service.files, texts, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, text)
    progress("handing the port to the service")
    service.load()
    if running:
        lifecycle.up(ref, home, environ, progress)
    return Installed(service, did, profile.gateway.address, running, only_here)


def uninstall(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """Stop the service of a profile and take its files away; None where there is none."""
    service = installed(ref, home, environ)
    if service is not None:
        remove(service, home.run(ref))
    return service


def remove(service: Service, run: Path) -> None:
    """The same of a service that is known; `run` is the folder of its gateway."""
    if service.seen() is not None:
        service.unload()
    _note_stopped(run)
    for file in service.files:
        file.unlink(missing_ok=True)
        wanted_by = file.parent / "sockets.target.wants" / file.name
        wanted_by.unlink(missing_ok=True)  # `disable` has done so, where there is a manager
    service.forget()


def stop(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], progress: Progress
) -> State | None:
    """Stop the gateway of a profile, and its service if one holds its port; returns what ran."""
    run = home.run(ref)
    service = managed(ref, home, environ)
    if service is not None:
        progress("stopping the service")
        state = lost.running(run)
        service.stop()
        _note_stopped(run)
        if state is not None and lost.running(run) is None:
            return state
    return lifecycle.down(run, progress)


def _note_stopped(run: Path) -> None:
    """What the manager has stopped is no gateway that has died."""
    try:
        state = read_state(run)
    except LlmswitchError:
        return
    if state is not None and state.pid is not None and lost.running(run) is None:
        write_state(run, state._replace(pid=None, started=""))


def _without_this_shell(
    ref: ProfileRef, home: Home, environ: Mapping[str, str]
) -> tuple[Profile, list[str]]:
    """The profile, and the variables that are set in this shell alone. A service has no shell, so
    what it knows are the keys that `key set` has kept.
    """
    kept = kept_keys(home)
    shell = {name for name in environ if find_key(name, environ) and name not in kept}
    try:
        drawing = draw(ref, kept)
        only_here = _lacking(drawing.profile, shell)
    except LlmswitchError as error:
        drawing = draw(ref, {**kept, **environ})  # what is wrong in this shell too is told as it is
        lacking = _lacking(drawing.profile, shell)
        if not lacking:
            raise
        raise LlmswitchError(
            f"a service could not start: it does not see {' and '.join(lacking)} of this shell",
            f"llmswitch key set {lacking[0]}",
        ) from error
    return drawing.profile, only_here


def _lacking(profile: Profile, shell: set[str]) -> list[str]:
    from llmswitch.render.menu import make_menu

    menu = make_menu(profile, set(profile.key_names))
    password = [profile.cache.key] if profile.cache and profile.cache.key else []
    wanted = [*profile.key_names, *password, *sorted(named_variables(profile, menu))]
    return [name for name in dict.fromkeys(wanted) if name in shell]


def wanted_texts(
    ref: ProfileRef,
    profile: Profile,
    home: Home,
    environ: Mapping[str, str],
    platform: str = sys.platform,
    *,
    private_users: bool,
) -> list[str]:
    """What the files of a service hold when it is installed from this shell, in their order."""
    exports = {name: str(expanded(environ[name])) for name in _CARRIED if environ.get(name)}
    command = [sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--foreground"]
    command += ["--profile", ref.argument]
    if platform == "darwin":
        label = service_of(ref, environ, platform).name
        return [_plist(label, command, exports, home, ref)]
    texts = render_units(
        ref.name,
        profile.gateway.model_copy(update={"host": numeric(profile.gateway.host)}).address,
        command=command,
        exports=exports,
        state=str(home.state),
        stop_seconds=_STOP_SECONDS,
        private_users=private_users,
    )
    return [texts["socket"], texts["service"]]


def _plist(
    label: str, command: list[str], exports: Mapping[str, str], home: Home, ref: ProfileRef
) -> str:
    """A launchd agent: started at login, and again when it fails. launchd hands its sockets over
    by a call of its own that gunicorn does not make, so the gateway holds the port itself.
    """
    log = str(home.run(ref) / f"service-{LOG}")
    for text in (*command, *exports.values(), log):
        if not text.isprintable():
            raise LlmswitchError(f"{text!r} cannot stand in an agent of launchd", "rename it")
    agent: dict[str, Any] = {
        "Label": label,
        "ProgramArguments": command,
        "EnvironmentVariables": {"PATH": "/usr/local/bin:/usr/bin:/bin", **exports},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": _STOP_SECONDS,
        "Umask": 0o077,
        "ProcessType": "Interactive",
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    head, doctype, rest = plistlib.dumps(agent).decode().split("\n", 2)
    mark = f"<!-- {MARK} {__version__}; do not edit, run: llmswitch service install -->"
    return f"{head}\n{doctype}\n{mark}\n{rest}"


def is_current(
    service: Service,
    ref: ProfileRef,
    profile: Profile,
    home: Home,
    environ: Mapping[str, str],
) -> bool:
    """Whether the files of a service are of this version, this profile and this installation."""
    sandbox = service.private_users
    return _is_current(service, wanted_texts(ref, profile, home, environ, private_users=sandbox))


def _is_current(service: Service, texts: list[str]) -> bool:
    """Whether the files of a service hold these texts."""
    try:
        return [file.read_text(encoding="utf-8") for file in service.files] == texts
    except (OSError, UnicodeDecodeError):
        return False


def status(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> dict[str, Any]:
    """`service status --json`. `current` is whether its files are of this version and profile."""
    service = installed(ref, home, environ)
    if service is None:
        return {"installed": False, "name": None}
    seen = service.seen()
    profile = load_profile(ref.file, shown_path(ref.file))
    return {
        "installed": True,
        "name": service.name,
        "files": [str(file) for file in service.files],
        "current": is_current(service, ref, profile, home, environ),
        "manager": seen is not None,
        "holds": bool(seen and seen.holds),
        "pid": seen.pid if seen else None,
        "failed": seen.failed if seen else None,
        "log": service.log_command,
    }


def journal(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> str | None:
    """The unit whose journal is the log of a profile's gateway; None where it writes a file."""
    service = managed(ref, home, environ)
    if service is None or service.by_launchd:
        return None
    return f"{service.name}.service"
