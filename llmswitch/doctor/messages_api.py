"""Questions to a model through a running gateway, as Claude Code asks them, and the answers.

Standard library only. Nothing here decides whether an answer is good.
"""

from __future__ import annotations

import http
import http.client
import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmswitch.health import address_of, connect_host, url_of

Json = dict[str, Any]
MESSAGES = "/v1/messages?beta=true"
COUNT = "/v1/messages/count_tokens?beta=true"
_LONGEST = 300  # characters of an upstream's words
# As Claude Code 2.1.330 sent them to a model that it does not know. LiteLLM goes by the user agent:
# for others it refuses parameters that a provider does not have, for Claude Code it drops them.
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "claude-cli/2.1.330 (external, cli)",
    "anthropic-beta": (
        "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
        "mid-conversation-tool-changes-2026-07-01,thinking-token-count-2026-05-13,"
        "advanced-tool-use-2025-11-20,effort-2025-11-24"
    ),
    "anthropic-version": "2023-06-01",
    "x-llmswitch-fallbacks": "off",  # a model is not found well because another answers for it
    "x-app": "cli",
}


class Endpoint(NamedTuple):
    """A running gateway and how to ask it.

    `timeout` is in seconds, for one request. None of `secrets` (the gateway's `key` is always one)
    is in anything that is returned.
    """

    host: str
    port: int
    key: str
    timeout: float = 60.0
    secrets: tuple[str, ...] = ()

    def shown(self, text: str) -> str:
        """Foreign text as it may be shown."""
        return one_line(text, (self.key, *self.secrets))


class Message(NamedTuple):
    """An answer, put together. `first` is the seconds until the first delta of a stream, None for
    an answer in one piece; `fault` says what is wrong with the order of a stream's events.
    """

    content: list[Json]
    stop_reason: str | None
    usage: Json
    first: float | None = None
    fault: str | None = None

    @property
    def text(self) -> str:
        """All that is said."""
        return "".join(block.get("text") or "" for block in self.content).strip()

    @property
    def calls(self) -> list[Json]:
        """The tools that are called."""
        return [block for block in self.content if block.get("type") == "tool_use"]


@dataclass
class AnswerError(Exception):
    """There is no answer. `status` is HTTP's, None where there was none; `words` are those of the
    upstream. `gateway` means that it is the gateway that does not answer.
    """

    note: str
    words: str | None = None
    status: int | None = None
    gateway: bool = False

    def __str__(self) -> str:
        return self.note


def ask(endpoint: Endpoint, body: Json) -> Message:
    """Ask one question. Raises AnswerError."""
    with _exchange(endpoint, MESSAGES, body) as (response, began):
        start = response.readline()
        # LiteLLM passes an answer in one piece on as a stream without events.
        if "text/event-stream" in response.getheader("Content-Type", "") and start[:1] != b"{":
            return _of_stream(endpoint, itertools.chain([start], response), began)
        said = _json(endpoint, start + response.read())
    content = said.get("content")
    blocks = [_mapping(block) for block in content] if isinstance(content, list) else []
    return Message(blocks, said.get("stop_reason"), _mapping(said.get("usage")))


def count(endpoint: Endpoint, body: Json) -> tuple[Json, bool]:
    """Ask how many tokens a question has; the answer as it came, and whether the gateway says that
    it is an estimate. Raises AnswerError.
    """
    with _exchange(endpoint, COUNT, body) as (response, _):
        estimated = response.getheader("x-llmswitch-estimated") == "true"
        return _json(endpoint, response.read()), estimated


