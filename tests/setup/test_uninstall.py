"""`uninstall`: the home folder is as it was before the first command."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pexpect
import pytest

from llmswitch.claude import saved_default
from llmswitch.claude.settings_files import user_settings
from tests.command import InsideUser
from tests.conftest import User, free_port
from tests.gateways import running_below

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
def standard(user: InsideUser) -> InsideUser:
    """Someone with the standard folders."""
    user.keys = {**user.keys, "LLMSWITCH_HOME": "", "PATH": f"{user.home}/.local/bin:/usr/bin:/bin"}
    return user


def use_all_of_it(user: User) -> None:
    """Every command that writes a file, but what starts a gateway."""
    profile = f"models: {{a: demo/parrot, b: zai/glm-4.7}}\ngateway: {{port: {free_port()}}}\n"
    (user.root / "mine.yaml").write_text(profile)
    for arguments in (
        ("init", "--yes", "--no-start", "--from", str(user.root / "mine.yaml")),
        ("wrapper", "install"),
        ("client", "add", "ci"),
        ("usage",),
    ):
        done = user.run(*arguments)
        assert done.returncode == 0, done.stderr


def test_after_it_the_home_is_as_before(standard: InsideUser) -> None:
    """No file, no folder, no process of ours is left; what was there is as it was."""
    user = standard
    (user.home / ".config" / "other").mkdir(parents=True)
    (user.home / ".config" / "other" / "rc").write_text("mine")
    (user.home / ".claude").mkdir()
    (user.home / ".claude" / "settings.json").write_text('{"model": "opus"}')
    before = snapshot(user.home)
    use_all_of_it(user)
    assert User.run(user, "up").returncode == 0
    assert snapshot(user.home) != before
    done = user.run("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert snapshot(user.home) == before
    assert running_below(user.home) == []
    lines = done.stdout.splitlines()
    assert lines[0].startswith("stopped 127.0.0.1:")
    assert lines[1:] == [
        "removed ~/.local/bin/claude-multi",
        "removed ~/.local/state/llmswitch",
        "removed ~/.config/llmswitch",
        "the program itself: pip uninstall llmswitch    (or pipx, uv tool)",
    ]
    assert user.run("uninstall", "--yes").returncode == 0, "again, with nothing there"
    assert snapshot(user.home) == before


def test_what_the_user_keeps_is_kept(standard: InsideUser) -> None:
    """Asked one by one; a profile that stays is to the byte what it was."""
    user = standard
    use_all_of_it(user)
    state = user.home / ".local/state/llmswitch"
    (state / "ledger").mkdir(parents=True, exist_ok=True)
    (state / "ledger" / "mine.db").touch()
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
        ("continue?", "y"),
        ("remove the record of usage and cost too?", "y"),
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


def refused(user: User, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """An `uninstall` that must change nothing."""
    before = snapshot(user.root)
    done = user.run("uninstall", *([] if env is None else ["--yes"]), env=env)
    assert snapshot(user.root).keys() == before.keys()
    return done


def test_without_a_terminal_it_removes_nothing_unless_told_to(standard: InsideUser) -> None:
    """It names the option."""
    use_all_of_it(standard)
    done = refused(standard)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "this stops every gateway and removes the wrappers and all generated files; stdin is not "
        "a terminal\n-> pass --yes\n"
    )


def test_another_installation_is_left_alone(user: InsideUser) -> None:
    """A wrapper that starts one with another LLMSWITCH_HOME stays, and so do its files."""
    user.write_profile("models: {a: demo/parrot}\n")
    folder = user.root / "bin"
    assert user.run("wrapper", "install", "--dir", str(folder)).returncode == 0
    before = snapshot(user.root)
    other = {"LLMSWITCH_HOME": str(user.root / "other")}
    done = user.run("uninstall", "--yes", "--dir", str(folder), env=other)
    assert done.returncode == 0, done.stderr
    assert snapshot(user.root) == before


def test_an_open_session_comes_first(user: InsideUser) -> None:
    """What it changes in the user's settings could not be restored any more."""
    settings = user_settings(user.env)
    record = saved_default.note(settings, user.state / "sessions", {"glm-4.7"}).record
    assert json.loads(record.read_text())
    done = refused(user, {})
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "a session of a wrapper is open\n-> end it, then try again\n",
    )
