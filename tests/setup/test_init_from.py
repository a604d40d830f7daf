"""`init --from`: a ready-made profile or a file becomes the user's own; nothing is overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.test_validate_and_render import tree
from tests.conftest import CHECKOUT, User

NEXT = """
next:  llmswitch validate         what the profile needs
       llmswitch wrapper install  writes claude-multi
       claude-multi               Claude Code, with every model in /model
"""


def profile(user: User, name: str) -> Path:
    """The file of a profile of the user's."""
    return user.root / "llmswitch" / "profiles" / f"{name}.yaml"


def test_it_writes_a_first_profile_and_the_second_time_leaves_it(user: User) -> None:
    """What the user changes is never overwritten; as JSON the same."""
    file = profile(user, "claude-glm")
    after = f"claude-glm is now the default profile\n{NEXT}"
    done = user.run("init", "--from", "claude-glm", "--no-start")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {file}\n{after}"
    assert file.read_bytes() == (CHECKOUT / "profiles" / "claude-glm.yaml").read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("models: {mine: zai/glm-4.7}\n")
    before = tree(file.parent)
    done = user.run("init", "--from", "claude-glm", "--no-start")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file} exists and was not changed\n{after}"
    assert tree(file.parent) == before
    data = {"name": "demo", "file": str(profile(user, "demo")), "added": []}
    for was_there in (False, True):
        assert user.json("init", "--from", "demo", "--no-start") == data | {"was_there": was_there}


def test_it_says_which_profile_claude_multi_starts(user: User) -> None:
    """And the command that changes it, which works; nothing is changed by `--no-start`."""
    user.write_profile("models: {a: zai/glm-4.7}\n")
    assert user.run("wrapper", "install").returncode == 0
    wrapper = (user.home / ".local/bin/claude-multi").read_bytes()
    done = user.run("init", "--from", "demo", "--no-start")
    change = "llmswitch wrapper install"
    assert f"\n       {change}  claude-multi starts work now\n" in done.stdout
    assert (user.home / ".local/bin/claude-multi").read_bytes() == wrapper
    assert user.run(*change.split()[1:]).returncode == 0
    done = user.run("init", "--from", "demo", "--no-start")
    assert "wrapper install" not in done.stdout


def test_a_file_of_the_users_own_is_copied(user: User) -> None:
    """Under its name; the original is not touched, and a copy that is there is left."""
    source = user.home / "team.yaml"
    source.write_text("# ours\nmodels: {a: zai/glm-4.7}\n")
    assert user.json("init", "--from", "./team.yaml", "--yes", "--no-start")["name"] == "team"
    copy = profile(user, "team")
    assert copy.read_text() == source.read_text() == "# ours\nmodels: {a: zai/glm-4.7}\n"
    assert user.json("init", "--from", str(copy), "--no-start")["was_there"] is True
    assert copy.read_text() == source.read_text()


NONE = """\
there is no profile {!r} to start from
-> llmswitch init --from NAME, with one of: claude-glm, claude-max, demo, local, openrouter; \
or --from FILE.yaml
"""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", NONE.format("")),
        ("nope", NONE.format("nope")),
        ("../claude-glm", NONE.format("../claude-glm")),
        (
            "bad.yaml",
            """\
bad.yaml:1: models.a.model has an unknown provider 'zia'; did you mean `zai`?
-> edit bad.yaml, then: llmswitch validate bad.yaml
""",
        ),
        (
            "a b.yaml",
            """\
'a b.yaml' cannot be the name of a profile
-> rename the file: letters, digits and . _ -
""",
        ),
    ],
)
def test_what_cannot_be_a_profile_is_refused_and_nothing_is_written(
    user: User, source: str, said: str
) -> None:
    """What is not there, what has mistakes, and what `--profile` could not name."""
    (user.home / "bad.yaml").write_text("models: {a: zia/glm-4.7}\n")
    (user.home / "a b.yaml").write_text("models: {a: zai/x}\n")
    before = tree(user.root)
    done = user.run("init", "--from", source)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert tree(user.root) == before


def test_a_broken_link_is_not_replaced(user: User) -> None:
    """Someone keeps their profiles in a repository that is not mounted. What cannot be read does
    not become the default either.
    """
    profile(user, "x").parent.mkdir(parents=True)
    for name, command in (("claude-glm", ["--from", "claude-glm"]), ("main", ["--yes"])):
        link = profile(user, name)
        link.symlink_to(user.root / "dotfiles" / f"{name}.yaml")
        before = tree(link.parent)
        done = user.run("init", "--no-start", *command)
        assert (done.returncode, done.stdout) == (1, "")
        said = f"{link} cannot be read: No such file or directory\n-> check the path\n"
        assert done.stderr == said
        assert tree(link.parent) == before
        assert not (user.root / "llmswitch/default-profile").exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("folder", " cannot be read: Is a directory"),
        ("mistake", ":1: models.a.model has an unknown provider"),
    ],
)
def test_what_cannot_be_read_does_not_become_the_default(kind: str, said: str, user: User) -> None:
    """A folder of that name, or a profile with mistakes."""
    user.write_profile("models: {a: zai/glm-4.7}\n")
    file = profile(user, "demo")
    if kind == "folder":
        file.mkdir()
    else:
        file.write_text("models: {a: zia/x}\n")
    done = user.run("init", "--from", "demo", "--no-start")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"llmswitch/profiles/demo.yaml{said}" in done.stderr
    assert user.json("validate")["profile"] == "work"
