"""`llmswitch wrapper install|uninstall|list`, and the command that it writes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmswitch.claude import wrapper
from llmswitch.errors import LlmswitchError
from llmswitch.paths import ProfileRef
from tests.clients import unavailable
from tests.conftest import User
from tests.fake_claude import Seen, install
from tests.seat import files_below

PROFILE = "models: {m: ollama/m}\n"


@pytest.fixture
def bin_folder(user: User) -> Path:
    """A folder on the user's PATH; the user has a profile."""
    user.write_profile(PROFILE)
    return user.root / "bin"


@pytest.fixture
def ref(tmp_path: Path) -> ProfileRef:
    """A profile, of which a wrapper needs the name alone."""
    return ProfileRef("work", tmp_path / "work.yaml", "work")


def start(
    file: Path, *arguments: str, env: Mapping[str, str], cwd: Path, shell: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a wrapper with an environment of nothing but `env`."""
    command = [str(file), *arguments]
    if shell:
        command = [shell, "-c", 'exec "$0" "$@"', *command]
    return subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def test_install_update_uninstall(user: User, bin_folder: Path) -> None:
    """Installed, then up to date, updated when something changed, listed, removed, gone: each says
    what it did, in words and as data, and all succeed.
    """
    file = bin_folder / "claude-multi"
    at = ("--dir", str(bin_folder))
    starts = "; it starts the profile work"

    def run(*arguments: str) -> str:
        done = user.run("wrapper", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert run("list", *at) == "no wrapper is installed\n"
    assert run("install", *at) == f"installed {file}{starts}\nrun it: claude-multi\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    first = file.read_text()
    assert run("install", *at) == f"{file} is up to date{starts}\nrun it: claude-multi\n"
    assert file.read_text() == first
    installed = {"file": str(file), "did": "nothing", "on_path": True}
    assert user.json("wrapper", "install", *at) == installed

    file.write_text(first + "# an older one\n")
    assert run("install", *at) == f"updated {file}{starts}\nrun it: claude-multi\n"
    assert file.read_text() == first
    user.write_profile(PROFILE, "other")
    assert user.json("wrapper", "install", *at, "--profile", "other")["did"] == "updated"
    assert file.read_text() != first

    named = bin_folder / "claude-x"
    done = run("install", *at, "--name", "claude-x")
    assert done == f"installed {named}; it starts the profile other\nrun it: claude-x\n"
    assert run("list", "--dir", str(user.home)) == (
        f"NAME          PROFILE  PATH\nclaude-multi  other    {file}\n"
        f"claude-x      other    {named}\n"
    ), "they are on PATH"
    listed = {
        "wrappers": [str(file), str(named)],
        "direct": {},
        "profiles": {str(file): "other", str(named): "other"},
    }
    assert user.json("wrapper", "list", *at) == listed
    assert run("uninstall", *at) == f"removed {file}\n"
    assert run("uninstall", *at) == f"there is no claude-multi in {bin_folder}\n"
    named_so = (*at, "--name", "claude-x")
    assert user.json("wrapper", "uninstall", *named_so) == {"removed": str(named)}
    assert user.json("wrapper", "uninstall", *named_so) == {"removed": None}
    assert list(bin_folder.iterdir()) == []


@pytest.mark.parametrize("what", [[], ["--direct", "zai"]], ids=["gateway", "direct"])
def test_a_wrapper_whose_module_has_moved(user: User, bin_folder: Path, what: list[str]) -> None:
    """The doctor names the command that renews it, and the command does."""
    at = ["wrapper", "install", *what, "--dir", str(bin_folder)]
    file = Path(user.json(*at)["file"])
    first = file.read_text()
    file.write_text(first.replace(" -m llmswitch.claude.", " -m llmswitch."))
    checks = json.loads(user.run("doctor", "--json").stdout)["checks"]
    row = next(one for one in checks if one["name"] == "wrapper")
    assert row["message"] == f"{file} is not as this llmswitch writes it"
    assert row["hint"].split()[:3] == ["llmswitch", *at[:2]]
    assert user.run(*at).stdout.startswith(f"updated {file}")
    assert file.read_text() == first


def test_a_folder_that_is_not_on_path(user: User) -> None:
    """The folder is made, with its parents, and it is said that PATH does not have it; nothing
    else below the home is touched. A profile that there is not has no wrapper.
    """
    user.write_profile(PROFILE)
    (user.home / ".profile").write_text("mine\n")
    done = user.run("wrapper", "install", "--profile", "nosuch")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("there is no profile named 'nosuch'; there are: ")
    assert list(files_below(user.home)) == [".profile"]
    done = user.run("wrapper", "install")
    assert done.stdout == (
        "installed ~/.local/bin/claude-multi; it starts the profile work\n"
        "~/.local/bin is not on PATH; until it is, run ~/.local/bin/claude-multi\n"
    )
    assert list(files_below(user.home)) == [".local/bin/claude-multi", ".profile"]


def test_path_is_compared_as_folders(tmp_path: Path, ref: ProfileRef) -> None:
    """A folder is on PATH however PATH writes it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    for path in (f"{folder}/", f"/usr/bin:{tmp_path}/link", f"{tmp_path}/../{tmp_path.name}/bin"):
        assert wrapper.install(ref, "claude-multi", folder, {"PATH": path}).on_path
    assert not wrapper.install(ref, "claude-multi", folder, {"PATH": f"{folder}x"}).on_path
    assert not wrapper.install(ref, "claude-multi", folder, {}).on_path


@pytest.mark.parametrize(
    "kind", ["script", "empty", "binary", "folder", "link", "broken link", "link to ours"]
)
def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, ref: ProfileRef, kind: str) -> None:
    """It is neither overwritten nor removed, whatever it is, and the cure is said."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file, target = folder / "claude-multi", tmp_path / "target"
    if kind == "script":
        file.write_text("#!/bin/sh\necho mine\n")
    elif kind == "empty":
        file.touch()
    elif kind == "binary":
        file.write_bytes(b"\x7fELF\x00\xff" + bytes(range(256)) * 4)
    elif kind == "folder":
        file.mkdir()
        (file / "inside").write_text("mine")
    elif kind == "link to ours":
        file.symlink_to(wrapper.install(ref, "claude-multi", target, {}).file)
    else:
        if kind == "link":
            target.write_text("mine")
        file.symlink_to(target)
    before = files_below(tmp_path)
    for act in (
        lambda: wrapper.install(ref, "claude-multi", folder, {}),
        lambda: wrapper.uninstall("claude-multi", folder),
    ):
        with pytest.raises(LlmswitchError) as caught:
            act()
        assert caught.value.message == f"{file} was not written by llmswitch, so it is left alone"
        assert caught.value.hint == "choose another --name or --dir, or move that file away"
    assert files_below(tmp_path) == before
    found = wrapper.list_installed(folder, {})
    assert found == ([file] if kind == "link to ours" else [])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a b", "a;b", "ä", "a\nb"])
def test_names_that_are_no_commands(tmp_path: Path, ref: ProfileRef, name: str) -> None:
    """A name with other characters than those of a command is refused, and nothing is written."""
    for act in (
        lambda: wrapper.install(ref, name, tmp_path, {}),
        lambda: wrapper.uninstall(name, tmp_path),
    ):
        with pytest.raises(LlmswitchError) as caught:
            act()
        assert caught.value.message == f"{name!r} is not a valid command name"
        assert caught.value.hint == "use letters, digits and . _ -, such as claude-multi"
    assert list(tmp_path.iterdir()) == []


def test_list_goes_on_past_what_it_cannot_read(
    tmp_path: Path, ref: ProfileRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH may hold what is missing, a file, or relative: the wrappers are found all the same."""
    folder = tmp_path / "bin"
    file = wrapper.install(ref, "claude-multi", folder, {}).file
    (tmp_path / "file").touch()
    os.mkfifo(folder / "claude-pipe")
    monkeypatch.chdir(folder)
    path = f"/nowhere:{tmp_path / 'file'}:../bin::/usr/bin"
    found = wrapper.list_installed(tmp_path / "nowhere", {"PATH": path})
    assert [each.resolve() for each in found] == [file]


