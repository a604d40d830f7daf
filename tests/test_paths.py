"""Where files are, which profile is meant, and how a file is written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmswitch import paths
from llmswitch.errors import LlmswitchError
from llmswitch.paths import (
    Home,
    ProfileRef,
    find_home,
    find_profile,
    locked,
    make_private_folder,
    profile_names,
    write_private,
)

READY_MADE = ["claude-glm", "claude-max", "demo", "local", "openrouter"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one profile, `work`."""
    found = Home(tmp_path / "config", tmp_path / "state")
    found.profiles.mkdir(parents=True)
    (found.profiles / "work.yaml").write_text("models: {a: zai/x}\n")
    return found


# ------------------------------------------------------------------ folders


def test_llmswitch_home_moves_everything_below_one_folder() -> None:
    """Configuration and state alike, and `~` is understood."""
    home = find_home({"LLMSWITCH_HOME": "/x/y", "XDG_CONFIG_HOME": "/no"})
    assert home == Home(Path("/x/y"), Path("/x/y/state"))
    assert find_home({"LLMSWITCH_HOME": "~/y"}).config == Path.home() / "y"
    assert find_home({"LLMSWITCH_HOME": "y"}).config == Path.cwd() / "y"


def test_without_it_the_xdg_folders_are_used() -> None:
    """Their defaults below HOME; empty variables count as unset."""
    assert find_home({"HOME": "/h", "XDG_CONFIG_HOME": "", "LLMSWITCH_HOME": ""}) == Home(
        Path("/h/.config/llmswitch"), Path("/h/.local/state/llmswitch")
    )
    assert find_home({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}) == Home(
        Path("/c/llmswitch"), Path("/s/llmswitch")
    )


def test_shipped_folders_are_found_in_the_package_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel carries templates/ and profiles/ inside the package, a checkout beside it."""
    package = tmp_path / "llmswitch"
    (tmp_path / "profiles").mkdir()
    package.mkdir()
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert paths.data_folder("profiles") == tmp_path / "profiles"
    (package / "profiles").mkdir()
    assert paths.data_folder("profiles") == package / "profiles"


# ------------------------------------------------------------------ which profile


def test_a_profile_is_chosen_by_option_then_variable_then_default(home: Home) -> None:
    """The nearest wish wins."""
    home.default_profile.write_text("work\n")
    assert find_profile(home, None, {}).name == "work"
    assert find_profile(home, None, {"LLMSWITCH_PROFILE": "demo"}).name == "demo"
    assert find_profile(home, "local", {"LLMSWITCH_PROFILE": "demo"}).name == "local"


def test_without_any_the_cure_is_init(home: Home) -> None:
    """Nothing is guessed; an empty or damaged note of the default is none."""
    for content in (None, b"", b" \n"):
        if content is not None:
            home.default_profile.write_bytes(content)
        with pytest.raises(LlmswitchError) as caught:
            find_profile(home, None, {})
        assert caught.value.message == "no profile is chosen and no default is set"
        assert caught.value.hint == (
            "llmswitch init --from claude-glm    (or name one: --profile NAME or FILE)"
        )


def test_a_damaged_default_is_an_error_with_a_sentence(home: Home) -> None:
    """Bytes that are no text end in no traceback."""
    home.default_profile.write_bytes(b"\xff\xfe\n")
    with pytest.raises(
        LlmswitchError, match=r"^there is no profile named '\ufffd\ufffd'; there are: "
    ):
        find_profile(home, None, {})


def test_a_name_is_first_the_users_own_then_a_ready_made_one(home: Home) -> None:
    """A user's profile may have the name of one that ships."""
    shipped = find_profile(home, "demo", {})
    assert shipped == ProfileRef("demo", paths.data_folder("profiles") / "demo.yaml", "demo")
    own = home.profiles / "demo.yaml"
    own.write_text("models: {a: zai/x}\n")
    assert find_profile(home, "demo", {}) == ProfileRef("demo", own, "demo")


@pytest.mark.parametrize("name", ["wrok", "profile.json", "..", "a b", "x" * 65, "-x"])
def test_an_unknown_name_is_answered_with_those_there_are(home: Home, name: str) -> None:
    """And with the two ways to get one."""
    with pytest.raises(LlmswitchError) as caught:
        find_profile(home, name, {})
    assert caught.value.message == (
        f"there is no profile named {name!r}; there are: "
        "claude-glm, claude-max, demo, local, openrouter, work"
    )
    assert caught.value.hint == (
        f"llmswitch init --from claude-glm, or write {home.profiles / 'NAME.yaml'}"
    )


def test_the_ready_made_profiles_and_the_users_own_are_listed_once(home: Home) -> None:
    """Sorted, a name that both have only once."""
    (home.profiles / "demo.yaml").write_text("")
    assert profile_names(home) == sorted([*READY_MADE, "work"])


@pytest.mark.parametrize("value", ["no/such", "./x.yaml", "x.yml"])
def test_a_file_that_is_not_there_is_named_as_written(
    home: Home, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value with a `/`, or that ends in .yaml or .yml, is a file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LlmswitchError) as caught:
        find_profile(home, value, {})
    assert caught.value.message == f"there is no profile file {value}"
    assert caught.value.hint == "check the path"


