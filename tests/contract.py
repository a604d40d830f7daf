"""`make engine`: the tests that are marked `engine`, with the oldest and the newest LiteLLM that is
supported, and with one that is newer (the canary), whose failures are told and fail nothing.

The newest is the one of the lock, so .venv has it. Each of the others has an environment of its own
below .cache/engine, made of the lock with another LiteLLM.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from llmswitch.engine_versions import TESTED

CHECKOUT = Path(__file__).parent.parent
CACHE = CHECKOUT / ".cache" / "engine"
UV = Path(sys.executable).with_name("uv")
# What the extra `proxy` of a LiteLLM asks for beside LiteLLM's own packages, which come later than
# it, or not at all.
_REQUIRES = """
from importlib.metadata import requires
from packaging.requirements import Requirement
for one in map(Requirement, requires("litellm")):
    if not one.name.startswith("litellm") and (
        one.marker is None or one.marker.evaluate({"extra": "proxy"})
    ):
        one.marker = None
        print(one)
"""


def main(arguments: list[str]) -> int:
    """Run them; `arguments` go to pytest. The exit code is 1 where a supported version fails."""
    failed = False
    for release, what in (
        (TESTED.oldest, "the oldest that is supported"),
        (TESTED.newest, "the newest that is supported"),
        (TESTED.canary, "unsupported"),
    ):
        print(f"\n=== LiteLLM {release}: {what}", flush=True)
        began = time.monotonic()
        python = _python(release)
        done = _run(
            [python, "-m", "pytest", "-m", "engine", "-q", "--no-cov", "-p", "no:cacheprovider",
             "--numprocesses", os.environ.get("WORKERS", "2"), "--dist", "loadfile", *arguments],
            check=False,
        )  # fmt: skip
        said = "passes" if done == 0 else "fails"
        print(f"=== LiteLLM {release} {said} after {time.monotonic() - began:.0f} s ({what})")
        failed |= done != 0 and release != TESTED.canary
    return int(failed)


def _python(release: str) -> Path:
    """The Python of an environment with this LiteLLM, made where there is none for this lock."""
    if release == TESTED.newest:
        return Path(sys.executable)
    place = CACHE / release
    made = place / "made-of"
    lock = hashlib.sha256((CHECKOUT / "uv.lock").read_bytes()).hexdigest()
    python = place / "bin" / "python"
    if not made.exists() or made.read_text() != lock:
        shutil.rmtree(place, ignore_errors=True)
        sync: list[str | Path] = [UV, "sync", "--frozen", "--inexact", "--quiet"]
        env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(place), "UV_NO_BUILD_ISOLATION": "1"}
        _run([*sync, "--no-install-project"], env)
        _run(sync, env)
        if release == TESTED.canary:
            _install(python, "--no-deps", f"litellm=={release}")
            wanted = subprocess.run([python, "-c", _REQUIRES], stdout=subprocess.PIPE, check=True)
            _install(python, *wanted.stdout.decode().splitlines())
        else:
            _install(python, f"litellm[proxy]=={release}")
        _run([python, "-m", "compileall", "-q", place / "lib"], check=False)
        made.write_text(lock)
    return python


def _install(python: Path, *what: str) -> None:
    _run([UV, "pip", "install", "--quiet", "--python", python, *what])


def _run(command: list[str | Path], env: dict[str, str] | None = None, check: bool = True) -> int:
    return subprocess.run(command, cwd=CHECKOUT, env=env, check=check).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
