"""A command in this process, for what is only a command's answer: a tenth of the time. Not for what
starts a gateway, which has to outlive its command.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner

from llmswitch.cli.app import app
from llmswitch.cli.common import short
from llmswitch.errors import LlmswitchError, as_text
from tests.conftest import User, make_user


def inside(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: str = ""
) -> CompletedProcess[str]:
    """The answer of a command, with an environment of nothing but `env`."""
    with patch.dict(os.environ, env, clear=True), contextlib.chdir(cwd):
        done = CliRunner().invoke(app, arguments, input=stdin, prog_name="llmswitch")
        error, stderr = done.exception, done.stderr
        if isinstance(error, LlmswitchError | OSError):
            stderr += short(as_text(error))  # as `main` does
        elif error and not isinstance(error, SystemExit):
            raise error
    return CompletedProcess(list(arguments), done.exit_code, done.stdout, stderr)


def run_here(
    user: User, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> CompletedProcess[str]:
    """`llmswitch ...` as `user.run` does it, with a pipe as stdin."""
    return inside(arguments, {**user.env, **(env or {})}, user.home, stdin)


def json_here(user: User, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """The same with --json: the answer as data; the command must succeed."""
    done = run_here(user, *arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class InsideUser(User):
    """A user whose commands run inside this process."""

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> CompletedProcess[str]:
        """As `User.run`."""
        del timeout
        return run_here(self, *arguments, env=env)


def inside_user(root: Path) -> Iterator[InsideUser]:
    """A user with an empty home below `root`, for a fixture; what it started is stopped."""
    make_user(root)
    someone = InsideUser(root)
    yield someone
    someone.stop_everything()