# ------------------------------------------------------------------ the command that it writes


@pytest.mark.parametrize("shell", [None, "bash", "dash"])
def test_it_works_from_any_shell_with_an_empty_environment(
    user: User, bin_folder: Path, tmp_path: Path, shell: str | None
) -> None:
    """What moves llmswitch's files and names the client is written into the wrapper: it needs
    nothing of the shell that it is started from, nor the folder. PYTHONPATH and modules in the
    current folder are the client's and not ours: they are passed on and not imported.
    """
    if shell and not shutil.which(shell):
        unavailable(f"{shell} is not installed here")
    claude = tmp_path / "it's a folder" / "claude"
    install(claude)
    env = {"LLMSWITCH_CLAUDE": str(claude), "XDG_STATE_HOME": str(tmp_path / "x y")}
    done = user.run("wrapper", "install", "--dir", str(bin_folder), env=env)
    assert done.returncode == 0, done.stderr
    for trap in (tmp_path / "json.py", tmp_path / "llmswitch.py"):
        trap.write_text("raise SystemExit('imported')\n")
    own = {
        "FAKE_SEEN": str(tmp_path / "seen"),
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "/nowhere",
        "python": "mine",  # what the wrapper needs for itself has a name that nobody else has
    }
    file = bin_folder / "claude-multi"
    found = shell and shutil.which(shell)
    done = start(file, "mcp", "two words", env=own, cwd=tmp_path, shell=found)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    given = Seen(tmp_path / "seen")
    assert given.argv == [str(claude).encode(), b"mcp", b"two words"]
    assert given.cwd == str(tmp_path)
    assert (
        given.env.items() >= {**own, "LLMSWITCH_HOME": str(user.root / "llmswitch"), **env}.items()
    )


