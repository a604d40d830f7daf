"""The real Claude Code, in the newest version that llmswitch knows and in the oldest; Codex and
opencode, which speak to OpenAI's routes.

Each is one native binary, fetched once from the package registry that carries it, into
``.cache/clients/<version>/`` of the checkout. Where that is not possible (no network, no npm) the
test is skipped with the reason; under CI it fails.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "clients"
NEWEST = "2.1.332"
NEWEST_WHEEL = "claude-agent-sdk==0.2.189"
"""The release on PyPI that bundles NEWEST; the wheel of each platform holds its binary."""
OLDEST = "2.1.197"
CODEX = "0.171.0"
OPENCODE = "1.18.33"


@functools.cache
def newest() -> Path:
    """The executable of the newest Claude Code."""
    return _client(NEWEST, _from_pypi)


@functools.cache
def oldest() -> Path:
    """The executable of the oldest Claude Code."""
    return _client(OLDEST, _from_npm)


@functools.cache
def codex() -> Path:
    """The executable of Codex."""
    pattern = "node_modules/@openai/codex-*/vendor/*/bin/codex"
    fetch = functools.partial(_binary_of, f"@openai/codex@{CODEX}", pattern)
    return _client(CODEX, fetch, "codex", "codex-cli ")


@functools.cache
def opencode() -> Path:
    """The executable of opencode; of several the last one, which any processor runs."""
    pattern = "node_modules/opencode-*/bin/opencode"
    fetch = functools.partial(_binary_of, f"opencode-ai@{OPENCODE}", pattern)
    return _client(OPENCODE, fetch, "opencode")


newest_and_oldest = pytest.mark.parametrize(
    "client",
    [
        pytest.param(newest, id="newest"),
        pytest.param(oldest, id="oldest", marks=pytest.mark.soak),
    ],
)
"""A test of each client; the oldest takes its turn in `make soak`."""


def make_home(home: Path, project_dir: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Make a home folder in which Claude Code asks no first-run question in ``project_dir``.

    ``settings`` becomes ``.claude/settings.json``; without it there is none. Returns ``home``.
    """
    trusted = {str(project_dir.resolve()): {"hasTrustDialogAccepted": True}}
    state = {"hasCompletedOnboarding": True, "projects": trusted}
    (home / ".claude").mkdir(parents=True)
    (home / ".claude.json").write_text(json.dumps(state))
    if settings is not None:
        (home / ".claude" / "settings.json").write_text(json.dumps(settings))
    return home


def client_env(home: Path, **extra: str) -> dict[str, str]:
    """The whole environment of a client that lives in ``home``: nothing is inherited but PATH,
    and nothing but loopback can be reached (any other host is looked for behind a closed port).
    """
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_INSTALLATION_CHECKS": "1",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
        **extra,
    }


def _client(
    version: str, fetch: Callable[[Path], Path], name: str = "claude", before: str = ""
) -> Path:
    """The executable of that version, fetched if it is not there yet.

    The lock is for pytest-xdist, the rename for a fetch that is interrupted: a binary in
    the folder of its version is always whole. `before` is what it says before its version.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    client = CACHE / version / name
    with (CACHE / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not client.exists():
            for leftover in CACHE.glob(f"{version}.partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(dir=CACHE, prefix=f"{version}.partial-"))
            binary = fetch(partial)
            binary.chmod(0o755)
            _check(binary, before + version)
            client.parent.mkdir(exist_ok=True)
            binary.rename(client)
            shutil.rmtree(partial)
    _check(client, before + version)
    return client


def _check(client: Path, version: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        said = subprocess.run(
            [client, "--version"], env={"HOME": home}, capture_output=True, text=True, check=True
        ).stdout
    assert said.split()[: len(version.split())] == version.split(), (
        f"{client} is {said!r}, not {version}; delete it"
    )


def _from_pypi(folder: Path) -> Path:
    # A virtual environment made by uv has no pip.
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["uvx", "pip"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    _run([*pip, "download", *options, NEWEST_WHEEL])
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("claude_agent_sdk/_bundled/claude", folder))


def _from_npm(folder: Path) -> Path:
    package = f"@anthropic-ai/claude-code@{OLDEST}"
    return _binary_of(package, "node_modules/@anthropic-ai/claude-code-*/claude", folder)


def _binary_of(package: str, pattern: str, folder: Path) -> Path:
    # The scripts only link the binary of the platform's own package into the main one.
    _run(["npm", "install", "--ignore-scripts", "--prefix", str(folder), package])
    *_, binary = sorted(folder.glob(pattern))
    return binary


def _run(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        unavailable(f"{command[0]} is not installed, and a real Claude Code is fetched with it")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")


def unavailable(reason: str) -> NoReturn:
    """Skip the test on a user's machine; fail it where everything must be tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


if __name__ == "__main__":  # fetch them, before the clock of a test runs
    print(newest(), oldest(), codex(), opencode(), sep="\n")
