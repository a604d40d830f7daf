"""What the bytes of an answer say of it, on their way to the client: an error in it, and its end.

LiteLLM calls a stream a success that its provider ended with `event: error`, or not at all.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import MutableMapping
from typing import Any, NamedTuple, Protocol

from llmswitch.engine.error_words import BAD_GATEWAY, STATUSES, error_in, fitting_status

_LONGEST = 16_384  # bytes of a line, or of an answer in one piece,: errors are short
_LAST = 16  # parts among which the end of a stream is: comments may come after it
# A line of JSON, which may be long, begins with its type.
_END = re.compile(
    rb'data:\s*(?:\[DONE\]\s*$|\{[^{}\[\]]{0,200}?"type":\s*"'
    rb'(?:message_stop|response\.completed|response\.incomplete)")'
)
# Every answer in one piece has one of them: Messages, Chat Completions, Responses.
_CONTENTS = (b'"content"', b'"choices"', b'"output"')
_KIND = re.compile("[a-z_]{1,40}")
# The tokens of an answer in the words of: Messages and Responses, Chat Completions, Gemini,
# Bedrock, Ollama.
_TOLD = re.compile(
    rb'"(?:output_tokens|completion_tokens|candidatesTokenCount|outputTokens|eval_count)"\s*:\s*\d'
)
_START = b'"message_start"'  # its usage is from before the answer
_TAIL = 512  # bytes of an event whose other part comes later


class Failure(NamedTuple):
    """Why an answer is none: a status of HTTP, and a name without any text of the provider's."""

    status: int
    error: str


NO_ANSWER = Failure(BAD_GATEWAY, "NoAnswer")
NO_END = Failure(BAD_GATEWAY, "IncompleteStream")


class HasObserver(Protocol):
    """A RequestContext, seen from here."""

    observer: Observer | None


def observe(message: MutableMapping[str, Any], context: HasObserver) -> None:
    """Have a message of ASGI, that answers a request, looked at."""
    if message["type"] == "http.response.start":
        if message["status"] == 200:  # noqa: PLR2004 - HTTP's
            kind = dict(message.get("headers", ())).get(b"content-type", b"")
            context.observer = Observer(is_stream=kind.startswith(b"text/event-stream"))
    elif context.observer and message["type"] == "http.response.body":
        more = message.get("more_body", False)
        context.observer.see(message.get("body", b""), more=more)


class Observer:
    """Sees an answer that began with 200, streamed or in one piece, part by part. `failure` is the
    error in it. What has no error in it is not parsed.
    """

    def __init__(self, *, is_stream: bool) -> None:
        self.is_stream = is_stream
        self.failure: Failure | None = None
        self._rest = b""
        self._last: deque[bytes] = deque(maxlen=_LAST)
        self._is_over = False

    def see(self, part: bytes, *, more: bool) -> None:
        """The next part of the body; `more` tells whether others follow."""
        if self._rest:
            part = self._rest + part
            self._rest = b""
        if not self.is_stream:
            # In one piece, as LiteLLM sends it: what is long has something to say.
            self._rest = part[:_LONGEST]
            self._is_over = not more
            if not more and len(part) < _LONGEST:
                self._look_at_whole(part)
            return
        if more and not part.endswith(b"\n"):
            cut = max(part.rfind(b"\n"), part.rfind(b"\r")) + 1
            self._rest = part[cut:][:_LONGEST]
            part = part[:cut]
        if b'"error"' in part:
            self._look_for_error(part)
        self._last.append(part)

    @property
    def has_ended(self) -> bool:
        """Whether the provider has said that this is all."""
        if not self.is_stream:
            return self._is_over
        return any(_END.match(line) for part in self._last for line in part.splitlines())

    def _look_for_error(self, part: bytes) -> None:
        for line in part.splitlines():
            if b'"error"' in line and (payload := _parsed(line)):
                self.failure = self.failure or _failure(payload)

    def _look_at_whole(self, body: bytes) -> None:
        has_content = any(content in body for content in _CONTENTS)
        if has_content and b'"error"' not in body:
            return
        self.failure = _failure(_parsed(body) or {}) or (None if has_content else NO_ANSWER)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object of an event's line, or of a body that is no event."""
    text = line.strip().removeprefix(b"data:")
    if len(text) > _LONGEST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _failure(payload: dict[str, Any]) -> Failure | None:
    """The error that an event or a body tells; None where it tells none."""
    inner = payload.get("response") if payload.get("type") == "response.failed" else payload
    error = inner.get("error") if isinstance(inner, dict) else None
    is_error = error or payload.get("type") == "error" or error_in(payload)
    if not is_error:
        return None
    told = error if isinstance(error, dict) else payload
    names = [told.get(name) for name in ("type", "code")]
    named = [name for name in names if isinstance(name, str) and _KIND.fullmatch(name)]
    known = [name for name in named if name in STATUSES]
    kind = next(iter([*known, *(name for name in named if name != "error")]), "UpstreamError")
    return Failure(fitting_status(told), kind)


class UsageWatch:
    """Sees the bytes of a provider's answer: whether it says how many tokens it took. Where it does
    not, LiteLLM counts them by itself, and nothing that it tells of a try shows that.
    """

    def __init__(self) -> None:
        self.is_told = False
        self._rest = b""

    def see(self, part: bytes) -> None:
        """The next part."""
        if self.is_told:
            return
        if self._rest:
            part = self._rest + part
            self._rest = b""
        if not part.endswith(b"\n"):
            self._rest = part[part.rfind(b"\n") + 1 :][-_TAIL:]
        if b"oken" in part or b"eval_count" in part:
            lines = part.splitlines()
            self.is_told = any(_TOLD.search(line) and _START not in line for line in lines)
