"""The user's saved default: a pick is kept for the next `claude-multi`, the user's own value is put
back, and nothing else of settings.json changes.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from llmswitch.claude import saved_default
from llmswitch.claude.saved_default import After, Before
from llmswitch.claude.settings_files import user_settings
from tests.conftest import CHECKOUT

NAMES = {"opus", "sonnet", "glm-4.7"}
ODD = '{\t"zeta" : 1,\n  "model": "mine",   "ü": "\\u00e9", "n": 1.0 }\n\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the user's settings are; there is no file yet."""
    (tmp_path / ".claude").mkdir()
    return tmp_path / ".claude" / "settings.json"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Where sessions write down what they found."""
    return tmp_path / "state" / "sessions"


def client_saves(file: Path, changes: Mapping[str, object]) -> None:
    """Write settings as the client does (measured with 2.1.197 and 2.1.330): a new file in its own
    layout, also when nothing is changed; a change to None takes the key away.
    """
    text = file.read_text() if file.exists() else ""
    data = {**(json.loads(text) if text.strip() else {}), **changes}
    data = {key: value for key, value in data.items() if value is not None}
    new = file.with_name("new")
    # JavaScript has one kind of number: 1.0 is written as 1.
    whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in data.items()}
    new.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    new.rename(file.resolve())


def begin(file: Path, records: Path) -> Before:
    """What `claude-multi` does before the client starts."""
    return saved_default.note(file, records, NAMES)


# ------------------------------------------------------------------ one session


@pytest.mark.parametrize("content", [None, "{}\n", '{\n  "a": 1\n}\n', ODD, '{"model":"opus"}'])
@pytest.mark.parametrize("picked", ["glm-4.7", "opus", None])
def test_the_file_is_as_before(
    file: Path, records: Path, content: str | None, picked: str | None
) -> None:
    """After any pick the file is the one of before, byte for byte (or there is none); the pick is
    told, also of Default ("") and of what was saved already.
    """
    if content is not None:
        file.write_text(content)
    before = begin(file, records)
    client_saves(file, {"model": picked})
    assert saved_default.put_back(before) == After(picked or "", None)
    assert (file.read_text() if file.exists() else None) == content
    assert list(records.glob("*.json")) == []


@pytest.mark.parametrize("content", [None, ODD])
def test_a_session_without_a_pick(file: Path, records: Path, content: str | None) -> None:
    """Nothing is written where nothing was picked."""
    if content is not None:
        file.write_text(content)
    stamp = file.stat() if content else None
    assert saved_default.put_back(begin(file, records)) == After(None, None)
    assert (file.stat() if file.exists() else None) == stamp


@pytest.mark.parametrize("own", ["mine", None])
def test_other_keys_that_changed_are_kept(file: Path, records: Path, own: str | None) -> None:
    """What the user changed in the session beside the model stays, and only the model goes back."""
    client_saves(file, {"theme": "dark", "model": own, "verbose": False})
    before = begin(file, records)
    client_saves(file, {"model": "sonnet", "verbose": True, "env": {"A": "ü"}})
    assert saved_default.put_back(before) == After("sonnet", None)
    after = json.loads(file.read_text())
    assert after == {"theme": "dark", "verbose": True, "env": {"A": "ü"}} | (
        {"model": own} if own else {}
    )
    assert file.read_text() == json.dumps(after, indent=2, ensure_ascii=False) + "\n"
    assert list(after)[:2] == (["theme", "model"] if own else ["theme", "verbose"])


def test_a_default_of_the_users_own_that_is_set_meanwhile_stays(file: Path, records: Path) -> None:
    """A default that no pick of this menu can be was set from elsewhere: it is left."""
    client_saves(file, {"model": "mine"})
    before = begin(file, records)
    client_saves(file, {"model": "claude-new"})
    assert saved_default.put_back(before) == After(None, None)
    assert json.loads(file.read_text()) == {"model": "claude-new"}


def test_a_file_that_is_taken_away_meanwhile_stays_away(file: Path, records: Path) -> None:
    """A settings file that the user deletes during the session is not made anew."""
    client_saves(file, {"model": "mine"})
    before = begin(file, records)
    file.unlink()
    assert saved_default.put_back(before) == After(None, None)
    assert not file.exists()


def test_a_link_stays_a_link_and_the_mode_stays(file: Path, records: Path, tmp_path: Path) -> None:
    """A settings.json that is a link into somebody's dotfiles stays one, with its mode."""
    dotfile = tmp_path / "dotfiles" / "claude.json"
    dotfile.parent.mkdir()
    dotfile.write_text(ODD)
    file.symlink_to(dotfile)
    before = begin(file, records)
    client_saves(file, {"model": "opus"})
    dotfile.chmod(0o640)
    assert saved_default.put_back(before) == After("opus", None)
    assert file.is_symlink()
    assert dotfile.read_text() == ODD
    assert stat.S_IMODE(dotfile.stat().st_mode) == 0o640


