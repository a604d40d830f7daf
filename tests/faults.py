"""What can be wrong, for the tests of the doctor: how it comes about, which check tells it in which
words, and how the cure that it prints is applied.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmswitch.engine_versions import REQUIREMENT
from llmswitch.paths import make_private_folder
from tests.conftest import Mission, start_mission
from tests.fake_claude import install
from tests.gateways import wait_for
from tests.shell import Shell, take_shell

Row = dict[str, Any]
GOOD = {"ok", "info", "skipped"}
# What makes everything known of every model, so that there is nothing to advise.
KNOWN = {
    "label: Qwen3,": " price: {input: 1, output: 2},",
    "label: GLM-4.5 Air": "\n    context: 200000",
}
ZAI_PAGE = "    (from https://z.ai/manage-apikey/apikey-list)"


@dataclass
class Scene:
    """A user whose gateway runs, or may run, with everything as it should be."""

    mission: Mission
    shell: Shell
    path: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the shell; `path` stands before its PATH."""
        places = [*self.path, str(self.shell.claude.parent), self.names["bin"], "/usr/bin", "/bin"]
        return self.shell.env | {"PATH": os.pathsep.join(places)}

    def doctor(self) -> dict[str, Row]:
        """The rows by the name of their check. The doctor must never fail."""
        done = self.llmswitch("doctor", "--json")
        assert done.stderr == ""
        found = json.loads(done.stdout)
        rows = {row["name"]: row for row in found["checks"]}
        assert "failed" not in {row["level"] for row in rows.values()}, found
        assert done.returncode == (found["worst"] == "error")
        return rows

    def llmswitch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`llmswitch ...` in this shell."""
        return subprocess.run(
            [sys.executable, "-m", "llmswitch", *arguments],
            env=self.env,
            cwd=self.shell.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sh(self, line: str) -> None:
        """Type a line, as the doctor gives it, in this shell."""
        done = subprocess.run(
            ["sh", "-c", line],
            env=self.env,
            cwd=self.shell.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def export(self, **variables: str) -> None:
        """Set variables of this shell."""
        self.shell.more.update(variables)

    def unset(self, name: str) -> None:
        """Take a variable from this shell."""
        self.shell.more.pop(name, None)

    @property
    def profile(self) -> Path:
        """The profile's file."""
        return self.mission.user.root / "llmswitch/profiles/work.yaml"

    @property
    def home(self) -> Path:
        """$HOME."""
        return self.shell.folder / "home"

    @property
    def settings(self) -> Path:
        """The user's settings of Claude Code."""
        return self.home / ".claude/settings.json"

    def write_settings(self, **settings: Any) -> None:
        """Write them."""
        self.settings.parent.mkdir(exist_ok=True)
        self.settings.write_text(json.dumps(settings))

    @property
    def names(self) -> dict[str, str]:
        """What stands in messages as {name}."""
        root = self.mission.user.root
        return {
            "config": str(root / "llmswitch"),
            "state": str(root / "llmswitch/state"),
            "run": str(self.mission.user.run_folder()),
            "bin": str(root / "bin"),
            "folder": str(self.shell.folder),
            "address": f"127.0.0.1:{self.mission.port}",
            "me": str(os.getpid()),
        }


def set_scene(root: Path) -> Iterator[Scene]:
    """A scene below `root`, whose gateway is not started."""
    for mission in start_mission(root):
        file = mission.write()
        text = file.read_text()
        for label, known in KNOWN.items():
            text = text.replace(label, f"{label}{known}")
        file.write_text(text)
        scene = Scene(mission, take_shell(mission, root / "shell"))
        yield scene
        scene.llmswitch("down")


class Fault(NamedTuple):
    """Something wrong: the check that turns, what it says, and how its cure is applied."""

    what: str
    check: str
    level: str
    message: str
    hint: str
    seed: Callable[[Scene], object]
    cure: Callable[[Scene, str], object]


def typed(scene: Scene, hint: str) -> None:
    """The cure is a command: type it, without the remark behind it."""
    command = hint.partition("    (")[0]
    script = f"{sys.executable} -m llmswitch"
    scene.sh(command.replace("llmswitch ", f"{script} ", 1))


def exported(name: str, value: str = "zai-own") -> Callable[[Scene, str], object]:
    """The cure is to set a variable, which only the shell itself can do."""

    def cure(scene: Scene, hint: str) -> None:
        assert hint.startswith(f"export {name}="), hint
        scene.export(**{name: value})

    return cure


