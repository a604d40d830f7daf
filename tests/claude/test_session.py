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
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import Mission
from tests.fake_claude import install
from tests.ready_made import WIRE_IDS
from tests.seat import bring, files_below
from tests.shell import Shell, take_shell

pytestmark = [pytest.mark.xdist_group("session"), pytest.mark.timeout(300)]

EXTRA = "  extra: {model: mine/extra, label: Extra, context: 200000}\nroles:"


@pytest.fixture
def shell(one_mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose gateway runs with one more model: not each has a role or the custom row."""
    return take_shell(bring(one_mission, ("roles:", EXTRA)), tmp_path)


def settings_of_the_user(shell: Shell) -> Path:
    """The user's own settings of Claude Code; there is no file yet."""
    file = shell.folder / "home" / ".claude" / "settings.json"
    file.parent.mkdir()
    return file


# ------------------------------------------------------------------ what the client is given


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [
            "",
            " ",
            "a'b",
            'a"b',
            "$HOME `x` \\ *",
            "line\nend",
            "ünï ☃",
            "--",
            "--settings",
            "theirs",
        ],
        ["-p", "--model", "glm-4.7", "--model=opus", "--", "--model", "big"],
        [b"\xff not UTF-8", "--settings"],
    ],
)
def test_arguments_pass_through(shell: Shell, arguments: Sequence[str | bytes]) -> None:
    """Every argument reaches the client byte for byte after our `--settings`, and so do the bytes
    on stdin, the folder and what is exported, but for two variables that no settings could undo.
    Nothing is written into the home.
    """
    stdin = b"\x00\xff piped\n"
    hostile = {"CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "theirs", "ANTHROPIC_UNIX_SOCKET": "/x"}
    own = {"FAKE_STDIN": "1", "OWN": "a b\nc"}
    home = files_below(shell.folder / "home")
    done = shell.run(*arguments, stdin=stdin, env=own | hostile)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    seen = shell.seen
    assert seen.argv[:2] == [str(shell.claude).encode(), b"--settings"]
    assert seen.given == [os.fsencode(argument) for argument in arguments]
    assert (seen.stdin, seen.cwd) == (stdin, str(shell.folder))
    assert seen.env.items() >= (shell.env | own).items()
    assert not hostile.keys() & seen.env.keys()
    assert files_below(shell.folder / "home") == home


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
    assert settings["env"]["ANTHROPIC_BASE_URL"] == shell.user.json("status")["url"]
    assert settings["model"] == "glm-4.7"
    assert [row["model"] for row in settings["modelPicker"]["options"]] == [*WIRE_IDS, "extra"]
    assert "availableModels" not in settings
    assert stat.S_IMODE(first.settings_file.stat().st_mode) == 0o600
    secrets = [key, *shell.user.keys.values()]
    assert not [arg for arg in first.argv if any(secret.encode() in arg for secret in secrets)]
    written = first.settings_file.stat()
    assert shell.run().returncode == 0
    assert shell.seen.settings_file == first.settings_file
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
    assert settings["availableModels"] == [*WIRE_IDS, "extra"]
    assert json.loads(file.read_text()) == theirs


@pytest.mark.parametrize(
    ("exported", "in_settings", "expected"),
    [
        ({}, {}, ""),
        ({"no_proxy": "low.example"}, {}, "low.example,"),
        ({"NO_PROXY": "a"}, {"NO_PROXY": "b.example"}, "b.example,"),
    ],
)
def test_a_proxy_is_not_asked_for_the_gateway(
    shell: Shell, exported: dict[str, str], in_settings: dict[str, str], expected: str
) -> None:
    """NO_PROXY of the session holds this machine beside what the user's settings or shell say."""
    settings_of_the_user(shell).write_text(json.dumps({"env": in_settings}))
    assert shell.run(env=exported).returncode == 0
    env = shell.seen.settings["env"]
    assert env["NO_PROXY"] == env["no_proxy"] == f"{expected}127.0.0.1,localhost,::1"


@pytest.mark.parametrize("where", ["home", "project", "above"])
def test_lists_of_models_do_not_hide_the_profiles(shell: Shell, where: str) -> None:
    """Where settings of the user's or the project's list the models that may be picked, ours are
    added; elsewhere there is no list, for with one a mistyped name has a worse answer.
    """
    folder = {"home": shell.folder / "home", "project": shell.folder, "above": shell.folder.parent}
    name = "settings.json" if where == "home" else "settings.local.json"
    file = folder[where] / ".claude" / name
    file.parent.mkdir()
    file.write_text('{"availableModels": []}')
    try:
        assert shell.run().returncode == 0
    finally:
        file.unlink()
        file.parent.rmdir()
    assert shell.seen.settings["availableModels"] == [*WIRE_IDS, "extra"]
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


def test_a_million_tokens_are_told_of_a_name_too(shell: Shell) -> None:
    """After `--model` the client goes by the name's mark."""
    assert shell.run("--model", "glm", "--model=glm").returncode == 0
    assert shell.seen.given == [b"--model", b"glm[1m]", b"--model=glm[1m]"]


def test_attach_is_given_nothing_but_puts_back(shell: Shell) -> None:
    """`attach` shows a session that has our settings already: it is given none, but a pick that is
    made in it is put back and kept as in any other.
    """
    settings = settings_of_the_user(shell)
    settings.write_text('{"model": "mine"}')
    shell.claude.write_text(f"""#!{sys.executable} -IS
import pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("2.1.330 (Claude Code)")
else:
    pathlib.Path({str(settings)!r}).write_text('{{\\n  "model": "qwen"\\n}}\\n')
    print(sys.argv[1:])
""")
    done = shell.run("attach", "e3b982f4")
    assert (done.stdout, done.stderr, done.returncode) == ("['attach', 'e3b982f4']\n", "", 0)
    assert settings.read_text() == '{"model": "mine"}'
    assert json.loads((shell.user.run_folder() / "pick.json").read_text()) == {"model": "qwen"}


# ------------------------------------------------------------------ versions

UNLISTED = (
    "llmswitch: Claude Code 2.1.241 does not list qwen, extra in /model; type /model qwen, or get "
    "2.1.242 or newer, which lists them: claude update\n"
)


@pytest.mark.parametrize(
    ("version", "support", "said"),
    [
        ("2.1.241 (Claude Code)", "rows", UNLISTED),
        ("2.1.242 (Claude Code)", "picker", ""),
        ("3.0.0", "picker", ""),
    ],
)
def test_the_settings_are_those_of_the_version(
    shell: Shell, version: str, support: str, said: str
) -> None:
    """Each version gets what it understands, and one that cannot list every model says which it
    lacks, though not where there is no menu.
    """
    install(shell.claude, version)
    done = shell.run()
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", said, 0)
    settings = shell.seen.settings
    assert ("modelPicker" in settings) == (support == "picker")
    one_more = settings["env"]["ANTHROPIC_CUSTOM_MODEL_OPTION"]
    assert one_more == ("glm[1m]" if support == "rows" else "")
    expected = shell.user.gateway_state()["clients"][support]["settings"]
    assert {**settings, "env": None} == {**expected, "env": None}
    assert shell.run("-p", "x").stderr == ""


def test_the_version_is_asked_once_for_each_file(shell: Shell) -> None:
    """Asking costs time: the answer is kept until the file changes, and a damaged note of it is
    written anew.
    """
    asked = shell.claude.with_name("claude.asked")
    for _ in range(2):
        assert shell.run().returncode == 0
    assert asked.read_text() == "x"
    install(shell.claude, "2.1.197 (Claude Code)")
    assert shell.run().returncode == 0
    assert asked.read_text() == "xx"
    assert "modelPicker" not in shell.seen.settings
    (shell.user.state / "claude-version.json").write_text("{ damaged")
    assert shell.run().returncode == 0
    assert asked.read_text() == "xxx"


# ------------------------------------------------------------------ how it ends


def test_exit_codes_and_signals_of_the_client_pass_through(shell: Shell) -> None:
    """`claude-multi` exits as the client exits, and dies of the signal that it died of."""
    for code in (1, 255):
        assert shell.run(env={"FAKE_DO": f"exit {code}"}).returncode == code
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
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
        said = process.stdout.read()  # before stdin is closed, which would end it too
        process.wait(60)
        assert (said, process.returncode) == (f"{int(number)}\n", 40 + number)
    assert not list((shell.user.state / "sessions").glob("*.json"))


def test_a_client_that_stops_stops_the_wrapper(shell: Shell) -> None:
    """When the client stops itself the wrapper stops too, so that a shell gets its prompt back;
    when the shell goes on with the wrapper, both go on.
    """
    with subprocess.Popen(
        [shell.wrapper], env={**shell.env, "FAKE_DO": "stop 7"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "out\n"
        stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert stopped is not None
        assert stopped.si_code == os.CLD_STOPPED
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 7


def test_nohup_holds(shell: Shell) -> None:
    """A hang-up that is ignored where `claude-multi` is started is ignored by it and by the
    client.
    """
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$0"', str(shell.wrapper)]
    with start_waiting(shell, ignoring) as process:
        process.send_signal(signal.SIGHUP)
        said, _ = process.communicate(timeout=60)  # closes stdin, which ends it
        assert (said, process.returncode) == ("", 0)
