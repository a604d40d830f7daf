"""What `claude-multi` gives to `claude` and passes back, with a program in its place that tells
what it was given.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from llmswitch import claude
from llmswitch.arguments import WITHOUT_MODEL
from llmswitch.errors import LlmswitchError
from tests.conftest import CHECKOUT, Mission, User, make_user, start_mission
from tests.fake_claude import Seen, install
from tests.seat import files_below

pytestmark = [pytest.mark.xdist_group("session"), pytest.mark.timeout(300)]


@dataclass
class Shell:
    """A shell with the wrapper and a fake `claude` on PATH."""

    user: User
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def claude(self) -> Path:
        """The fake."""
        return self.folder / "bin" / "claude"

    @property
    def env(self) -> dict[str, str]:
        """The environment of this shell."""
        path = f"{self.folder / 'bin'}:{self.user.env['PATH']}"
        home = {"HOME": str(self.folder / "home"), "FAKE_SEEN": str(self.folder / "seen")}
        return {**self.user.env, "PATH": path, **home, **self.more}

    def run(
        self, *arguments: str | bytes, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """`claude-multi ...`, and what it said."""
        done = subprocess.run(
            [self.wrapper, *arguments],
            env={**self.env, **(env or {})},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @property
    def wrapper(self) -> Path:
        """The wrapper."""
        return self.user.root / "bin" / "claude-multi"

    @property
    def seen(self) -> Seen:
        """What the fake was given last."""
        return Seen(self.folder / "seen")

    @property
    def ran(self) -> bool:
        """Whether the fake was run at all."""
        return (self.folder / "seen").exists()


def take_shell(mission: Mission, folder: Path) -> Shell:
    """A shell of the mission's user, with a home of its own."""
    shell = Shell(mission.user, folder)
    (folder / "home").mkdir(parents=True)
    install(shell.claude)
    if not shell.wrapper.exists():
        done = mission.user.run("wrapper", "install", "--dir", str(shell.wrapper.parent))
        assert done.returncode == 0, done.stderr
    (mission.user.run_folder() / "pick.json").unlink(missing_ok=True)
    return shell


@pytest.fixture(scope="module")
def six_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """The mission, running, with one more model: not every one has a role or the custom row."""
    for mission in start_mission(tmp_path_factory.mktemp("mission")):
        more = "  extra: {model: mine/extra, label: Extra, context: 200000}\nroles:"
        profile = mission.write()
        profile.write_text(profile.read_text().replace("roles:", more))
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission


