"""The status and today's use in the words that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmswitch.budgets import dollars
from llmswitch.cli.text import models
from llmswitch.columns import columns
from llmswitch.gateway.lease import stops
from llmswitch.health import address_of
from llmswitch.render.retirement import Retirement


def status(found: dict[str, Any]) -> list[str]:
    """The status: one line on the gateway, then the models."""
    line = _running(found) if found["running"] else _not_running(found)
    told = _warnings(found["ledger"], found["budgets"], found["profile"])
    told += [Retirement(**one).line for one in found["retiring"]]
    rows = models(found["models"], found["default"])
    return [line, *told, "", *rows, *_today(found["today"])]


def _running(found: dict[str, Any]) -> str:
    service = found["service"]
    line = f"running on {address_of(found['url'])}, pid {found['pid']}"
    line += f", profile {found['profile']}"
    if service and service["pid"] == found["pid"]:
        line += f", by the service {service['name']}"
    elif found["goes_after"] is not None:
        line += f"; {stops(found['goes_after'])}"
    if not found["current"]:
        line += "; the profile has changed since    -> llmswitch up"
    return line


def _not_running(found: dict[str, Any]) -> str:
    service, profile = found["service"], found["profile"]
    if service and service["failed"]:
        line = f"not running: the service {service['name']} failed ({service['failed']})"
        return f"{line}    -> llmswitch service status"
    if found["stopped"]:
        return f"not running: it stopped by itself, {found['stopped']}    -> llmswitch logs"
    if service and service["pid"] and (found["starting"] or not found["pid"]):
        return f"starting (profile {profile}), by the service {service['name']}"
    if found["pid"]:
        where = f"on {address_of(found['url'])}, pid {found['pid']}, profile {profile}"
        silent = f"not answering {where}    -> llmswitch restart"
        return f"starting {where}" if found["starting"] else silent
    return f"not running (profile {profile})    -> llmswitch up"


def _today(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What each model has served today, and by which key."""
    if not rows:
        return []
    cells = [("TODAY", "ANSWERS", "COST", "SERVED BY")]
    for row in rows:
        by = [f"{key or 'no key'} {number}" for key, number in row["keys"].items()]
        by += [f"in place of {name} {number}" for name, number in row["in_place_of"].items()]
        cost = "unknown" if row["cost_usd"] is None else dollars(row["cost_usd"])
        cells.append((row["model"], str(row["answers"]), cost, ", ".join(by)))
    return ["", *columns(cells)]


def _warnings(
    ledger: dict[str, Any] | None, accounts: Sequence[dict[str, Any]], profile: str
) -> list[str]:
    """What the gateway says of its ledger, and budgets that are nearly spent."""
    lines = []
    if ledger and (ledger["trouble"] or ledger["lost"]):
        why = ledger["trouble"] or "rows of no known form"
        lines.append(
            f"the ledger cannot be written: {why}; requests go on, "
            f"{ledger['waiting']} rows wait, {ledger['lost']} are lost    -> llmswitch doctor"
        )
    lines += [
        f"budget {item['name']}: {item['said']}    -> llmswitch budget raise {item['name']} USD "
        f"--profile {profile}"
        for item in accounts
        if item["near"]
    ]
    return lines
