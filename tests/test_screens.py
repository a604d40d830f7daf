"""What README.md and docs/ show is what the program prints today."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmswitch.ledger import insert, open_to_write
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from tests.clients import make_home, newest
from tests.conftest import CHECKOUT, User, free_port
from tests.engine.test_ledger import ROW
from tests.internet import Internet, Strict
from tests.manual import BLOCKS, MENU, assert_picture, assert_shown, page
from tests.newcomer import KEY, MODELS, Newcomer, gateway_of, newcomer, plain
from tests.picture import Cell, picture
from tests.terminal import Terminal, type_command
from tests.usage.test_summary import write
from tests.work import minutes_of_work, week_of_work

ASKED = re.compile(r"^k adds a key.*\n>$", re.MULTILINE)  # with its prompt
WRONG = """\
models:
  glm-4.7: {model: zai/glm-4.7,
    contxt: 200000}
  fast: zia/glm-4.5-air
roles: {default: glm}
"""


def printed(text: str, user: User) -> str:
    """Output as the manual writes it: the home folder as `~`, ports and pids by name."""
    text = text.replace(str(user.home), "~").strip("\n")
    for pattern, name in (
        (r"(127\.0\.0\.1:)\d+", r"\1PORT"),
        (r"pid \d+", "pid PID"),
        (r"Python 3\.\d+\.\d+", "Python 3.x"),
        (r"\d+ MB free", "N MB free"),
        (r"sk-llmswitch-[\w-]{43}", "sk-llmswitch-KEY"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "YYYY-MM-DD HH:MM"),
    ):
        text = re.sub(pattern, name, text)
    return text


@pytest.fixture
def reader(user: User) -> Iterator[User]:
    """Someone who follows the manual: the standard folders, one wrapper folder on PATH."""
    (user.home / ".local/bin").mkdir(parents=True)
    user.keys = {"ANTHROPIC_API_KEY": "sk-ant-api03-own", "ZAI_API_KEY": "zai-own"}
    yield user
    user.run("down", env=_folders(user))


def _folders(user: User) -> dict[str, str]:
    return {"LLMSWITCH_HOME": "", "PATH": f"{user.home}/.local/bin:/usr/bin:/bin"}


def _take_ready_made(user: User) -> None:
    done = user.run("init", "--from", "claude-glm", "--no-start", env=_folders(user))
    assert done.returncode == 0, done.stderr


def test_every_output_of_the_manual_is_checked_by_a_test_here() -> None:
    """A block that shows output stands under a title that a test knows."""
    assert set(BLOCKS) == {
        "llmswitch try",
        "llmswitch init",
        "llmswitch init, a second time",
        "llmswitch init --from claude-glm --no-start",
        "llmswitch wrapper install",
        "llmswitch wrapper install --direct zai",
        "the /model menu of Claude Code 2.1.332",
        "a short profile",
        "a profile",
        "several keys",
        "fallbacks",
        "a cache",
        "a subscription",
        "llmswitch validate wrong.yaml",
        "llmswitch models --provider zai",
        "llmswitch models add zai/glm-5.3",
        "llmswitch key set zai < key.txt",
        "llmswitch status",
        "llmswitch client add laptop",
        "llmswitch client list",
        "llmswitch usage --requests --since 2026-11-02",
        "llmswitch doctor",
        "llmswitch doctor --all",
        "llmswitch doctor --live glm-4.7 glm-4.5 --yes",  # held by tests/doctor/test_live.py
        "llmswitch budget status",
        "llmswitch usage --since 2026-11-02 --until 2026-11-06",
    }


def test_the_profile_of_the_manual_is_valid() -> None:
    """The profile that shows every field is read without a complaint, and really has them all."""
    profile = parse_profile(BLOCKS["a profile"], "profile.yaml")
    assert profile.models["glm-4.5"].model_dump(exclude_defaults=True).keys() == (
        type(profile.models["glm-4.5"]).model_fields.keys()
    )


@pytest.mark.parametrize(
    "title", ["a short profile", "several keys", "fallbacks", "a cache", "a subscription"]
)
def test_the_short_profiles_of_the_manual_are_valid(title: str) -> None:
    """What a reader copies is read without a complaint."""
    parse_profile(BLOCKS[title], "profile.yaml")


def test_the_table_of_providers_is_the_catalogue() -> None:
    """Every provider of the catalogue stands in the row of its dialect."""
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (`.*) \|$", page("reference/providers.md"), re.MULTILINE)
    )
    listed = {
        name: dialect for dialect, row in rows.items() for name in re.findall(r"`(.*?)`", row)
    }
    known = {name: data["dialect"] for name, data in catalogue_data().items() if name != "demo"}
    assert listed == known


def test_the_demo_prints_what_the_manual_shows(user: User) -> None:
    """`llmswitch try`, which `make demo` runs."""
    command = [sys.executable, "-m", "llmswitch", "try"]
    done = subprocess.run(
        command, env=user.env, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_shown("llmswitch try", printed(done.stdout, user))


def test_mistakes_are_shown_as_in_the_manual(user: User) -> None:
    """The profile with mistakes gives the messages that the manual shows."""
    (user.home / "wrong.yaml").write_text(WRONG)
    done = user.run("validate", "wrong.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert_shown("llmswitch validate wrong.yaml", done.stderr.strip())


def test_models_and_keys_are_as_the_manual_shows(reader: User) -> None:
    """What is found, a model that is added, a key that is kept."""
    _take_ready_made(reader)
    folder = reader.home / "work"
    folder.mkdir()
    (folder / "key.txt").write_text("zai-own\n")
    env = {**reader.env, **_folders(reader)}
    for title, key in (
        ("llmswitch models --provider zai", "zai-own"),
        ("llmswitch models add zai/glm-5.3", "zai-own"),
        ("llmswitch key set zai < key.txt", ""),
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", f'"{sys.executable}" -m {title}'],
            env={**env, "ZAI_API_KEY": key},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert_shown(title, printed(done.stdout, reader))


def test_a_direct_wrapper_is_installed_as_the_manual_shows(reader: User) -> None:
    """Without a profile."""
    title = "llmswitch wrapper install --direct zai"
    done = reader.run(*shlex.split(title)[1:], env=_folders(reader))
    assert done.returncode == 0, done.stderr
    assert_shown(title, printed(done.stdout, reader))


def _output(reader: User, title: str) -> str:
    """What a command prints, in a time zone of its own."""
    done = reader.run(*shlex.split(title)[1:], env=_folders(reader) | {"TZ": "UTC"})
    return done.stdout.strip("\n")


def test_usage_is_as_the_manual_shows(reader: User) -> None:
    """`usage`, of a ledger with five days of work."""
    _take_ready_made(reader)
    write(reader.home / ".local/state/llmswitch/ledger/claude-glm.db", tuple(week_of_work()))
    title = "llmswitch usage --since 2026-11-02 --until 2026-11-06"
    assert_shown(title, _output(reader, title))


def test_requests_are_as_the_manual_shows(reader: User) -> None:
    """`usage --requests`, of a ledger with some."""
    _take_ready_made(reader)
    write(reader.home / ".local/state/llmswitch/ledger/claude-glm.db", tuple(minutes_of_work()))
    title = "llmswitch usage --requests --since 2026-11-02"
    assert_shown(title, _output(reader, title))


def test_a_client_gets_its_key_as_the_manual_shows(reader: User) -> None:
    """`client add`, then `client list`."""
    _take_ready_made(reader)
    for command in ("llmswitch client add laptop", "llmswitch client list"):
        done = reader.run(*shlex.split(command)[1:], env=_folders(reader))
        assert done.returncode == 0, done.stderr
        assert_shown(command, printed(done.stdout, reader))


@pytest.mark.timeout(900)  # the first run fetches the client
def test_the_first_session_is_as_the_manual_shows(tmp_path: Path) -> None:
    """In a terminal: init with a pasted key, init again, and the menu of the real client."""
    with (
        newcomer(tmp_path) as here,
        gateway_of(here),
        Strict("anthropic", MODELS, [KEY]) as anthropic,
        Internet({"api.anthropic.com": anthropic}, tmp_path) as internet,
    ):
        here.more |= internet.env
        with here.open("init") as terminal:
            terminal.wait_for("key:")
            terminal.send(f"{KEY}\r")
            terminal.wait_for(ASKED)
            terminal.enter()
            assert terminal.wait_exit() == 0
            assert_shown("llmswitch init", plain(terminal.text()))
        here.more["ZAI_API_KEY"] = "zai-own"
        with here.open("init") as terminal:
            terminal.wait_for(ASKED)
            terminal.enter()
            assert terminal.wait_exit() == 0
            assert_shown("llmswitch init, a second time", plain(terminal.text()))
        make_home(here.home.parent / "other", here.home)
        dark, light = (_menu(here, theme) for theme in ("dark", "light"))
        text = "\n".join("".join(cell.text for cell in row) for row in dark)
        assert_shown("the /model menu of Claude Code 2.1.332", text)
        assert_picture(MENU, picture(dark, light))


def _menu(here: Newcomer, theme: str) -> list[list[Cell]]:
    """The `/model` menu, from its title to its last row, as the real client draws it."""
    state = json.loads((here.home.parent / "other/.claude.json").read_text())
    (here.home / ".claude.json").write_text(json.dumps(state | {"theme": theme}))
    wrapper = str(here.home / ".local/bin/claude-multi")
    env = {**here.env, "COLORTERM": "truecolor"}
    with Terminal([wrapper], env, cwd=here.home, columns=120) as terminal:
        type_command(terminal, "/model")
        terminal.wait_for("Enter to save")
        screen = terminal.cells()
    lines = ["".join(cell.text for cell in row) for row in screen]
    first = next(index for index, line in enumerate(lines) if "Select model" in line)
    rows = [index for index, line in enumerate(lines) if re.match(r"\s+(. )?\d+\. ", line)]
    return screen[first : rows[-1] + 1]


@pytest.mark.timeout(900)
def test_the_way_step_by_step_is_as_the_manual_shows(reader: User) -> None:
    """init, wrapper install, up, status and doctor, one after the other."""
    for command in (
        "llmswitch init --from claude-glm --no-start",
        "llmswitch wrapper install",
    ):
        done = reader.run(*shlex.split(command)[1:], env=_folders(reader))
        assert done.returncode == 0, done.stderr
        assert_shown(command, printed(done.stdout, reader))
    profile = reader.home / ".config/llmswitch/profiles/claude-glm.yaml"
    profile.write_text(profile.read_text() + f"gateway: {{port: {free_port()}}}\n")
    assert reader.run("up", env=_folders(reader)).returncode == 0

    done = reader.run("status", env=_folders(reader))
    assert_shown("llmswitch status", printed(done.stdout, reader))

    (reader.home / ".local/bin/claude").symlink_to(newest())
    wrong = {**_folders(reader), "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    assert_shown("llmswitch doctor", printed(reader.run("doctor", env=wrong).stdout, reader))
    done = reader.run("doctor", "--all", env=_folders(reader))
    assert_shown("llmswitch doctor --all", printed(done.stdout, reader))


def test_budgets_are_as_the_manual_shows(reader: User) -> None:
    """`budget status`, one of them spent, the other nearly."""
    user = reader
    _take_ready_made(user)
    profile = user.home / ".config/llmswitch/profiles/claude-glm.yaml"
    text = profile.read_text().replace("roles:", "budgets: [BUDGETS]\nroles:", 1)
    budgets = "{usd: 5, per: day, model: opus}, {usd: 50, per: month}"
    profile.write_text(text.replace("BUDGETS", budgets))
    file = user.home / ".local/state/llmswitch/ledger/claude-glm.db"
    file.parent.mkdir(parents=True)
    with closing(open_to_write(file)) as connection:
        row = ROW._replace(ended=time.time())
        insert(connection, [row._replace(model="opus", cost=5.0125), row._replace(cost=36.19)])
    done = user.run("budget", "status", env=_folders(user))
    assert_shown("llmswitch budget status", printed(done.stdout, user))