def forgotten(name: str) -> Callable[[Scene, str], object]:
    """The cure is to take a variable away."""

    def cure(scene: Scene, hint: str) -> None:
        assert hint == f"unset {name}"
        scene.unset(name)

    return cure


def edited(old: str, new: str) -> Callable[[Scene], object]:
    """The profile with other words in it."""

    def seed(scene: Scene) -> None:
        text = scene.profile.read_text()
        assert old in text
        scene.profile.write_text(text.replace(old, new, 1))

    return seed


def edited_back(old: str, new: str) -> Callable[[Scene, str], object]:
    """The cure is to correct the profile."""
    return lambda scene, _hint: edited(old, new)(scene)


def install_litellm(version: str) -> Callable[[Scene], object]:
    """What says that this version of LiteLLM is installed."""

    def seed(scene: Scene) -> None:
        folder = scene.shell.folder / "packages"
        info = folder / f"litellm-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: litellm\nVersion: {version}\n"
        )
        scene.export(PYTHONPATH=str(folder))

    return seed


def leave_in_packages(*names: str) -> Callable[[Scene], object]:
    """What a malicious release leaves, in a folder that Python looks in."""

    def seed(scene: Scene) -> None:
        folder = scene.shell.folder / "site-packages"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("")
        scene.export(PYTHONPATH=str(folder))

    return seed


def leave_lock(scene: Scene) -> None:
    """The file by which the loader of LiteLLM 1.107.0 tells that it has run."""
    folder = scene.shell.folder / "tmp"
    folder.mkdir()
    (folder / "remote_code_loader.lock").write_text("")
    scene.export(TMPDIR=str(folder))


def deleted_from_the_shell(scene: Scene, hint: str) -> None:
    """No Python runs, which would run it again."""
    assert "pip" not in hint
    scene.sh(hint.partition("    (")[0])


def good_litellm(scene: Scene, hint: str) -> None:
    """What the printed pip command would bring, without a network."""
    assert hint == PIP
    shutil.rmtree(scene.shell.folder / "packages")
    scene.unset("PYTHONPATH")


def claude_of(version: str) -> Callable[[Scene], object]:
    """Another version of the client."""
    return lambda scene: install(scene.shell.claude, version)


def new_claude(scene: Scene, _hint: str) -> None:
    """What the printed command would bring, without a network."""
    install(scene.shell.claude)


def shadow(scene: Scene) -> None:
    """Another claude-multi, in front of ours."""
    other = scene.shell.folder / "other" / "claude-multi"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    scene.path.append(str(other.parent))


def unshadow(scene: Scene, hint: str) -> None:
    """Put our folder first, as the cure says."""
    folder = scene.names["bin"]
    assert hint == f'export PATH={folder}:"$PATH"'
    scene.path.insert(0, folder)


def hide(scene: Scene) -> None:
    """PATH without the folder of the wrapper: it is in ~/.local/bin instead."""
    place = scene.home / ".local/bin"
    assert scene.llmswitch("wrapper", "install", "--dir", str(place)).returncode == 0
    Path(scene.names["bin"], "claude-multi").unlink()


def show(scene: Scene, hint: str) -> None:
    """Put that folder on PATH, as the cure says."""
    folder = f"{scene.home}/.local/bin"
    assert hint == f'export PATH={folder}:"$PATH"'
    scene.path.append(folder)


def spoil_config(scene: Scene) -> None:
    """An edit by hand of what is generated."""
    with (scene.mission.user.run_folder() / "litellm_config.yaml").open("a") as stream:
        stream.write("# mine\n")


def restart(scene: Scene, hint: str) -> None:
    """The command at the end of the cure."""
    typed(scene, hint[hint.index("llmswitch restart") :])


def kill_gateway(scene: Scene) -> None:
    """`kill -9` of master and worker."""
    pid = scene.mission.user.gateway_state()["pid"]
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def freeze_gateway(scene: Scene) -> None:
    """Stopped, as a debugger or a full disk would."""
    os.killpg(scene.mission.user.gateway_state()["pid"], signal.SIGSTOP)


LISTENERS: list[socket.socket] = []


def take_port(scene: Scene) -> None:
    """Someone else listens where the gateway would."""
    LISTENERS.append(socket.create_server(("127.0.0.1", scene.mission.port)))