def test_a_folder_is_no_profile(home: Home) -> None:
    """Nor is a device; only a file is read."""
    for value in (f"{home.profiles}/", "/dev/null"):
        with pytest.raises(LlmswitchError, match=f"^there is no profile file {value}$"):
            find_profile(home, value, {})


def test_a_file_elsewhere_has_state_of_its_own(home: Home, tmp_path: Path) -> None:
    """Two files of one name never share a gateway; the same file always has the same one."""
    files = [tmp_path / "one" / "work.yaml", tmp_path / "two" / "work.yaml"]
    for file in files:
        file.parent.mkdir()
        file.write_text("models: {a: zai/x}\n")
    link = tmp_path / "work.yaml"
    link.symlink_to(files[0])
    one, two, linked = (find_profile(home, str(file), {}) for file in [*files, link])
    assert [one.name, two.name, linked.name] == ["work"] * 3
    assert one.id.startswith("work@")
    assert len({one.id, two.id, "work"}) == 3
    assert linked.id == one.id
    assert home.run(one) == home.state / "run" / one.id


def test_the_users_profile_is_the_same_by_name_and_by_any_path(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One profile has one gateway, however it is written."""
    monkeypatch.chdir(home.profiles)
    ways = ["work", str(home.profiles / "work.yaml"), "./work.yaml", "../profiles/work.yaml"]
    assert {find_profile(home, way, {}).id for way in ways} == {"work"}


def test_a_file_among_the_profiles_that_no_name_finds_is_known_by_its_path(home: Home) -> None:
    """`work.yml` beside `work.yaml` is another profile, and `...yaml` does not climb out."""
    for name in ("work.yml", "...yaml", "a b.yaml"):
        file = home.profiles / name
        file.write_text("models: {a: zai/x}\n")
        ref = find_profile(home, str(file), {})
        assert "@" in ref.id
        assert home.run(ref).parent == home.state / "run"
        assert home.run(ref).resolve().parent == (home.state / "run").resolve()


def test_a_hostile_file_name_gives_a_harmless_profile_name(home: Home, tmp_path: Path) -> None:
    """The name stands in generated files and in the names of folders."""
    file = tmp_path / "a\nb; $(touch x) 'q' \"é.yaml"
    file.write_text("models: {a: zai/x}\n")
    ref = find_profile(home, str(file), {})
    assert ref.file == file
    assert ref.name == "a_b____touch_x___q____"
    assert ref.id.startswith(f"{ref.name}@")


def test_a_path_that_is_not_utf8_is_refused(home: Home, tmp_path: Path) -> None:
    """It could not be written into the state, nor shown."""
    file = tmp_path / os.fsdecode(b"a\xff.yaml")
    file.write_text("models: {a: zai/x}\n")
    with pytest.raises(LlmswitchError) as caught:
        find_profile(home, str(file), {})
    assert caught.value.message == f"the path {file} is not UTF-8 text"
    assert caught.value.hint == "rename the file"


# ------------------------------------------------------------------ writing


def test_a_file_is_private_and_so_are_the_folders_that_had_to_be_made(tmp_path: Path) -> None:
    """0600 and 0700 whatever the umask; a folder that was there is left as it was."""
    before = os.umask(0)
    try:
        tmp_path.chmod(0o755)
        file = tmp_path / "a" / "b" / "c.txt"
        write_private(file, "x")
        os.umask(0o077)
        write_private(tmp_path / "a" / "program", b"y", 0o755)
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path, file.parent.parent, file.parent, file)
    ]
    assert modes == [0o755, 0o700, 0o700, 0o600]
    assert stat.S_IMODE((tmp_path / "a" / "program").stat().st_mode) == 0o755
    make_private_folder(file.parent)  # there already: nothing to do


def test_a_file_that_was_open_to_others_becomes_private(tmp_path: Path) -> None:
    """Replaced as a whole, with the new mode."""
    file = tmp_path / "x"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not cost what was there."""
    file = tmp_path / "x"
    file.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(file, "new")
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_link_is_replaced_and_what_it_points_to_is_not_written(tmp_path: Path) -> None:
    """Nobody can make us write elsewhere by putting a link in the way."""
    target, file = tmp_path / "target", tmp_path / "x"
    target.write_text("theirs")
    file.symlink_to(target)
    (tmp_path / f".x.{os.getpid()}.tmp").symlink_to(target)
    write_private(file, "ours")
    assert (file.read_text(), file.is_symlink()) == ("ours", False)
    assert target.read_text() == "theirs"
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["target", "x"]


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    """The second waits until the first is done; the lock's file is private."""
    file = tmp_path / "s" / "lock"
    program = (
        "import sys\nfrom pathlib import Path\nfrom llmswitch.paths import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('inside', flush=True)\n"
    )
    with locked(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        second = subprocess.Popen(
            [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.6)
    out, _ = second.communicate(timeout=20)
    assert (out, second.returncode) == ("inside\n", 0)
