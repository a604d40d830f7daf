"""Someone at a terminal with one version of the real Claude Code and `claude-multi`, and what a
test wants to know of their session.
"""

# ruff: noqa: RUF001  Claude Code marks its prompt with that angle.

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests import clients
from tests.conftest import KEYS, Mission, User
from tests.gateways import Gateway, wait_for
from tests.terminal import INPUT_BOX, MenuRow, Terminal, menu_rows, type_command
from tests.upstream import FakeUpstream, Request

PATIENCE = 60.0
"""Seconds to wait for what takes two on an idle machine."""


@dataclass
class Seat:
    """A home of one's own and a project; the gateway is the mission's."""

    user: User
    claude: Path
    home: Path
    project: Path
    more: dict[str, str] = field(default_factory=dict)
    """Exported in this shell, over everything else."""

    @property
    def env(self) -> dict[str, str]:
        """The environment of this shell."""
        own = {"PATH": self.user.env["PATH"], "LLMSWITCH_CLAUDE": str(self.claude)}
        return {**clients.client_env(self.home), **self.user.env, "HOME": str(self.home)} | (
            own | self.more
        )

    @property
    def settings(self) -> Path:
        """The user's own settings of Claude Code."""
        return self.home / ".claude" / "settings.json"

    @property
    def pick(self) -> str | None:
        """The model that is remembered for the next session."""
        file = self.user.run_folder() / "pick.json"
        return str(json.loads(file.read_text())["model"]) if file.exists() else None

    def open(self, *arguments: str) -> Terminal:
        """`claude-multi ...` in a terminal."""
        return Terminal(["claude-multi", *arguments], self.env, self.project)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`claude-multi ...` without a terminal."""
        return self._run("claude-multi", arguments, self.env, stdin)

    def run_plain(
        self, env: Mapping[str, str], *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """`claude ...` without llmswitch and without a terminal, with `env` over the shell's."""
        return self._run(self.claude, arguments, {**self.env, **env}, "")

    def _run(
        self, program: str | Path, arguments: Sequence[str], env: Mapping[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            env=env,
            cwd=self.project,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )


def bring(
    mission: Mission,
    *changes: tuple[str, str],
    extra: str = "",
    keys: Mapping[str, str] = KEYS,
) -> Mission:
    """Bring the gateway to the mission's profile with these changes of its text, `extra` lines at
    its end, and these keys in the shell. The upstreams are well and have been asked nothing.
    """
    state = mission.user.run_folder() / "state.json"
    file = mission.user.root / "llmswitch" / "profiles" / "work.yaml"
    before = (file.read_text(), mission.user.keys)
    text = mission.write(extra).read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    mission.user.keys = dict(keys)
    runs = state.exists() and json.loads(state.read_text())["pid"]
    if not runs or before != (text, mission.user.keys):
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
    for upstream in mission.upstreams:
        upstream.heal()
        upstream.clear()
    return mission


def take_seat(
    mission: Mission, claude: Path, root: Path, settings: Mapping[str, Any] | None = None
) -> Seat:
    """A seat below `root` with the wrapper on PATH, no remembered pick and nothing recorded yet."""
    project = root / "project"
    project.mkdir(parents=True)
    home = clients.make_home(root / "home", project, settings)
    wrapper = mission.user.root / "bin" / "claude-multi"
    if not wrapper.exists():
        done = mission.user.run("wrapper", "install", "--dir", str(wrapper.parent))
        assert done.returncode == 0, done.stderr
    (mission.user.run_folder() / "pick.json").unlink(missing_ok=True)
    for upstream in mission.upstreams:
        upstream.clear()
    return Seat(mission.user, claude, home, project)


def open_menu(terminal: Terminal) -> list[MenuRow]:
    """Type `/model` and read the menu once it has come to rest."""
    type_command(terminal, "/model")
    terminal.wait_for("Select model")
    return menu_rows(terminal.wait_idle(0.4))


def choose(terminal: Terminal, keys: str) -> None:
    """Press keys in the open menu until the client has said what came of it."""
    terminal.send(keys)
    terminal.wait_gone("Select model")
    confirm_switch(terminal)


def pick(terminal: Terminal, label: str) -> None:
    """Pick a row of the menu by its number."""
    rows = open_menu(terminal)
    choose(terminal, str(next(row.number for row in rows if row.label == label)))


def switch(terminal: Terminal, name: str) -> None:
    """Type `/model NAME` and wait until the client has said what came of it."""
    type_command(terminal, f"/model {name}")
    confirm_switch(terminal)


def confirm_switch(terminal: Terminal) -> None:
    """Wait for the answer to `/model`; say yes if the client asks whether to switch, as it does in
    a session that has an answer already.
    """
    question = "Switch model?"

    def answered(screen: str) -> bool:
        _, asked, answer = screen.rpartition("❯ /model")
        return bool(asked) and "⎿" in answer and INPUT_BOX.search(answer) is not None

    def settled(screen: str) -> bool:
        return question in screen.rpartition("❯ /model")[2] or answered(screen)

    terminal.wait_idle(0.4)  # an earlier answer may stand there until the command is taken
    if not answered(terminal.wait_until(settled, "no answer to /model")):
        terminal.wait_idle(0.2)
        terminal.enter()
        # 2.1.197 may leave a line of its question on the screen.
        terminal.wait_until(answered, "no answer to /model")


def leave(terminal: Terminal) -> int:
    """End the session by its own command; its exit code."""
    type_command(terminal, "/exit")
    return terminal.wait_exit()


class Asked(NamedTuple):
    """A request of a conversation as an upstream received it."""

    upstream: str
    model: str
    session: str | None
    body: dict[str, Any]


def ask(terminal: Terminal, mission: Mission, text: str) -> Asked:
    """Say something that was not said before in this test; returns what an upstream received, once
    the client has shown the answer.
    """
    type_command(terminal, text)
    asked = wait_for_request(mission, text)
    terminal.wait_idle(0.4)
    return asked


def wait_for_request(mission: Mission, text: str) -> Asked:
    """The first request with this text that carries tools: the conversation's, not a title's."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for upstream, request in conversation(mission.upstreams):
            if text in json.dumps((request.body or {}).get("messages")):
                return asked_of(upstream, request)
        time.sleep(0.05)
    raise AssertionError(f"no upstream was asked {text!r}")


def conversation(upstreams: Sequence[FakeUpstream]) -> Iterator[tuple[FakeUpstream, Request]]:
    """The recorded requests that offer tools."""
    for upstream in upstreams:
        for request in tuple(upstream.requests):
            if request.body and request.body.get("tools"):
                yield upstream, request


def asked_of(upstream: FakeUpstream, request: Request) -> Asked:
    """Who was asked for what. Providers that speak OpenAI's dialects are not told the session."""
    body = request.body or {}
    user = (body.get("metadata") or {}).get("user_id")
    session = json.loads(user)["session_id"] if user else None
    return Asked(upstream.name, body["model"], session, body)


def ledger(mission: Mission) -> list[dict[str, Any]]:
    """Every row of the ledger, once all that the gateway has done is written."""
    gateway = Gateway(mission.url, mission.user.gateway_key())
    file = mission.user.state / "ledger" / "work.db"

    def written() -> bool:
        return not gateway.send("GET", "/llmswitch/state").json()["ledger"]["waiting"]

    time.sleep(0.15)  # until LiteLLM has told of every try
    wait_for(written)
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM tries ORDER BY id")]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content; a link counts as where it points to."""
    return {
        str(file.relative_to(folder)): (
            str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        )
        for file in sorted(folder.rglob("*"))
        if file.is_symlink() or file.is_file()
    }