def give_port(_scene: Scene, _hint: str) -> None:
    """And stops."""
    LISTENERS.pop().close()


def old_state(scene: Scene) -> None:
    """The state as a gateway of an older llmswitch left it."""
    file = scene.mission.user.run_folder() / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": "0.0.1"}))


def break_settings(scene: Scene) -> None:
    """Half a settings file."""
    scene.write_settings()
    scene.settings.write_text("{,")


def lose_wrapper(scene: Scene) -> None:
    """No wrapper, but the usual folder for one on PATH."""
    Path(scene.names["bin"], "claude-multi").unlink()
    scene.path.append(f"{scene.home}/.local/bin")


def old_wrapper(scene: Scene) -> None:
    """The wrapper as an older llmswitch wrote it."""
    file = Path(scene.names["bin"], "claude-multi")
    file.write_text(file.read_text().replace("llmswitch 0.1.0", "llmswitch 0.0.1"))


def damage_state(scene: Scene) -> None:
    """Half a state file."""
    folder = scene.mission.user.run_folder()
    make_private_folder(folder)
    (folder / "state.json").write_text("{")
    (folder / "state.json").chmod(0o600)


def damage_ledger(scene: Scene) -> None:
    """Something else in its place."""
    folder = scene.mission.user.state / "ledger"
    make_private_folder(folder)
    (folder / "work.db").write_text("not a database" * 100)
    (folder / "work.db").chmod(0o600)


def damage_clients(scene: Scene) -> None:
    """Half a file."""
    make_private_folder(scene.mission.user.state)
    (scene.mission.user.state / "clients.json").write_text("{")
    (scene.mission.user.state / "clients.json").chmod(0o600)


def moved_away(scene: Scene, hint: str) -> None:
    """The cure is a command of the shell."""
    scene.sh(hint.partition("    (")[0])


UP = "llmswitch up --profile work"
RESTART = "llmswitch restart --profile work"
ZAI = f"export ZAI_API_KEY=...{ZAI_PAGE}"
PIP = f"pip install '{REQUIREMENT}'"
AGAIN = "    (from the shell: it runs whenever Python does; then "
ANEW = "end the processes that it began (ps ax), make this environment anew, "
KEYS_TOO = "change every key that this machine has)"
CURE = AGAIN + ANEW + KEYS_TOO
WRAPPER = "llmswitch wrapper install --profile work"

