"""What is measured: our gateway and plain LiteLLM, with the same models of the same fake provider,
each started as its user would start it. Everything is on loopback and in one folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.wire import SECONDS, NotMeasuredError, Target, first_answer, free_ports
from llmswitch.paths import write_private
from tests.conftest import CHECKOUT, KEYS, User, make_user

PROFILE = "bench"
NATIVE, TRANSLATED = ("glm-4.7", "glm-4.5"), ("qwen", "qwen-long")
"""Models that every gateway has: of a host that speaks Anthropic's dialect, and of one that speaks
OpenAI's. The second of each answers a stream with LONG pieces of text, the others with DELTAS.
"""
DELTAS, LONG = 20, 300
UPSTREAM_NAMES = {"opus": "claude-opus-4-5-20251101", "qwen": "qwen3", "qwen-long": "qwen3-long"}
"""Names of the models at the provider, where they are not ours."""
_LOG_LINES = 30


Process = subprocess.Popen[bytes]


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
        ours, theirs, provider, *self.spare_ports = free_ports(5)
        self.ours = Target(ours, f"sk-llmswitch-{'bench':-<43}")  # in the form that is taken
        self.theirs = Target(theirs, "sk-bench-plain")
        self.straight = Target(provider, "any", UPSTREAM_NAMES)
        self._provider: Process | None = None
        self._plain: Process | None = None
        self.user.state.mkdir(parents=True, mode=0o700)
        write_private(self.user.state / "gateway.key", self.ours.key)
        self.write_profile("GLM-4.7")
        self._write_plain_config()

    def start_provider(self) -> None:
        """Start the fake provider as a process of its own."""
        command = [sys.executable, "-m", "tests.upstream", "--port", str(self.straight.port)]
        command += ["--events", str(DELTAS)]
        for model in (NATIVE[1], TRANSLATED[1]):
            command += ["--events-of", f"{UPSTREAM_NAMES.get(model, model)}={LONG}"]
        self._provider = self.spawn("provider", command, {"PATH": os.defpath}, CHECKOUT)
        self.wait("provider", self.straight, self._provider)

    # ------------------------------------------------------------ ours

    def write_profile(self, label: str) -> None:
        """Our user's profile; another label makes another configuration of the engine."""
        url = f"http://127.0.0.1:{self.straight.port}"
        self.user.write_profile(
            f"""models:
  opus: anthropic/claude-opus-4-5-20251101
  glm-4.7: {{model: zai/glm-4.7, label: "{label}"}}
  glm-4.5: zai/glm-4.5
  qwen: {{model: mine/qwen3, context: 200000, price: {{input: 0.1, output: 0.2}}}}
  qwen-long: {{model: mine/qwen3-long, context: 200000, price: {{input: 0.1, output: 0.2}}}}
budgets: [{{usd: 1000, per: month}}]
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
            accepted, answered = self.wait("up", self.ours, process, began)
        except BaseException:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # it takes its gateway with it
            raise
        waiting.join(SECONDS)
        if process.returncode != 0:
            raise NotMeasuredError(f"`llmswitch up` failed\n{self._logs('up')}")
        spent = _cpu_of_ended_children() - used + cpu(self.gateway())
        return Start(accepted, answered, spent, returned[0])

    def start_process(self, recipe: Recipe) -> Start:
        """The gateway's process alone, to the first answer; it is stopped again."""
        began = time.perf_counter()
        process = self.spawn("process", recipe.command, recipe.env, recipe.folder)
        try:
            accepted, answered = self.wait("process", self.ours, process, began)
            return Start(accepted, answered, cpu(psutil.Process(process.pid)))
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
  - model_name: glm-4.5
    litellm_params:
      model: anthropic/glm-4.5
      api_base: {url}/api/anthropic
      api_key: os.environ/ZAI_API_KEY
  - model_name: qwen
    litellm_params:
      model: hosted_vllm/qwen3
      api_base: {url}/v1
      api_key: os.environ/MINE_KEY
  - model_name: qwen-long
    litellm_params:
      model: hosted_vllm/qwen3-long
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
        accepted, answered = self.wait("plain", self.theirs, self._plain, began)
        return Start(accepted, answered, cpu(self.plain()))

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

    def wait(
        self, name: str, target: Target, process: Process, began: float | None = None
    ) -> tuple[float, float]:
        """As first_answer, from now if not from `began`; a failure says what that log says."""
        since = time.perf_counter() if began is None else began
        try:
            return first_answer(target, since, lambda: process.poll() in (None, 0))
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{error}\n{self._logs(name)}") from error

    def _log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _logs(self, name: str) -> str:
        """The ends of a process's log and, for ours, of the gateway's."""
        files = [self._log(name)]
        if name in ("up", "process"):
            files += [self.user.run_folder(PROFILE) / "gateway.log"]
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


def stop(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """End a process of ours, and what it started, which is in its own session."""
    process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children have used."""
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(member.cpu_times()[:2]) for member in family))


def _cpu_of_ended_children() -> float:
    """Seconds of CPU of the children of this process that have ended."""
    return float(sum(psutil.Process().cpu_times()[2:4]))


def memory(process: psutil.Process) -> float:
    """Bytes of a process and its children, shared pages counted once (where the system tells)."""
    family = [process, *process.children(recursive=True)]
    used = [member.memory_full_info() for member in family]
    return float(sum(getattr(info, "pss", info.uss) for info in used))
