"""`llmswitch service ...`: parse, call one function, print."""

from __future__ import annotations

import os

from llmswitch.cli.common import JsonOption, ProfileOption, chosen, group, show

app = group("Run the gateway as a service of systemd (on macOS: launchd).")


@app.command("install")
def install_service(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Start the gateway now and at each login, and again when it fails."""
    from llmswitch.cli import progress, text_service
    from llmswitch.gateway import service

    home, ref = chosen(profile)
    with progress.shown() as tell:
        done = service.install(ref, home, os.environ, tell)
    show(text_service.installed(done), text_service.installed_data(done), as_json)


@app.command("uninstall")
def uninstall_service(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Stop the service and remove its file."""
    from llmswitch.cli import text_service
    from llmswitch.gateway import service

    home, ref = chosen(profile)
    gone = service.uninstall(ref, home, os.environ)
    data = {"removed": [str(gone.file)] if gone else []}
    show(text_service.uninstalled(gone, ref.name), data, as_json)


@app.command("status")
def service_status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Whether the service runs, is stopped or has failed."""
    from llmswitch.cli import text_service
    from llmswitch.gateway import service

    home, ref = chosen(profile)
    found = service.status(ref, home, os.environ)
    show(text_service.status(found), found, as_json)
