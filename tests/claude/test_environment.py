"""`env` and `code`: the gateway for what `claude-multi` does not start."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.clients import client_env, newest_and_oldest
from tests.conftest import Mission, User, free_port
from tests.seat import Seat, wait_for_request

pytestmark = [pytest.mark.xdist_group("environment"), pytest.mark.timeout(300)]

PROFILE = """
models:
  glm-4.7: {{model: zai/glm-4.7, label: "It's GLM; $(touch x) \\\\ \\"4.7\\""}}
  opus: anthropic/claude-opus-4-5-20251101
gateway: {{port: {port}}}
"""


@pytest.fixture
def told(user: User) -> dict[str, str]:
    """The variables of a profile with a label that no shell must take for code."""
    user.write_profile(PROFILE.format(port=free_port()))
    values: dict[str, str] = json.loads(user.run("env", "--format", "json").stdout)
    return values


def lines(user: User, form: str) -> list[str]:
    """What `env` prints."""
    done = user.run("env", "--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_address_the_key_and_the_models(user: User, told: dict[str, str]) -> None:
    """What a client needs, and the names that it asks for by itself; no key of a provider. Each
    format says the same in the form of what reads it; a workflow, which others read, names a secret
    for the key. A shell takes every value as it is, and then has no key of Anthropic beside ours.
    """
    profile = yaml.safe_load((user.root / "llmswitch/profiles/work.yaml").read_text())
    assert told["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{profile['gateway']['port']}"
    assert told["ANTHROPIC_AUTH_TOKEN"] == user.gateway_key()
    assert told["ANTHROPIC_MODEL"] == "glm-4.7"
    assert told["ANTHROPIC_DEFAULT_OPUS_MODEL"] == "opus"
    assert told["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "glm-4.7"
    assert told["ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME"] == 'It\'s GLM; $(touch x) \\ "4.7"'
    assert not [value for value in told.values() if value in user.keys.values() or not value]

    listed = json.loads("\n".join(lines(user, "vscode")))["claudeCode.environmentVariables"]
    assert {item["name"]: item["value"] for item in listed} == told
    assert dict(line.split("=", 1) for line in lines(user, "docker")) == told
    workflow = yaml.safe_load("\n".join(lines(user, "github-actions")))["env"]
    assert workflow == {**told, "ANTHROPIC_AUTH_TOKEN": "${{ secrets.ANTHROPIC_AUTH_TOKEN }}"}
    first, *others = lines(user, "fish")
    assert first == "set -e ANTHROPIC_API_KEY"
    words = [shlex.split(line.replace("\\'", "'\"'\"'").replace("\\\\", "\\")) for line in others]
    assert {word[2]: word[3] for word in words} == told
    done = subprocess.run(
        ["sh", "-c", "\n".join([*lines(user, "sh"), "env -0"])],
        env={"PATH": "/usr/bin:/bin", "ANTHROPIC_API_KEY": "x"},
        cwd=user.home,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(item.split("=", 1) for item in done.stdout.split("\0") if item)
    assert found.items() >= told.items()
    assert "ANTHROPIC_API_KEY" not in found
    assert not (user.home / "x").exists()


def test_keys_that_this_shell_does_not_have(user: User, running_mission: Mission) -> None:
    """A gateway that runs knows its keys; without one it is told what to set."""
    before = running_mission.user.run("env").stdout
    running_mission.user.keys = {}
    assert running_mission.user.run("env").stdout == before
    user.write_profile(PROFILE.format(port=free_port()))
    user.keys = {}
    done = user.run("env")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no model of the profile can be used: ")


def test_code_is_started_with_them(user: User, told: dict[str, str]) -> None:
    """With its own arguments, and without a key of Anthropic's; where there is none, the other way
    is told.
    """
    done = user.run("code", ".")
    assert (done.returncode, done.stderr) == (
        1,
        (
            "VS Code's command `code` is not on PATH\n"
            "-> llmswitch env --format vscode    (what to put into VS Code's settings.json)\n"
        ),
    )
    program = user.root / "bin" / "code"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; env\n')
    program.chmod(0o755)
    done = user.run("code", "--new-window", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["--new-window", "."]
    assert f"ANTHROPIC_AUTH_TOKEN={told['ANTHROPIC_AUTH_TOKEN']}\n" in done.stdout
    assert "ANTHROPIC_API_KEY" not in done.stdout


@newest_and_oldest
def test_the_real_client_reaches_every_model_with_them(
    seat: Seat, running_mission: Mission, tmp_path: Path
) -> None:
    """A plain `claude` that is given these variables and nothing else of llmswitch."""
    told = json.loads(running_mission.user.run("env", "-f", "json").stdout)
    told |= client_env(seat.home)
    seat.user = User(tmp_path / "nobody", {})
    for arguments, upstream in (
        ([], "zai"),
        (["--model", "qwen"], "mine"),
        (["--model", "opus"], "anthropic"),
    ):
        done = seat.run_plain(
            {**client_env(seat.home), **told}, "-p", f"word-{upstream}", *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert wait_for_request(running_mission, f"word-{upstream}").upstream == upstream
