"""What the tests share: a user with an empty home, the `llmswitch` command, fake upstreams, and the
mission's profile pointed at them. Everything is real but the providers.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.upstream import FakeUpstream

# No test asserts on time: the machine may do other work.
hypothesis.settings.register_profile("calm", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("calm")

# A runner in the background leaves Ctrl-C ignored, and `nohup` the end of the terminal; every child
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

CHECKOUT = Path(__file__).parent.parent
LABELS = {"glm-4.7: zai/glm-4.7": "GLM-4.7", "glm-4.5: zai/GLM-4.5-Air": "GLM-4.5 Air"}
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-api03-own", "ZAI_API_KEY": "zai-own", "MINE_KEY": "mine-own"}


def unmeasured(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without what measures the coverage."""
    return {name: value for name, value in env.items() if not name.startswith("COVERAGE")}


@dataclass
class User:
    """Someone with a home of their own and an environment built from nothing."""

    root: Path
    keys: Mapping[str, str] = field(default_factory=lambda: dict(KEYS))

    @property
    def home(self) -> Path:
        """$HOME."""
        return self.root / "home"

    @property
    def state(self) -> Path:
        """Where llmswitch keeps what it generates."""
        return self.root / "llmswitch" / "state"

    @property
    def env(self) -> dict[str, str]:
        """The environment of this user's shell."""
        coverage = {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
        return {
            "PATH": f"{self.root / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LLMSWITCH_HOME": str(self.root / "llmswitch"),
            **coverage,
            **self.keys,
        }

    @property
    def unmeasured(self) -> dict[str, str]:
        """The same for what is interrupted or killed: in the midst of measuring the coverage it
        would wait for a lock for ever, or leave a file half written.
        """
        return unmeasured(self.env)

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `llmswitch ...` as this user would, with `env` on top of the shell's."""
        return subprocess.run(
            [sys.executable, "-m", "llmswitch", *arguments],
            env={**self.env, **(env or {})},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Run it, without waiting for its end; a signal may end it."""
        return subprocess.Popen(
            [sys.executable, "-m", "llmswitch", *arguments],
            env=self.unmeasured,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
        """The same with --json: the answer as data; the command must succeed."""
        done = self.run(*arguments, "--json", env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def write_profile(self, text: str, name: str = "work") -> Path:
        """A profile of this user's, and the default one."""
        folder = self.root / "llmswitch" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        (self.root / "llmswitch" / "default-profile").write_text(f"{name}\n")
        return file

    def gateway_key(self) -> str:
        """The gateway's own key."""
        return (self.state / "gateway.key").read_text().strip()

    def gateway_state(self, profile: str = "work") -> dict[str, Any]:
        """What the state file says."""
        loaded: dict[str, Any] = json.loads((self.run_folder(profile) / "state.json").read_text())
        return loaded

    def run_folder(self, profile: str = "work") -> Path:
        """Everything generated for a profile."""
        return self.state / "run" / profile

    def stop_everything(self) -> None:
        """Kill whatever gateway a test left, by the pid in its state file."""
        for file in self.state.glob("run/*/state.json"):
            try:
                pid = json.loads(file.read_text())["pid"]
                os.killpg(pid, signal.SIGKILL)
            except (ValueError, KeyError, TypeError, ProcessLookupError, PermissionError):
                continue


def make_user(root: Path) -> User:
    """A user with an empty home below `root`."""
    user = User(root)
    user.home.mkdir(parents=True)
    (root / "bin").mkdir()
    return user


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A user of this test's own."""
    someone = make_user(tmp_path)
    yield someone
    someone.stop_everything()


@contextmanager
def usual_port() -> Iterator[None]:
    """While this is held, no other test of this machine takes the gateway's usual port, or one of
    the next: what `init` writes listens there.
    """
    with Path(tempfile.gettempdir(), f"llmswitch-tests-port.{os.getuid()}").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Mission:
    """The mission's profile (profiles/claude-glm.yaml) at fake upstreams, with a third provider of
    the user's own that speaks Chat Completions.
    """

    user: User
    anthropic: FakeUpstream
    zai: FakeUpstream
    mine: FakeUpstream
    port: int

    @property
    def upstreams(self) -> tuple[FakeUpstream, ...]:
        """All three."""
        return self.anthropic, self.zai, self.mine

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return f"http://127.0.0.1:{self.port}"

    def write(self, extra: str = "") -> Path:
        """Write the profile as `work`, with more lines at its end."""
        text = (CHECKOUT / "profiles" / "claude-glm.yaml").read_text(encoding="utf-8")
        for short, label in LABELS.items():  # written out, for tests that change them
            name, _, model = short.partition(": ")
            assert short in text
            text = text.replace(short, f"{name}:\n    model: {model}\n    label: {label}")
        more = "  qwen: {model: mine/qwen3, label: Qwen3, context: 200000}\nroles:"
        return self.user.write_profile(
            text.replace("roles:", more)
            + f"""
providers:
  anthropic: {{base_url: "{self.anthropic.url}"}}
  zai: {{base_url: "{self.zai.url}/api/anthropic"}}
  mine: {{label: My server, dialect: chat, base_url: "{self.mine.url}/v1", key: MINE_KEY}}
gateway: {{port: {self.port}}}
{extra}"""
        )


def start_mission(root: Path) -> Iterator[Mission]:
    """The mission with its upstreams running, its profile written, and no gateway yet."""
    user = make_user(root)
    with (
        FakeUpstream("anthropic") as anthropic,
        FakeUpstream("zai") as zai,
        FakeUpstream("mine") as mine,
    ):
        mission = Mission(user, anthropic, zai, mine, free_port())
        mission.write()
        yield mission
        user.stop_everything()


def lasting_mission(root: Path) -> Iterator[Mission]:
    """The same, for a gateway that several tests share: at the end it is stopped by `down`."""
    for mission in start_mission(root):
        yield mission
        mission.user.run("down")


@pytest.fixture
def mission(tmp_path: Path) -> Iterator[Mission]:
    """A mission of this test's own; its gateway is not started yet."""
    yield from start_mission(tmp_path)


@pytest.fixture(scope="module")
def running_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose gateway runs, shared by the tests of a module."""
    for mission in lasting_mission(tmp_path_factory.mktemp("mission")):
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission
