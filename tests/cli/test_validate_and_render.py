"""`validate` and `render` as a user runs them: whole outputs, exit codes, files."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from llmswitch import __version__
from llmswitch.paths import find_home, find_profile
from llmswitch.render.claude_settings import make_settings
from llmswitch.render.plan import render
from tests.conftest import User
from tests.profile.test_mistakes import TWELVE, TWELVE_MESSAGES

NO_KEYS = {"ANTHROPIC_API_KEY": "", "ZAI_API_KEY": "", "MINE_KEY": ""}
COMPLETE = "{model: ollama/x, context: 200000, price: {input: 0, output: 0}}"


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder with its time and its content, and every folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path.relative_to(folder))] = (status.st_mtime_ns, content)
    return found


def fake_claude(user: User, version: str) -> Path:
    """A `claude` on PATH that tells its version."""
    program = user.root / "bin" / "claude"
    program.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\n")
    program.chmod(0o755)
    return program


# ------------------------------------------------------------------ validate


def test_a_profile_with_a_dozen_mistakes_is_refused_with_all_of_them(user: User) -> None:
    """In the order of the file, on stderr, with the cure at the end; nothing is written."""
    file = user.home / "bad.yaml"
    file.write_text(TWELVE)
    before = tree(user.root)
    done = user.run("validate", "bad.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        *(f"bad.yaml:{message}" for message in TWELVE_MESSAGES),
        "-> edit bad.yaml, then: llmswitch validate bad.yaml",
    ]
    assert tree(user.root) == before


@pytest.mark.parametrize("command", ["up", "render", "status", "restart"])
def test_a_profile_with_mistakes_starts_nothing(user: User, command: str) -> None:
    """Every command that needs the profile says the same, and no gateway is left behind."""
    file = user.write_profile(TWELVE)
    done = user.run(command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == f"{file}:{TWELVE_MESSAGES[0]}"
    assert len(done.stderr.splitlines()) == len(TWELVE_MESSAGES) + 1
    assert not list(user.root.rglob("state.json"))
    assert not list(user.root.rglob("litellm_config.yaml"))


def test_the_cure_is_a_command_that_can_be_typed(user: User) -> None:
    """The file is named as it can be reached from here."""
    file = user.home / "team" / "p.yaml"
    file.parent.mkdir()
    file.write_text("models: {}\n")
    done = user.run("validate", str(file))
    assert done.stderr == (
        "team/p.yaml:1: models must not be empty\n"
        "-> edit team/p.yaml, then: llmswitch validate team/p.yaml\n"
    )
    again = user.run(*done.stderr.split("then: llmswitch ")[1].split())
    assert again.stderr == done.stderr


def test_a_valid_profile_is_said_to_be_so_with_what_to_know(user: User) -> None:
    """Exit code 0, notes on stdout, nothing on stderr."""
    user.write_profile(f"models: {{a: {COMPLETE}, b: zai/unheard-of}}\n")
    shown = user.root / "llmswitch" / "profiles" / "work.yaml"
    done = user.run("validate", env=NO_KEYS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{shown} is valid: 2 models",
        "note: b is left out of the menu: ZAI_API_KEY is not set",
        "note: b has no known price; write `price: {input: ..., output: ...}`",
        "note: b has no known context window, so 200k is assumed; write `context:`",
    ]


def test_validate_as_json_is_the_same_for_scripts(user: User) -> None:
    """The contract: the profile's name, whether it is valid, the notes, and where its keys go."""
    user.write_profile(f"models: {{a: {COMPLETE}, b: {{model: zai/glm-4.7, keys: [ZAI_TWO]}}}}\n")
    assert user.json("validate") == {
        "profile": "work",
        "valid": True,
        "retiring": [],
        "notes": ["b is left out of the menu: ZAI_TWO is not set"],
        "trust": {"sent": [], "litellm": []},
    }
    assert user.json("validate", env={"ZAI_TWO": "x"})["notes"] == []


