"""How `claude-multi` comes to a session: which commands need none, where the client is, and the
gateway that is started or brought up to date. A program stands in the place of `claude`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from llmswitch.claude.arguments import WITHOUT_MODEL
from llmswitch.errors import LlmswitchError
from llmswitch.render import claude_settings
from tests.conftest import CHECKOUT, Mission, make_user
from tests.fake_claude import install
from tests.seat import files_below
from tests.shell import Shell, take_shell

pytestmark = [pytest.mark.xdist_group("session-start"), pytest.mark.timeout(300)]


@pytest.fixture
def shell(running_mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose gateway runs."""
    return take_shell(running_mission, tmp_path)


# ------------------------------------------------------------------ what needs no gateway


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


@pytest.mark.parametrize("command", sorted(WITHOUT_MODEL - {"--version"}))
def test_subcommands_are_run_untouched(idle_shell: Shell, command: str) -> None:
    """What needs no model is the client's alone: it gets exactly what was typed, nothing is
    started and nothing written.
    """
    arguments = [command, "list", "--settings", "x", "--", "-y"]
    done = idle_shell.run(*arguments)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert idle_shell.seen.argv[1:] == [argument.encode() for argument in arguments]
    assert not idle_shell.user.state.exists()


@pytest.mark.parametrize(
    "before",
    [
        ["--dangerously-skip-permissions"],
        ["--verbose", "--model", "opus"],
        ["--settings", "mine.json", "--permission-mode=plan"],
    ],
)
def test_options_before_a_subcommand(idle_shell: Shell, before: list[str]) -> None:
    """An alias may put options before the subcommand, which is known all the same."""
    done = idle_shell.run(*before, "mcp", "list", env={"FAKE_DO": "exit 5"})
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 5)
    assert idle_shell.seen.argv[1:] == [arg.encode() for arg in (*before, "mcp", "list")]
    assert not idle_shell.user.state.exists()


def test_version_is_the_clients(idle_shell: Shell) -> None:
    """`claude-multi --version` is `claude --version`."""
    done = idle_shell.run("--version")
    assert (done.stdout, done.stderr) == ("2.1.332 (Claude Code)\n", "")
    assert not idle_shell.user.state.exists()


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
def test_llmswitch_claude_that_is_wrong(idle_shell: Shell, tmp_path: Path, kind: str) -> None:
    """LLMSWITCH_CLAUDE must name a program: what it names is said, and PATH is not searched."""
    named = tmp_path / "claude"
    if kind == "folder":
        named.mkdir()
    elif kind == "not executable":
        named.write_text("#!/bin/sh\n")
    done = idle_shell.run("-p", "x", env={"LLMSWITCH_CLAUDE": str(named)})
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        f"LLMSWITCH_CLAUDE names {named}, which is no program that can be run\n"
        "-> point it at the claude program, or unset it to search PATH\n"
    )


def test_llmswitch_claude_comes_before_path(shell: Shell, tmp_path: Path) -> None:
    """LLMSWITCH_CLAUDE wins over PATH, spaces and all."""
    other = tmp_path / "a folder" / "my claude"
    install(other)
    assert shell.run(env={"LLMSWITCH_CLAUDE": str(other)}).returncode == 0
    assert shell.seen.argv[0] == str(other).encode()


def test_a_wrapper_named_claude_does_not_find_itself(shell: Shell) -> None:
    """A wrapper that is itself called `claude` and stands first on PATH runs the real one."""
    first = shell.folder / "first"
    done = shell.user.run("wrapper", "install", "--name", "claude", "--dir", str(first))
    assert done.returncode == 0, done.stderr
    path = f"{first}:{shell.env['PATH']}"
    done = subprocess.run(
        ["claude", "-p", "x"],
        env={**shell.env, "PATH": path},
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert shell.seen.argv[0] == str(shell.claude).encode()


REINSTALL = "-> reinstall Claude Code, or point LLMSWITCH_CLAUDE at the right program\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho garbage\n", "{} --version tells no version: garbage\n"),
        ("#!/bin/sh\nprintf '\\377\\376'\n", "{} --version tells no version: \ufffd\ufffd\n"),
        ("#!/bin/sh\nexit 0\n", "{} --version tells no version\n"),
        ("#!/bin/sh\necho broken >&2; exit 1\n", "{} --version tells no version: broken\n"),
        ("#!/nowhere/interpreter\n", "{} cannot be run: No such file or directory\n"),
        ("\x7fELF garbage", "{} cannot be run: Exec format error\n"),
    ],
)
def test_a_claude_that_does_not_work(idle_shell: Shell, script: str, said: str) -> None:
    """A `claude` that tells no version or cannot be run gives a sentence and a cure, and nothing is
    started.
    """
    broken = idle_shell.folder / "broken" / "claude"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text(script)
    broken.chmod(0o755)
    done = idle_shell.run("-p", "x", env={"LLMSWITCH_CLAUDE": str(broken)}, stdin=b"prompt")
    assert (done.stdout, done.stderr, done.returncode) == ("", said.format(broken) + REINSTALL, 1)
    assert not (idle_shell.user.state / "run").exists()
    if "cannot be run" in said:
        done = idle_shell.run("mcp", "list", env={"LLMSWITCH_CLAUDE": str(broken)})
        assert done.stderr == said.format(broken) + REINSTALL
        assert done.returncode == 1