RUNNING = [
    Fault("an unsupported LiteLLM", "litellm", "warning",
          "LiteLLM 1.110.2 is unsupported: 1.108.0 to 1.108.7 are tested, what is below 1.109 may "
          "do", PIP, install_litellm("1.110.2"), good_litellm),
    Fault("a vulnerable LiteLLM", "litellm", "error",
          "LiteLLM 1.80.0 has known vulnerabilities", PIP,
          install_litellm("1.80.0"), good_litellm),
    *(Fault(f"the malicious LiteLLM {release}", "litellm", "error",
            "{folder}/packages/litellm-" + release + ".dist-info is of a malicious LiteLLM; keys "
            "and files of this machine may have gone out",
            "cd {folder}/packages && rm -rf litellm-" + release + ".dist-info" + CURE,
            install_litellm(release), deleted_from_the_shell)
      for release in ("1.82.7", "1.82.8", "1.107.0")),
    Fault("what LiteLLM 1.82.8 left", "litellm", "error",
          "{folder}/site-packages/litellm_init.pth is of a malicious LiteLLM; keys and files of "
          "this machine may have gone out",
          "cd {folder}/site-packages && rm -rf litellm_init.pth" + CURE,
          leave_in_packages("litellm_init.pth"), deleted_from_the_shell),
    Fault("what LiteLLM 1.107.0 left", "litellm", "error",
          "{folder}/site-packages/cook.pth is of a malicious LiteLLM (and 2 more); keys and files "
          "of this machine may have gone out",
          "cd {folder}/site-packages && rm -rf cook.pth cook.py sitecustomize.py" + CURE,
          leave_in_packages("cook.pth", "cook.py", "sitecustomize.py"), deleted_from_the_shell),
    Fault("what LiteLLM 1.107.0 has sent", "litellm", "error",
          "{folder}/tmp/remote_code_loader.lock is of a malicious LiteLLM; keys and files of this "
          "machine went out",
          "cd {folder}/tmp && rm -rf remote_code_loader.lock" + AGAIN + KEYS_TOO,
          leave_lock, deleted_from_the_shell),
    Fault("a gateway key that others can read", "files", "error",
          "other users may have read the gateway's key: {state}/gateway.key has the mode 644",
          "llmswitch key renew-gateway    (or, if nobody has: chmod 600 {state}/gateway.key)",
          lambda scene: scene.mission.user.state.joinpath("gateway.key").chmod(0o644), typed),
    Fault("a file that others can read", "files", "warning",
          "{state}/run/work/state.json can be read by others", "chmod -R go= {state}",
          lambda scene: scene.mission.user.run_folder().joinpath("state.json").chmod(0o644), typed),
    Fault("a profile that others can write", "files", "warning",
          "{config}/profiles/work.yaml can be written by others", "chmod -R go-w {config}",
          lambda scene: scene.profile.chmod(0o666), typed),
    Fault("an edit by hand", "generated files", "warning",
          "litellm_config.yaml or gunicorn.conf.py in {state}/run/work was edited by hand; "
          "the next change undoes that",
          "change the profile instead (`litellm:` reaches all of LiteLLM), then: " + RESTART,
          spoil_config, restart),
    Fault("a gateway that was killed", "process", "warning",
          "pid {pid} is gone without `llmswitch down`", UP, kill_gateway, typed),
    Fault("a gateway that hangs", "liveliness", "error",
          "it does not answer",
          RESTART + "    (why: llmswitch logs --profile work)", freeze_gateway, typed),
    Fault("a profile that has changed", "current", "warning",
          "the profile has changed since it was loaded", UP,
          edited("label: GLM-4.7", "label: GLM 4.7"), typed),
    Fault("a key that has changed", "current", "warning",
          "ZAI_API_KEY is another in this shell than in the gateway", UP,
          lambda scene: scene.export(ZAI_API_KEY="zai-other"), typed),
    Fault("an old gateway", "current", "warning",
          "it was started by llmswitch 0.0.1, this is 0.1.0", UP,
          old_state, typed),
    Fault("no claude", "claude", "error", "there is no `claude` on PATH",
          "npm install -g @anthropic-ai/claude-code    (or set LLMSWITCH_CLAUDE)",
          lambda scene: scene.shell.claude.unlink(), new_claude),
    Fault("a claude that does not run", "claude", "error",
          "{folder}/bin/claude --version printed no version",
          "reinstall Claude Code, or point LLMSWITCH_CLAUDE at the right program",
          claude_of(""), new_claude),
    Fault("an old claude", "claude", "warning",
          "Claude Code 2.1.100, {folder}/bin/claude: /model shows five models at most; 2.1.129 and "
          "newer show all", "claude update", claude_of("2.1.100 (Claude Code)"), new_claude),
    Fault("no wrapper", "wrapper", "warning", "no wrapper starts the profile work", WRAPPER,
          lose_wrapper, typed),
    Fault("a wrapper of another llmswitch", "wrapper", "warning",
          "{bin}/claude-multi is of another llmswitch, or of another LLMSWITCH_HOME",
          WRAPPER + " --dir {bin}", old_wrapper, typed),
    Fault("another wrapper in front", "wrapper", "warning",
          "{folder}/other/claude-multi comes before {bin}/claude-multi on PATH",
          'export PATH={bin}:"$PATH"', shadow, unshadow),
    Fault("a wrapper that is not on PATH", "wrapper", "warning", "~/.local/bin is not on PATH",
          'export PATH=~/.local/bin:"$PATH"', hide, show),
    Fault("another base URL in the shell", "plain claude", "warning",
          "ANTHROPIC_BASE_URL is exported and leads a plain `claude` astray (not claude-multi)",
          "unset ANTHROPIC_BASE_URL",
          lambda scene: scene.export(ANTHROPIC_BASE_URL="http://127.0.0.1:9"),
          forgotten("ANTHROPIC_BASE_URL")),
    Fault("another base URL in settings.json", "plain claude", "warning",
          "ANTHROPIC_BASE_URL in ~/.claude/settings.json leads a plain `claude` astray "
          "(claude-multi is not affected)",
          "take ANTHROPIC_BASE_URL out of ~/.claude/settings.json",
          lambda scene: scene.write_settings(env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}),
          lambda scene, _hint: scene.write_settings(env={})),
    Fault("broken settings", "plain claude", "warning",
          "~/.claude/settings.json is no JSON object", "correct ~/.claude/settings.json",
          break_settings,
          lambda scene, _hint: scene.write_settings()),
    Fault("a saved default of ours", "saved default", "warning",
          "'glm-4.7' is saved in ~/.claude/settings.json, and a plain `claude` does not know it",
          'take "model" out of ~/.claude/settings.json',
          lambda scene: scene.write_settings(model="glm-4.7"),
          lambda scene, _hint: scene.write_settings()),
]  # fmt: skip
IDLE = [
    Fault("no profile", "profile", "error", "no profile is chosen and no default is set",
          "llmswitch init --from claude-glm    (or name one: --profile NAME or FILE)",
          lambda scene: Path(scene.names["config"], "default-profile").unlink(), typed),
    Fault("a mistake in the profile", "profile", "error",
          "{config}/profiles/work.yaml:10: models.glm-4.7.lable is not a field; did you mean "
          "`label`?", "llmswitch validate work",
          edited("    label: GLM-4.7", "    lable: GLM-4.7"),
          edited_back("    lable: GLM-4.7", "    label: GLM-4.7")),
    Fault("a damaged ledger", "ledger", "error",
          "the ledger {state}/ledger/work.db is damaged: file is not a database",
          "mv {state}/ledger/work.db {state}/ledger/work.db.old    (a new one is started)",
          damage_ledger, moved_away),
    Fault("damaged keys of clients", "clients", "error",
          "the file {state}/clients.json is damaged: no client is let in",
          "move it away and add the clients again: "
          "mv {state}/clients.json {state}/clients.json.old",
          damage_clients,
          lambda scene, hint: scene.sh(hint.partition(": ")[2])),
    Fault("a client without a key", "clients", "warning", "ci of the profile has no key",
          "llmswitch client add ci", edited("roles:", "clients: [ci]\nroles:"), typed),
    Fault("a budget of what has no price", "prices", "warning",
          "unknown: glm-4.5; their cost is shown as unknown, and no budget counts it",
          "write `price: {{input: ..., output: ...}}` for them (USD per million tokens)",
          edited("model: zai/GLM-4.5-Air", "budget: {usd: 1, per: day}\n    model: zai/GLM-99"),
          edited_back("budget: {usd: 1, per: day}\n    model: zai/GLM-99",
                      "model: zai/GLM-4.5-Air")),
    Fault("a damaged state file", "state", "error",
          "the state file {run}/state.json is damaged", UP,
          damage_state, typed),
    Fault("a taken port", "port", "error", "{address} is in use by {program} (pid {me})",
          "stop it, or set another `gateway: {{port: ...}}` in the profile", take_port, give_port),
    Fault("a key that is not set", "ZAI_API_KEY", "warning",
          "is not set: glm, glm-4.7, glm-4.5 are left out of the menu", ZAI,
          lambda scene: scene.export(ZAI_API_KEY=""), exported("ZAI_API_KEY")),
    Fault("a placeholder in place of a key", "ZAI_API_KEY", "warning",
          "is set in the environment, but holds a placeholder, not a key", ZAI,
          lambda scene: scene.export(ZAI_API_KEY="your-api-key-here"), exported("ZAI_API_KEY")),
    Fault("a key with quotes", "ZAI_API_KEY", "warning",
          "is set in the environment, but has quotes around it", ZAI,
          lambda scene: scene.export(ZAI_API_KEY="'zai-own'"), exported("ZAI_API_KEY")),
    Fault("a key with a space", "ZAI_API_KEY", "warning",
          "is set in the environment, but contains white space", ZAI,
          lambda scene: scene.export(ZAI_API_KEY="zai own"), exported("ZAI_API_KEY")),
    Fault("a key of another vendor", "ZAI_API_KEY", "warning",
          "is set in the environment, but looks like a key of Anthropic", ZAI,
          lambda scene: scene.export(ZAI_API_KEY="sk-ant-api03-x"), exported("ZAI_API_KEY")),
    Fault("a subscription's token as a key", "ANTHROPIC_API_KEY", "warning",
          "is set in the environment, but is the token of a Claude subscription, not an API key",
          "export ANTHROPIC_API_KEY=...    (from https://console.anthropic.com/settings/keys)",
          lambda scene: scene.export(ANTHROPIC_API_KEY="sk-ant-oat01-x"),
          exported("ANTHROPIC_API_KEY", "sk-ant-api03-own")),
]  # fmt: skip