def test_a_home_with_spaces_and_quotes(tmp_path: Path) -> None:
    """Every path may hold what a shell would take apart."""
    user = User(tmp_path / 'a "home" of $ann\'s; `x`')
    user.home.mkdir(parents=True)
    user.write_profile(PROFILE)
    folder = user.root / "my bin"
    done = user.run("wrapper", "install", "--dir", str(folder))
    assert done.returncode == 0, done.stderr
    claude = tmp_path / "claude"
    install(claude)
    seen = tmp_path / "seen"
    env = {"FAKE_SEEN": str(seen), "LLMSWITCH_CLAUDE": str(claude)}
    done = start(folder / "claude-multi", "doctor", env=env, cwd=user.home)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 0)
    assert Seen(seen).env["LLMSWITCH_HOME"] == str(user.root / "llmswitch")


def test_a_profile_that_is_a_file(user: User, bin_folder: Path) -> None:
    """A wrapper of a profile given by its file names that file, wherever it is started."""
    profile = user.home / "my profile.yaml"
    profile.write_text("models: {m: nosuch/m}\n")
    done = user.run("wrapper", "install", "--profile", "my profile.yaml", "--dir", str(bin_folder))
    assert done.returncode == 0, done.stderr
    claude = user.root / "claude"
    install(claude)
    env = {**user.env, "LLMSWITCH_CLAUDE": str(claude), "FAKE_SEEN": str(user.root / "seen")}
    done = start(bin_folder / "claude-multi", "-p", "x", env=env, cwd=Path("/"))
    assert done.returncode == 1
    assert "my profile.yaml:1: models.m" in done.stderr, "it is read, and its mistake told"
    assert not (user.root / "seen").exists()


@pytest.mark.parametrize("name", ["claude-multi", "claude-x"])
def test_what_the_wrapper_says(tmp_path: Path, ref: ProfileRef, name: str) -> None:
    """In its first lines what it is and how to remove it. Where the interpreter that llmswitch was
    installed with is no more, that and how to get it back; it runs no other.
    """
    file = wrapper.install(ref, name, tmp_path, {}).file
    text = file.read_text()
    named = "" if name == "claude-multi" else f" --name {name}"
    assert text.splitlines()[0] == "#!/bin/sh"
    assert text.splitlines()[1].startswith("# Generated by llmswitch ")
    assert text.splitlines()[1].endswith(": Claude Code with every model of the profile work.")
    assert text.splitlines()[2] == f"# Remove it with: llmswitch wrapper uninstall{named}"
    file.write_text(text.replace(sys.executable, "/gone/bin/python"))
    done = start(file, "--version", env={}, cwd=Path("/"))
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        f"{file}: llmswitch is no longer installed at /gone/bin/python\n"
        "-> install llmswitch again, then: llmswitch wrapper install\n"
    )


HOSTILE = 'it\'s $HOME `id` "$(touch pwned)"\n;touch pwned #\\ %s é'


def test_nothing_that_it_carries_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter, the profile's file, what is exported and the arguments may hold what a shell
    would run: each reaches its place as one word.
    """
    python = tmp_path / HOSTILE.replace("/", "-")
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "json.dump([sys.argv[1:], dict(os.environ)], sys.stdout)\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    profile = tmp_path / HOSTILE / "p.yaml"
    ref = ProfileRef("work", profile, "by its file")
    exports = {"LLMSWITCH_HOME": f"/home/{HOSTILE}", "XDG_STATE_HOME": "/plain"}
    file = wrapper.install(ref, "claude-multi", tmp_path, exports).file
    arguments = ["-p", "two words", "", HOSTILE, "*", "--", "$1"]
    done = start(file, *arguments, env={"KEPT": "1", "PATH": "/usr/bin:/bin"}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    argv, environ = json.loads(done.stdout)
    assert argv == ["-E", "-P", "-m", "llmswitch.claude.session", ref.argument, *arguments]
    assert environ.items() >= {**exports, "KEPT": "1"}.items()
    assert not list(tmp_path.rglob("pwned"))
