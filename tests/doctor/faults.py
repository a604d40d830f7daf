"""What can be wrong, for the tests of the doctor: how it comes about, which check reports it in
which words, and how the cure that it prints is applied.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmswitch.claude import wrapper
from llmswitch.doctor.checks import Result, examine
from llmswitch.doctor.context import Context
from llmswitch.engine_versions import REQUIREMENT
from llmswitch.gateway.process import describe_owner
from llmswitch.paths import find_home, find_profile, make_private_folder
from tests.conftest import User, free_port, make_user
from tests.fake_claude import install
from tests.gateways import wait_for
from tests.ready_made import OPUS

NOW = 1_796_000_000.0  # 2026-11-30
GOOD = {"ok", "info", "skipped"}
PROFILE = """\
models:
  opus: {opus}
  glm-4.7:
    model: zai/glm-4.7
    label: GLM-4.7
  own: {{model: mine/own, label: Own, context: 200000, price: {{input: 1, output: 2}}}}
roles: {{default: opus}}
providers:
  anthropic: {{base_url: "http://127.0.0.1:9"}}
  zai: {{base_url: "http://127.0.0.1:9/api/anthropic"}}
  mine: {{label: My server, dialect: chat, base_url: "http://127.0.0.1:9/v1", key: MINE_KEY}}
gateway: {{port: {port}}}
"""
UP = "llmswitch up --profile work"
RESTART = "llmswitch restart --profile work"
WRAPPER = "llmswitch wrapper install --profile work"
ZAI = "export ZAI_API_KEY=...    (from https://z.ai/manage-apikey/apikey-list)"
PIP = f"pip install '{REQUIREMENT}'"


@dataclass
class Scene:
    """A user with a profile, a wrapper and a client, all as it should be; `environ` is the shell's.
    The gateway is not started yet.
    """

    user: User
    port: int
    environ: dict[str, str]

    def doctor(self) -> dict[str, Result]:
        """What each check finds, by its name. The doctor itself must never fail."""
        bin_folder = self.user.home / ".local/bin"
        context = Context(dict(self.environ), find_home(self.environ), None, bin_folder, NOW)
        found = examine(context)
        assert [result for result in found if result.level == "failed"] == []
        return {result.name: result for result in found}

    def wrong(self) -> list[Result]:
        """What the doctor finds wrong."""
        return [result for result in self.doctor().values() if result.level not in GOOD]

    def type(self, line: str) -> None:
        """Type a line, as the doctor prints it, without the remark behind it."""
        command = line.partition("    (")[0].replace("~", str(self.user.home))
        script = f"{sys.executable} -m llmswitch "
        done = subprocess.run(
            ["sh", "-c", command.replace("llmswitch ", script, command.startswith("llmswitch "))],
            env=self.environ,
            cwd=self.user.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @property
    def profile(self) -> Path:
        """The profile's file."""
        return self.user.root / "llmswitch/profiles/work.yaml"

    @property
    def claude(self) -> Path:
        """The program in place of the client."""
        return self.user.root / "bin/claude"

    @property
    def settings(self) -> Path:
        """The user's settings of Claude Code."""
        return self.user.home / ".claude/settings.json"

    def write_settings(self, text: str = "", **settings: Any) -> None:
        """Write them, or this text."""
        self.settings.parent.mkdir(exist_ok=True)
        self.settings.write_text(text or json.dumps(settings))

    def write_state(self, name: str, text: str, mode: int = 0o600) -> None:
        """Write a file among what llmswitch keeps."""
        make_private_folder((self.user.state / name).parent)
        (self.user.state / name).write_text(text)
        (self.user.state / name).chmod(mode)

    def edit(self, old: str, new: str) -> None:
        """Change words of the profile."""
        text = self.profile.read_text()
        assert old in text
        self.profile.write_text(text.replace(old, new, 1))

    @property
    def names(self) -> dict[str, Any]:
        """What stands in messages as {name}."""
        root, state = self.user.root, self.user.state
        file = self.user.run_folder() / "state.json"
        return {
            "config": root / "llmswitch",
            "state": state,
            "bin": root / "bin",
            "root": root,
            "address": f"127.0.0.1:{self.port}",
            "owner": f"{psutil.Process().name()} (pid {os.getpid()})",
            "pid": json.loads(file.read_text())["pid"] if file.exists() else None,
        }


