"""`llmswitch logs`."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from llmswitch.cli.common import ProfileOption, chosen
from llmswitch.run_files import LOG


def logs(
    profile: ProfileOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 100,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Requests to a model, or answered by it.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="Requests of a session of Claude Code.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Requests that failed.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Requests alone, each as an object in a line.")
    ] = False,
) -> None:
    """Show the gateway's log, or those lines of it that tell of requests that are wanted."""
    from llmswitch.gateway import log
    from llmswitch.gateway.manager import managed
    from llmswitch.request_line import Wanted, parsed

    home, ref = chosen(profile)
    wanted = Wanted(model, session, errors)

    def of_requests(line: str) -> str | None:
        request = parsed(line)
        if request is None or not wanted.has(request):
            return None
        return json.dumps(request._asdict(), ensure_ascii=False) if as_json else line

    pick = log.all_lines if wanted.is_all and not as_json else of_requests
    service = managed(ref, home, os.environ)
    if service and not service.by_launchd:
        found = log.of_journal(f"{service.name}.service", lines, follow, pick)
    else:
        found = log.of_file(home.run(ref) / LOG, lines, follow, pick)
    is_empty = True
    try:
        for line in found:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            is_empty = False
    except KeyboardInterrupt:  # how one stops following
        return
    except BrokenPipeError:  # `| head` has enough; at its end Python would write once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if is_empty and pick is of_requests:
        sys.stderr.write("the log tells of no such request\n")