@contextmanager
def _exchange(
    endpoint: Endpoint, path: str, body: Json
) -> Iterator[tuple[http.client.HTTPResponse, float]]:
    """The response to a question, and when it was asked. Whatever goes wrong, also while the
    response is read, is an AnswerError.
    """
    headers = {**_HEADERS, "Authorization": f"Bearer {endpoint.key}"}
    host, port, _, timeout, _ = endpoint
    connection = http.client.HTTPConnection(connect_host(host), port, timeout=timeout)
    began = time.monotonic()
    try:
        connection.connect()
    except OSError as error:
        where = address_of(url_of(host, port))
        raise AnswerError(f"the gateway does not answer on {where}", gateway=True) from error
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            words = _words(endpoint, response.read())
            raise AnswerError(f"HTTP {response.status}", words, response.status)
        yield response, began
    except TimeoutError as error:
        raise AnswerError(f"no answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise AnswerError("the connection broke before the answer was complete") from error
    finally:
        connection.close()


def _words(endpoint: Endpoint, raw: bytes) -> str | None:
    """What the upstream said, in an answer that is an error."""
    text = raw.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return endpoint.shown(upstream_words(text)) or None


def _json(endpoint: Endpoint, raw: bytes) -> Json:
    try:
        said = json.loads(raw)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        words = endpoint.shown(raw.decode(errors="replace"))
        raise AnswerError("the answer is not a JSON object", words or None)
    if said.get("type") == "error" or "error" in said:
        raise AnswerError("the answer is an error", _words(endpoint, raw), http.HTTPStatus.OK)
    return said


def upstream_words(message: str) -> str:
    """What the upstream itself said. The gateway puts the provider's label before it, and behind a
    refused key what to do.
    """
    _, _, words = message.partition(": ")
    if not words or message.startswith("llmswitch: "):
        words = message
    return re.sub(r" -> llmswitch key check \S+$", "", words)


def one_line(text: str, secrets: Sequence[str]) -> str:
    """Foreign text as one printable line of at most 300 characters, without any secret.

    What looks like a key is taken for one: a provider may quote the key that it refuses.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    text = re.sub(r"\bsk-[\w*.-]{4,}", "[key]", text)
    text = re.sub(r"(?i)\bbearer\s+(?!\[key\])\S+", "Bearer [key]", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


# ------------------------------------------------------------------ streams


def _of_stream(endpoint: Endpoint, lines: Iterable[bytes], began: float) -> Message:
    first = None
    events: list[Json] = []
    for line in lines:
        passed = time.monotonic() - began
        if passed > endpoint.timeout:
            raise TimeoutError
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise AnswerError("a line of the stream is not a JSON object")
        if event.get("type") == "error":
            words = _words(endpoint, data)
            raise AnswerError("the stream ended with an error", words, http.HTTPStatus.OK)
        if event.get("type") == "content_block_delta" and first is None:
            first = passed
        events.append(event)
    return assembled(events, first)


def assembled(events: Sequence[Json], first: float | None) -> Message:
    """The message that a stream makes, as far as its events fit together."""
    blocks: dict[str, Json] = {}
    inputs: dict[str, str] = {}
    usage: Json = {}
    stop_reason = None
    for event in events:
        kind, index = event.get("type"), str(event.get("index"))
        delta = _mapping(event.get("delta"))
        if kind == "message_start":
            usage |= _known(_mapping(event.get("message")).get("usage"))
        elif kind == "content_block_start":
            blocks[index] = dict(_mapping(event.get("content_block")))
        elif kind == "content_block_delta" and index in blocks:
            inputs[index] = inputs.get(index, "") + str(delta.get("partial_json") or "")
            for field in ("text", "thinking", "signature"):
                if field in delta:
                    blocks[index][field] = f"{blocks[index].get(field) or ''}{delta[field]}"
        elif kind == "message_delta":
            stop_reason = delta.get("stop_reason") or stop_reason
            usage |= _known(event.get("usage"))
    for index, written in inputs.items():
        if blocks[index].get("type") == "tool_use" and written:
            blocks[index]["input"] = _input(written)
    return Message(list(blocks.values()), stop_reason, usage, first, fault_of(events))


def _mapping(value: Any) -> Json:
    """What should be an object, in an answer that may be malformed."""
    return value if isinstance(value, dict) else {}


def _known(usage: Any) -> Json:
    return {name: value for name, value in _mapping(usage).items() if value is not None}


def _input(written: str) -> Any:
    """The input of a tool; the text as it stands where that is no JSON."""
    try:
        return json.loads(written)
    except ValueError:
        return written


# Anthropic's order: message_start; for each block its start, its deltas and its stop, with an index
# that counts from 0; message_delta with the stop_reason; message_stop. By what may come: where the
# stream stands then.
_ORDER = {
    "": {"message_start": "between blocks"},
    "between blocks": {
        "content_block_start": "in a block",
        "message_delta": "between blocks",
        "message_delta with the stop_reason": "stopped",
    },
    "in a block": {"content_block_delta": "in a block", "content_block_stop": "between blocks"},
    "stopped": {
        "message_delta": "stopped",
        "message_delta with the stop_reason": "stopped",
        "message_stop": "ended",
    },
    "ended": {},
}
_KINDS = {kind for follow in _ORDER.values() for kind in follow}  # others are pings, or new


def fault_of(events: Sequence[Json]) -> str | None:
    """What is wrong with the order of a stream's events; None for a stream that is well-formed."""
    place, blocks = "", 0
    for event in events:
        kind, index = str(event.get("type")), event.get("index")
        if kind not in _KINDS:
            continue
        step = kind
        if kind == "message_delta" and _mapping(event.get("delta")).get("stop_reason"):
            step += " with the stop_reason"
        follow = _ORDER[place].get(step)
        if follow is None or (kind.startswith("content_block") and index != blocks):
            return f"the stream has {kind if index is None else f'{kind} {index}'} out of order"
        place = follow
        blocks += kind == "content_block_stop"
    return None if place == "ended" else "the stream ends without message_stop"