@pytest.fixture
def shell(six_mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose gateway runs."""
    return take_shell(six_mission, tmp_path)


# ------------------------------------------------------------------ what the client is given


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-p", "two words"],
        ["", " ", "a'b", 'a"b', "$HOME `x` \\ *", "line\nend", "ünï ☃"],
        ["--", "--settings", "not ours"],
        ["-p", "--model", "glm-4.7", "--model=opus", "--", "--model", "big"],
        [b"\xff not UTF-8"],
        ["--settings"],
    ],
)
def test_arguments_pass_through(shell: Shell, arguments: Sequence[str | bytes]) -> None:
    """Every argument reaches the client byte for byte after our `--settings`, and so do the bytes
    on stdin, the folder and what is exported.
    """
    stdin = b"\x00\xff piped\n"
    done = shell.run(*arguments, stdin=stdin, env={"FAKE_STDIN": "1", "OWN": "a b\nc"})
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    seen = shell.seen
    assert seen.argv[:2] == [str(shell.claude).encode(), b"--settings"]
    assert seen.given == [os.fsencode(argument) for argument in arguments]
    assert seen.stdin == stdin
    assert seen.cwd == str(shell.folder)
    expected = {**shell.env, "OWN": "a b\nc"}
    assert {name: seen.env.get(name) for name in expected} == expected


def test_what_no_settings_can_undo_is_not_passed_on(shell: Shell) -> None:
    """Two variables that the client obeys before it reads settings are kept from it."""
    hostile = {"CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1", "ANTHROPIC_UNIX_SOCKET": "/x"}
    assert shell.run(env=hostile).returncode == 0
    assert not hostile.keys() & shell.seen.env.keys()


def test_the_settings_file(shell: Shell) -> None:
    """The settings hold the gateway's address and key and the menu; the file is the user's only,
    and the same for the same session and another for another, so that none is written while a
    client watches it. No argument holds a key.
    """
    assert shell.run().returncode == 0
    first = shell.seen
    settings = first.settings
    key = shell.user.gateway_key()
    assert settings["env"]["ANTHROPIC_AUTH_TOKEN"] == key
    assert (
        settings["env"]["ANTHROPIC_BASE_URL"]
        == shell.user.gateway_state()["clients"]["picker"]["settings"]["env"]["ANTHROPIC_BASE_URL"]
    )
    assert settings["model"] == "glm-4.7"
    assert [row["model"] for row in settings["modelPicker"]["options"]] == [
        "opus",
        "sonnet",
        "glm-4.7",
        "glm-4.5",
        "qwen",
        "extra",
    ]
    assert stat.S_IMODE(first.settings_file.stat().st_mode) == 0o600
    secrets = [key, *shell.user.keys.values()]
    assert not [arg for arg in first.argv if any(secret.encode() in arg for secret in secrets)]
    written = first.settings_file.stat()
    assert shell.run().returncode == 0
    assert shell.seen.settings_file == first.settings_file
    assert first.settings_file.stat() == written
    assert shell.run("--settings", '{"cleanupPeriodDays": 9}').returncode == 0
    assert shell.seen.settings_file != first.settings_file
    assert first.settings_file.stat() == written


def test_the_users_own_settings_are_merged(shell: Shell) -> None:
    """`--settings` of the user's own is taken out of the arguments and into ours, which win; the
    last of two counts, as for the client.
    """
    theirs = {
        "env": {"OWN": "1", "ANTHROPIC_BASE_URL": "x"},
        "model": "x",
        "hooks": {"Stop": []},
        "availableModels": ["x"],
    }
    file = shell.folder / "my file.json"
    file.write_text(json.dumps(theirs))
    done = shell.run("-p", "--settings", "{}", "--settings", "my file.json", "x")
    assert done.returncode == 0, done.stderr
    assert shell.seen.given == [b"-p", b"x"]
    settings = shell.seen.settings
    assert settings["hooks"] == {"Stop": []}
    assert settings["env"]["OWN"] == "1"
    assert settings["env"]["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert settings["model"] == "glm-4.7"
    assert settings["availableModels"] == ["opus", "sonnet", "glm-4.7", "glm-4.5", "qwen", "extra"]
    assert json.loads(file.read_text()) == theirs


NO_NAME = (  # as Python's json says it
    "cannot be read: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "nowhere.json",
            "cannot be read: [Errno 2] No such file or directory: 'nowhere.json'",
        ),
        (
            "{broken",
            NO_NAME,
        ),
        ("list.json", "cannot be read: it is no JSON object"),
    ],
)
def test_settings_that_cannot_be_read(shell: Shell, given: str, said: str) -> None:
    """A `--settings` that is neither a JSON file nor JSON is told before anything is run."""
    (shell.folder / "list.json").write_text("[1]")
    done = shell.run("--settings", given)
    assert done.stderr == f"--settings {given} {said}\n-> give a JSON file or a JSON object\n"
    assert (done.stdout, done.returncode) == ("", 1)
    assert not shell.ran


@pytest.mark.parametrize(
    ("exported", "in_settings", "expected"),
    [
        ({}, {}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "corp.example"}, {}, "corp.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "low.example"}, {}, "low.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a"}, {"NO_PROXY": "b.example"}, "b.example,127.0.0.1,localhost,::1"),
    ],
)
def test_a_proxy_is_not_asked_for_the_gateway(
    shell: Shell, exported: dict[str, str], in_settings: dict[str, str], expected: str
) -> None:
    """NO_PROXY of the session holds this machine beside what the user's settings or shell say."""
    settings = shell.folder / "home" / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"env": in_settings}))
    assert shell.run(env=exported).returncode == 0
    env = shell.seen.settings["env"]
    assert (env["NO_PROXY"], env["no_proxy"]) == (expected, expected)


@pytest.mark.parametrize("where", ["home", "project", "above"])
def test_lists_of_models_do_not_hide_the_profiles(shell: Shell, where: str) -> None:
    """Where settings of the user's or the project's list the models that may be picked, ours are
    added; elsewhere there is no list, for with one a mistyped name has a worse answer.
    """
    assert shell.run().returncode == 0
    assert "availableModels" not in shell.seen.settings
    folder = {"home": shell.folder / "home", "project": shell.folder, "above": shell.folder.parent}
    file = (
        folder[where] / ".claude" / ("settings.json" if where == "home" else "settings.local.json")
    )
    file.parent.mkdir()
    file.write_text('{"availableModels": []}')
    try:
        assert shell.run().returncode == 0
    finally:
        file.unlink()
        file.parent.rmdir()
    assert shell.seen.settings["availableModels"] == list(
        shell.user.gateway_state()["clients"]["picker"]["ids"]
    )
    assert shell.seen.settings["enforceAvailableModels"] is False