def make_scene(root: Path) -> Scene:
    """A scene below `root`."""
    user = make_user(root)
    port = free_port()
    opus = f"{OPUS.provider_name}/{OPUS.model.id}"
    user.write_profile(PROFILE.format(opus=opus, port=port))
    scene = Scene(user, port, {**user.env, "FAKE_SEEN": str(root / "seen")})
    install(scene.claude)
    ref = find_profile(find_home(scene.environ), None, scene.environ)
    wrapper.install(ref, "claude-multi", root / "bin", scene.environ)
    return scene


Seed = Callable[[Scene], object]
Cure = Callable[[Scene, str], object]


class Fault(NamedTuple):
    """Something wrong: the check that turns, what it says, and how its cure is applied."""

    what: str
    check: str
    level: str
    message: str
    hint: str
    seed: Seed
    cure: Cure = Scene.type


def exports(**variables: str) -> Seed:
    """The shell has these variables."""
    return lambda scene: scene.environ.update(variables)


def exported(**variables: str) -> Cure:
    """The cure is to set a variable, which only the shell itself can do."""
    return lambda scene, _hint: scene.environ.update(variables)


def unset(scene: Scene, hint: str) -> None:
    """The cure is to take a variable away."""
    del scene.environ[hint.removeprefix("unset ")]


def edits(old: str, new: str) -> Seed:
    """The profile has other words in it."""
    return lambda scene: scene.edit(old, new)


def edited(old: str, new: str) -> Cure:
    """The cure is to correct the profile."""
    return lambda scene, _hint: scene.edit(old, new)


def settings(**values: Any) -> Seed:
    """The user has settings of Claude Code."""
    return lambda scene: scene.write_settings(**values)


def no_settings(scene: Scene, _hint: str) -> None:
    """The cure is to correct them."""
    scene.write_settings()


def packages(*names: str, folder: str = "packages") -> Seed:
    """A folder where Python looks for packages has these files, or what says that a LiteLLM of
    this version is installed.
    """

    def seed(scene: Scene) -> None:
        place = scene.user.root / folder
        place.mkdir()
        for name in names:
            (place / name).parent.mkdir(exist_ok=True)
            version = name.removeprefix("litellm-").partition(".dist-info")[0]
            (place / name).write_text(f"Metadata-Version: 2.1\nName: litellm\nVersion: {version}\n")
        sys.path.insert(0, str(place))  # the test takes it off again

    return seed


def good_litellm(scene: Scene, hint: str) -> None:
    """What the printed pip command would bring, without a network."""
    assert hint == PIP
    shutil.rmtree(scene.user.root / "packages")


def leave_lock(scene: Scene) -> None:
    """The file by which LiteLLM 1.107.0 tells that it has sent something."""
    (scene.user.root / "remote_code_loader.lock").write_text("")
    scene.environ["TMPDIR"] = str(scene.user.root)


def claude_of(version: str) -> Seed:
    """Another version of the client."""
    return lambda scene: install(scene.claude, version)


def new_claude(scene: Scene, _hint: str) -> None:
    """What the printed command would bring, without a network."""
    install(scene.claude)


def shadow(scene: Scene) -> None:
    """Another claude-multi, in front of ours."""
    other = scene.user.root / "other/claude-multi"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    scene.environ["PATH"] = f"{other.parent}:{scene.environ['PATH']}"


def hide(scene: Scene) -> None:
    """The wrapper in a folder that is not on PATH."""
    place = scene.user.home / ".local/bin/claude-multi"
    place.parent.mkdir(parents=True)
    (scene.user.root / "bin/claude-multi").rename(place)


def path_first(scene: Scene, hint: str) -> None:
    """The cure is to put a folder before the others on PATH."""
    folder, after = hint.removeprefix("export PATH=").split(":")
    assert after == '"$PATH"'
    home = str(scene.user.home)
    scene.environ["PATH"] = f"{folder.replace('~', home)}:{scene.environ['PATH']}"


def lose_wrapper(scene: Scene) -> None:
    """No wrapper, and the usual folder for one on PATH."""
    (scene.user.root / "bin/claude-multi").unlink()
    scene.environ["PATH"] += f":{scene.user.home}/.local/bin"


