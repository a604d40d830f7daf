"""`llmswitch logs`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from llmswitch.cli.common import ProfileOption, chosen, show
from llmswitch.errors import LlmswitchError
from llmswitch.run_files import LOG


def logs(
    profile: ProfileOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow it as it grows, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 100,
) -> None:
    """Show the end of the gateway's log.

    For the last requests: llmswitch usage --requests
    """
    from llmswitch.gateway.log import tail
    from llmswitch.gateway.manager import managed

    home, ref = chosen(profile)
    log = home.run(ref) / LOG
    if service := managed(ref, home, os.environ):
        log = service.log
        if not service.by_launchd:
            command = service.log_command(lines) + (" -f" if follow else "")
            show([f"the service {service.name} logs to the journal    -> {command}"], None, False)
            return
    if not log.exists():
        raise LlmswitchError(f"there is no log yet at {log}", "llmswitch up")
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", str(log)])  # noqa: S606, S607
    show(tail(log, lines))
