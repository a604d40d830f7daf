"""Every `--help` as a terminal of 80 columns shows it."""

from __future__ import annotations

import re

import pytest
import typer
from typer.core import TyperGroup

from llmswitch.cli.app import app
from tests.conftest import User

ROOT = typer.main.get_command(app)
assert isinstance(ROOT, TyperGroup)
GROUPS = {name: one for name, one in ROOT.commands.items() if isinstance(one, TyperGroup)}
ALL = [
    "",
    *ROOT.commands,
    *(f"{name} {sub}" for name, one in GROUPS.items() for sub in one.commands),
]


@pytest.mark.parametrize("command", ALL)
def test_help_fits_eighty_columns_and_cuts_nothing_off(user: User, command: str) -> None:
    """No line is longer, and no description ends in dots."""
    done = user.run(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    usage, described = done.stdout.split("\n", 1)
    assert usage.startswith(f"Usage: llmswitch {command}".rstrip())
    assert not re.search(r"(?<!\])\.\.\.|…", described)


def test_the_commands_stand_in_groups(user: User) -> None:
    """Each in one of them, described in one line; more would be none."""
    text = user.run("--help").stdout
    groups = dict(re.findall(r"^(\w[\w ]*):\n((?:  .*\n)+)", text, re.MULTILINE))
    del groups["Options"]
    assert list(groups) == ["Start", "Look", "Models and keys", "Sharing"]
    names = re.findall(r"^  (\S+) +\S", "".join(groups.values()), re.MULTILINE)
    assert sorted(names) == sorted(ROOT.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ("validate one two", "two"),
        ("validate --jsn", "--jsn"),
        ("render --profile", "'--profile' requires an argument"),
        ("nonsense", "'nonsense'"),
        ("wrapper nonsense", "'nonsense'"),
        ("logs --lines 0", "'--lines'"),
        ("completion csh", "'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_usage_is_exit_code_2(user: User, arguments: str, culprit: str) -> None:
    """One sentence on stderr that names the culprit, and nothing written."""
    done = user.run(*arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    said = done.stderr.splitlines()[-1]
    assert said.startswith("Error: ")
    assert culprit in said
    assert not (user.root / "llmswitch").exists()


@pytest.mark.parametrize("arguments", ["", "wrapper"])
def test_without_a_command_the_help_is_shown(user: User, arguments: str) -> None:
    """As wrong usage."""
    done = user.run(*arguments.split())
    assert done.returncode == 2
    assert "Usage: llmswitch" in done.stdout + done.stderr
