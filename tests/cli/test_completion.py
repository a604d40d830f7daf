"""`completion`: the script for a shell, and what Tab then completes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import User

COMPLETE = """
eval "$(llmswitch completion bash)"
complete_words() {{
    COMP_WORDS=(llmswitch "$@")
    COMP_CWORD=$#
    _llmswitch_completion llmswitch
    echo "${{COMPREPLY[@]}}"
}}
{calls}
"""


def completed(user: User, *typed: str) -> list[list[str]]:
    """What bash offers after each of these, the last word of which is being typed."""
    program = user.root / "bin" / "llmswitch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m llmswitch "$@"\n')
    program.chmod(0o755)
    calls = "\n".join(f"complete_words {words}" for words in typed)
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(calls=calls)],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_options_profiles_and_providers(user: User) -> None:
    """Profiles are the user's own and the ready-made ones; providers of `--direct` those that need
    no gateway, of the catalogue and of the default profile.
    """
    mine = "{mine: {dialect: messages, base_url: 'http://127.0.0.1:9', key: null}}"
    user.write_profile(f"models: {{a: mine/x}}\nproviders: {mine}\n", "mine")
    direct = "wrapper install --direct"
    assert completed(
        user,
        "bud",
        "budget r",
        "status --pro",
        "status --profile ''",
        f"{direct} z",
        f"{direct} mi",
    ) == [
        ["budget"],
        ["raise"],
        ["--profile"],
        ["claude-glm", "claude-max", "demo", "local", "mine", "openrouter"],
        ["zai", "zhipu"],
        ["minimax", "mine"],
    ]
    user.write_profile("models: [")
    assert completed(user, f"{direct} mi") == [["minimax"]], "a profile with mistakes"


@pytest.mark.parametrize(
    ("shell", "first"),
    [("zsh", "#compdef llmswitch"), ("fish", "complete --command llmswitch --no-files ")],
)
def test_other_shells_have_scripts_of_their_own(user: User, shell: str, first: str) -> None:
    """They ask `llmswitch` as bash does."""
    done = user.run("completion", shell)
    assert done.returncode == 0
    assert done.stdout.startswith(first)
    assert f"_LLMSWITCH_COMPLETE=complete_{shell}" in done.stdout