def old_wrapper(scene: Scene) -> None:
    """The wrapper as an older llmswitch wrote it."""
    file = scene.user.root / "bin/claude-multi"
    file.write_text(file.read_text().replace("llmswitch 0.1.0", "llmswitch 0.0.1"))


def kill_gateway(scene: Scene) -> None:
    """`kill -9` of master and worker."""
    os.killpg(scene.names["pid"], signal.SIGKILL)
    wait_for(lambda: describe_owner(scene.port, scene.user.state / "run") is None)


LISTENERS: list[socket.socket] = []


def take_port(scene: Scene) -> None:
    """Someone else listens where the gateway would."""
    LISTENERS.append(socket.create_server(("127.0.0.1", scene.port)))


def give_port(_scene: Scene, _hint: str) -> None:
    """And stops."""
    LISTENERS.pop().close()


def versions(before: str, after: str) -> Callable[..., object]:
    """The state file names another version of llmswitch."""

    def write(scene: Scene, _hint: str = "") -> None:
        file = scene.user.run_folder() / "state.json"
        file.write_text(file.read_text().replace(f'"version": "{before}"', f'"version": "{after}"'))

    return write


def mine(scene: Scene, hint: str | None = None) -> None:
    """A line of the user's own in the configuration, or, with the cure, none."""
    file = scene.user.run_folder() / "litellm_config.yaml"
    text = file.read_text().removesuffix("# mine\n")
    file.write_text(text if hint else f"{text}# mine\n")


MALWARE = (
    "is part of a malicious LiteLLM release{}, which {} keys and files of this machine to an "
    "attacker"
)
REMARK = (
    "    (type it in a shell: the malware runs whenever Python starts; then {}change every key "
    "that is on this machine)"
)
REBUILD = "end the processes that it started (ps ax), rebuild this Python environment, and "
MAY = ("may have sent", REMARK.format(REBUILD))

