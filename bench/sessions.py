"""What a user of `claude-multi` waits for: from Enter to the prompt of the real Claude Code and to
the first answer, with and without a gateway that runs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.lines import Line, each
from bench.stage import PROFILE, Stage
from bench.wire import NotMeasuredError
from tests import clients
from tests.terminal import INPUT_BOX, Terminal, type_command

_KINDS = ("no gateway, waited for", "no gateway", "gateway running")


class Client(NamedTuple):
    """The real Claude Code and the wrapper, where they run, and with which environment."""

    env: dict[str, str]
    project: Path
    wrapper: str
    claude: str


def install_client(stage: Stage) -> Client:
    """Claude Code and `claude-multi` for the user of a stage."""
    home, project, tools = stage.user.home, stage.root / "project", stage.root / "bin"
    project.mkdir(exist_ok=True)
    if not (home / ".claude").exists():
        clients.make_home(home, project)
        (tools / "claude").symlink_to(clients.newest())
    done = stage.user.run("wrapper", "install", "--dir", str(tools))
    if done.returncode:
        raise NotMeasuredError(f"`llmswitch wrapper install` failed\n{done.stderr}")
    moved = {"LLMSWITCH_HOME": stage.user.env["LLMSWITCH_HOME"], "PATH": stage.user.env["PATH"]}
    env = clients.client_env(home, **moved)
    return Client(env, project, str(tools / "claude-multi"), str(tools / "claude"))


def measure_sessions(stage: Stage, rounds: range, tell: Callable[[str], None]) -> list[Line]:
    """Sessions with and without a running gateway, in turns; rounds below 0 only warm up."""
    client = install_client(stage)
    client = client._replace(env=client.env | dict(stage.user.keys))  # it starts the gateway
    proven = stage.user.run_folder(PROFILE) / "proven"
    prompts: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, list[float]] = defaultdict(list)
    for number in rounds:
        tell(f"sessions {number + 1} of {rounds.stop}")
        for kind in _KINDS if number % 2 == 0 else reversed(_KINDS):
            stage.user.run("up" if kind == _KINDS[2] else "down")
            if kind == _KINDS[0]:
                proven.unlink(missing_ok=True)
            prompt, answer = _session(client)
            if number >= 0:
                prompts[kind].append(prompt)
                answers[kind].append(answer)
    stage.user.run("down")
    lines = []
    for what, found in (("the prompt", prompts), ("the first answer", answers)):
        waited, at_once, running = (each(found[kind]) for kind in _KINDS)
        name = f"`claude-multi` to {what}, "
        lines += [
            Line(f"{name}no gateway, against waiting for it", "s", at_once, waited, "ratio"),
            Line(f"{name}gateway running", "s", running),
        ]
    return lines


def _session(client: Client) -> tuple[float, float]:
    """Seconds to the prompt, and to the answer to what is typed there at once."""
    began = time.perf_counter()
    with Terminal([client.wrapper], client.env, client.project) as terminal:
        terminal.wait_for(INPUT_BOX)
        prompt = time.perf_counter() - began
        word = f"question{time.monotonic_ns()}"
        type_command(terminal, word)
        terminal.wait_until(lambda text: "●" in text.rpartition(word)[2], "no answer came")
        return prompt, time.perf_counter() - began