def test_a_model_that_retires_is_a_warning(user: User) -> None:
    """Of `validate`, `doctor` and `status`, with and without --json; the profile is valid still."""
    day = str((datetime.now().astimezone() + timedelta(days=30)).date())
    known = f"{{id: old, retires: {day}, instead: new}}"
    user.write_profile(
        "models: {a: {model: mine/old, context: 200000, price: {input: 0, output: 0}}}\n"
        f"providers: {{mine: {{dialect: chat, base_url: 'http://127.0.0.1:9', models: [{known}]}}}}"
    )
    told, cure = f"a (mine/old) retires on {day}", "in the profile, write mine/new instead"
    done = user.run("validate")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == f"warning: {told}    -> {cure}"
    data = {"name": "a", "model": "mine/old", "date": day, "retired": False, "instead": "mine/new"}
    assert user.json("validate")["retiring"] == [data]
    assert f"\n{told}    -> {cure}\n" in user.run("status").stdout
    assert user.json("status")["retiring"] == [data]
    found = json.loads(user.run("doctor", "--json").stdout)
    assert found["retiring"] == [data]
    assert {"name": "retirement", "level": "warning", "message": told, "hint": cure} in (
        found["checks"]
    )


def test_a_key_that_is_only_white_space_is_not_set(user: User) -> None:
    """`export ZAI_API_KEY=" "` is a mistake, not a key."""
    user.write_profile("models: {a: zai/glm-4.7}\n")
    assert user.json("validate", env={"ZAI_API_KEY": " \t"})["notes"] == [
        "a is left out of the menu: ZAI_API_KEY is not set",
        "no model of the profile can be used",
    ]


def test_without_a_profile_the_first_step_is_named(user: User) -> None:
    """Not a traceback, nor a guess."""
    for command in ("validate", "render", "up", "status"):
        done = user.run(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "no profile is chosen and no default is set\n"
            "-> llmswitch init --from claude-glm    (or name one: --profile NAME or FILE)\n"
        )


# ------------------------------------------------------------------ render


def test_render_prints_each_file_and_writes_none(user: User) -> None:
    """Everything that `up` and `claude-multi` would write, under its name; no key in it."""
    user.write_profile(f"models: {{a: {COMPLETE}, b: zai/glm-4.7}}\n")
    fake_claude(user, "2.1.330")
    before = tree(user.root)
    done = user.run("render", env={"ZAI_API_KEY": "sk-never-shown"})
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(user.root) == before
    assert "sk-never-shown" not in done.stdout
    ref = find_profile(find_home(user.env), None, user.env)
    rendered = render(ref, {"ZAI_API_KEY": "x"})
    client = json.dumps(
        make_settings(rendered.menu, "picker", "http://127.0.0.1:4000"),
        indent=2,
        ensure_ascii=False,
    )
    assert done.stdout == (
        f"==> litellm_config.yaml <==\n{rendered.config}\n"
        f"==> gunicorn.conf.py <==\n{rendered.conf}\n"
        f"==> claude-settings.json <==\n{client}\n"
    )
    assert user.json("render", env={"ZAI_API_KEY": "x"}) == {
        "files": {
            "litellm_config.yaml": rendered.config,
            "gunicorn.conf.py": rendered.conf,
            "claude-settings.json": f"{client}\n",
        }
    }
    assert rendered.config.startswith(
        f"# Generated by llmswitch {__version__} for the profile work; do not edit"
    )


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("2.1.330", "modelPicker", "ANTHROPIC_CUSTOM_MODEL_OPTION_NAME"),
        ("2.1.242", "modelPicker", "ANTHROPIC_CUSTOM_MODEL_OPTION_NAME"),
        ("2.1.241", "ANTHROPIC_CUSTOM_MODEL_OPTION_NAME", "modelPicker"),
        (None, "modelPicker", "ANTHROPIC_CUSTOM_MODEL_OPTION_NAME"),
    ],
)
def test_render_shows_the_settings_for_the_client_that_is_there(
    user: User, version: str | None, present: str, absent: str
) -> None:
    """By its version; without a client, those for the newest."""
    user.write_profile(f"models: {{a: {COMPLETE}, b: {COMPLETE}, c: {COMPLETE}}}\n")
    if version:
        fake_claude(user, version)
    text = user.json("render")["files"]["claude-settings.json"]
    assert present in text
    assert absent not in text


def test_render_without_a_usable_model_is_an_error(user: User) -> None:
    """It would print what could not run."""
    user.write_profile("models: {a: zai/x}\n")
    done = user.run("render", env=NO_KEYS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "no model of the profile can be used: a: ZAI_API_KEY is not set\n"
        "-> set one of them and try again: export ZAI_API_KEY=...\n"
    )
