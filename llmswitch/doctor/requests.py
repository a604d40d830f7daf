"""What the live checks send, and an upper estimate of what that costs.

The form of a real request depends on the Claude model that the client takes a model for
(`behavesAs`). Measured with Claude Code 2.1.330, given each of these in a modelPicker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from llmswitch.render.menu import Row

Json = dict[str, Any]
PASSWORD = "marmalade"  # noqa: S105 - only a model that has read the note can say it
NOTE = f"The note says: {PASSWORD}."
_SHORT = 1000  # max_tokens of a question that one word answers; a model may think about it
_PREFIX_LINES = 400  # more than 4096 tokens, below which Anthropic's larger models cache nothing


class Form(NamedTuple):
    """How the client writes a request: the kind of thinking, effort, a message of the system's at
    the end, the max_tokens.
    """

    thinking: Literal["adaptive", "budget"] | None
    effort: bool
    system_message: bool
    max_tokens: int


_UNKNOWN_MODEL = Form("adaptive", effort=True, system_message=True, max_tokens=32000)
_FORMS = {
    "claude-3": Form(None, effort=False, system_message=False, max_tokens=8192),
    "claude-sonnet-4-5": Form("budget", effort=False, system_message=False, max_tokens=32000),
    "claude-haiku-4-5": Form("budget", effort=False, system_message=False, max_tokens=32000),
    "claude-opus-4-5": Form("budget", effort=True, system_message=False, max_tokens=32000),
    "claude-sonnet-4-6": Form("adaptive", effort=True, system_message=False, max_tokens=32000),
    "claude-opus-4-6": Form("adaptive", effort=True, system_message=False, max_tokens=64000),
    "claude-opus-4-7": Form("adaptive", effort=True, system_message=False, max_tokens=64000),
    "claude-opus-4-8": Form("adaptive", effort=True, system_message=True, max_tokens=64000),
    "claude-sonnet-5-5": Form("adaptive", effort=True, system_message=True, max_tokens=128_000),
    "claude-opus-5-5": Form("adaptive", effort=True, system_message=True, max_tokens=128_000),
}
_EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
_SYSTEM = "You are Claude Code, Anthropic's official CLI for Claude."


def form_of(behaviour: str | None) -> Form:
    """The form for a Claude model, dated or not; that for unknown models where it was not
    measured.
    """
    known = (form for prefix, form in _FORMS.items() if (behaviour or "").startswith(prefix))
    return next(known, _UNKNOWN_MODEL)


def user(content: str | list[Json]) -> Json:
    """A message of the user's."""
    return {"role": "user", "content": content}


def plain(mark: str) -> Json:
    """A question that one word answers."""
    question = f"Check {mark}: answer with the one word yes."
    return {"max_tokens": _SHORT, "messages": [user(question)]}


def with_tool(mark: str) -> Json:
    """A question that takes one call of the tool read_note, whose result is NOTE."""
    question = (
        f"Check {mark}: call the tool read_note with the name todo. Then answer with the one word "
        "that the note says."
    )
    name = {"type": "string", "description": "name of the note"}
    tool = {
        "name": "read_note",
        "description": "Returns the text of a note of the user's.",
        "input_schema": {"type": "object", "properties": {"name": name}, "required": ["name"]},
    }
    return {"max_tokens": _SHORT, "tools": [tool], "messages": [user(question)]}


def thinking(form: Form) -> Json:
    """The fields that ask for thinking, with room for it; the client's own leave more room, which
    a question of one word does not need.
    """
    if form.thinking is None:
        return {}
    fields: Json = {"max_tokens": 3000, "thinking": {"type": "adaptive", "display": "omitted"}}
    if form.thinking == "budget":
        fields["thinking"] = {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}
    if form.effort:
        fields["output_config"] = {"effort": "high"}
    return fields


def client_body(form: Form, mark: str) -> Json:
    """A request as the client writes it, but for its tools, which have a check of their own, and
    the length of its texts.
    """
    question = {"type": "text", "text": plain(mark)["messages"][0]["content"], **_EPHEMERAL}
    session = {"device_id": "0" * 64, "account_uuid": "", "session_id": mark}
    sent: Json = {
        "max_tokens": form.max_tokens,
        "system": [
            {"type": "text", "text": _SYSTEM, **_EPHEMERAL},
            {"type": "text", "text": "Answer as briefly as you can.", **_EPHEMERAL},
        ],
        "messages": [user([question])],
        "metadata": {"user_id": json.dumps(session)},
    }
    if form.thinking:
        sent |= thinking(form)
        sent["max_tokens"] = form.max_tokens
        if form.thinking == "budget":
            sent["thinking"]["budget_tokens"] = form.max_tokens - 1
        clear = {"type": "clear_thinking_20251015", "keep": "all"}
        sent["context_management"] = {"edits": [clear]}
    if form.system_message:
        note = {"type": "text", "text": "The user is at the terminal.", **_EPHEMERAL}
        sent["messages"].append({"role": "system", "content": [note]})
    return sent


def cached(mark: str) -> Json:
    """A question behind a long text that is marked for the cache."""
    lines = (f"Line {number} of the handbook of {mark}." for number in range(_PREFIX_LINES))
    handbook = {"type": "text", "text": "\n".join(lines), **_EPHEMERAL}
    return {**plain(mark), "system": [handbook]}


# ------------------------------------------------------------------ what it costs

# Tokens in and out of all that is asked of one model, from above: two plain questions, two with a
# tool, the client's request, 2 x 10,000 tokens for the cache, two turns of A-B-A. Answers are of
# one word, with as much thinking as a wordy model gives to that.
_IN, _OUT = 26_000, 12_000
_OTHERS_IN, _OTHERS_OUT = 3_000, 3_000  # of the model that is switched to
_CLIENT_IN, _CLIENT_OUT = 60_000, 4_000  # of `claude -p`: two requests of at most 86 kB, a title
_CACHE_WRITE = 1.25  # Anthropic's price of writing, by that of input, where none is known
_MILLION = 1_000_000


def estimate(
    rows: Sequence[Row], others: Sequence[Row] = (), client: bool = False
) -> tuple[float | None, list[str]]:
    """What the live checks of `rows` cost in USD, from above, and the models whose price nobody
    knows. `others` are those that are switched to; `client` adds what `claude -p` asks. None where
    no price is known at all.
    """
    shares = [(row, _IN, _OUT) for row in rows]
    if client:
        shares += [(row, _CLIENT_IN, _CLIENT_OUT) for row in rows]
    shares += [(row, _OTHERS_IN, _OTHERS_OUT) for row in others]
    known = [(row.price, given, taken) for row, given, taken in shares if row.price]
    unknown = list(dict.fromkeys(row.name for row, _, _ in shares if row.price is None))
    if not known:
        return None, unknown
    usd = sum(
        given * max(price.input, price.cache_write or price.input * _CACHE_WRITE)
        + taken * price.output
        for price, given, taken in known
    )
    return usd / _MILLION, unknown
