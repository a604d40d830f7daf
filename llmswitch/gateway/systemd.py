"""The service of a profile's gateway: what it is called, where its files are, and its manager.

That is systemd, the user's own, or on macOS launchd. `service.py` writes the files.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, ProfileRef
from llmswitch.render.claude_settings import is_wrapper

if TYPE_CHECKING:  # pydantic takes a sixth of a second, which `status` has no use for
    from llmswitch.profile.schema import Gateway

# Of systemd's, what gunicorn is to see: the sockets, whose they are, where to say that it is ready.
_HANDED = ("LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET")
_FIRST = 3  # the descriptor of the first socket, sd_listen_fds(3)
_SECONDS = 120.0  # stopping may take as long as open requests are given


class Seen(NamedTuple):
    """What the manager says: whether it holds the port, the pid of the gateway that it runs, and
    why it gave up.
    """

    holds: bool
    pid: int | None
    failed: str | None


class Service(NamedTuple):
    """The service of one profile. `name` is what its manager calls it, without an ending."""

    name: str
    files: tuple[Path, ...]
    environ: Mapping[str, str]

    @property
    def run_folder(self) -> str:
        """The id of its profile, which names the folder of its gateway."""
        return self.name.removeprefix("llmswitch-").replace(":", "@")

    @property
    def there(self) -> bool:
        """Whether any of its files is."""
        return any(os.path.lexists(file) for file in self.files)

    @property
    def by_launchd(self) -> bool:
        """Whether launchd runs it, which holds no port but keeps the gateway running."""
        return self.files[0].suffix == ".plist"

    def check_address(self, gateway: Gateway, ref: ProfileRef) -> None:
        """Raises LlmswitchError where its socket is for another address; with launchd there is
        none.
        """
        address = gateway.model_copy(update={"host": numeric(gateway.host)}).address
        wanted = f"\nListenStream={address}\n"
        if self.by_launchd or wanted in self.files[0].read_text(errors="replace"):
            return
        raise LlmswitchError(
            f"the service {self.name} holds another address than {gateway.address}",
            f"llmswitch service install --profile {ref.typed}",
        )

    @property
    def log_command(self) -> str:
        """What shows what it said."""
        if self.by_launchd:
            return f"tail -n 20 {log_of_launchd(self)}"
        return f"journalctl --user -u {self.name} -n 20"

    def load(self) -> None:
        """Have the manager read the files, hold the port, and do so after each login."""
        if self.by_launchd:
            self._launchctl("bootout", self._target, check=False)
            self._launchctl("bootstrap", self._domain, str(self.files[0]))
            return
        self._systemctl("daemon-reload")
        self._systemctl("reset-failed", *self._both, check=False)
        self._systemctl("enable", f"{self.name}.socket")
        # A socket that is open keeps its old address, and cannot be restarted below its service.
        self._systemctl("stop", *self._both)
        self._systemctl("start", f"{self.name}.socket")

    def unload(self) -> None:
        """Stop it, and have the manager forget it. The files are still there."""
        if self.by_launchd:
            self._launchctl("bootout", self._target, check=False)
            return
        self._systemctl("disable", "--now", *self._both)
        self._systemctl("reset-failed", *self._both, check=False)

    def forget(self) -> None:
        """Tell the manager that the files are gone."""
        if not self.by_launchd:
            self._systemctl("daemon-reload", check=False)

    def start(self) -> None:
        """Start the gateway now, and hold the port again if it was let go."""
        if self.by_launchd:
            self._launchctl("bootstrap", self._domain, str(self.files[0]), check=False)
            self._launchctl("kickstart", self._target)
            return
        self._systemctl("reset-failed", *self._both, check=False)
        self._systemctl("start", *self._both)

    def stop(self) -> None:
        """Stop the gateway and let the port go, until the next `start` or login."""
        if self.by_launchd:
            self._launchctl("bootout", self._target, check=False)
        else:
            self._systemctl("stop", *self._both)

    def restart(self) -> None:
        """A new process; requests wait meanwhile in the socket that systemd holds."""
        if self.by_launchd:
            self._launchctl("bootstrap", self._domain, str(self.files[0]), check=False)
            self._launchctl("kickstart", "-k", self._target)
            return
        self._systemctl("reset-failed", *self._both, check=False)
        self._systemctl("start", f"{self.name}.socket")
        self._systemctl("restart", f"{self.name}.service")

    @property
    def private_users(self) -> bool:
        """Whether its unit makes a namespace of the user's own."""
        texts = [file.read_text(errors="replace") for file in self.files if file.is_file()]
        return any("\nPrivateUsers=yes\n" in text for text in texts)

    def can_have_private_users(self) -> bool:
        """Whether it may: some machines let no user make a namespace, and a unit that asks for one
        does not start there.
        """
        if self.by_launchd:
            return False
        trial = ["systemd-run", "--user", "--quiet", "--wait", "--collect"]
        trial += ["-p", "PrivateUsers=yes", "-p", "ProtectSystem=strict", "true"]
        try:
            return _manager(trial, self._reaching, check=False).returncode == 0
        except LlmswitchError:
            return False

    def asked(self) -> Seen:
        """What its manager says of it. Raises LlmswitchError where there is no manager."""
        return self._seen_by_launchd() if self.by_launchd else self._seen_by_systemd()

    def seen(self) -> Seen | None:
        """The same; None where there is no manager."""
        try:
            return self.asked()
        except LlmswitchError:
            return None

    def _seen_by_systemd(self) -> Seen:
        asked = ("-p", "Id,ActiveState,Result,MainPID", "--", *self._both)
        said = self._systemctl("show", *asked).stdout
        found: dict[str, dict[str, str]] = {}
        for block in said.strip().split("\n\n"):
            fields = dict(line.partition("=")[::2] for line in block.splitlines())
            found[fields.get("Id", "").rpartition(".")[2]] = fields
        listening, gateway = found.get("socket", {}), found.get("service", {})
        reasons = [one["Result"] for one in (gateway, listening) if one.get("Result") != "success"]
        failed = "failed" in {listening.get("ActiveState"), gateway.get("ActiveState")}
        return Seen(
            holds=listening.get("ActiveState") == "active",
            pid=int(gateway.get("MainPID") or 0) or None,
            failed=reasons[0] if failed and reasons else None,
        )

    def _seen_by_launchd(self) -> Seen:
        said = self._launchctl("print", self._target, check=False)
        lines = (line.strip().partition(" = ") for line in said.stdout.splitlines())
        fields = {name: value for name, _, value in lines}
        pid = fields.get("pid", "")
        code = fields.get("last exit code", "0")
        failed = None if pid or not code.isdecimal() or code == "0" else f"exit code {code}"
        return Seen(said.returncode == 0, int(pid) if pid.isdecimal() else None, failed)

    @property
    def _both(self) -> tuple[str, str]:
        return f"{self.name}.socket", f"{self.name}.service"

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{self.name}"

    @property
    def _reaching(self) -> dict[str, str]:
        """The environment, with the way to the user's systemd, which su and cron do not tell."""
        usual = f"/run/user/{os.getuid()}"
        way = {"XDG_RUNTIME_DIR": usual} if Path(usual).is_dir() else {}
        return {**way, **self.environ}

    def _systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _manager(["systemctl", "--user", "--no-pager", *arguments], self._reaching, check)

    def _launchctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _manager(["launchctl", *arguments], self.environ, check)


