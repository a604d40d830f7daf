"""Someone on their first day: a clean home, the real client installed, no key anywhere, and of the
model servers that may run on this machine none is found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from llmswitch.profile import providers
from llmswitch.profile.providers import Provider, catalogue_data, is_local
from tests.clients import client_env, newest
from tests.command import inside
from tests.conftest import User, free_port, make_user, usual_port
from tests.terminal import Terminal

KEY = "sk-ant-api03-of-a-newcomer"
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
# `llmswitch`, but that a model server of this machine is looked for at a port of the test's own.
LLMSWITCH = """\
import sys
from pathlib import Path
from llmswitch.profile import providers
providers.CATALOGUE = Path(sys.argv.pop(1))
from llmswitch.__main__ import main
main()
"""


class Newcomer:
    """Their shell; `more` is exported in it. `ports` are those of the local providers."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.home = user.home
        self.more: dict[str, str] = {}
        self.ports, self.catalogue = _moved(user.root / "providers.yaml")

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
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        (self.home / ".config/llmswitch/default-profile").write_text("work\n")
        return file

    def run(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`llmswitch …` inside this process, with its standard input from a pipe."""
        with patch.object(providers, "CATALOGUE", self.catalogue):
            catalogue_data.cache_clear()
            try:
                return inside(arguments, {**self.env, **(env or {})}, self.home, stdin)
            finally:
                catalogue_data.cache_clear()

    def start(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own: a gateway that is started is nobody's child then."""
        return subprocess.run(
            self._command(*arguments),
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
        return Terminal(self._command(*arguments), self.env, self.home, rows=rows, columns=100)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", LLMSWITCH, str(self.catalogue), *arguments]


def _moved(file: Path) -> tuple[dict[str, int], Path]:
    """Write the catalogue with every local provider at a free port."""
    text = providers.CATALOGUE.read_text(encoding="utf-8")
    ports = {}
    for name, data in catalogue_data().items():
        provider = Provider.model_validate(data)
        if is_local(provider) and provider.base_url:
            ports[name] = free_port()
            host = provider.base_url.removesuffix("/v1")
            text = text.replace(host, f"http://localhost:{ports[name]}")
    file.write_text(text, encoding="utf-8")
    return ports, file


@contextmanager
def newcomer(root: Path, client: Path | None = None) -> Iterator[Newcomer]:
    """One with a home below `root`."""
    user = make_user(root)
    folder = user.home / ".local/bin"
    folder.mkdir(parents=True)
    (folder / "claude").symlink_to(client or newest())
    yield Newcomer(user)


@contextmanager
def gateway_of(someone: Newcomer) -> Iterator[None]:
    """While they have a gateway at the usual port; it is stopped."""
    with usual_port():
        try:
            yield
        finally:
            someone.run("down")


def plain(text: str) -> str:
    """A screen or an output without what differs from machine to machine."""
    text = re.sub(r"(127\.0\.0\.1:|localhost:)\d+", r"\1PORT", text)
    text = re.sub(r"pid \d+", "pid PID", text)
    # Where the usual port is taken, another is written down.
    text = re.sub(r"^ *gateway: \{port: \d+\}.*\n", "", text, flags=re.MULTILINE)
    return text.strip("\n")
