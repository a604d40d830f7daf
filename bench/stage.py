"""What is measured: our gateway and plain LiteLLM, with the same three models of the same fake
provider, each started as its user would start it. Everything is on loopback and in one folder.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import CHECKOUT, KEYS, User, make_user

PROFILE = "bench"
MODELS = {
    "opus": "native, Anthropic",
    "glm-4.7": "native, another host",
    "qwen": "translated to chat",
}
"""The models of both gateways and the way that a request to each goes."""
DELTAS = 20  # pieces of text in a streamed answer
SECONDS = 120.0  # how long anything may take before it counts as failed
_PAUSE = 0.002  # seconds between two tries to connect
_PORTS = range(20_000, 30_000)
_LOG_LINES = 30


class NotMeasuredError(Exception):
    """Something could not be measured; the text says why, with the end of the log concerned."""


Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Target:
    """Who is asked: a gateway, or the fake provider straight."""

    port: int
    key: str


@dataclass(frozen=True)
class Start:
    """A start, in seconds from its beginning. `cpu` is what all its processes used meanwhile."""

    accepted: float
    answered: float
    cpu: float
    returned: float | None = None


class Stage:
    """The fake provider and the two gateways, which run when they are told to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user: User = make_user(root)
        ours, theirs, provider = free_ports(3)
        self.ours = Target(ours, "sk-llmswitch-bench")
        self.theirs = Target(theirs, "sk-bench-plain")
        self.straight = Target(provider, "any")
        self._provider: Process | None = None
        self._plain: Process | None = None
        self.user.state.mkdir(parents=True, mode=0o700)
        (self.user.state / "gateway.key").write_text(self.ours.key)
        self.write_profile("GLM-4.7")
        self._write_plain_config()

    def start_provider(self) -> None:
        """Start the fake provider as a process of its own."""
        port, events = str(self.straight.port), str(DELTAS)
        command = [sys.executable, "-m", "tests.upstream", "--port", port, "--events", events]
        self._provider = self.spawn("provider", command, {"PATH": os.defpath}, CHECKOUT)
        self._wait(self.straight, self._provider, time.perf_counter())

    # ------------------------------------------------------------ ours

    def write_profile(self, label: str) -> None:
        """Our user's profile; another label makes another configuration of the engine."""
        url = f"http://127.0.0.1:{self.straight.port}"
        self.user.write_profile(
            f"""models:
  opus: anthropic/claude-opus-4-5-20251101
  glm-4.7: {{model: zai/glm-4.7, label: "{label}"}}
  qwen: {{model: mine/qwen3, context: 200000}}
roles: {{default: glm-4.7}}
providers:
  anthropic: {{base_url: "{url}"}}
  zai: {{base_url: "{url}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{url}/v1", key: MINE_KEY}}
gateway: {{port: {self.ours.port}}}
""",
            PROFILE,
        )

    def start_ours(self) -> Start:
        """`llmswitch up` to the first answer."""
        used = _cpu_of_ended_children()
        began = time.perf_counter()
        process = self.spawn("up", [*llmswitch(), "up"], self.user.env, self.user.home)
        returned: list[float] = []

        def wait() -> None:
            process.wait()
            returned.append(time.perf_counter() - began)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        try:
            accepted, answered = self._wait(self.ours, process, began)
        except BaseException:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # it takes its gateway with it
            raise
        waiting.join(SECONDS)
        if process.returncode != 0:
            raise NotMeasuredError(f"`llmswitch up` failed\n{self._logs('up')}")
        cpu = _cpu_of_ended_children() - used + _cpu(self.gateway())
        return Start(accepted, answered, cpu, returned[0])

    def start_process(self, recipe: Recipe) -> Start:
        """The gateway's process alone, to the first answer; it is stopped again."""
        began = time.perf_counter()
        process = self.spawn("process", recipe.command, recipe.env, recipe.folder)
        try:
            accepted, answered = self._wait(self.ours, process, began)
            return Start(accepted, answered, _cpu(psutil.Process(process.pid)))
        finally:
            stop(process)

    def gateway(self) -> psutil.Process:
        """The process that `llmswitch up` started."""
        return psutil.Process(self.user.gateway_state(PROFILE)["pid"])

    def stop_ours(self) -> None:
        """`llmswitch down`."""
        done = self.user.run("down", timeout=SECONDS)
        if done.returncode:
            self.user.stop_everything()
            raise NotMeasuredError(f"`llmswitch down` failed\n{done.stderr}")

    # ------------------------------------------------------------ theirs

    def _write_plain_config(self) -> None:
        url = f"http://127.0.0.1:{self.straight.port}"
        (self.root / "plain.yaml").write_text(
            f"""model_list:
  - model_name: opus
    litellm_params:
      model: anthropic/claude-opus-4-5-20251101
      api_base: {url}
      api_key: os.environ/ANTHROPIC_API_KEY
  - model_name: glm-4.7
    litellm_params:
      model: anthropic/glm-4.7
      api_base: {url}/api/anthropic
      api_key: os.environ/ZAI_API_KEY
  - model_name: qwen
    litellm_params:
      model: hosted_vllm/qwen3
      api_base: {url}/v1
      api_key: os.environ/MINE_KEY
general_settings:
  master_key: {self.theirs.key}
"""
        )

    def start_theirs(self) -> Start:
        """`litellm --config` to the first answer."""
        litellm = str(Path(sys.executable).with_name("litellm"))
        address = ["--host", "127.0.0.1", "--port", str(self.theirs.port)]
        offline = {  # what LiteLLM would look up in a network that is not there
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        }
        env = {"PATH": self.user.env["PATH"], "HOME": str(self.user.home), **KEYS, **offline}
        command = [litellm, "--config", str(self.root / "plain.yaml"), *address]
        began = time.perf_counter()
        self._plain = self.spawn("plain", command, env, self.user.home)
        accepted, answered = self._wait(self.theirs, self._plain, began)
        return Start(accepted, answered, _cpu(self.plain()))

    def plain(self) -> psutil.Process:
        """The process of plain LiteLLM."""
        assert self._plain is not None
        return psutil.Process(self._plain.pid)

    def stop_theirs(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop plain LiteLLM."""
        if self._plain is not None:
            stop(self._plain, number)
            self._plain = None

    # ------------------------------------------------------------ both

    @contextlib.contextmanager
    def both(self) -> Iterator[None]:
        """Both gateways running."""
        self.start_ours()
        self.start_theirs()
        yield
        self.stop_gateways()

    def stop_gateways(self) -> None:
        """Stop whatever runs, but for the provider."""
        self.stop_theirs()
        self.stop_ours()

    def close(self) -> None:
        """Stop everything."""
        try:
            self.stop_gateways()
        finally:
            if self._provider is not None:
                stop(self._provider)

    def spawn(
        self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> Process:
        """Start a process in a session of its own; what it says is in a file of that name."""
        with self._log(name).open("wb") as log:
            return subprocess.Popen(
                command,
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, target: Target, process: Process) -> None:
        """Wait until it answers."""
        self._wait(target, process, time.perf_counter())

    def _wait(self, target: Target, process: Process, began: float) -> tuple[float, float]:
        """As first_answer; a failure says what the logs say."""
        try:
            return first_answer(target, began, lambda: process.poll() in (None, 0))
        except NotMeasuredError as error:
            name = {self.ours: "up", self.theirs: "plain"}.get(target, "provider")
            raise NotMeasuredError(f"{error}\n{self._logs(name)}") from error

    def _log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _logs(self, name: str) -> str:
        """The ends of a process's log and, for ours, of the gateway's."""
        files = [self._log(name)]
        if name == "up":
            files += [self._log("process"), self.user.run_folder(PROFILE) / "gateway.log"]
        return "\n".join(
            f"--- {file.name}\n" + "\n".join(file.read_text().splitlines()[-_LOG_LINES:])
            for file in files
            if file.exists()
        )


@dataclass(frozen=True)
class Recipe:
    """How `up` started the gateway's process, read from the process itself."""

    command: list[str]
    env: dict[str, str]
    folder: Path

    @classmethod
    def of(cls, process: psutil.Process) -> Recipe:
        """Of a running gateway."""
        return cls(process.cmdline(), process.environ(), Path(process.cwd()))


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """A stage with its provider running; nothing is left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="llmswitch-bench-", ignore_cleanup_errors=True) as root:
        stage = Stage(Path(root))
        try:
            stage.start_provider()
            yield stage
        finally:
            stage.close()


def llmswitch() -> list[str]:
    """The `llmswitch` command: the installed script, else the module."""
    script = Path(sys.executable).with_name("llmswitch")
    return [str(script)] if script.exists() else [sys.executable, "-m", "llmswitch"]


def free_ports(count: int) -> list[int]:
    """Free ports below those that the system gives to outgoing connections: a tight loop of
    connecting to one of those connects to itself before long.
    """
    found: list[int] = []
    for port in _PORTS[os.getpid() % 5000 :]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise NotMeasuredError("no port is free")


def first_answer(target: Target, began: float, alive: Callable[[], bool]) -> tuple[float, float]:
    """Ask for a message until it is answered: seconds from `began` until the port accepted, and
    until the answer was there. Once the process that starts it is no longer `alive` it has failed.
    """
    accepted: float | None = None
    said = "nothing"
    while time.perf_counter() - began < SECONDS:
        if not alive():
            raise NotMeasuredError("the process stopped")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=SECONDS)
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(_PAUSE)
            continue
        accepted = accepted or time.perf_counter() - began
        with contextlib.closing(connection):
            try:
                status, answer = send(connection, target, "glm-4.7", stream=False)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                if status == http.HTTPStatus.OK:
                    return accepted, time.perf_counter() - began
                said = f"{status} {answer[:300]!r}"
        time.sleep(_PAUSE)
    raise NotMeasuredError(
        f"no answer on port {target.port} within {SECONDS} s; the last was {said}"
    )


def send(
    connection: http.client.HTTPConnection,
    target: Target,
    model: str,
    *,
    stream: bool,
    text: str = "Say who you are.",
) -> tuple[int, bytes]:
    """One message as Claude Code sends it: status and the whole answer."""
    headers = {
        "Authorization": f"Bearer {target.key}",
        "Content-Type": "application/json",
        "User-Agent": "claude-cli/2.1.330 (external, cli)",
        "anthropic-version": "2023-06-01",
    }
    connection.request("POST", "/v1/messages?beta=true", _body(model, stream, text), headers)
    response = connection.getresponse()
    return response.status, response.read()


def _body(model: str, stream: bool, text: str) -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": 32000,
        "stream": stream,
        "system": [{"type": "text", "text": "You are Claude Code, Anthropic's CLI. " * 50}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "metadata": {"user_id": "bench"},
    }
    return json.dumps(body).encode()


def stop(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """End a process of ours, and what it started, which is in its own session."""
    process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children have used."""
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(member.cpu_times()[:2]) for member in family))


def _cpu_of_ended_children() -> float:
    """Seconds of CPU of the children of this process that have ended."""
    return float(sum(psutil.Process().cpu_times()[2:4]))
