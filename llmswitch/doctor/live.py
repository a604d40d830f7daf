"""`llmswitch doctor --live`: which models are asked, what that may cost, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from llmswitch.claude.login import OWN_LOGIN
from llmswitch.claude.program import ask_version, find_claude, menu_support
from llmswitch.columns import counted
from llmswitch.doctor.context import Context, NotAskedError
from llmswitch.doctor.messages_api import Endpoint
from llmswitch.doctor.probe import NO_ANSWER, PROBES, Cell, Result, Target, other_of, run
from llmswitch.doctor.probe_client import drive
from llmswitch.doctor.requests import estimate
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.state import State
from llmswitch.profile.keys import kept_keys

CLIENT = "claude -p"
_TRY = "try: claude-multi --model {} -p hi"


class Live(NamedTuple):
    """What is going to be asked. `claude` is the client where it is to be run too, `logins` are
    models that the user's Claude login pays for, which only that client has.
    """

    context: Context
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
        models = counted(len(rows), "model")
        return f"this sends real requests to {models}, {cost(usd, unknown)}"


def prepare(context: Context, names: Sequence[str], with_client: bool) -> Live:
    """The models to ask: those named, else all that are served.

    Raises LlmswitchError for a gateway that does not run and for a name that it does not serve.
    """
    state = _gateway(context)
    listed = {row["name"] for row in state.models if row["available"]}
    served = {row.name: row for row in context.rows if row.name in listed and row.reason is None}
    if not served:
        said = f"the gateway serves no model of the profile {context.ref.name} as it is now"
        raise LlmswitchError(said, context.command("up"))
    if unknown := [name for name in names if name not in served]:
        raise LlmswitchError(
            f"the gateway serves no model {unknown[0]!r}; it serves: {', '.join(served)}",
            f"llmswitch doctor --live {next(iter(served))}",
        )
    # An upstream may repeat the key that it refuses.
    secrets = (*context.keys.values(), *kept_keys(context.home).values())
    endpoint = Endpoint(state.host, state.port, context.own_key, secrets=secrets)
    wanted = [row for row in served.values() if not names or row.name in names]
    others = [row for row in served.values() if not row.needs_login]
    targets = tuple(
        Target(endpoint, row, other_of(row, others), mark=uuid.uuid4().hex[:12])
        for row in wanted
        if not row.needs_login
    )
    logins = tuple(row.name for row in wanted if row.needs_login)
    claude = find_claude(context.environ) if with_client else None
    return Live(context, state, targets, claude, logins)


def _gateway(context: Context) -> State:
    if isinstance(context.named, LlmswitchError):
        raise context.named
    if isinstance(context.loaded, LlmswitchError):
        raise context.loaded
    try:
        state, _ = context.gateway, context.own_key
    except NotAskedError as reason:
        raise LlmswitchError(str(reason), context.command("up")) from reason
    return state


def ask(live: Live, progress: Callable[[str], None]) -> list[Result]:
    """Ask every model everything."""
    asked = [*run(live.targets, progress), *(_unasked(name) for name in live.logins)]
    order = [row.name for row in live.context.rows]
    results = sorted(asked, key=lambda result: order.index(result.model))
    if live.claude is not None:
        settings = live.state.clients[menu_support(ask_version(live.claude))]
        for result in results:
            progress(f"{result.model}: {CLIENT}")
            told = {**settings, "login": result.model in live.logins}
            result.cells[CLIENT] = _driven(live, live.claude, told, result)
    return results


def _driven(live: Live, claude: Path, client: dict[str, Any], result: Result) -> Cell:
    """What the real client makes of a model that answers, or that a login pays for."""
    context, model = live.context, result.model
    if client["login"] and OWN_LOGIN not in context.environ:
        return Cell(
            "skipped",
            f"not tested, because the doctor cannot send your Claude login; {_TRY.format(model)}",
        )
    if not client["login"] and result.cells["answer"].level != "ok":
        return Cell("skipped", NO_ANSWER)
    with TemporaryDirectory(prefix="llmswitch-") as folder:
        return drive(claude, client, context.own_key, model, Path(folder), context.environ)


def _unasked(model: str) -> Result:
    """A model that was not asked: the login is the client's, and llmswitch does not take it."""
    cells = {name: Cell("skipped", NO_ANSWER) for name, _ in PROBES}
    note = f"your Claude login pays for it, which only Claude Code has; {_TRY.format(model)}"
    return Result(model, cells | {"answer": Cell("skipped", note)})


def failed(results: Sequence[Result]) -> bool:
    """Whether anything is an error."""
    cells = (cell for result in results for cell in result.cells.values())
    return any(cell.level in {"error", "failed"} for cell in cells)


def cost(usd: float | None, unknown: Sequence[str]) -> str:
    """An upper estimate in words. `unknown` are the models whose price is unknown (not 0); where
    that is all of them, `usd` is None.
    """
    if usd is None:
        return "at an unknown price"
    said = f"for at most ${max(usd, 0.01):.2f}" if usd else "free of charge"
    if unknown:
        said += f" and what {', '.join(unknown)} cost{'s' if len(unknown) == 1 else ''}"
    return said
