"""Questions to a model through a running gateway, as Claude Code puts them, and what comes back.

Standard library only. Nothing here decides whether an answer is good.
"""

from __future__ import annotations

import http
import http.client
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from llmswitch.health import connect_host, url_of

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


class Door(NamedTuple):
    """A running gateway and how to ask it.

    `timeout` is in seconds, for one request; `clock` returns seconds. None of `secrets` (the
    gateway's `key` is always one) is in anything that is returned.
    """

    host: str
    port: int
    key: str
    clock: Callable[[], float]
    timeout: float = 60.0
    secrets: tuple[str, ...] = ()


class Message(NamedTuple):
    """An answer, put together. `first` is the seconds until the first delta of a stream, None for
    an answer in one piece; `fault` says what is wrong with the order of a stream's events.
    """

    content: list[Json]
    stop_reason: str | None
    usage: Json
    first: float | None
    fault: str | None

    @property
    def text(self) -> str:
        """All that is said."""
        return "".join(block.get("text") or "" for block in self.content).strip()

    @property
    def calls(self) -> list[Json]:
        """The tools that are called."""
        return [block for block in self.content if block.get("type") == "tool_use"]


class AnswerError(Exception):
    """There is no answer. `status` is HTTP's, None where there was none; `words` are those of the
    upstream. `gateway` means that it is the gateway that does not answer.
    """

    def __init__(
        self, note: str, words: str | None = None, status: int | None = None, gateway: bool = False
    ) -> None:
        super().__init__(note)
        self.note = note
        self.words = words
        self.status = status
        self.gateway = gateway


def ask(door: Door, body: Json) -> Message:
    """Put one question. Raises AnswerError."""
    with _exchange(door, MESSAGES, body) as (response, began):
        start = response.readline()
        # LiteLLM passes an answer in one piece on as a stream without events.
        if "text/event-stream" in response.getheader("Content-Type", "") and start[:1] != b"{":
            return _of_stream(door, itertools.chain([start], response), began)
        said = _json(door, response.status, start + response.read())
    content = said.get("content")
    return Message(
        content=[_mapping(block) for block in content] if isinstance(content, list) else [],
        stop_reason=said.get("stop_reason"),
        usage=_mapping(said.get("usage")),
        first=None,
        fault=None,
    )


def count(door: Door, body: Json) -> tuple[Json, bool]:
    """Ask how many tokens a question has; the answer as it came, and whether the gateway says that
    it is an estimate. Raises AnswerError.
    """
    with _exchange(door, COUNT, body) as (response, _):
        estimated = response.getheader("x-llmswitch-estimated") == "true"
        return _json(door, response.status, response.read()), estimated


@contextmanager
def _exchange(
    door: Door, path: str, body: Json
) -> Iterator[tuple[http.client.HTTPResponse, float]]:
    """The response to a question, and when it was put. Whatever goes wrong with it, also while it
    is read, is an AnswerError.
    """
    headers = {**_HEADERS, "Authorization": f"Bearer {door.key}"}
    connection = http.client.HTTPConnection(
        connect_host(door.host), door.port, timeout=door.timeout
    )
    began = door.clock()
    try:
        connection.connect()
    except OSError as error:
        where = url_of(door.host, door.port).removeprefix("http://")
        raise AnswerError(f"the gateway does not answer on {where}", gateway=True) from error
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise _refused(door, response.status, response.read())
        yield response, began
    except TimeoutError as error:
        raise _timed_out(door) from error
    except (OSError, http.client.HTTPException) as error:
        raise AnswerError("the connection broke before the answer was complete") from error
    finally:
        connection.close()


def _timed_out(door: Door) -> AnswerError:
    return AnswerError(f"no answer within {door.timeout:g} s")


def _refused(door: Door, status: int, raw: bytes) -> AnswerError:
    text = raw.decode(errors="replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    words = upstream_words(str(message), (door.key, *door.secrets))
    return AnswerError(f"answered {status}", words or None, status)


def _json(door: Door, status: int, raw: bytes) -> Json:
    try:
        said = json.loads(raw)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        words = one_line(raw.decode(errors="replace"), (door.key, *door.secrets))
        raise AnswerError("the answer is no JSON object", words or None)
    if said.get("type") == "error" or "error" in said:
        raise _refused(door, status, raw)
    return said


def upstream_words(message: str, secrets: Sequence[str]) -> str:
    """What the upstream itself said. The gateway puts the provider's label before it, and behind a
    refused key what to do.
    """
    _, _, words = message.partition(": ")
    if not words or message.startswith("llmswitch: "):
        words = message
    return one_line(re.sub(r" -> llmswitch key check \S+$", "", words), secrets)


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


def _of_stream(door: Door, lines: Iterable[bytes], began: float) -> Message:
    first = None
    events: list[Json] = []
    for event in _events(door, lines, began):
        if event.get("type") == "error":
            raise _broken(door, event)
        if event.get("type") == "content_block_delta" and first is None:
            first = door.clock() - began
        events.append(event)
    return assembled(events, first)


def _events(door: Door, lines: Iterable[bytes], began: float) -> Iterator[Json]:
    for line in lines:
        if door.clock() - began > door.timeout:
            raise _timed_out(door)
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise AnswerError("a line of the stream is no JSON object")
        yield event


def _broken(door: Door, event: Json) -> AnswerError:
    failure = _refused(door, http.HTTPStatus.OK, json.dumps(event).encode())
    return AnswerError("the stream broke off with an error", failure.words, http.HTTPStatus.OK)


def assembled(events: Sequence[Json], first: float | None) -> Message:
    """The message that a stream makes, as far as its events fit together."""
    blocks: dict[str, Json] = {}
    written: dict[str, str] = {}
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
            written[index] = written.get(index, "") + str(delta.get("partial_json") or "")
            for field in ("text", "thinking", "signature"):
                if field in delta:
                    blocks[index][field] = f"{blocks[index].get(field) or ''}{delta[field]}"
        elif kind == "message_delta":
            stop_reason = delta.get("stop_reason") or stop_reason
            usage |= _known(event.get("usage"))
    for index, block in blocks.items():
        if block.get("type") == "tool_use" and written.get(index):
            block["input"] = _input(written[index])
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


def fault_of(events: Sequence[Json]) -> str | None:
    """What is wrong with the order of a stream's events; None for a stream that is well-formed.

    Anthropic's order: message_start; for each block its start, its deltas and its stop, with an
    index that counts from 0; message_delta with the stop_reason; message_stop.
    """
    opened: int | None = None
    blocks = 0
    began = reason = ended = False
    for event in events:
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start":
            right = not began
            began = True
        elif kind == "content_block_start":
            right = began and opened is None and index == blocks and not reason
            opened = blocks
        elif kind == "content_block_delta":
            right = opened is not None and index == opened
        elif kind == "content_block_stop":
            right = opened is not None and index == opened
            opened, blocks = None, blocks + 1
        elif kind == "message_delta":
            right = began and opened is None
            reason = reason or bool(_mapping(event.get("delta")).get("stop_reason"))
        elif kind == "message_stop":
            right = reason and not ended
            ended = True
        else:
            continue  # a ping, or what a later version of the API sends
        if not right or (ended and kind != "message_stop"):
            named = kind if index is None else f"{kind} {index}"
            return f"the stream has {named} out of order"
    return None if ended else "the stream ends without message_stop"
