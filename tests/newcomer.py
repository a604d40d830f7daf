"""Someone on their first day: a clean home, the real client installed, no key anywhere."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llmswitch.profile.providers import Provider, catalogue_data, is_local
from tests.clients import client_env, newest, unavailable
from tests.conftest import User, make_user, usual_port
from tests.terminal import Terminal

LLMSWITCH = [sys.executable, "-m", "llmswitch"]
KEY = "sk-ant-api03-of-a-newcomer"
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


class Newcomer:
    """Their shell; `more` is exported in it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.home = user.home
        self.more: dict[str, str] = {}

    @property
    def env(self) -> dict[str, str]:
        """The environment, in which nothing but this machine can be reached."""
        coverage = {name: value for name, value in self.user.env.items() if "COVERAGE" in name}
        path = {"PATH": f"{self.home}/.local/bin:/usr/bin:/bin"}
        return {**client_env(self.home), **path, **coverage, **self.more}

    @property
    def profile(self) -> Path:
        """The profile that `init` composes."""
        return self.home / ".config/llmswitch/profiles/main.yaml"

    def write_profile(self, text: str) -> Path:
        """A profile by hand, `work`, which is the default."""
        file = self.profile.with_name("work.yaml")
        file.parent.mkdir(parents=True)
        file.write_bytes(text.encode())
        (self.home / ".config/llmswitch/default-profile").write_text("work\n")
        return file

    def run(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`llmswitch …`, with its standard input from a pipe."""
        return subprocess.run(
            [*LLMSWITCH, *arguments],
            env={**self.env, **(env or {})},
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def open(self, *arguments: str, rows: int = 60) -> Terminal:
        """`llmswitch …` in a terminal."""
        return Terminal([*LLMSWITCH, *arguments], self.env, self.home, rows=rows, columns=100)


@contextmanager
def newcomer(root: Path, client: Path | None = None) -> Iterator[Newcomer]:
    """One with a home below `root`. The gateway that they leave running is stopped."""
    for data in catalogue_data().values():
        provider = Provider.model_validate(data)
        if is_local(provider) and _listens(provider.base_url or ""):
            unavailable(f"something listens at {provider.base_url}, which init would find")
    user = make_user(root)
    folder = user.home / ".local/bin"
    folder.mkdir(parents=True)
    (folder / "claude").symlink_to(client or newest())
    someone = Newcomer(user)
    with usual_port():
        try:
            yield someone
        finally:
            if (user.home / ".config/llmswitch").exists():
                someone.run("down")


def _listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def plain(text: str) -> str:
    """A screen or an output without what differs from machine to machine."""
    text = re.sub(r"(127\.0\.0\.1:)\d+", r"\1PORT", text)
    text = re.sub(r"pid \d+", "pid PID", text)
    # Where the usual port is taken, another is written down.
    text = re.sub(r"^ *gateway: \{port: \d+\}.*\n", "", text, flags=re.MULTILINE)
    return text.strip("\n")
