"""Live checks of a model through the running gateway, of what Claude Code needs.

Real requests, and so real money (see `estimate`). Each check is a function that takes a Target and
returns a Cell; it changes nothing and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple

from llmswitch.doctor.context import Level
from llmswitch.doctor.cures import cure_of
from llmswitch.doctor.messages_api import AnswerError, Endpoint, Json, Message, ask, count
from llmswitch.doctor.requests import (
    NOTE,
    PASSWORD,
    cached,
    client_body,
    form_of,
    plain,
    thinking,
    user,
    with_tool,
)
from llmswitch.render.claude_settings import behaves_as
from llmswitch.render.menu import Row

NO_CALL = "the model did not call the tool that it was told to call"
NOT_USED = "the answer does not use the tool's result"
NO_ANSWER = "no plain answer"  # why nothing more was asked
_SLOW = 10.0  # seconds that a first token may take
_AT_ONCE = 4  # models that are asked beside each other


class Cell(NamedTuple):
    """What one check of one model found.

    `note` is a sentence of ours, `words` are the upstream's own (one line), `cure` is the line of
    the profile that cures it where there is one, `seconds` the time to the first token of a stream.
    `failed` means that the check could not be made: the gateway is gone.
    """

    level: Level
    note: str = ""
    words: str | None = None
    cure: str | None = None
    seconds: float | None = None


class Target(NamedTuple):
    """A model to check. `other` is a model to switch to and back from, None where there is none;
    `mark` is different in every run, so that no cache answers with what it knows from the last;
    `works` are the checks that it has passed.
    """

    endpoint: Endpoint
    row: Row
    other: Row | None = None
    mark: str = ""
    works: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model as the client calls it."""
        return self.row.name


class Result(NamedTuple):
    """All that was found about one model, by the name of the check."""

    model: str
    cells: dict[str, Cell]


def _ask(target: Target, body: Json) -> Message:
    """Ask as the client does, streamed; in one piece where this model was seen not to stream."""
    stream = "stream" in target.works
    return ask(target.endpoint, {"model": target.name, "stream": stream, **body})


def answer(target: Target) -> Cell:
    """A plain question in one piece, without tools or thinking."""
    return _said(_ask(target, plain(target.mark)))


def _said(message: Message) -> Cell:
    if message.text:
        return Cell("ok")
    why = f" (stop_reason {message.stop_reason})" if message.stop_reason else ""
    return Cell("error", f"the answer has no text{why}")


def stream(target: Target) -> Cell:
    """The same question, streamed: events in Anthropic's order, and not too late."""
    message = ask(target.endpoint, {"model": target.name, "stream": True, **plain(target.mark)})
    if message.fault:
        return Cell("error", message.fault)
    if message.first is None and not message.text:
        return _said(message)
    if message.first is None:
        return Cell("error", "the answer came in one piece, not as a stream")
    seconds = round(message.first, 1)
    level: Level = "ok" if message.first <= _SLOW else "warning"
    return Cell(level, f"{seconds:g} s to the first token", seconds=seconds)


def tools(target: Target) -> Cell:
    """A call of a tool, and an answer that uses its result."""
    begin = with_tool(target.mark)
    first = _ask(target, begin)
    if not first.calls:
        said = target.endpoint.shown(first.text)
        return Cell("error", NO_CALL, said or None)
    call, given = first.calls[0], first.calls[0].get("input")
    if call.get("name") != "read_note" or not isinstance(given, dict) or "name" not in given:
        return Cell("error", "the tool call does not fit the tool's schema")
    second = _ask(target, {**begin, "messages": _with_result(begin["messages"], first)})
    if second.text and PASSWORD not in second.text.lower():
        return Cell("warning", NOT_USED)
    return _said(second)


def _with_result(messages: list[Json], said: Message, more: str = "") -> list[Json]:
    """A conversation with an answer and what the client says to it: results of tools, more text."""
    replies: list[Json] = [
        {"type": "tool_result", "tool_use_id": call.get("id"), "content": NOTE}
        for call in said.calls
    ]
    if more or not replies:
        replies.append({"type": "text", "text": more or "go on"})
    return [*messages, {"role": "assistant", "content": said.content}, user(replies)]


