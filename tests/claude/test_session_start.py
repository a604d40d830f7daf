"""How `claude-multi` comes to a session: which commands need none, where the client is, and the
gateway that is started or brought up to date. A program stands in the place of `claude`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmswitch.claude import program
from llmswitch.claude.arguments import WITHOUT_MODEL, command_of, split_settings
from llmswitch.errors import LlmswitchError
from tests.conftest import CHECKOUT, Mission, make_user
from tests.fake_claude import install
from tests.gateways import Gateway
from tests.shell import Shell, take_shell

pytestmark = [pytest.mark.xdist_group("session-start"), pytest.mark.timeout(300)]


@pytest.fixture
def shell(running_mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose gateway runs."""
    return take_shell(running_mission, tmp_path)


@pytest.fixture(scope="module")
def idle_shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell of a user who has a profile and never started anything."""
    user = make_user(tmp_path_factory.mktemp("idle"))
    user.write_profile("models: {m: ollama/m}\n")
    done = user.run("wrapper", "install", "--dir", str(user.root / "bin"))
    assert done.returncode == 0, done.stderr
    shell = Shell(user, user.root / "shell")
    (shell.folder / "home").mkdir(parents=True)
    install(shell.claude)
    return shell


# ------------------------------------------------------------------ what needs no gateway


def test_subcommands_are_run_untouched(idle_shell: Shell) -> None:
    """What needs no model is the client's alone: it gets exactly what was typed, nothing is
    started and nothing written.
    """
    arguments = ["--verbose", "mcp", "list", "--settings", "x", "--", "-y"]
    done = idle_shell.run(*arguments, env={"FAKE_DO": "exit 5"})
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 5)
    assert idle_shell.seen.argv[1:] == [argument.encode() for argument in arguments]
    done = idle_shell.run("--version")
    assert (done.stdout, done.stderr) == ("2.1.332 (Claude Code)\n", "")
    assert not idle_shell.user.state.exists()


@pytest.mark.parametrize(
    "before",
    [
        [],
        ["--dangerously-skip-permissions"],
        ["--verbose", "--model", "opus"],
        ["--settings", "mine.json", "--permission-mode=plan"],
    ],
)
def test_a_subcommand_is_known_behind_options(before: list[str]) -> None:
    """An alias may put options before it; a prompt of the same word is none."""
    for command in WITHOUT_MODEL:
        assert command_of([*before, command, "list"]) == command
    assert command_of([*before, "-p", "doctor"]) not in WITHOUT_MODEL


NO_NAME = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere.json", "[Errno 2] No such file or directory: 'nowhere.json'"),
        ("{broken", NO_NAME),
        ("list.json", "it is not a JSON object"),
    ],
)
def test_settings_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    """A `--settings` that is neither a JSON file nor JSON is told, with the cure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(LlmswitchError) as caught:
        split_settings(["-p", "--settings", given])
    assert caught.value.message == f"--settings {given} cannot be read: {said}"
    assert caught.value.hint == "give a JSON file or a JSON object"


# ------------------------------------------------------------------ where the client is


def test_no_claude(idle_shell: Shell, tmp_path: Path) -> None:
    """Without `claude` on PATH there is a sentence that says how to get it."""
    for path in (str(tmp_path), "", f"{idle_shell.wrapper.parent}:/nowhere"):
        done = idle_shell.run("-p", "x", env={"PATH": path})
        assert (done.stdout, done.returncode) == ("", 1)
        assert done.stderr == (
            "there is no `claude` on PATH\n"
            "-> npm install -g @anthropic-ai/claude-code    (or set LLMSWITCH_CLAUDE)\n"
        )


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable"])
def test_llmswitch_claude_that_is_wrong(tmp_path: Path, kind: str) -> None:
    """LLMSWITCH_CLAUDE must name a program: what it names is said, and PATH is not searched."""
    named = tmp_path / "claude"
    if kind == "folder":
        named.mkdir()
    elif kind == "not executable":
        named.write_text("#!/bin/sh\n")
    with pytest.raises(LlmswitchError) as caught:
        program.find_claude({"LLMSWITCH_CLAUDE": str(named), "PATH": "/usr/bin"})
    assert caught.value.message == (
        f"LLMSWITCH_CLAUDE is {named}, which is not a program that can be run"
    )
    assert caught.value.hint == "point it at the claude program, or unset it to search PATH"


def test_which_claude_is_run(shell: Shell, tmp_path: Path) -> None:
    """LLMSWITCH_CLAUDE wins over PATH, spaces and all; a wrapper that is itself called `claude` and
    stands first on PATH runs the real one.
    """
    other = tmp_path / "a folder" / "my claude"
    install(other)
    assert shell.run(env={"LLMSWITCH_CLAUDE": str(other)}).returncode == 0
    assert shell.seen.argv[0] == str(other).encode()
    first = shell.folder / "first"
    done = shell.user.run("wrapper", "install", "--name", "claude", "--dir", str(first))
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        ["claude", "-p", "x"],
        env={**shell.env, "PATH": f"{first}:{shell.env['PATH']}"},
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert shell.seen.argv[0] == str(shell.claude).encode()