def test_the_record_is_private(file: Path, records: Path) -> None:
    """What is written down for the time of a session can be read by the user only, for settings
    may hold a token; it is gone after the session.
    """
    file.write_text('{"env": {"ANTHROPIC_AUTH_TOKEN": "sk-users"}}')
    before = begin(file, records)
    assert stat.S_IMODE(before.record.stat().st_mode) == 0o600
    assert stat.S_IMODE(records.stat().st_mode) == 0o700
    saved_default.put_back(before)
    assert not before.record.exists()


# ------------------------------------------------------------------ what cannot be put back


def test_a_layout_that_is_not_the_clients(file: Path, records: Path) -> None:
    """Where other keys changed too, and the file is laid out by hand, it is left, and said so."""
    file.write_text(ODD)
    before = begin(file, records)
    by_hand = '{"model":"opus",\t"zeta": 2}'
    file.write_text(by_hand)
    assert saved_default.put_back(before) == After(
        "opus",
        f"\"model\" in {file} is now 'opus', which plain `claude` does not know. The file "
        "was laid out by hand and was left unchanged; set it back with /model",
    )
    assert file.read_text() == by_hand


@pytest.mark.parametrize("broken", [b"{ not JSON", b"[1]", b'{"a": "\xff"}'])
def test_broken_settings_are_left_alone(file: Path, records: Path, broken: bytes) -> None:
    """A file that is no JSON object is never written: it is told where something changed in it,
    before the session or in it.
    """
    file.write_bytes(broken)
    assert saved_default.put_back(begin(file, records)) == After(None, None)
    assert file.read_bytes() == broken

    told = After(None, f"{file} is or was not valid JSON and was left unchanged")
    before = begin(file, records)
    file.write_text('{"model": "opus"}')
    assert saved_default.put_back(before) == told
    assert file.read_text() == '{"model": "opus"}'

    before = begin(file, records)
    file.write_bytes(broken)
    assert saved_default.put_back(before) == told
    assert file.read_bytes() == broken


def test_unreadable_settings_are_left_alone(file: Path, records: Path) -> None:
    """A settings.json that cannot be read (a folder here) does not keep the session from starting,
    and what becomes of it is told.
    """
    file.mkdir()
    before = begin(file, records)
    assert saved_default.put_back(before) == After(None, None)
    before = begin(file, records)
    file.rmdir()
    client_saves(file, {"model": "opus"})
    why = "cannot be read (Is a directory)"
    assert saved_default.put_back(before) == After(None, f"{file} {why} and was left unchanged")
    assert json.loads(file.read_text()) == {"model": "opus"}


def test_a_folder_that_cannot_be_written(file: Path, records: Path) -> None:
    """Where the file cannot be replaced it is left whole, and said so; the pick is kept."""
    file.write_text(ODD)
    before = begin(file, records)
    client_saves(file, {"model": "opus"})
    saved = file.read_text()
    # Stands for a read-only folder, which does not stop the superuser that tests may run as.
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    scratch.mkdir()
    after = saved_default.put_back(before)
    scratch.rmdir()
    assert after == After("opus", f"{file} could not be put back: Is a directory")
    assert file.read_text() == saved


# ------------------------------------------------------------------ several sessions


OTHER = """
import sys
from pathlib import Path
from llmswitch.claude import saved_default
from tests.claude.test_saved_default import NAMES, client_saves
file, records = map(Path, sys.argv[1:])
for line in sys.stdin:
    word, _, name = line.strip().partition(" ")
    if word == "begin":
        before = saved_default.note(file, records, NAMES)
    elif word == "pick":
        client_saves(file, {"model": name or None})
    print(saved_default.put_back(before) if word == "end" else "done", flush=True)
"""


@pytest.fixture
def other(file: Path, records: Path) -> Iterator[Callable[[str], str]]:
    """Another session in a process of its own: tell it to `begin`, to `pick NAME`, to `end` or to
    `die`.
    """
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(file), str(records)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        say, hear = process.stdin, process.stdout

        def tell(what: str) -> str:
            if what == "die":
                process.kill()
                process.wait()
                return ""
            say.write(f"{what}\n")
            say.flush()
            return hear.readline().strip()

        yield tell
        process.kill()


Other = Callable[[str], str]


def test_the_first_of_two_sessions_ends_first(file: Path, records: Path, other: Other) -> None:
    """Two sessions overlap and both pick; whichever way they end, the user's own value is back."""
    file.write_text(ODD)
    other("begin")
    other("pick opus")
    mine = begin(file, records)
    assert mine.own == "mine"
    client_saves(file, {"model": "glm-4.7"})
    assert other("end") == str(After("glm-4.7", None))
    assert file.read_text() == ODD
    assert saved_default.put_back(mine) == After(None, None)
    assert file.read_text() == ODD