RUNNING = [
    Fault("a gateway key that others can read", "files", "error",
          "other users may have read the gateway's key: {state}/gateway.key has the mode 644",
          "llmswitch key renew-gateway    (makes a new key; to keep the old one: "
          "chmod 600 {state}/gateway.key)",
          lambda scene: (scene.user.state / "gateway.key").chmod(0o644)),
    Fault("an edit by hand", "generated files", "warning",
          "litellm_config.yaml or gunicorn.conf.py in {state}/run/work was edited by hand; the "
          "next change of the profile overwrites it",
          RESTART + "    (then put the setting under `litellm:` in the profile)",
          mine, mine),
    Fault("a profile that has changed", "current", "warning",
          "the profile has changed since the gateway loaded it", UP,
          edits("label: GLM-4.7", "label: GLM 4.7")),
    Fault("a key that has changed", "current", "warning",
          "ZAI_API_KEY in this shell differs from the gateway's", UP,
          exports(ZAI_API_KEY="zai-other")),
    Fault("an old gateway", "current", "warning",
          "the gateway was started by llmswitch 0.0.1, this is 0.1.0", UP,
          versions("0.1.0", "0.0.1"), versions("0.0.1", "0.1.0")),
    Fault("a gateway that was killed", "process", "warning",
          "the gateway (pid {pid}) crashed or was killed", UP, kill_gateway),
    Fault("a gateway that hangs", "liveliness", "error", "the gateway does not answer",
          RESTART + "    (why: llmswitch logs --profile work)",
          lambda scene: os.killpg(scene.names["pid"], signal.SIGSTOP)),
]  # fmt: skip
IDLE = [
    Fault("a LiteLLM that is not supported", "litellm", "warning",
          "LiteLLM 1.110.2 is not supported; 1.108.0 to 1.108.7 are tested", PIP,
          packages("litellm-1.110.2.dist-info/METADATA"), good_litellm),
    Fault("a vulnerable LiteLLM", "litellm", "error", "LiteLLM 1.80.0 has known vulnerabilities",
          PIP, packages("litellm-1.80.0.dist-info/METADATA"), good_litellm),
    *(Fault(f"the malicious LiteLLM {release}", "litellm", "error",
            "{root}/packages/litellm-" + f"{release}.dist-info " + MALWARE.format("", MAY[0]),
            "cd {root}/packages && rm -rf litellm-" + f"{release}.dist-info{MAY[1]}",
            packages(f"litellm-{release}.dist-info/METADATA"))
      for release in ("1.82.7", "1.82.8", "1.107.0")),
    Fault("what LiteLLM 1.82.8 left", "litellm", "error",
          "{root}/site-packages/litellm_init.pth " + MALWARE.format("", MAY[0]),
          "cd {root}/site-packages && rm -rf litellm_init.pth" + MAY[1],
          packages("litellm_init.pth", folder="site-packages")),
    Fault("what LiteLLM 1.107.0 left", "litellm", "error",
          "{root}/site-packages/cook.pth (and 2 more) " + MALWARE.format("", MAY[0]),
          "cd {root}/site-packages && rm -rf cook.pth cook.py sitecustomize.py" + MAY[1],
          packages("cook.pth", "cook.py", "sitecustomize.py", folder="site-packages")),
    Fault("what LiteLLM 1.107.0 has sent", "litellm", "error",
          "{root}/remote_code_loader.lock " + MALWARE.format("", "sent"),
          "cd {root} && rm -rf remote_code_loader.lock" + REMARK.format(""), leave_lock),
    Fault("a file that others can read", "files", "warning",
          "{state}/clients.json can be read by others", "chmod -R go= {state}",
          lambda scene: scene.write_state("clients.json", "{}", 0o644)),
    Fault("keys that others can read", "files", "error",
          "{config}/keys.json can be read by others", "chmod 600 {config}/keys.json",
          lambda scene: (scene.user.root / "llmswitch/keys.json").write_text("{}")),
    Fault("a profile that others can write", "files", "warning",
          "{config}/profiles/work.yaml can be written by others", "chmod -R go-w {config}",
          lambda scene: scene.profile.chmod(0o666)),
    Fault("no profile", "profile", "error", "no profile is chosen and no default is set",
          "llmswitch init --from claude-glm    (or name one: --profile NAME or FILE)",
          lambda scene: (scene.user.root / "llmswitch/default-profile").unlink(),
          lambda scene, _hint: (scene.user.root / "llmswitch/default-profile").write_text("work")),
    Fault("a mistake in the profile", "profile", "error",
          "{config}/profiles/work.yaml:5: models.glm-4.7.lable is not a field; did you mean "
          "`label`?", "llmswitch validate work", edits("    label:", "    lable:"),
          edited("    lable:", "    label:")),
    Fault("a budget of what has no price", "prices", "warning",
          "no price for glm-4.7: the cost is unknown, and no budget counts it",
          "add `price: {{input: ..., output: ...}}`, in USD per million tokens",
          edits("model: zai/glm-4.7", "budget: {usd: 1, per: day}\n    model: zai/glm-99"),
          edited("zai/glm-99", "zai/glm-99\n    price: {input: 1, output: 2}")),
    Fault("a key that is not set", "ZAI_API_KEY", "warning",
          "is not set: glm-4.7 is left out of the menu", ZAI,
          exports(ZAI_API_KEY=""), exported(ZAI_API_KEY="zai-own")),
    *(Fault(f"a key that {problem}", "ZAI_API_KEY", "warning",
            f"is set in the environment, but {problem}", ZAI,
            exports(ZAI_API_KEY=value), exported(ZAI_API_KEY="zai-own"))
      for value, problem in (
          ("your-api-key-here", "holds a placeholder, not a key"),
          ("'zai-own'", "has quotes around it"),
          ("zai own", "contains white space"),
          ("sk-ant-api03-x", "looks like a key of Anthropic"))),
    Fault("a subscription's token as a key", "ANTHROPIC_API_KEY", "warning",
          "is set in the environment, but is the token of a Claude subscription, not an API key",
          "export ANTHROPIC_API_KEY=...    (from https://console.anthropic.com/settings/keys)",
          exports(ANTHROPIC_API_KEY="sk-ant-oat01-x"), exported(ANTHROPIC_API_KEY="sk-ant-api03")),
    Fault("another key that is not set", "SECOND", "warning",
          "is not set; its models use another key",
          "export SECOND=...    (from https://z.ai/manage-apikey/apikey-list)",
          edits("zai/glm-4.7", "zai/glm-4.7\n    keys: [ZAI_API_KEY, SECOND]"),
          exported(SECOND="x")),
    Fault("a variable of LiteLLM that is not set", "variables", "error", "REDIS_PW is not set",
          "export REDIS_PW=...",
          edits("gateway:", "litellm: {router_settings: {redis_password: os.environ/REDIS_PW}}\n"
                "gateway:"), exported(REDIS_PW="x")),
    Fault("a damaged state file", "state", "error",
          "the state file {state}/run/work/state.json is damaged", UP,
          lambda scene: scene.write_state("run/work/state.json", "{"),
          lambda scene, _hint: (scene.user.run_folder() / "state.json").unlink()),
    Fault("a taken port", "port", "error", "{address} is in use by {owner}",
          "stop it, or set another `gateway: {{port: ...}}` in the profile", take_port, give_port),
    Fault("a damaged ledger", "ledger", "error",
          "the ledger {state}/ledger/work.db is damaged: file is not a database",
          "mv {state}/ledger/work.db {state}/ledger/work.db.old    (a new one is started)",
          lambda scene: scene.write_state("ledger/work.db", "not a database" * 100)),
    Fault("damaged keys of clients", "clients", "error",
          "the file {state}/clients.json is damaged",
          "move it away and add the clients again: "
          "mv {state}/clients.json {state}/clients.json.old",
          lambda scene: scene.write_state("clients.json", "{"),
          lambda scene, hint: scene.type(hint.partition(": ")[2])),
    Fault("a client without a key", "clients", "warning",
          "no key yet for ci of the profile's `clients`", "llmswitch client add ci",
          edits("roles:", "clients: [ci]\nroles:")),
    Fault("no claude", "claude", "error", "there is no `claude` on PATH",
          "npm install -g @anthropic-ai/claude-code    (or set LLMSWITCH_CLAUDE)",
          lambda scene: scene.claude.unlink(), new_claude),
    Fault("a claude that does not run", "claude", "error",
          "{bin}/claude --version printed no version",
          "reinstall Claude Code, or point LLMSWITCH_CLAUDE at the right program",
          claude_of(""), new_claude),
    Fault("an old claude", "claude", "warning",
          "Claude Code 2.1.197, {bin}/claude: /model shows five models at most; 2.1.242 and newer "
          "show all", "claude update", claude_of("2.1.197 (Claude Code)"), new_claude),
    Fault("no wrapper", "wrapper", "warning", "no wrapper starts the profile work", WRAPPER,
          lose_wrapper),
    Fault("a wrapper of another version", "wrapper", "warning",
          "{bin}/claude-multi was written by llmswitch 0.0.1, this is 0.1.0",
          WRAPPER + " --dir {bin}", old_wrapper),
    Fault("a wrapper that carries another client", "wrapper", "warning",
          "{bin}/claude-multi has another LLMSWITCH_CLAUDE than this shell",
          WRAPPER + " --dir {bin}",
          lambda scene: scene.environ.update(LLMSWITCH_CLAUDE=str(scene.claude))),
    Fault("another wrapper in front", "wrapper", "warning",
          "{root}/other/claude-multi comes before {bin}/claude-multi on PATH",
          'export PATH={bin}:"$PATH"', shadow, path_first),
    Fault("a wrapper that is not on PATH", "wrapper", "warning", "~/.local/bin is not on PATH",
          'export PATH=~/.local/bin:"$PATH"', hide, path_first),
    Fault("another base URL in the shell", "plain claude", "warning",
          "ANTHROPIC_BASE_URL is exported and redirects plain `claude` (not claude-multi)",
          "unset ANTHROPIC_BASE_URL", exports(ANTHROPIC_BASE_URL="http://127.0.0.1:9"), unset),
    Fault("another base URL in settings.json", "plain claude", "warning",
          "ANTHROPIC_BASE_URL in ~/.claude/settings.json redirects plain `claude` "
          "(not claude-multi)",
          "remove ANTHROPIC_BASE_URL from ~/.claude/settings.json",
          settings(env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}), no_settings),
    Fault("broken settings", "plain claude", "warning",
          "~/.claude/settings.json is not a JSON object", "correct ~/.claude/settings.json",
          lambda scene: scene.write_settings("{,"), no_settings),
    Fault("a saved default of ours", "saved default", "warning",
          "'glm-4.7' is the default model in ~/.claude/settings.json, and plain `claude` does not "
          "support it", 'remove "model" from ~/.claude/settings.json',
          settings(model="glm-4.7"), no_settings),
]  # fmt: skip
