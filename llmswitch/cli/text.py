"""Results in the words that a person reads: lines of text, made of data. Prints nothing."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmswitch.cli.common import short
from llmswitch.columns import columns, counted
from llmswitch.health import address_of

if TYPE_CHECKING:
    from llmswitch.claude.wrapper import Installed
    from llmswitch.doctor.checks import Result
    from llmswitch.doctor.context import Level
    from llmswitch.doctor.probe import Cell
    from llmswitch.doctor.probe import Result as Asked
    from llmswitch.gateway.lifecycle import Outcome
    from llmswitch.gateway.state import State
    from llmswitch.render.retirement import Retirement
    from llmswitch.setup.demo import Answer


def models(rows: Sequence[dict[str, Any]], default: str | None) -> list[str]:
    """The models: name, label, description; those that are left out with the reason."""
    cells = [("MODEL", "LABEL", "PROVIDER, CONTEXT, PRICE")]
    for row in rows:
        mark = " (default)" if row["name"] == default else ""
        said = row["description"] if row["available"] else f"left out: {row['reason']}"
        cells.append((row["name"] + mark, row["label"], said))
    return columns(cells)


def outcome(done: Outcome) -> list[str]:
    """What `up` did, and the models that are served now."""
    state = done.state
    return [_did(done), "", *models(state.models, state.roles["default"])]


def outcome_in_short(done: Outcome) -> list[str]:
    """What `up --quiet` says, and so `claude-multi`: what was done, and the models left out."""
    left_out = [row for row in done.state.models if not row["available"]]
    return [_did(done), *(f"{row['name']} is left out: {row['reason']}" for row in left_out)]


def outcome_data(done: Outcome) -> dict[str, Any]:
    """What `up --json` says."""
    state = done.state
    return {"did": done.did, "url": state.url, "pid": state.pid, "models": state.models}


def not_verbose(done: Outcome) -> list[str]:
    """What `up -v` says of a process that ran before."""
    if done.did in ("started", "starting", "restarted"):
        return []
    return ["", "the running process keeps its log level; to change it: llmswitch restart -v"]


def _did(done: Outcome) -> str:
    state = done.state
    where = f"{state.profile} on {address_of(state.url)}, pid {state.pid}"
    said = {
        "started": f"started {where}",
        "starting": f"starting {where}; its first answer takes a few seconds",
        "restarted": f"restarted {where}",
        "reloaded": f"reloaded {where}; open requests finish as they began",
        "nothing": f"already running {where}",
    }[done.did]
    return f"{said}; it no longer stops by itself" if done.stays else said


def stopped(state: State | None) -> list[str]:
    """What `down` did."""
    if state is None:
        return ["not running"]
    return [f"stopped {address_of(state.url)}, pid {state.pid}"]


_WRONG = ("warning", "failed", "error")
_SUMMED: dict[Level, str] = {  # what the doctor calls so many results of a level
    "ok": "{} check{s} passed",
    "skipped": "{} skipped",
    "info": "{} note{s}",
    "warning": "{} warning{s}",
    "failed": "{} broken",
    "error": "{} error{s}",
}


def doctor_screen(results: Sequence[Result], *, everything: bool) -> list[str]:
    """How many checks of the doctor found what; below, what is wrong, or everything."""
    numbers = Counter(result.level for result in results)
    said = [
        form.format(numbers[level], s="" if numbers[level] == 1 else "s")
        for level, form in _SUMMED.items()
        if numbers[level] or level == "ok"
    ]
    if everything:
        return [", ".join(said), *doctor(results)]
    more = "    (all of them: llmswitch doctor --all)" if numbers["info"] else ""
    return [", ".join(said) + more, *doctor([one for one in results if one.level in _WRONG])]


def doctor(results: Sequence[Result]) -> list[str]:
    """What the doctor found, the worst last: a row for each check, its cure below it. Messages are
    wrapped at 80 columns; a cure is not, so that it can be copied.
    """
    if not results:
        return []
    found = sorted(results, key=lambda result: list(_SUMMED).index(result.level))
    title, *rows = columns([("RESULT", "CHECK"), *((r.level, r.name) for r in found)])
    width, second = max(map(len, rows)), title.index("CHECK") * " "
    lines = [f"{title:{width}}  MESSAGE"]
    for row, result in zip(rows, found, strict=True):
        lines += _wrapped(result.message, f"{row:{width}}  ", " " * (width + 2))
        cure, _, remark = (result.hint or "").partition("    (")
        lines += [f"{second}-> {cure}"] if cure else []
        lines += _wrapped(f"({remark}", f"{second}   ", f"{second}   ") if remark else []
    return lines


def _wrapped(said: str, before: str, below: str) -> list[str]:
    """A text in lines of 80 columns; `before` begins the first of them, `below` the others."""
    return textwrap.wrap(
        said,
        80,
        initial_indent=before,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )


def matrix(results: Sequence[Asked]) -> list[str]:
    """A row for each model and a column for each check (every result has the same); below, a line
    for each that is not ok, and what cures it.
    """
    from llmswitch.doctor.probe import NO_ANSWER

    table = [("MODEL", *(results[0].cells if results else ()))]
    table += [(one.model, *(_cell(cell) for cell in one.cells.values())) for one in results]
    notes: list[str] = []
    for one in results:
        for name, cell in one.cells.items():
            if cell.level == "ok" or cell.note == NO_ANSWER:
                continue
            said = f": {cell.words}" if cell.words else ""
            notes += _wrapped(f"{one.model}, {name}: {cell.note}{said}", "", "  ")
            if cell.cure:
                notes.append(f"  -> in the profile: {cell.cure}")
    return [*columns(table), "", *notes] if notes else columns(table)


def _cell(cell: Cell) -> str:
    if cell.level == "ok" and cell.seconds is not None:
        return f"ok {cell.seconds:g} s"
    return {"error": "ERROR", "failed": "FAILED", "skipped": "-"}.get(cell.level, cell.level)


def installed(done: Installed, profile: str | None = None) -> list[str]:
    """What `wrapper install` did, and which profile the wrapper starts."""
    file = short(done.file)
    said = f"{file} is up to date" if done.did == "nothing" else f"{done.did} {file}"
    said += f"; it starts the profile {profile}" if profile else ""
    if done.on_path:
        return [said, f"run it: {done.file.name}"]
    return [said, f"{short(done.file.parent)} is not on PATH; until it is, run {file}"]


def installed_data(done: Installed) -> dict[str, Any]:
    """The same for --json."""
    return {"file": str(done.file), "did": done.did, "on_path": done.on_path}


def valid(
    shown: str,
    models: int,
    retiring: Sequence[Retirement],
    notes: Sequence[str],
    trust: Sequence[str],
) -> list[str]:
    """What `validate` says of a profile without mistakes. `trust` is what to know of it if somebody
    else wrote it.
    """
    lines = [f"{shown} is valid: {counted(models, 'model')}"]
    lines += [f"warning: {one.line}" for one in retiring]
    lines += [f"note: {note}" for note in notes]
    if trust:
        lines += ["if you did not write it:", *(f"  {one}" for one in trust)]
    return lines


def files(rendered: dict[str, str]) -> list[str]:
    """What `render` shows: each file under its name."""
    shown = (f"==> {name} <==\n{text}" for name, text in rendered.items())
    return "\n".join(shown).splitlines()


def demo(state: State, answers: Sequence[Answer], program: str) -> list[str]:
    """What `try` shows: the models, each answer, how to continue. `program` starts llmswitch."""
    lines = [f"a gateway ran on {state.url} with two offline models:", ""]
    lines += [*models(state.models, state.roles["default"]), ""]
    for said in answers:
        lines += [f"{said.model} answered:", f"  {said.text}", ""]
    after = [
        (f"{program} init", "finds keys or asks for one, and sets everything up"),
        ("~/.local/bin/claude-multi", "then: Claude Code, with every model in /model"),
    ]
    last = "it is stopped again, and left nothing behind. With your own keys:"
    return [*lines, last, *(f"  {line}" for line in columns(after))]
