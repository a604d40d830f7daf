"""What the commands on services say. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmswitch.gateway.manager import Service
from llmswitch.gateway.service import Installed
from llmswitch.health import address_of


def installed(done: Installed) -> list[str]:
    """What `service install` did, and which keys of this shell a service does not see."""
    said = {
        "installed": f"installed the service {done.service.name}",
        "updated": f"updated the service {done.service.name}",
        "nothing": f"the service {done.service.name} is up to date",
    }[done.did]
    said += f": its gateway runs on {address_of(done.state.url)}, pid {done.state.pid}"
    lacking = [
        f"{name} is set only in this shell, which the service does not see    "
        f"-> llmswitch key set {name}"
        for name in done.only_here
    ]
    stays = ["it stops when you log out    -> loginctl enable-linger keeps it"]
    return [said, *lacking, *([] if done.service.by_launchd else stays)]


def installed_data(done: Installed) -> dict[str, Any]:
    """`service install --json`."""
    return {
        "name": done.service.name,
        "did": done.did,
        "file": str(done.service.file),
        "pid": done.state.pid,
        "missing": done.only_here,
    }


def uninstalled(gone: Service | None, profile: str) -> list[str]:
    """What `service uninstall` did."""
    if gone is None:
        return [f"no service is installed for the profile {profile}"]
    return [f"stopped and removed the service {gone.name}"]


def status(found: Mapping[str, Any]) -> list[str]:
    """The service in a line or two."""
    again = "llmswitch service install"
    if not found["installed"]:
        return [f"no service is installed    -> {again}"]
    name = found["name"]
    if not found["manager"]:
        return [f"{name} is installed, but no service manager runs for your user"]
    if found["failed"]:
        line = f"{name} failed ({found['failed']})    -> {found['log']}"
    elif found["pid"] is None:
        line = f"{name} is stopped until the next login    -> llmswitch up"
    else:
        line = f"{name} runs, pid {found['pid']}"
    stale = [f"its file was written by another version    -> {again}"]
    return [line, *([] if found["current"] else stale)]
