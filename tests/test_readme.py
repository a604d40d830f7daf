"""What the README shows is what the program prints today."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmswitch.ledger import Try, insert, open_to_write
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from llmswitch.request_line import Request, formatted
from tests.clients import make_home, newest
from tests.conftest import CHECKOUT, User, free_port
from tests.engine.test_ledger import ROW
from tests.internet import Internet, Strict
from tests.newcomer import KEY, MODELS, Newcomer, newcomer, plain
from tests.terminal import Terminal, type_command
from tests.usage.test_summary import FAILED, PLAIN, write

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"<!-- (shows|checked): (.*?) -->\n```\w*\n(.*?)```", re.DOTALL)
BLOCKS = {title: text for _, title, text in _BLOCK.findall(README)}
WRONG = """\
models:
  glm-4.7: {model: zai/glm-4.7,
    contxt: 200000}
  fast: zia/glm-4.5-air
roles: {default: glm}
"""


def shown(title: str) -> str:
    """What the README shows under a title, without the command."""
    lines = BLOCKS[title].splitlines()
    return "\n".join(line for line in lines if not line.startswith("$ ")).strip("\n")


def printed(text: str, user: User) -> str:
    """Output as the README writes it: the home folder as `~`, ports and pids by name."""
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
    """Someone who follows the README: the standard folders, one wrapper folder on PATH."""
    (user.home / ".local/bin").mkdir(parents=True)
    user.keys = {"ANTHROPIC_API_KEY": "sk-ant-api03-own", "ZAI_API_KEY": "zai-own"}
    yield user
    user.run("down", env=_folders(user))


def _folders(user: User) -> dict[str, str]:
    return {"LLMSWITCH_HOME": "", "PATH": f"{user.home}/.local/bin:/usr/bin:/bin"}


def _take_ready_made(user: User) -> None:
    done = user.run("init", "--from", "claude-glm", "--no-start", env=_folders(user))
    assert done.returncode == 0, done.stderr


def test_every_output_of_the_readme_is_checked_by_a_test_here() -> None:
    """A block that shows output stands under a title that a test knows."""
    assert set(BLOCKS) == {
        "llmswitch try",
        "llmswitch init",
        "llmswitch init, a second time",
        "llmswitch init --from claude-glm --no-start",
        "llmswitch wrapper install",
        "llmswitch wrapper install --direct zai",
        "the /model menu of Claude Code 2.1.332",
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
        "llmswitch logs --model sonnet",
        "llmswitch doctor",
        "llmswitch doctor --live glm-4.7 glm-4.5 --yes",  # held by tests/doctor/test_live.py
        "llmswitch budget status",
        "llmswitch usage --since 2026-11-02 --until 2026-11-06",
    }


def test_the_profile_of_the_readme_is_valid() -> None:
    """The profile that shows every field is read without a complaint, and really has them all."""
    profile = parse_profile(BLOCKS["a profile"], "README.md")
    assert profile.models["glm-4.5"].model_dump(exclude_defaults=True).keys() == (
        type(profile.models["glm-4.5"]).model_fields.keys()
    )


@pytest.mark.parametrize("title", ["several keys", "fallbacks", "a cache", "a subscription"])
def test_the_short_profiles_of_the_readme_are_valid(title: str) -> None:
    """What a reader copies is read without a complaint."""
    parse_profile(BLOCKS[title], "README.md")


def test_the_table_of_providers_is_the_catalogue() -> None:
    """Every provider of the catalogue stands in the row of its dialect."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", README, re.MULTILINE))
    shown = {name: dialect for dialect, row in rows.items() for name in re.findall(r"`(.*?)`", row)}
    known = {name: data["dialect"] for name, data in catalogue_data().items() if name != "demo"}
    assert shown == known


def test_the_demo_prints_what_the_readme_shows(user: User) -> None:
    """`llmswitch try`, which `make demo` runs."""
    done = user.run("try")
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout, user) == shown("llmswitch try")


