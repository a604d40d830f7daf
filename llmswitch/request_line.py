"""One request as one line of the gateway's log, in logfmt: written by the gateway, read by `logs`.

`2026-11-02T09:00:03.214Z request method=POST path=/v1/messages status=200 model=glm-4.7 …`

No prompt, no answer and no key is in it. Standard library only, and nothing of llmswitch, since
this is also loaded inside LiteLLM.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

LEFT = 499  # nginx' status for a client that has left before anything was answered
FAILED = 400  # a status from here on
_LONGEST = 200  # characters of a text
_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) request((?: \w+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s\"]+))+)"
)
_PAIR = re.compile(r" (\w+)=(\"(?:[^\"\\]|\\.)*\"|[^\s\"]+)")
_BARE = re.compile(r"[\w.:/@+\[\]()*-]+", re.ASCII)


class Request(NamedTuple):
    """What is told of a request; None is left out of the line. `time` is its end. `model` is what
    the client asked for, `served` the model that answered or, where all failed, was tried last, of
    `provider` under the id `upstream`. `first_byte` and `seconds` are from its arrival; tokens and
    `cost` (USD) are of all tries together. `left`: the client went before the answer was whole.
    """

    time: str
    method: str
    path: str
    status: int
    model: str | None = None
    served: str | None = None
    provider: str | None = None
    upstream: str | None = None
    tries: int | None = None
    client: str | None = None
    session: str | None = None
    first_byte: float | None = None
    seconds: float | None = None
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cost: float | None = None
    left: bool | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it was refused, failed, or broke off; a client that has left is no failure."""
        return (self.status >= FAILED and self.status != LEFT) or self.error is not None


def now() -> str:
    """The time of a line."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def formatted(request: Request) -> str:
    """The line, without its end. Nothing that a client sends can make it two."""
    fields = request._asdict()
    time = fields.pop("time")
    pairs = [f"{name}={_written(value)}" for name, value in fields.items() if value is not None]
    return " ".join([time, "request", *pairs])


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.8f}".rstrip("0").rstrip(".")
    text = str(value)[:_LONGEST]
    return text if _BARE.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")


def parsed(line: str) -> Request | None:
    """The request that a line tells of; None for any other line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    found: dict[str, Any] = {"time": match[1]}
    try:
        for name, written in _PAIR.findall(match[2]):
            if name in _READERS:  # what a newer llmswitch writes is passed over
                text = json.loads(written) if written.startswith('"') else written
                found[name] = _READERS[name](text)
        return Request(**found)
    except (ValueError, TypeError):  # cut off, or without what each has
        return None


def _read_flag(text: str) -> bool:
    return text == "true"


_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("first_byte", "seconds", "cost"), float),
    **dict.fromkeys(("status", "tries", "input", "output", "cache_read", "cache_write"), int),
    "left": _read_flag,
}
_READERS: Mapping[str, Callable[[str], Any]] = {
    name: _NUMBERS.get(name, str) for name in Request._fields
}


class Wanted(NamedTuple):
    """Which requests are to be shown: of a model, asked for or answering; of a session, whose id
    begins so; failed ones. None and False leave all in.
    """

    model: str | None = None
    session: str | None = None
    errors: bool = False

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == Wanted()

    def has(self, request: Request) -> bool:
        """Whether a request is one of them."""
        return (
            (self.model is None or self.model in (request.model, request.served))
            and (self.session is None or (request.session or "").startswith(self.session))
            and (not self.errors or request.failed)
        )
