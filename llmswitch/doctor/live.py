"""`llmswitch doctor --live`: which models are asked, what that may cost, and what came of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from llmswitch.claude.login import OWN_LOGIN
from llmswitch.claude.program import ask_version, find_claude, menu_support
from llmswitch.doctor.facts import Facts, NotAskedError
from llmswitch.doctor.messages_api import Door
from llmswitch.doctor.probe import PROBES, Cell, Result, Target, other_of, run
from llmswitch.doctor.probe_client import drive
from llmswitch.doctor.requests import estimate
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import State
from llmswitch.profile.keys import kept_keys
from llmswitch.render.menu import Row

CLIENT = "claude -p"
_TRY = "try: claude-multi --model {} -p hi"


class Live(NamedTuple):
    """What is going to be asked. `claude` is the client where it is to be driven too, `logins` are
    models that the user's Claude login pays for, which only that client has.
    """

    facts: Facts
    state: State
    targets: tuple[Target, ...]
    claude: Path | None
    logins: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What is asked of the user before anything is asked of a model."""
        rows = [target.row for target in self.targets]
        others = [target.other for target in self.targets if target.other]
        usd, unknown = estimate(rows, others, self.claude is not None)
        count = "1 model" if len(rows) == 1 else f"{len(rows)} models"
        return f"this sends real requests to {count}, {cost(usd, unknown)}"


def prepare(facts: Facts, names: Sequence[str], with_client: bool) -> Live:
    """The models to ask: those named, else all that are served.

    Raises LlmswitchError for a gateway that does not run and for a name that it does not serve.
    """
    state = _gateway(facts)
    listed = {row["name"] for row in state.models if row["available"]}
    served = [row for row in facts.rows if row.name in listed and row.reason is None]
    if not served:
        said = f"the gateway serves no model of the profile {facts.ref.name} as it stands"
        raise LlmswitchError(said, f"llmswitch up --profile {facts.ref.typed}")
    for name in names:
        if name not in {row.name for row in served}:
            known = ", ".join(row.name for row in served)
            raise LlmswitchError(
                f"the gateway serves no model {name!r}; it serves: {known}",
                f"llmswitch doctor --live {served[0].name}",
            )
    # An upstream may say the key that it refuses.
    secrets = (*facts.keys.values(), *kept_keys(facts.home).values())
    door = Door(state.host, state.port, facts.own_key, time.monotonic, secrets=secrets)
    wanted = [row for row in served if not names or row.name in names]
    others = [row for row in served if not row.needs_login]
    targets = tuple(_target(row, others, door) for row in wanted if not row.needs_login)
    logins = tuple(row.name for row in wanted if row.needs_login)
    return Live(facts, state, targets, find_claude(facts.environ) if with_client else None, logins)


def ask(live: Live, progress: Callable[[str], None]) -> list[Result]:
    """Ask every model everything."""
    asked = [*run(live.targets, progress), *(_unasked(name) for name in live.logins)]
    order = [row.name for row in live.facts.rows]
    results = sorted(asked, key=lambda result: order.index(result.model))
    if live.claude is None:
        return results
    client = live.state.clients[menu_support(ask_version(live.claude))]
    for result in results:
        progress(f"{result.model}: {CLIENT}")
        is_paid_so = result.model in live.logins
        if is_paid_so and OWN_LOGIN not in live.facts.environ:
            cell = Cell("skipped", f"it is asked in a home of its own; {_TRY.format(result.model)}")
        elif is_paid_so or result.cells["answer"].level == "ok":
            with TemporaryDirectory(prefix="llmswitch-") as folder:
                key, environ = live.facts.own_key, live.facts.environ
                told = {**client, "login": is_paid_so}
                cell = drive(live.claude, told, key, result.model, Path(folder), environ)
        else:
            cell = Cell("skipped", "no plain answer")
        result.cells[CLIENT] = cell
    return results


def _unasked(model: str) -> Result:
    """No check has been made: the login is the client's, and llmswitch does not take it."""
    cells = {name: Cell("skipped", "no plain answer") for name, _ in PROBES}
    note = f"your Claude login pays for it, which only Claude Code has; {_TRY.format(model)}"
    return Result(model, cells | {"answer": Cell("skipped", note)})


def failed(results: Sequence[Result]) -> bool:
    """Whether anything is an error."""
    cells = (cell for result in results for cell in result.cells.values())
    return any(cell.level in {"error", "failed"} for cell in cells)


def _gateway(facts: Facts) -> State:
    if isinstance(facts.named, LlmswitchError):
        raise facts.named
    if isinstance(facts.loaded, LlmswitchError):
        raise facts.loaded
    try:
        state, _ = facts.gateway, facts.own_key
    except NotAskedError as reason:
        raise LlmswitchError(str(reason), f"llmswitch up --profile {facts.ref.typed}") from reason
    return state


def _target(row: Row, served: Sequence[Row], door: Door) -> Target:
    # Another mark in every run, so that no cache answers with what it knows from the last.
    return Target(door, row, other_of(row, served), mark=uuid.uuid4().hex[:12])


def cost(usd: float | None, unknown: Sequence[str]) -> str:
    """An upper estimate in words. `unknown` are the models whose price nobody knows (not 0);
    where it is that of all, `usd` is None.
    """
    if usd is None:
        return "at a price that nobody knows"
    said = f"for at most ${max(usd, 0.01):.2f}" if usd else "free of charge"
    if unknown:
        said += f" and what {', '.join(unknown)} cost{'s' if len(unknown) == 1 else ''}"
    return said