def test_mistakes_are_shown_as_in_the_readme(user: User) -> None:
    """The profile with mistakes gives the messages that the README shows."""
    (user.home / "wrong.yaml").write_text(WRONG)
    done = user.run("validate", "wrong.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == shown("llmswitch validate wrong.yaml")


def test_models_and_keys_are_as_the_readme_shows(reader: User) -> None:
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
        assert printed(done.stdout, reader) == shown(title)


def test_a_direct_wrapper_is_installed_as_the_readme_shows(reader: User) -> None:
    """Without a profile."""
    title = "llmswitch wrapper install --direct zai"
    done = reader.run(*shlex.split(title)[1:], env=_folders(reader))
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout, reader) == shown(title)


def week_of_work() -> Iterator[Try]:
    """Five days: most of it with glm-4.7, some with sonnet, which also served when glm-4.7 failed;
    small requests of glm-4.5, without a prompt cache.
    """
    monday = datetime(2026, 11, 2, 9, tzinfo=UTC).timestamp()
    models = {  # how many a day, tokens (input, output, read), cost and saved
        "glm-4.7": ((48, 71, 30, 64, 22), (900, 350, 41_000), 0.0059, 0.0201),
        "sonnet": ((4, 2, 9, 6, 3), (1200, 420, 38_000), 0.0213, 0.1026),
        "glm-4.5": ((9, 12, 6, 11, 5), (6400, 60, 0), 0.0014, 0.0),
    }
    for model, (each_day, (fresh, output, held), cost, saved) in models.items():
        zai = model != "sonnet"
        for day, requests in enumerate(each_day):
            for number in range(requests):
                fell_back = model == "sonnet" and number == 0
                done = PLAIN._replace(
                    ended=monday + day * 86400 + number * 300,
                    request=f"{model}-{day}-{number}",
                    asked="glm-4.7" if fell_back else model,
                    model=model,
                    provider="zai" if zai else "anthropic",
                    key="ZAI_API_KEY" if zai else "ANTHROPIC_API_KEY",
                    input=fresh,
                    output=output,
                    cache_read=held,
                    cost=cost,
                    prompt_saved=saved,
                    fallback_from="glm-4.7" if fell_back else None,
                )
                yield done
                if fell_back:
                    yield FAILED._replace(
                        ended=done.ended - 2,
                        request=done.request,
                        asked="glm-4.7",
                        model="glm-4.7",
                        provider="zai",
                        key="ZAI_API_KEY",
                    )


def _output(reader: User, title: str) -> str:
    """What a command prints, in a time zone of its own."""
    done = reader.run(*shlex.split(title)[1:], env=_folders(reader) | {"TZ": "UTC"})
    return done.stdout.strip("\n")


def test_usage_is_as_the_readme_shows(reader: User) -> None:
    """`usage`, of a ledger with five days of work."""
    _take_ready_made(reader)
    write(reader.home / ".local/state/llmswitch/ledger/claude-glm.db", tuple(week_of_work()))
    title = "llmswitch usage --since 2026-11-02 --until 2026-11-06"
    assert _output(reader, title) == shown(title)


def minutes_of_work() -> Iterator[Request]:
    """An answer, one of a fallback, a failure, and one of another model."""
    answered = Request(
        time="2026-11-02T09:14:07.112Z",
        method="POST",
        path="/v1/messages",
        status=200,
        model="sonnet",
        served="sonnet",
        provider="anthropic",
        upstream="claude-sonnet-4-5-20250929",
        tries=1,
        client="gateway",
        session="5f0c1d6e-9a35-4c1b-8f44-2f6f2a1c7b90",
        first_byte=0.871,
        seconds=6.402,
        input=1200,
        output=420,
        cache_read=38_000,
        cache_write=0,
        cost=0.0213,
    )
    yield answered
    yield answered._replace(
        time="2026-11-02T09:15:31.650Z",
        model="glm-4.7",
        tries=2,
        client="laptop",
        session=None,
        first_byte=1.306,
        seconds=4.018,
        input=900,
        output=350,
        cache_read=0,
        cost=0.00795,
    )
    yield answered._replace(
        time="2026-11-02T09:16:02.208Z",
        status=429,
        first_byte=0.204,
        seconds=0.204,
        input=0,
        output=0,
        cache_read=0,
        cost=0.0,
        error="RateLimitError",
    )
    yield answered._replace(model="opus", served="opus")


