"""The service of a profile's gateway and the manager that runs it: the user's own systemd, or on
macOS launchd. `service.py` writes the file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from llmswitch.errors import LlmswitchError
from llmswitch.generated import is_generated
from llmswitch.paths import Home, ProfileRef
from llmswitch.run_files import LOG

_SECONDS = 120.0  # stopping may take as long as open requests are given


class Seen(NamedTuple):
    """What the manager says: the pid of the gateway that it runs, and why the service failed."""

    pid: int | None
    failed: str | None


class Service(NamedTuple):
    """The service of one profile, installed or not. `name` is without the ending of its file."""

    name: str
    file: Path
    home: Home
    environ: Mapping[str, str]

    @property
    def run(self) -> Path:
        """The run folder of its gateway. systemd interprets an `@` in a name, so it is a `:`."""
        return self.home.state / "run" / self.name.removeprefix("llmswitch-").replace(":", "@")

    @property
    def by_launchd(self) -> bool:
        """Whether launchd runs it."""
        return self.file.suffix == ".plist"

    @property
    def there(self) -> bool:
        """Whether its file is there, whoever wrote it."""
        return os.path.lexists(self.file)

    @property
    def is_ours(self) -> bool:
        """Whether llmswitch wrote its file, for this installation and not for one with another
        LLMSWITCH_HOME.
        """
        mark = f"# files: {self.home.state}\n"
        if self.by_launchd:
            mark = f"<string>{escape(str(self.log))}</string>"
        return is_generated(self.file) and mark in self.file.read_text(errors="replace")

    @property
    def log(self) -> Path:
        """Where launchd writes the output; systemd has its journal."""
        return self.run / f"service-{LOG}"

    def log_command(self, lines: int = 20) -> str:
        """The command that shows what the service printed."""
        if self.by_launchd:
            return f"tail -n {lines} {self.log}"
        return f"journalctl --user -u {self.name} -n {lines}"

    def load(self) -> None:
        """Have the manager read the file and start the gateway at each login; launchd does both
        with `start`.
        """
        if not self.by_launchd:
            self._systemctl("daemon-reload")
            self._systemctl("enable", self.file.name)

    def start(self) -> None:
        """Start the gateway now."""
        if self.by_launchd:
            self._launchctl("bootstrap", self._domain, str(self.file), check=False)
            self._launchctl("kickstart", self._target)
            return
        self._systemctl("reset-failed", self.file.name, check=False)
        self._systemctl("start", self.file.name)

    def stop(self) -> None:
        """Stop the gateway, until the next `start` or login."""
        if self.by_launchd:
            self._launchctl("bootout", self._target, check=False)
        else:
            self._systemctl("stop", self.file.name)

    def restart(self) -> None:
        """Stop the gateway and start it again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop the gateway and remove the file; the manager, where there is one, forgets it."""
        managed = self.seen() is not None
        if managed and self.by_launchd:
            self.stop()
        elif managed:
            self._systemctl("disable", "--now", self.file.name)
            self._systemctl("reset-failed", self.file.name, check=False)
        self.file.unlink(missing_ok=True)
        # `disable` has removed this, where there is a manager.
        (self.file.parent / "default.target.wants" / self.file.name).unlink(missing_ok=True)
        if managed and not self.by_launchd:
            self._systemctl("daemon-reload", check=False)

    def seen(self) -> Seen | None:
        """What the manager says of it; None where there is no manager."""
        try:
            return self.asked()
        except LlmswitchError:
            return None

    def asked(self) -> Seen:
        """The same. Raises LlmswitchError where there is no manager."""
        if self.by_launchd:
            said = self._launchctl("print", self._target, check=False).stdout
            fields = _fields(said, " = ")
            code = fields.get("last exit code", "0")
            pid = _pid(fields.get("pid", ""))
            failed = code.isdecimal() and code != "0" and not pid
            return Seen(pid, f"exit code {code}" if failed else None)
        said = self._systemctl("show", "-p", "ActiveState,Result,MainPID", self.file.name).stdout
        fields = _fields(said, "=")
        failed = fields.get("ActiveState") == "failed"
        return Seen(_pid(fields.get("MainPID", "")), fields.get("Result") if failed else None)

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{self.name}"

    def _systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        usual = f"/run/user/{os.getuid()}"  # su and cron do not set XDG_RUNTIME_DIR
        way = {"XDG_RUNTIME_DIR": usual} if Path(usual).is_dir() else {}
        command = ["systemctl", "--user", "--no-pager", *arguments]
        return _run(command, {**way, **self.environ}, check)

    def _launchctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(["launchctl", *arguments], self.environ, check)


def _fields(text: str, between: str) -> dict[str, str]:
    return {name: value for name, _, value in (
        line.strip().partition(between) for line in text.splitlines()
    )}  # fmt: skip


def _pid(text: str) -> int | None:
    return int(text) or None if text.isdecimal() else None


def _run(
    command: Sequence[str], environ: Mapping[str, str], check: bool
) -> subprocess.CompletedProcess[str]:
    """Ask a service manager. Raises LlmswitchError where there is none, and, with `check`, for
    what it refuses.
    """
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        raise LlmswitchError(
            f"`{command[0]}` is not on PATH, so llmswitch cannot manage a service",
            "llmswitch up    (or `llmswitch up --foreground` under a supervisor of your own)",
        )
    said = " ".join(command)
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
        raise LlmswitchError(f"`{said}` timed out", "systemctl --user status") from error
    if not check or done.returncode == 0:
        return done
    lines = done.stderr.strip().splitlines() or ["no message"]
    if unreachable := [line for line in lines if "connect to bus" in line]:
        raise LlmswitchError(
            f"systemd is not running for your user: {unreachable[0]}",
            "loginctl enable-linger, then log in again    (without one: llmswitch up)",
        )
    raise LlmswitchError(f"`{said}` failed: {lines[0]}", f"{said}    (try it by hand)")


def folder_of(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the user's services are."""
    user = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        return user / "Library" / "LaunchAgents"
    return Path(environ.get("XDG_CONFIG_HOME") or user / ".config") / "systemd" / "user"


def service_of(
    ref: ProfileRef, home: Home, environ: Mapping[str, str], platform: str = sys.platform
) -> Service:
    """The service of a profile, installed or not."""
    name = f"llmswitch-{ref.id.replace('@', ':')}"
    ending = "plist" if platform == "darwin" else "service"
    return Service(name, folder_of(environ, platform) / f"{name}.{ending}", home, environ)


def installed(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """The service of a profile, where this installation has one."""
    service = service_of(ref, home, environ)
    return service if service.is_ours else None


def managed(ref: ProfileRef, home: Home, environ: Mapping[str, str]) -> Service | None:
    """The service of a profile, where one is installed and its manager is there."""
    service = installed(ref, home, environ)
    return service if service is not None and service.seen() is not None else None


def all_installed(home: Home, environ: Mapping[str, str]) -> list[Service]:
    """Every service of this installation."""
    files = sorted(folder_of(environ).glob("llmswitch-*.*"))
    found = [Service(file.stem, file, home, environ) for file in files if file.is_file()]
    return [service for service in found if service.is_ours]