def test_the_first_of_two_sessions_ends_last(file: Path, records: Path, other: Other) -> None:
    """The same in the other order, where the second picks Default."""
    file.write_text(ODD)
    other("begin")
    other("pick opus")
    mine = begin(file, records)
    client_saves(file, {"model": None})
    assert saved_default.put_back(mine) == After("", None)
    assert json.loads(file.read_text())["model"] == "mine"
    assert other("end") == str(After(None, None))
    assert file.read_text() == ODD


def test_a_session_beside_one_that_picked_leaves_that_alone(
    file: Path, records: Path, other: Other
) -> None:
    """A session in which nothing was picked does not take another's pick away, nor for its own."""
    file.write_text('{"model":"mine"}')
    other("begin")
    other("pick opus")
    saved = file.read_text()
    mine = begin(file, records)
    assert mine.left == After(None, None)
    assert saved_default.put_back(mine) == After(None, None)
    assert file.read_text() == saved
    assert other("end") == str(After("opus", None))
    assert file.read_text() == '{"model":"mine"}'


@pytest.mark.parametrize(
    ("content", "picked"),
    [(None, "glm-4.7"), (ODD, "glm-4.7"), (ODD, ""), ('{"model":"opus"}', "sonnet")],
)
def test_what_a_killed_session_left_is_put_back(
    file: Path, records: Path, other: Other, content: str | None, picked: str
) -> None:
    """The next session puts back what one that was killed left, before its client starts, and
    keeps that pick.
    """
    if content is not None:
        file.write_text(content)
    other("begin")
    other(f"pick {picked}")
    other("die")
    mine = begin(file, records)
    assert mine.left == After(picked, None)
    assert (file.read_text() if file.exists() else None) == content
    assert [record.stem for record in records.glob("*.json")] == [str(os.getpid())]
    assert saved_default.put_back(mine) == After(None, None)
    assert (file.read_text() if file.exists() else None) == content


def test_a_pick_of_another_profile_is_known_too(file: Path, records: Path, other: Other) -> None:
    """The records say what their menus were, so a pick out of one that this session does not have
    is not taken for the user's own.
    """
    file.write_text(ODD)
    other("begin")
    other("pick glm-4.7")
    other("die")
    mine = saved_default.note(file, records, {"qwen"})
    assert (mine.own, mine.left) == ("mine", After("glm-4.7", None))
    assert file.read_text() == ODD


def test_what_could_not_be_put_back_is_tried_again(file: Path, records: Path, other: Other) -> None:
    """Where what a killed session left cannot be put back now, that is said, and the next session
    does it.
    """
    file.write_text(ODD)
    other("begin")
    other("pick glm-4.7")
    other("die")
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    scratch.mkdir()  # stands for a read-only folder
    mine = begin(file, records)
    assert mine.left == After("glm-4.7", f"{file} could not be put back: Is a directory")
    assert saved_default.put_back(mine) == After(None, None)
    scratch.rmdir()
    mine = begin(file, records)
    assert (mine.own, mine.left) == ("mine", After("glm-4.7", None))
    assert file.read_text() == ODD
    assert [record.stem for record in records.glob("*.json")] == [str(os.getpid())]


def test_a_killed_session_that_found_broken_settings_knows_nothing(
    file: Path, records: Path, other: Other
) -> None:
    """What a session could not read it does not know the user's value of, so nothing is put back
    in its name.
    """
    file.write_text("{ broken")
    other("begin")
    other("die")
    mended = '{"model": "opus"}'
    file.write_text(mended)
    mine = begin(file, records)
    assert (mine.own, mine.left) == ("opus", After(None, None))
    assert file.read_text() == mended


def test_records_that_are_damaged_or_of_a_recycled_pid_are_dropped(
    file: Path, records: Path
) -> None:
    """Neither stands in the way of a session."""
    file.write_text('{"model": "opus"}')
    records.mkdir(parents=True)
    (records / "1.json").write_text("{ damaged")
    entry = {"pid": os.getppid(), "started": "long ago", "file": "/elsewhere", "content": None}
    (records / "2.json").write_text(json.dumps({**entry, "own": "x", "names": ["opus"]}))
    mine = begin(file, records)
    assert (mine.own, mine.left) == ("opus", After(None, None))
    assert [record.stem for record in records.glob("*.json")] == [str(os.getpid())]


def test_where_the_settings_are() -> None:
    """In ~/.claude, or where CLAUDE_CONFIG_DIR says."""
    there = user_settings({"HOME": "/home/ann"})
    assert there == Path("/home/ann/.claude/settings.json")
    moved = user_settings({"HOME": "/home/ann", "CLAUDE_CONFIG_DIR": "/etc/c"})
    assert moved == Path("/etc/c/settings.json")