def test_the_log_is_as_the_readme_shows(reader: User) -> None:
    """`logs --model`, of a log with some requests."""
    _take_ready_made(reader)
    log = reader.home / ".local/state/llmswitch/run/claude-glm/gateway.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{formatted(request)}\n" for request in minutes_of_work()))
    title = "llmswitch logs --model sonnet"
    assert _output(reader, title) == shown(title)


def test_a_client_gets_its_key_as_the_readme_shows(reader: User) -> None:
    """`client add`, then `client list`."""
    _take_ready_made(reader)
    for command in ("llmswitch client add laptop", "llmswitch client list"):
        done = reader.run(*shlex.split(command)[1:], env=_folders(reader))
        assert done.returncode == 0, done.stderr
        assert printed(done.stdout, reader) == shown(command)


@pytest.mark.timeout(900)  # the first run fetches the client
def test_the_first_session_is_as_the_readme_shows(tmp_path: Path) -> None:
    """In a terminal: init with a pasted key, init again, and the menu of the real client."""
    with (
        newcomer(tmp_path) as here,
        Strict("anthropic", MODELS, [KEY]) as anthropic,
        Internet({"api.anthropic.com": anthropic}, tmp_path) as internet,
    ):
        here.more |= internet.env
        with here.open("init") as terminal:
            terminal.wait_for("key:")
            terminal.send(f"{KEY}\r")
            terminal.wait_for("k takes another key")
            terminal.enter()
            assert terminal.wait_exit() == 0
            assert plain(terminal.text()) == shown("llmswitch init")
        here.more["ZAI_API_KEY"] = "zai-own"
        with here.open("init") as terminal:
            terminal.wait_for("k takes another key")
            terminal.enter()
            assert terminal.wait_exit() == 0
            assert plain(terminal.text()) == shown("llmswitch init, a second time")
        assert _menu(here) == shown("the /model menu of Claude Code 2.1.332")


def _menu(here: Newcomer) -> str:
    """The `/model` menu, from its title to its last row, as the real client draws it."""
    make_home(here.home.parent / "other", here.home)
    (here.home.parent / "other" / ".claude.json").rename(here.home / ".claude.json")
    wrapper = str(here.home / ".local/bin/claude-multi")
    with Terminal([wrapper], here.env, cwd=here.home, columns=120) as terminal:
        type_command(terminal, "/model")
        terminal.wait_for("Enter to save")
        screen = [line.rstrip() for line in terminal.lines()]
    first = next(index for index, line in enumerate(screen) if "Select model" in line)
    rows = [index for index, line in enumerate(screen) if re.match(r"\s+(. )?\d+\. ", line)]
    return "\n".join(screen[first : rows[-1] + 1]).strip("\n")


@pytest.mark.timeout(900)
def test_the_way_step_by_step_is_as_the_readme_shows(reader: User) -> None:
    """init, wrapper install, up, status and doctor, one after the other."""
    for command in (
        "llmswitch init --from claude-glm --no-start",
        "llmswitch wrapper install",
    ):
        done = reader.run(*shlex.split(command)[1:], env=_folders(reader))
        assert done.returncode == 0, done.stderr
        assert printed(done.stdout, reader) == shown(command)
    profile = reader.home / ".config/llmswitch/profiles/claude-glm.yaml"
    profile.write_text(profile.read_text() + f"gateway: {{port: {free_port()}}}\n")
    assert reader.run("up", env=_folders(reader)).returncode == 0

    done = reader.run("status", env=_folders(reader))
    assert printed(done.stdout, reader) == shown("llmswitch status")

    (reader.home / ".local/bin/claude").symlink_to(newest())
    done = reader.run("doctor", env=_folders(reader))
    assert printed(done.stdout, reader) == shown("llmswitch doctor")


def test_budgets_are_as_the_readme_shows(reader: User) -> None:
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
    assert printed(done.stdout, user) == shown("llmswitch budget status")
