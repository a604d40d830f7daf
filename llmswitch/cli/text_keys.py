"""Where keys are, in the words that a person reads; never a part of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmswitch.columns import columns
from llmswitch.gateway.key_renewal import Renewed
from llmswitch.profile.keys import KEYRING
from llmswitch.profile.model_lists import Answer


def kept(name: str, place: str, file: Path, wrong: str | None, page: str | None) -> list[str]:
    """What `key set` did, and what is odd about the key."""
    lines = [f"{name} is kept in {KEYRING if place == 'keyring' else file}"]
    if wrong:
        where = f"; get one from {page}" if page else ""
        lines.append(f"warning: it {wrong}{where}")
    return lines


def shadowed(name: str) -> list[str]:
    """That a key of the shell comes before one that is kept."""
    return [f"note: {name} is also set in this shell, and that one is used    -> unset {name}"]


def listed(rows: Sequence[Mapping[str, Any]], file: Path) -> list[str]:
    """A row for each key."""
    places = {"keyring": KEYRING, "file": str(file), "environment": "the environment"}
    cells = [("KEY", "OF", "COMES FROM")]
    cells += [
        (row["name"], ", ".join(row["of"]) or "-", places.get(row["place"], "nowhere: not set"))
        for row in rows
    ]
    return columns(cells)


def removed(name: str, place: str | None, file: Path) -> list[str]:
    """What `key remove` did."""
    if place is None:
        return [f"{name} was not kept by `key set`"]
    return [
        f"removed {name} from {KEYRING if place == 'keyring' else file}",
        "a gateway that runs has it until: llmswitch restart",
    ]


def checked(answers: Mapping[str, Answer], provider: str) -> list[str]:
    """What a provider said to each key."""
    lines = []
    for name, answer in answers.items():
        if answer.trouble is None:
            lines.append(f"{provider} takes {name}")
        elif answer.refused:
            lines += [f"{name}: {provider} {answer.trouble}", f"-> llmswitch key set {name}"]
        else:
            lines.append(f"{name} could not be checked: {provider} {answer.trouble}")
            lines.append("-> llmswitch doctor --live    (asks the models themselves)")
    return lines


def checked_data(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """The same for --json."""
    said = {
        name: {"accepted": True if answer.trouble is None else False if answer.refused else None,
               "trouble": answer.trouble}
        for name, answer in answers.items()
    }  # fmt: skip
    return {"keys": said}


def renewed(done: Renewed) -> list[str]:
    """What `key renew-gateway` did, and who has to be told."""
    lines = [f"made a new gateway key: {done.file}"]
    for_people = [(one.profile, one.url.removeprefix("http://")) for one in done.reloaded]
    lines += [f"{profile} on {address} takes it" for profile, address in for_people]
    for failure in done.failed:
        lines += [f"{failure.profile} still takes the old key: {failure.message}",
                  f"-> {failure.hint}"]  # fmt: skip
    told = [
        ("open sessions", "end them, then: claude-multi --continue"),
        ("VS Code", "llmswitch env --format vscode, or: llmswitch code"),
        ("shells, CI, containers, SDKs", "llmswitch env"),
    ]
    lines += ["what still has the old key, and where the new one comes from:"]
    lines += [f"  {line}" for line in columns(told)]
    return [*lines, "keys of `client add` stay as they are"]


def renewed_data(done: Renewed) -> dict[str, Any]:
    """The same for --json."""
    return {
        "file": str(done.file),
        "reloaded": [{"profile": one.profile, "url": one.url} for one in done.reloaded],
        "failed": [failure._asdict() for failure in done.failed],
    }
