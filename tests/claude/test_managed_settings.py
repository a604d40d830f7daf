"""Settings of an organization, which Claude Code obeys before any of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmswitch.claude import managed_settings
from llmswitch.errors import LlmswitchError
from tests.conftest import CHECKOUT, User
from tests.fake_claude import install

SESSION = """
import sys
from pathlib import Path
from llmswitch.claude import managed_settings, session
managed_settings.FOLDERS = (Path(sys.argv[1]),)
session.main(sys.argv[2:])
"""
OVERRIDES = (
    "{} sets {}, which overrides llmswitch, so Claude Code would send a credential to the "
    "wrong host"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/claude-code, which only root can write."""
    folder = tmp_path / "claude-code"
    (folder / "managed-settings.d").mkdir(parents=True)
    monkeypatch.setattr(managed_settings, "FOLDERS", (tmp_path / "nowhere", folder))
    return folder


@pytest.mark.parametrize("name", ["managed-settings.json", "managed-settings.d/10-corp.json"])
@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"apiKeyHelper": "/opt/key"}, "apiKeyHelper"),
        ({"env": {"ANTHROPIC_BASE_URL": "https://corp"}}, "env.ANTHROPIC_BASE_URL"),
        ({"env": {"X": "1", "ANTHROPIC_AUTH_TOKEN": "t"}}, "env.ANTHROPIC_AUTH_TOKEN"),
        ({"env": {"ANTHROPIC_API_KEY": "k"}}, "env.ANTHROPIC_API_KEY"),
        ({"env": {"ANTHROPIC_CUSTOM_HEADERS": "a: b"}}, "env.ANTHROPIC_CUSTOM_HEADERS"),
        ({"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}, "env.CLAUDE_CODE_USE_BEDROCK"),
    ],
)
def test_what_would_send_a_credential_elsewhere_is_told(
    folder: Path, name: str, settings: dict[str, Any], setting: str
) -> None:
    """Each such setting, in each file that the client reads, by its name and never its value."""
    (folder / name).write_text(json.dumps(settings))
    with pytest.raises(LlmswitchError) as caught:
        managed_settings.check()
    assert caught.value.message == OVERRIDES.format(folder / name, setting)


@pytest.mark.parametrize(
    "text",
    [
        '{"env": {"ANTHROPIC_MODEL": "opus", "HTTPS_PROXY": "http://corp"}}',
        '{"env": {"ANTHROPIC_BASE_URL": ""}, "apiKeyHelper": ""}',
        '{"env": ["ANTHROPIC_BASE_URL"]}',
        "[]",
        "no JSON",
    ],
)
def test_what_does_not_is_the_organizations_own_affair(folder: Path, text: str) -> None:
    """Its models and proxies too: they lead no credential of ours to another host."""
    (folder / "managed-settings.json").write_text(text)
    managed_settings.check()


def test_a_session_is_refused_before_anything_starts(user: User, folder: Path) -> None:
    """One sentence and what to do; neither the gateway nor the client is started."""
    file = folder / "managed-settings.json"
    file.write_text('{"env": {"ANTHROPIC_BASE_URL": "http://c"}}')
    claude = user.root / "bin" / "claude"
    install(claude)
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(folder), "", "-p", "hi"],
        env={**user.env, "LLMSWITCH_CLAUDE": str(claude)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    cure = "ask your administrator to remove it; plain `claude` still works"
    assert done.stderr == f"{OVERRIDES.format(file, 'env.ANTHROPIC_BASE_URL')}\n-> {cure}\n"
    assert not user.state.exists() or not list(user.state.rglob("state.json"))