# ------------------------------------------------------------------ which model


@pytest.mark.parametrize(
    ("pick", "model"),
    [
        ('{"model": "qwen"}', "qwen"),
        ('{"model": "haiku"}', "glm-4.5"),
        ('{"model": ""}', "glm-4.7"),
        ('{"model": "gone"}', "glm-4.7"),
        ("{ damaged", "glm-4.7"),
        ('["qwen"]', "glm-4.7"),
    ],
)
def test_the_remembered_pick(shell: Shell, pick: str, model: str) -> None:
    """The session starts with the model that was picked last, a role being what it is now; a pick
    that is no longer served, or a damaged file, leaves the profile's default.
    """
    (shell.user.run_folder() / "pick.json").write_text(pick)
    assert shell.run().returncode == 0
    assert shell.seen.settings["model"] == model


def test_attach_is_given_nothing_but_puts_back(shell: Shell) -> None:
    """`attach` shows a session that has our settings already: it is given none, but a pick that is
    made in it is put back and kept as in any other.
    """
    saves = f"""#!{sys.executable} -IS
import pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("2.1.330 (Claude Code)")
else:
    settings = pathlib.Path({str(shell.folder)!r}, "home", ".claude", "settings.json")
    settings.write_text('{{\\n  "model": "qwen"\\n}}\\n')
    print(sys.argv[1:])
"""
    shell.claude.write_text(saves)
    (shell.folder / "home" / ".claude").mkdir()
    settings = shell.folder / "home" / ".claude" / "settings.json"
    settings.write_text('{"model": "mine"}')
    done = shell.run("attach", "e3b982f4")
    assert (done.stdout, done.stderr, done.returncode) == ("['attach', 'e3b982f4']\n", "", 0)
    assert settings.read_text() == '{"model": "mine"}'
    assert json.loads((shell.user.run_folder() / "pick.json").read_text()) == {"model": "qwen"}


# ------------------------------------------------------------------ versions

MISSED = (
    "llmswitch: Claude Code 2.1.100 cannot list extra in /model (2.1.129 and newer can); "
    "start with one: --model extra\n"
)


@pytest.mark.parametrize(
    ("version", "rung", "said"),
    [
        (
            "2.1.100 (Claude Code)",
            "rows",
            MISSED,
        ),
        ("2.1.129 (Claude Code)", "discovery", ""),
        ("2.1.241 (Claude Code)", "discovery", ""),
        ("2.1.242 (Claude Code)", "picker", ""),
        ("3.0.0", "picker", ""),
    ],
)
def test_the_settings_are_those_of_the_version(
    shell: Shell, version: str, rung: str, said: str
) -> None:
    """Each version gets what it understands, and one that cannot list every model says which it
    lacks, though not where there is no menu.
    """
    install(shell.claude, version)
    done = shell.run()
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", said, 0)
    settings = shell.seen.settings
    assert ("modelPicker" in settings) == (rung == "picker")
    discovery = settings["env"].get("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY")
    assert discovery == ("1" if rung == "discovery" else None)
    assert ("availableModels" in settings) == (rung == "discovery")
    assert settings["env"]["ANTHROPIC_CUSTOM_MODEL_OPTION"] == ("qwen" if rung == "rows" else "")
    expected = shell.user.gateway_state()["clients"][rung]["settings"]
    assert {**settings, "env": None} == {**expected, "env": None}
    assert shell.run("-p", "x").stderr == ""


def test_an_older_client_is_refused_an_unknown_model(shell: Shell) -> None:
    """Where the client would take its default in place of a name that it does not have, without a
    word, `claude-multi` says so; names of the profile, roles and `default` pass.
    """
    install(shell.claude, "2.1.197 (Claude Code)")
    done = shell.run("-p", "--model", "nosuch")
    known = ", ".join(shell.user.gateway_state()["clients"]["discovery"]["ids"])
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (f"the profile has no model 'nosuch'; it has: {known}\n-> --model opus\n")
    assert not shell.ran
    for name in ("glm-4.7", "haiku", "default", "opus[1m]"):
        assert shell.run("-p", f"--model={name}").returncode == 0
        assert shell.seen.given == [b"-p", f"--model={name}".encode()]


