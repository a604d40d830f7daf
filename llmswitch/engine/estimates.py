"""What an open request is likely to cost, for the budgets: known only once its answer has ended."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from llmswitch.ledger import Try

ANSWERS = 20  # of a model: those that "of late" means
# Output tokens of a model that has not answered yet. An answer of Claude Code is mostly a few
# hundred; its own max_tokens is 32000, and to reserve that would refuse nearly everything.
GUESS = 1000
_CHARACTERS = 4  # of a token, as providers say of English text
_PICTURE = 1600 * _CHARACTERS  # Anthropic: an image takes 1600 tokens at most, however large
_INLINE = "data:"  # OpenAI's form of an image or a file inside a request
_PROMPT = ("messages", "system", "tools", "input", "instructions")
_READ = 1000  # rows of the ledger
_LATE = """
    SELECT model, input + cache_read + cache_write, output, cost FROM tries
    WHERE status = 200 AND NOT cache_hit AND cost > 0 ORDER BY id DESC LIMIT ?
"""


class _Answer(NamedTuple):
    """Tokens and USD of one answer."""

    prompt: int
    output: int
    cost: float


class Estimates:
    """The last answers of each model, and what they say of the next one."""

    def __init__(self) -> None:
        self._late: dict[str, deque[_Answer]] = {}

    def read(self, connection: sqlite3.Connection) -> None:
        """Begin with what the ledger has. Raises sqlite3.Error."""
        for model, *answer in reversed(connection.execute(_LATE, (_READ,)).fetchall()):
            self._note(model, _Answer(*answer))

    def add(self, row: Try) -> None:
        """Learn from a finished try."""
        if row.status == 200 and not row.cache_hit and row.cost:  # noqa: PLR2004 - HTTP's
            prompt = row.input + row.cache_read + row.cache_write
            self._note(row.model, _Answer(prompt, row.output, row.cost))

    def _note(self, model: str, answer: _Answer) -> None:
        self._late.setdefault(model, deque(maxlen=ANSWERS)).append(answer)

    def usd(self, model: str, prompt: int, info: Mapping[str, Any]) -> float:
        """What a request with a prompt of so many tokens will cost: the mean of the last answers,
        or what its own prompt makes of them, whichever is more. `info` has the model's prices;
        0 where they are unknown or free.
        """
        read, written = info.get("input_cost_per_token"), info.get("output_cost_per_token")
        if read is None or written is None:
            return 0.0
        late = self._late.get(model)
        if not late:
            return float(prompt * read + GUESS * written)
        output = sum(answer.output for answer in late)
        cost = sum(answer.cost for answer in late)
        prompts = sum(answer.prompt for answer in late)
        # With what the provider's cache held of them: Claude Code sends all of a session each time.
        each = max(0.0, cost - output * written) / prompts if prompts else read
        return float(max(cost, len(late) * prompt * each + output * written) / len(late))


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """How long the prompt of a request is, roughly, from the texts in it."""
    size = 0
    rest = [body.get(name) for name in _PROMPT]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            size += _PICTURE if item.startswith(_INLINE) else len(item)
        elif isinstance(item, list):
            rest += item
        elif isinstance(item, dict):
            if item.get("type") == "base64":
                size += _PICTURE
            else:
                rest += item.values()
    return size // _CHARACTERS
