"""`completion`: what a shell is told, and what it completes then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import User

COMPLETE = """
eval "$(llmswitch completion bash)"
COMP_WORDS=(llmswitch {words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_llmswitch_completion llmswitch
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(user: User, words: str) -> list[str]:
    """What bash offers after these words, the last of which is being typed."""
    program = user.root / "bin" / "llmswitch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m llmswitch "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(words=words)],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_profiles(user: User) -> None:
    """Profiles are the user's own and the ready-made ones."""
    assert completed(user, "bud") == ["budget"]
    assert completed(user, "budget r") == ["raise"]
    assert completed(user, "status --pro") == ["--profile"]
    user.write_profile("models: {a: ollama/x}\n", "mine")
    assert completed(user, "status --profile ''") == [
        "claude-glm",
        "claude-max",
        "demo",
        "local",
        "mine",
        "openrouter",
    ]
    assert completed(user, "up --profile m") == ["mine"]


def test_bash_completes_the_providers_that_can_be_direct(user: User) -> None:
    """Those of the catalogue and of the default profile, and none that needs the gateway."""
    assert completed(user, "wrapper install --direct z") == ["zai", "zhipu"]
    assert completed(user, "wrapper install --direct open") == ["openrouter"]
    mine = "{mine: {dialect: messages, base_url: 'http://127.0.0.1:9', key: null}}"
    user.write_profile(f"models: {{a: mine/x}}\nproviders: {mine}\n")
    assert completed(user, "wrapper install --direct mi") == ["minimax", "mine"]
    user.write_profile("models: [")
    assert completed(user, "wrapper install --direct mi") == ["minimax"]


@pytest.mark.parametrize(
    ("shell", "first"),
    [("zsh", "#compdef llmswitch"), ("fish", "complete --command llmswitch --no-files ")],
)
def test_other_shells_are_told_in_their_words(user: User, shell: str, first: str) -> None:
    """They ask `llmswitch` as bash does."""
    done = user.run("completion", shell)
    assert done.returncode == 0
    assert done.stdout.startswith(first)
    assert f"_LLMSWITCH_COMPLETE=complete_{shell}" in done.stdout


def test_an_unknown_shell_is_wrong_usage(user: User) -> None:
    """With those that there are."""
    done = user.run("completion", "csh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'bash', 'zsh', 'fish'" in done.stderr