def test_the_version_is_asked_once_for_each_file(shell: Shell) -> None:
    """Asking costs time: the answer is kept until the file changes, and a damaged note of it is
    written anew.
    """
    asked = shell.claude.with_name("claude.asked")
    more = {"FAKE_SEEN": str(shell.folder / "seen")}
    shell.claude.write_text(
        shell.claude.read_text().replace('and "FAKE_SEEN" not in os.environ', "")
    )
    for _ in range(3):
        assert shell.run(env=more).returncode == 0
    assert asked.read_text() == "x"
    install(shell.claude, "2.1.197 (Claude Code)")
    shell.claude.write_text(
        shell.claude.read_text().replace('and "FAKE_SEEN" not in os.environ', "")
    )
    assert shell.run().returncode == 0
    assert asked.read_text() == "xx"
    assert "modelPicker" not in shell.seen.settings
    (shell.user.state / "claude-version.json").write_text("{ damaged")
    assert shell.run().returncode == 0
    assert asked.read_text() == "xxx"


# ------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_codes_pass_through(shell: Shell, code: int) -> None:
    """`claude-multi` exits as the client exits."""
    assert shell.run(env={"FAKE_DO": f"exit {code}"}).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_a_client_that_dies_of_a_signal(shell: Shell, number: signal.Signals) -> None:
    """The shell learns the signal of which the client died."""
    assert shell.run(env={"FAKE_DO": f"die {number}"}).returncode == -number


def start_waiting(shell: Shell, command: Sequence[str]) -> subprocess.Popen[str]:
    """A session whose client waits for a signal, or for the end of stdin."""
    process = subprocess.Popen(
        command,
        env={**shell.env, "FAKE_DO": "wait"},
        cwd=shell.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["out\n", "waiting\n"]
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_client(shell: Shell, number: signal.Signals) -> None:
    """SIGTERM and SIGHUP that `claude-multi` gets are passed on, and the client's exit code back;
    what has to be done after a session is done.
    """
    with start_waiting(shell, [str(shell.wrapper)]) as process:
        assert list((shell.user.state / "sessions").glob("*.json"))
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()
        process.wait(60)
        assert (said, process.returncode) == (f"{int(number)}\n", 40 + number)
    assert not list((shell.user.state / "sessions").glob("*.json"))


def test_nohup_holds(shell: Shell) -> None:
    """A hang-up that is ignored where `claude-multi` is started is ignored by it and by the
    client.
    """
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$0"', str(shell.wrapper)]
    with start_waiting(shell, ignoring) as process:
        process.send_signal(signal.SIGHUP)
        said, _ = process.communicate(timeout=60)  # closes stdin, which ends it
        assert (said, process.returncode) == ("", 0)


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
    assert (done.stdout, done.stderr) == ("2.1.330 (Claude Code)\n", "")
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
    monkeypatch.setattr(claude, "_VERSION_SECONDS", 0.3)
    slow = tmp_path / "claude"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    with pytest.raises(LlmswitchError) as raised:
        claude.version_of(slow, tmp_path / "cache.json")
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
    assert f"started on 127.0.0.1:{mission.port}, pid {started['pid']}" in done.stderr
    assert "left out: MINE_KEY is not set" in done.stderr
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


def test_another_key_is_used_at_once(six_mission: Mission, tmp_path: Path) -> None:
    """A key that was replaced in the shell is the one that the provider sees in the session."""
    shell = take_shell(six_mission, tmp_path)
    done = shell.run("-p", "x", env={"ZAI_API_KEY": "zai-replaced"})
    assert "reloaded on" in done.stderr
    six_mission.zai.clear()
    httpx.post(
        f"{six_mission.url}/v1/messages",
        headers={"authorization": f"Bearer {six_mission.user.gateway_key()}"},
        json={"model": "glm-4.7", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
        timeout=60,
    ).raise_for_status()
    (asked,) = six_mission.zai.of("/v1/messages")
    assert asked.headers["authorization"] == "Bearer zai-replaced"
    assert "reloaded on" in shell.run("-p", "x").stderr, "and back again"


def test_a_state_folder_that_cannot_be_written(idle_shell: Shell, tmp_path: Path) -> None:
    """A folder of llmswitch's that cannot be used is named, with a cure."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    profiles = tmp_path / "p.yaml"
    profiles.write_text("models: {m: ollama/m}\n")
    command = [sys.executable, "-m", "llmswitch.session", str(profiles), "-p", "x"]
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
    code = "import json, sys, llmswitch.session; print(json.dumps(sorted(sys.modules)))"
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
    light = "arguments claude errors health paths saved_default secrets session state"
    assert ours == {f"llmswitch.{name}" for name in light.split()}


def test_nothing_below_the_home_is_written(shell: Shell) -> None:
    """`claude-multi` itself writes nothing into the home folder."""
    before = files_below(shell.folder / "home")
    assert shell.run().returncode == 0
    assert files_below(shell.folder / "home") == before
