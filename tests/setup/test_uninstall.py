"""`uninstall`: the home folder is as it was before the first command."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pexpect
import pytest

from llmswitch.claude import saved_default
from llmswitch.claude.settings_files import user_settings
from tests.conftest import Mission, User, free_port
from tests.gateways import running_below
from tests.shell import Shell, take_shell

pytestmark = [pytest.mark.xdist_group("leaving"), pytest.mark.timeout(300)]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every path below a folder with its mode, and the content of files."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in folder.rglob("*")
    }


@pytest.fixture
def standard(user: User) -> User:
    """Someone with the standard folders."""
    user.keys = {**user.keys, "LLMSWITCH_HOME": "", "PATH": f"{user.home}/.local/bin:/usr/bin:/bin"}
    return user


def use_all_of_it(user: User) -> None:
    """Everything that writes a file."""
    profile = f"models: {{a: demo/parrot, b: zai/glm-4.7}}\ngateway: {{port: {free_port()}}}\n"
    (user.root / "mine.yaml").write_text(profile)
    for arguments in (
        ("init", "--yes", "--from", str(user.root / "mine.yaml")),
        ("wrapper", "install"),
        ("up",),
        ("client", "add", "ci"),
        ("status",),
        ("usage",),
        ("env",),
    ):
        done = user.run(*arguments)
        assert done.returncode == 0, done.stderr


def test_after_it_the_home_is_as_before(standard: User) -> None:
    """No file, no folder, no process of ours is left; what was there is as it was."""
    user = standard
    (user.home / ".config" / "other").mkdir(parents=True)
    (user.home / ".config" / "other" / "rc").write_text("mine")
    (user.home / ".claude").mkdir()
    (user.home / ".claude" / "settings.json").write_text('{"model": "opus"}')
    before = snapshot(user.home)
    use_all_of_it(user)
    assert snapshot(user.home) != before
    done = user.run("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert snapshot(user.home) == before
    assert running_below(user.home) == []
    lines = done.stdout.splitlines()
    assert lines[0].startswith("stopped 127.0.0.1:")
    assert lines[1:] == [
        f"removed {user.home}/.local/bin/claude-multi",
        f"removed {user.home}/.local/state/llmswitch",
        f"removed {user.home}/.config/llmswitch",
        "the program itself: pip uninstall llmswitch    (or pipx, uv tool)",
    ]
    assert user.run("uninstall", "--yes").returncode == 0, "again, with nothing there"
    assert snapshot(user.home) == before


def test_what_the_user_keeps_is_kept(standard: User) -> None:
    """Asked one by one; a profile that stays is to the byte what it was."""
    user = standard
    use_all_of_it(user)
    file = user.home / ".config/llmswitch/profiles/mine.yaml"
    own = file.read_bytes()
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "llmswitch", "uninstall"],
        env=user.env,
        cwd=str(user.home),
        encoding="utf-8",
        timeout=60,
    )
    for question, answer in (
        ("go on?", "y"),
        ("remove what was used and what it cost too?", "y"),
        ("remove your profiles too?", "n"),
    ):
        terminal.expect_exact(question)
        terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert file.read_bytes() == own
    assert sorted(snapshot(user.home / ".config/llmswitch")) == ["profiles", "profiles/mine.yaml"]
    assert not (user.home / ".local").exists()


def test_nobody_to_ask(standard: User) -> None:
    """Without a terminal it takes nothing away unless told to."""
    use_all_of_it(standard)
    before = snapshot(standard.home)
    done = standard.run("uninstall")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("nobody is here to ask\n-> add --yes\n")
    assert snapshot(standard.home).keys() == before.keys()
    standard.run("down")


def test_another_installation_is_left_alone(mission: Mission, tmp_path: Path) -> None:
    """A wrapper that starts one with another LLMSWITCH_HOME stays, and so do its files."""
    shell: Shell = take_shell(mission, tmp_path / "shell")
    other = {"LLMSWITCH_HOME": str(tmp_path / "other")}
    wrapper = shell.wrapper
    before = wrapper.read_bytes()
    done = mission.user.run("uninstall", "--yes", "--dir", str(wrapper.parent), env=other)
    assert done.returncode == 0, done.stderr
    assert wrapper.read_bytes() == before
    assert mission.user.run("validate").returncode == 0


def test_a_session_that_is_open_comes_first(mission: Mission) -> None:
    """What it changes in the user's settings could not be put back any more."""
    settings = user_settings(mission.user.env)
    record = saved_default.note(settings, mission.user.state / "sessions", {"glm-4.7"}).record
    assert json.loads(record.read_text())
    done = mission.user.run("uninstall", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "a session that a wrapper started is open\n-> end it, then try again\n",
    )
    assert record.exists()