def body(target: Target) -> Cell:
    """The request that Claude Code sends with llmswitch's settings."""
    form = form_of(behaves_as(target.row))
    return _said(_ask(target, client_body(form, target.mark)))


def tokens(target: Target) -> Cell:
    """The number of tokens, which Claude Code asks for in `/context` only."""
    try:
        question = {"model": target.name, "messages": plain("")["messages"]}
        said, estimated = count(target.endpoint, question)
    except AnswerError as failure:
        return Cell("info", failure.note, failure.words)
    number = said.get("input_tokens")
    if not isinstance(number, int) or number <= 0:
        return Cell("info", "the answer has no input_tokens")
    return Cell("ok", "estimated, not counted by the provider" if estimated else "")


def cache(target: Target) -> Cell:
    """The same long question twice; the second should be read from the provider's cache."""
    _ask(target, cached(target.mark))
    usage = _ask(target, cached(target.mark)).usage
    read = usage.get("cache_read_input_tokens")
    if isinstance(read, int) and read > 0:
        return Cell("ok", f"{read} tokens read from the cache")
    return Cell("info", "no tokens were read from a cache, or the provider does not report them")


def there_and_back(target: Target) -> Cell:
    """A conversation that this model begins, another continues and this one ends, with whatever
    thinking and calls of tools either gave: as after `/model`, twice.
    """
    other = target.other
    if other is None:
        return Cell("skipped", "there is no other model to switch to")
    begin = with_tool(target.mark) if "tools" in target.works else plain(target.mark)
    mine, theirs = {**begin}, {**begin}
    if "client body" in target.works:
        mine |= thinking(form_of(behaves_as(target.row)))
        theirs |= thinking(form_of(behaves_as(other)))
    first = _ask(target, mine)
    history = _with_result(begin["messages"], first, "Say in one word what you think of it.")
    try:
        question = {"model": other.name, "stream": True, **theirs, "messages": history}
        second = ask(target.endpoint, question)
    except AnswerError as failure:
        if failure.gateway:
            raise
        note = f"{other.name} did not continue the conversation: {failure.note}"
        return Cell("skipped", note, failure.words)
    history = _with_result(history, second, "Say in one word whether you agree.")
    last = _ask(target, {**mine, "messages": history})
    return Cell("ok") if last.calls else _said(last)


PROBES: list[tuple[str, Callable[[Target], Cell]]] = [
    ("answer", answer),
    ("stream", stream),
    ("tools", tools),
    ("client body", body),
    ("count", tokens),
    ("cache", cache),
    ("A-B-A", there_and_back),
]


def probe(target: Target, progress: Callable[[str], None]) -> Result:
    """Every check of one model, in order. After a failing plain answer nothing more is asked."""
    cells: dict[str, Cell] = {}
    for name, check in PROBES:
        if cells and cells["answer"].level != "ok":
            cells[name] = Cell("skipped", NO_ANSWER)
            continue
        progress(f"{target.name}: {name}")
        try:
            cells[name] = check(target)
        except AnswerError as failure:
            level: Level = "failed" if failure.gateway else "error"
            cells[name] = Cell(level, failure.note, failure.words, cure_of(target.row, failure))
        if cells[name].level in ("ok", "warning"):
            target = target._replace(works=target.works | {name})
    return Result(target.name, cells)


def run(targets: Sequence[Target], progress: Callable[[str], None]) -> list[Result]:
    """Every check of every model, several models beside each other; in the order given.

    When `progress` raises, or Ctrl-C is pressed, no further check is begun: each costs money.
    """
    stopped = Event()

    def told(text: str) -> None:
        if stopped.is_set():
            raise CancelledError
        progress(text)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        try:
            return list(pool.map(lambda target: probe(target, told), targets))
        finally:
            stopped.set()


def other_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The model to switch to from a model and back: one of another provider if there is one."""
    served = [one for one in rows if one.reason is None and one.name != row.name]
    return min(served, key=lambda one: one.provider_name == row.provider_name, default=None)


# ------------------------------------------------------------------ what it says


def data(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same for JSON: `{"model", "checks": [{"name", "level", "note", "words", "cure",
    "seconds"}]}` for each model.
    """
    return [
        {
            "model": one.model,
            "checks": [{"name": name, **cell._asdict()} for name, cell in one.cells.items()],
        }
        for one in results
    ]
