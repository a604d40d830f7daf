"""What the commands on services say. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmswitch.gateway.service import Installed
from llmswitch.gateway.systemd import Service


def installed(done: Installed) -> list[str]:
    """What `service install` did, and which keys of this shell a service will not see."""
    service = done.service
    said = {
        "installed": f"installed the service {service.name}",
        "updated": f"updated the service {service.name}",
        "nothing": f"the service {service.name} is up to date",
    }[done.did]
    if service.by_launchd:
        said += ": launchd starts the gateway at login, and did so now"
    elif done.started:
        said += f": systemd holds {done.address}, and the gateway runs"
    else:
        said += f": systemd holds {done.address}, and the first request starts the gateway"
    lacking = [
        f"{name} is set in this shell alone, where a service does not see it    "
        f"-> llmswitch key set {name}"
        for name in done.only_here
    ]
    stays = (
        [] if service.by_launchd else ["it ends when you log out, unless: loginctl enable-linger"]
    )
    return [said, *lacking, *stays]


def installed_data(done: Installed) -> dict[str, Any]:
    """`service install --json`."""
    return {
        "name": done.service.name,
        "did": done.did,
        "files": [str(file) for file in done.service.files],
        "running": done.started,
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
        return [f"{name} is installed, but nothing runs services for your user here"]
    if found["failed"]:
        line = f"{name} has given up ({found['failed']})    -> {found['log']}"
    elif not found["holds"]:
        line = f"{name} is stopped until the next login    -> llmswitch up"
    elif found["pid"] is None:
        line = f"{name} holds the port, and the first request starts the gateway"
    else:
        line = f"{name} holds the port, and its gateway runs, pid {found['pid']}"
    stale = [f"its files are of another version or address    -> {again}"]
    return [line, *([] if found["current"] else stale)]
