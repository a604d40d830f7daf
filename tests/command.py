"""A command in this process, for what is only a command's answer: a tenth of the time. Not for what
starts a gateway, which has to outlive its command.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner

from llmswitch.cli.app import app
from llmswitch.errors import LlmswitchError, as_text
from tests.conftest import User


def run_here(
    user: User, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> CompletedProcess[str]:
    """`llmswitch ...` as `user.run` does it, with a pipe as stdin."""
    environ = {**user.env, **(env or {})}
    with patch.dict(os.environ, environ, clear=True), contextlib.chdir(user.home):
        done = CliRunner().invoke(app, arguments, input=stdin, prog_name="llmswitch")
    stderr = done.stderr
    if isinstance(done.exception, LlmswitchError | OSError):
        stderr += as_text(done.exception)
    elif done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return CompletedProcess(arguments, done.exit_code, done.stdout, stderr)


def json_here(user: User, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """The same with --json: the answer as data; the command must succeed."""
    done = run_here(user, *arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
