"""The other gateways that llmswitch is compared with, each with the models of a stage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.stage import NATIVE, TRANSLATED, UPSTREAM_NAMES, Process, Stage, Start, cpu, stop
from bench.wire import NotMeasuredError, Target
from tests.conftest import CHECKOUT, KEYS

CCR = "2.0.0"
"""Of claude-code-router: the last that Node 20 runs."""
NONE, OURS, PLAIN, FLASK, ROUTER = (
    "no gateway",
    "llmswitch",
    "plain LiteLLM",
    "Flask proxy",
    "claude-code-router",
)
_CACHE = CHECKOUT / ".cache" / "claude-code-router"
_PACKAGE = "node_modules/@musistudio/claude-code-router"


class Contender(NamedTuple):
    """A gateway that can be started and stopped as often as one likes."""

    name: str
    target: Target
    start: Callable[[], Start]
    stop: Callable[[], None]
    process: Callable[[], psutil.Process]
    models: Sequence[str] = (*NATIVE, *TRANSLATED)


def contenders(stage: Stage) -> list[Contender]:
    """All of them, none of which runs."""
    flask, router = _flask(stage), _router(stage)
    return [
        Contender(OURS, stage.ours, stage.start_ours, stage.stop_ours, stage.gateway),
        Contender(PLAIN, stage.theirs, stage.start_theirs, stage.stop_theirs, stage.plain),
        Contender(FLASK, flask.target, flask.start, flask.stop, flask.process, NATIVE),
        Contender(ROUTER, router.target, router.start, router.stop, router.process),
    ]


class _Rival:
    def __init__(
        self,
        stage: Stage,
        name: str,
        target: Target,
        command: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        self.target = target
        self._stage = stage
        self._name = name
        self._command = command
        self._env = env
        self._process: Process | None = None

    def start(self) -> Start:
        """From nothing to the first answer."""
        began = time.perf_counter()
        process = self._stage.spawn(self._name, self._command, self._env, self._stage.user.home)
        self._process = process
        try:
            accepted, answered = self._stage.wait(self._name, self.target, process, began)
        except BaseException:
            self.stop()
            raise
        return Start(accepted, answered, cpu(self.process()))

    def process(self) -> psutil.Process:
        """It runs."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None


def _flask(stage: Stage) -> _Rival:
    """Python's own start-up file in flask_proxy.py, with Flask's own server."""
    port = stage.spare_ports[0]
    url = f"http://127.0.0.1:{stage.straight.port}/api/anthropic"
    models = {name: {"base_url": url, "model": name, "key": KEYS["ZAI_API_KEY"]} for name in NATIVE}
    file = stage.root / "flask.json"
    file.write_text(json.dumps(models))
    program = str(Path(__file__).with_name("flask_proxy.py"))
    env = {"PATH": stage.user.env["PATH"], "HOME": str(stage.user.home)}
    command = [sys.executable, program, str(port), str(file)]
    return _Rival(stage, "flask", Target(port, "any"), command, env)


def _router(stage: Stage) -> _Rival:
    """claude-code-router without its log, which is on unless one says so; its transformer
    `Anthropic` alone passes a request on as it is.
    """
    port = stage.spare_ports[1]
    url = f"http://127.0.0.1:{stage.straight.port}"
    key = "sk-bench-router"
    providers = [
        {
            "name": "zai",
            "api_base_url": f"{url}/api/anthropic/v1/messages",
            "api_key": "$ZAI_API_KEY",
            "models": NATIVE,
            "transformer": {"use": ["Anthropic"]},
        },
        {
            "name": "mine",
            "api_base_url": f"{url}/v1/chat/completions",
            "api_key": "$MINE_KEY",
            "models": [UPSTREAM_NAMES[name] for name in TRANSLATED],
        },
    ]
    settings = {
        "APIKEY": key,
        "HOST": "127.0.0.1",
        "PORT": port,
        "LOG": False,
        "NON_INTERACTIVE_MODE": True,
        "Providers": providers,
        "Router": {"default": f"zai,{NATIVE[0]}"},
    }
    home = stage.root / "router"
    (home / ".claude-code-router").mkdir(parents=True)
    (home / ".claude-code-router" / "config.json").write_text(json.dumps(settings))
    names = {name: f"zai,{name}" for name in NATIVE}
    names |= {name: f"mine,{UPSTREAM_NAMES[name]}" for name in TRANSLATED}
    env = {"PATH": stage.user.env["PATH"], "HOME": str(home), **KEYS}
    command = [node(), str(router_folder() / _PACKAGE / "dist" / "cli.js"), "start"]
    return _Rival(stage, "router", Target(port, key, names), command, env)


def node() -> str:
    """Where a Node is that claude-code-router runs on."""
    found = shutil.which("node")
    version = node_version()
    if found is None or shutil.which("npm") is None or int(version.partition(".")[0]) < 20:
        raise NotMeasuredError("claude-code-router needs npm and Node 20 or newer")
    return found


def node_version() -> str:
    """Without its `v`; 0 where there is none."""
    try:
        said = subprocess.check_output(["node", "--version"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "0"
    return said.strip().removeprefix("v")


def router_folder() -> Path:
    """The folder in which npm has installed claude-code-router and what it needs, and nothing else;
    fetched once.
    """
    node()
    folder = _CACHE / CCR
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=_CACHE))
        package = f"@musistudio/claude-code-router@{CCR}"
        command = ["npm", "install", "--ignore-scripts", "--prefix", str(partial), package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(partial)
            raise NotMeasuredError(f"npm could not install {package}\n{done.stderr[-500:]}")
        partial.rename(folder)
    return folder