def _manager(
    command: Sequence[str], environ: Mapping[str, str], check: bool
) -> subprocess.CompletedProcess[str]:
    """Ask a service manager. Raises LlmswitchError where there is none, and, with `check`, for
    what it refuses.
    """
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        raise LlmswitchError(
            f"there is no `{command[0]}` on PATH, so nothing here runs services",
            "llmswitch up    (or `llmswitch up --foreground` below a supervisor of your own)",
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LlmswitchError(f"`{' '.join(command)}` does not end", "systemctl --user") from error
    if check and done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        if unreachable := [line for line in lines if "connect to bus" in line]:
            raise LlmswitchError(
                f"no systemd runs for your user here: {unreachable[0]}",
                "loginctl enable-linger, then log in again    (without one: llmswitch up)",
            )
        raise LlmswitchError(f"`{' '.join(command)}` failed: {lines[0]}", _why(command))
    return done


def _why(command: Sequence[str]) -> str:
    units = [word.rpartition(".")[0] for word in command if word.endswith(".service")]
    return f"journalctl --user -u {units[0]} -n 20" if units else f"{command[0]} --help"


def folder_of(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the user's services are."""
    user = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        return user / "Library" / "LaunchAgents"
    return Path(environ.get("XDG_CONFIG_HOME") or user / ".config") / "systemd" / "user"


def service_of(
    ref: ProfileRef, environ: Mapping[str, str], platform: str = sys.platform
) -> Service:
    """The service of a profile, installed or not. systemd takes what is behind an `@` apart."""
    return _named(f"llmswitch-{ref.id.replace('@', ':')}", environ, platform)


def _named(name: str, environ: Mapping[str, str], platform: str) -> Service:
    endings = ("plist",) if platform == "darwin" else ("socket", "service")
    folder = folder_of(environ, platform)
    return Service(name, tuple(folder / f"{name}.{ending}" for ending in endings), environ)


def installed(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], platform: str = sys.platform
) -> Service | None:
    """The service of a profile, where there is one of this installation."""
    service = service_of(ref, environ, platform)
    return service if service.there and is_of(service, home) else None


def managed(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """The service of a profile, where one is installed and its manager is there."""
    service = installed(ref, home, environ)
    return service if service is not None and service.seen() is not None else None


def all_installed(
    home: Home, environ: Mapping[str, str], platform: str = sys.platform
) -> list[Service]:
    """Every service of this installation."""
    files = sorted(folder_of(environ, platform).glob("llmswitch-*"))
    names = dict.fromkeys(file.stem for file in files)
    found = [_named(name, environ, platform) for name in names]
    return [service for service in found if service.there and is_of(service, home)]


def is_of(service: Service, home: Home) -> bool:
    """Whether llmswitch wrote the files of a service, and they start this installation and not one
    with another LLMSWITCH_HOME.
    """
    there = [file for file in service.files if file.is_file()]
    if not all(is_wrapper(file) for file in there):
        return False
    if service.by_launchd:
        return log_of_launchd(service).is_relative_to(home.state)
    texts = [file.read_text(errors="replace") for file in there]
    return any(f"# files: {home.state}\n" in text for text in texts)


def log_of_launchd(service: Service) -> Path:
    """Where launchd writes what a service says, which keeps no journal."""
    import plistlib

    try:
        return Path(plistlib.loads(service.files[0].read_bytes())["StandardErrorPath"])
    except (OSError, ValueError, KeyError):
        return Path("service.log")


def numeric(host: str) -> str:
    """The address of a host that a gateway listens on, as gunicorn would find it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return str(socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise LlmswitchError(
            f"{host} is no address of this machine: {error.strerror}",
            "set `gateway: {host: 127.0.0.1}` in the profile",
        ) from error


def handed_over(environ: Mapping[str, str], pid: int, gateway: Gateway) -> dict[str, str]:
    """What systemd has given this process beside the socket of the gateway, for its environment;
    nothing where it was given none.

    Raises LlmswitchError for a socket that is bound elsewhere than the profile says.
    """
    if environ.get("LISTEN_PID") != str(pid) or environ.get("LISTEN_FDS") != "1":
        return {}
    with socket.socket(fileno=os.dup(_FIRST)) as given:
        bound: Any = given.getsockname()
    if bound[:2] != (numeric(gateway.host), gateway.port):
        raise LlmswitchError(
            f"the service holds {bound[0]}:{bound[1]}, but the profile says {gateway.address}",
            "llmswitch service install",
        )
    return {name: environ[name] for name in _HANDED if name in environ}