def test_a_claude_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`claude --version` is not waited for for ever."""
    monkeypatch.setattr(claude_settings, "_VERSION_SECONDS", 0.3)
    slow = tmp_path / "claude"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    with pytest.raises(LlmswitchError) as raised:
        claude_settings.version_of(slow, tmp_path / "cache.json")
    assert raised.value.message == f"{slow} --version has not answered in 0.3 seconds"
    assert not (tmp_path / "cache.json").exists()


# ------------------------------------------------------------------ the gateway


def test_the_gateway_is_started_and_kept_up_to_date(mission: Mission, tmp_path: Path) -> None:
    """The wrapper starts the gateway when it does not run, uses one that runs, and brings it up to
    date when the profile changed, when a missing key is set, or another key; what it says of that
    goes to stderr, and stdout is the client's.
    """
    mission.user.keys = {"ZAI_API_KEY": "zai-own", "ANTHROPIC_API_KEY": "sk-ant-api03-own"}
    shell = take_shell(mission, tmp_path / "shell")
    done = shell.run("-p", "x")
    assert (done.stdout, done.returncode) == ("out\n", 0)
    started = mission.user.gateway_state()
    assert done.stderr == (
        f"started on 127.0.0.1:{mission.port}, pid {started['pid']}\n"
        "qwen is left out: MINE_KEY is not set\n"
    )
    assert "qwen" not in str(shell.seen.settings)

    done = shell.run("-p", "x")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert mission.user.gateway_state() == started

    done = shell.run("-p", "x", env={"MINE_KEY": "mine-own"})
    assert (done.stdout, done.returncode) == ("out\n", 0)
    assert "reloaded on" in done.stderr
    assert shell.seen.settings["modelPicker"]["options"][-1]["model"] == "qwen"
    assert shell.run("-p", "x").stderr == "", "the gateway has the key now, this shell need not"

    profile = mission.user.root / "llmswitch" / "profiles" / "work.yaml"
    profile.write_text(profile.read_text().replace("label: Qwen3", "label: Renamed"))
    done = shell.run("-p", "x", env={"ZAI_API_KEY": "zai-new"})
    assert (done.stdout, done.returncode) == ("out\n", 0)
    assert shell.seen.settings["modelPicker"]["options"][-1]["label"] == "Renamed"
    assert "reloaded on" in done.stderr
    assert mission.user.gateway_state()["pid"] == started["pid"]

    profile.write_text(profile.read_text().replace("label: Renamed", "lable: x"))
    (shell.folder / "seen").unlink()
    done = shell.run("-p", "x")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "models.qwen.lable is not a field; did you mean `label`?" in done.stderr
    assert not shell.ran
    assert "zai-new" not in (mission.user.run_folder() / "gateway.log").read_text()


def test_another_key_is_used_at_once(running_mission: Mission, tmp_path: Path) -> None:
    """A key that was replaced in the shell is the one that the provider sees in the session."""
    shell = take_shell(running_mission, tmp_path)
    done = shell.run("-p", "x", env={"ZAI_API_KEY": "zai-replaced"})
    assert "reloaded on" in done.stderr
    running_mission.zai.clear()
    httpx.post(
        f"{running_mission.url}/v1/messages",
        headers={"authorization": f"Bearer {running_mission.user.gateway_key()}"},
        json={"model": "glm-4.7", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
        timeout=60,
    ).raise_for_status()
    (asked,) = running_mission.zai.of("/v1/messages")
    assert asked.headers["authorization"] == "Bearer zai-replaced"
    assert "reloaded on" in shell.run("-p", "x").stderr, "and back again"


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
        "-> make it writable, or move llmswitch's files with LLMSWITCH_HOME\n"
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
    tops = {name.partition(".")[0] for name in modules} - {"llmswitch", "coverage"}
    site = {
        name for name in tops if not name.startswith("_") and name not in sys.stdlib_module_names
    }
    assert {name for name in site if "editable" not in name and "coverage" not in name} == set()
    assert not modules & {"asyncio", "http.client", "logging", "urllib.request", "email", "ssl"}
    ours = {name for name in modules if name.startswith("llmswitch.")}
    light = (
        "claude claude.arguments claude.child claude.ensure claude.login claude.managed_settings "
        "claude.saved_default claude.session errors gateway gateway.lease gateway.state health "
        "paths profile profile.secrets render render.claude_settings run_files"
    )
    assert ours == {f"llmswitch.{name}" for name in light.split()}


def test_nothing_below_the_home_is_written(shell: Shell) -> None:
    """`claude-multi` itself writes nothing into the home folder."""
    before = files_below(shell.folder / "home")
    assert shell.run().returncode == 0
    assert files_below(shell.folder / "home") == before
