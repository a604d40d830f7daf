"""A shell with `claude-multi`, and a program in place of `claude` that tells what it is given."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import Mission, User
from tests.fake_claude import Seen, install


@dataclass
class Shell:
    """A shell with the wrapper and a fake `claude` on PATH."""

    user: User
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def claude(self) -> Path:
        """The fake."""
        return self.folder / "bin" / "claude"

    @property
    def env(self) -> dict[str, str]:
        """The environment of this shell."""
        path = f"{self.folder / 'bin'}:{self.user.env['PATH']}"
        home = {"HOME": str(self.folder / "home"), "FAKE_SEEN": str(self.folder / "seen")}
        return {**self.user.env, "PATH": path, **home, **self.more}

    def run(
        self, *arguments: str | bytes, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """`claude-multi ...`, and what it said."""
        done = subprocess.run(
            [self.wrapper, *arguments],
            env={**self.env, **(env or {})},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @property
    def wrapper(self) -> Path:
        """The wrapper."""
        return self.user.root / "bin" / "claude-multi"

    @property
    def seen(self) -> Seen:
        """What the fake was given last."""
        return Seen(self.folder / "seen")

    @property
    def ran(self) -> bool:
        """Whether the fake was run at all."""
        return (self.folder / "seen").exists()


def take_shell(mission: Mission, folder: Path) -> Shell:
    """A shell of the mission's user, with a home of its own."""
    shell = Shell(mission.user, folder)
    (folder / "home").mkdir(parents=True)
    install(shell.claude)
    if not shell.wrapper.exists():
        done = mission.user.run("wrapper", "install", "--dir", str(shell.wrapper.parent))
        assert done.returncode == 0, done.stderr
    (mission.user.run_folder() / "pick.json").unlink(missing_ok=True)
    return shell