REINSTALL = "reinstall Claude Code, or point LLMSWITCH_CLAUDE at the right program"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho garbage\n", "{} --version printed no version: garbage"),
        ("#!/bin/sh\nprintf '\\377\\376'\n", "{} --version printed no version: \ufffd\ufffd"),
        ("#!/bin/sh\nexit 0\n", "{} --version printed no version"),
        ("#!/bin/sh\necho broken >&2; exit 1\n", "{} --version printed no version: broken"),
        ("#!/bin/sh\nexec sleep 60\n", "{} --version did not answer within 1 s"),
        ("#!/nowhere/interpreter\n", "{} cannot be run: No such file or directory"),
        ("\x7fELF garbage", "{} cannot be run: Exec format error"),
    ],
)
def test_a_claude_that_does_not_work(tmp_path: Path, script: str, said: str) -> None:
    """A `claude` that tells no version or cannot be run gives a sentence and a cure."""
    broken = tmp_path / "claude"
    broken.write_text(script)
    broken.chmod(0o755)
    with pytest.raises(LlmswitchError) as caught:
        program.ask_version(broken, 1.0 if "sleep" in script else 60.0)
    assert (caught.value.message, caught.value.hint) == (said.format(broken), REINSTALL)


def test_nothing_is_started_for_a_claude_that_does_not_work(idle_shell: Shell) -> None:
    """Neither a session nor a command without a model; the gateway is not started either."""
    broken = idle_shell.folder / "broken" / "claude"
    broken.parent.mkdir()
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    for arguments in (["-p", "x"], ["mcp", "list"]):
        done = idle_shell.run(*arguments, env={"LLMSWITCH_CLAUDE": str(broken)}, stdin=b"prompt")
        said = f"{broken} cannot be run: No such file or directory\n-> {REINSTALL}\n"
        assert (done.stdout, done.stderr, done.returncode) == ("", said, 1)
    assert not (idle_shell.user.state / "run").exists()


# ------------------------------------------------------------------ the gateway


def test_the_gateway_is_started_and_kept_up_to_date(mission: Mission, tmp_path: Path) -> None:
    """The wrapper starts the gateway when it does not run, uses one that runs, and brings it up to
    date when the profile changed, when a missing key is set, or another key, which the provider
    then sees; what it says of that goes to stderr, and stdout is the client's.
    """
    mission.user.keys = {"ZAI_API_KEY": "zai-own", "ANTHROPIC_API_KEY": "sk-ant-api03-own"}
    shell = take_shell(mission, tmp_path / "shell")
    done = shell.run("-p", "x")
    assert (done.stdout, done.returncode) == ("out\n", 0)
    started = mission.user.gateway_state()
    assert done.stderr == (
        f"started work on 127.0.0.1:{mission.port}, pid {started['pid']}\n"
        "qwen is left out: MINE_KEY is not set\n"
    )
    assert "qwen" not in str(shell.seen.settings)

    done = shell.run("-p", "x")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert mission.user.gateway_state() == started

    done = shell.run("-p", "x", env={"MINE_KEY": "mine-own"})
    assert (done.stdout, done.returncode) == ("out\n", 0)
    assert "reloaded work on" in done.stderr
    assert shell.seen.settings["modelPicker"]["options"][-1]["model"] == "qwen"
    assert shell.run("-p", "x").stderr == "", "the gateway has the key now, this shell need not"

    profile = mission.user.root / "llmswitch" / "profiles" / "work.yaml"
    profile.write_text(profile.read_text().replace("label: Qwen3", "label: Renamed"))
    done = shell.run("-p", "x", env={"ZAI_API_KEY": "zai-new"})
    assert (done.stdout, done.returncode) == ("out\n", 0)
    assert shell.seen.settings["modelPicker"]["options"][-1]["label"] == "Renamed"
    assert "reloaded work on" in done.stderr
    assert mission.user.gateway_state()["pid"] == started["pid"]
    assert Gateway(mission.url, mission.user.gateway_key()).ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == "Bearer zai-new"

    profile.write_text(profile.read_text().replace("label: Renamed", "lable: x"))
    (shell.folder / "seen").unlink()
    done = shell.run("-p", "x")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "models.qwen.lable is not a field; did you mean `label`?" in done.stderr
    assert not shell.ran
    assert "zai-new" not in (mission.user.run_folder() / "gateway.log").read_text()


def test_a_state_folder_that_cannot_be_written(idle_shell: Shell, tmp_path: Path) -> None:
    """A folder of llmswitch's that cannot be used is named, with a cure."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    profiles = tmp_path / "p.yaml"
    profiles.write_text("models: {m: ollama/m}\n")
    command = [sys.executable, "-m", "llmswitch.claude.session", str(profiles), "-p", "x"]
    done = subprocess.run(
        command,
        env={**idle_shell.env, "LLMSWITCH_HOME": str(blocked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        f"{blocked} cannot be used: File exists\n"
        "-> make it writable, or set LLMSWITCH_HOME to another folder\n"
    )


def test_only_light_modules_are_imported() -> None:
    """The wrapper stands between Enter and the prompt: it imports the standard library and
    llmswitch's own light modules, and nothing that is slow to load.
    """
    code = "import json, sys, llmswitch.claude.session; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    modules = set(json.loads(done.stdout))
    tops = {name.partition(".")[0] for name in modules} - {"llmswitch", "coverage", "sitecustomize"}
    site = {
        name for name in tops if not name.startswith("_") and name not in sys.stdlib_module_names
    }
    assert {name for name in site if "editable" not in name and "coverage" not in name} == set()
    assert not modules & {"asyncio", "http.client", "logging", "urllib.request", "email", "ssl"}
    ours = {name for name in modules if name.startswith("llmswitch.")}
    light = (
        "claude claude.arguments claude.child claude.ensure claude.login claude.managed_settings "
        "claude.pick claude.program claude.run claude.saved_default claude.session "
        "claude.settings_files errors gateway gateway.lease gateway.state generated health paths "
        "profile profile.secrets render render.claude_settings run_files"
    )
    assert ours == {f"llmswitch.{name}" for name in light.split()}
