"""A recording fake of an LLM provider on 127.0.0.1, for tests and benchmarks.

It answers below any path prefix, streamed or not, in three dialects:

- Anthropic Messages: ``POST …/v1/messages`` and ``…/v1/messages/count_tokens``
- OpenAI Chat Completions: ``POST …/chat/completions``
- OpenAI Responses: ``POST …/responses``

and ``GET …/models`` in Anthropic's shape (when asked with ``anthropic-version``) or OpenAI's.
Everything else is 404, also a path such as ``//v1/messages`` or ``/v1/v1/messages``, which is what
a badly joined base URL produces and what no provider serves.

In a test::

    with FakeUpstream("zai") as upstream:
        upstream.behave(Behaviour(status=429, times=2))
        ...
        assert upstream.of("/v1/messages")[0].headers["authorization"] == "Bearer k"

As a process of its own, recording nothing: ``python -m tests.upstream --port 4711 --events 500``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, cast

import uvicorn

Json = dict[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

CREATED = 1_700_000_000
"""The time of every answer, seconds since 1970."""

PROBE_TOKENS = 1
"""The max_tokens of Claude Code's probe of a model, which is answered in plain words."""

CLASSIFIER = "</block>"
"""The stop sequence by which Claude Code 2.1.330 asks, in auto mode, whether to block a tool call.
The fake lets all of them pass."""

ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
OPENAI_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


@dataclass(frozen=True)
class Request:
    """One request as it arrived, recorded before it is answered."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case; a header sent twice is joined with ``, ``."""
    body: Json | None
    """The parsed JSON object, or None for anything else."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, counted as Anthropic does: ``input`` without what the cache held.

    The OpenAI dialects report ``input + cache_read + cache_write`` as their prompt tokens.
    """

    input: int = 10
    output: int = 5
    cache_read: int = 0
    cache_write: int = 0
    hour: int = 0
    """How many of ``cache_write`` are kept for an hour; Anthropic Messages only."""

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, cached or not."""
        return self.input + self.cache_read + self.cache_write


@dataclass(frozen=True)
class Tool:
    """A tool call that the fake model makes."""

    name: str
    input: Json


@dataclass(frozen=True)
class Behaviour:
    """How the fake answers requests for a model. Anything but the defaults is a test's choice."""

    reply: str = "I am {model} at {name}"
    """``{model}`` is the model asked for, ``{name}`` the name of the upstream."""
    events: int = 0
    """Number of text deltas: the reply, then `` 2``, `` 3`` … 0 sends the reply word by word."""
    delay: float = 0.0
    """Seconds between two deltas. An answer that is not streamed takes as long as the stream."""
    usage: Usage = Usage()
    tells_usage: bool = True
    """False: say nothing of tokens, as some servers do."""
    ends: bool = True
    """False: close a stream before the events that end it, as if all was said."""
    error_mid_stream: bool = False
    """Send half of the deltas of a stream, then `status` and `error` as an event."""
    error_as_200: bool = False
    """Answer 200 with the error of `status` as the body."""
    tool: Tool | None = None
    """Called when the request offers it and does not end in a tool result. When it does, the
    reply is followed by `` and the tool said: <result>``."""
    deaf: bool = False
    """Call the tool, but say nothing of its result."""
    status: int = 200
    """Anything else answers with an error in the shape of the dialect."""
    error: str = "the fake upstream fails as told"
    """Message of that error."""
    hang: bool = False
    """Take the request and never answer."""
    drop_before_first_byte: bool = False
    drop_mid_stream: bool = False
    """Close the connection after half of the deltas (half of the body if not streamed)."""
    refuse: Callable[[Json], str | None] | None = None
    """Given the body of a request: the message to refuse it with (400), None to answer it."""
    thinking: str | None = None
    """Anthropic Messages only: what the model thinks before it answers a request that asks for
    thinking. The block is signed with `signature`."""
    caches: bool = False
    """Report the tokens of a prompt that carries cache marks as written to the cache, and as read
    from it when the same request comes again."""
    whole: bool = False
    """Answer in one piece although a stream is asked for."""
    disordered: bool = False
    """Send the end of a content block before what is in it."""
    first_after: float = 0.0
    """Seconds before the first delta of a stream."""
    key: str | None = None
    """Only requests that carry this key meet the fault above; None: all."""
    times: int | None = None
    """How many requests meet the fault above before all is well; None: every one."""

    def healthy(self) -> Behaviour:
        """The same without its faults."""
        return replace(
            self,
            status=200,
            hang=False,
            drop_before_first_byte=False,
            drop_mid_stream=False,
            ends=True,
            error_mid_stream=False,
            error_as_200=False,
            refuse=None,
            whole=False,
            disordered=False,
            first_after=0.0,
        )


@dataclass(frozen=True)
class Answer:
    """What the model says, whatever the dialect: text in pieces, or one tool call."""

    key: str
    """Makes the ids in this answer its own."""
    model: str
    deltas: tuple[str, ...]
    tool: Tool | None
    usage: Usage
    thinking: str | None = None
    """Thought before the answer; its signature is `signature(model)`."""

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def arguments(self) -> str:
        """The tool's input as JSON text."""
        return json.dumps(self.tool.input if self.tool else {})

    @property
    def pieces(self) -> tuple[str, ...]:
        """The tool's input as it is streamed, in two parts."""
        half = len(self.arguments) // 2
        return self.arguments[:half], self.arguments[half:]


def signature(model: str) -> str:
    """What a model signs its thinking with."""
    return f"signed-by-{model}"


class Stream(NamedTuple):
    """The events of an answer; the delay and the cut apply between ``deltas``."""

    head: Sequence[bytes]
    deltas: Sequence[bytes]
    tail: Sequence[bytes]


def flat(content: object) -> str:
    """The text of a tool result, which is a string or a list of blocks with a ``text``."""
    if isinstance(content, list):
        return "\n".join(flat(block) for block in content)
    if isinstance(content, dict):
        return str(content.get("text", json.dumps(content)))
    return str(content)


def sse(payload: Json) -> bytes:
    """A server-sent event that is named after the payload's ``type``."""
    return f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n".encode()


class Messages:
    """Anthropic Messages."""

    def offered(self, body: Json) -> set[str]:
        return {tool.get("name", "") for tool in body.get("tools") or []}

    def result(self, body: Json) -> str | None:
        """The tool result among what follows the last assistant message, if there is one.

        It need not be the last: clients append system messages and reminders.
        """
        found = None
        for message in body.get("messages") or []:
            if message["role"] == "assistant":
                found = None
            for block in message["content"] if isinstance(message["content"], list) else []:
                if block.get("type") == "tool_result":
                    found = flat(block.get("content", ""))
        return found

    def error(self, status: int, message: str) -> Json:
        kind = ANTHROPIC_ERRORS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def error_event(self, status: int, message: str) -> bytes:
        return sse(self.error(status, message))

    def usage(self, usage: Usage) -> Json:
        kept = {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.hour,
            "ephemeral_1h_input_tokens": usage.hour,
        }
        return {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output,
            **({"cache_creation": kept} if usage.hour else {}),
        }

    def whole(self, answer: Answer) -> Json:
        block: Json = {"type": "text", "text": answer.text}
        if answer.tool:
            block = self._tool_use(answer, answer.tool, answer.tool.input)
        thought = {"type": "thinking", "thinking": answer.thinking}
        thought["signature"] = signature(answer.model)
        return {
            "id": f"msg_{answer.key}",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [thought, block] if answer.thinking else [block],
            "stop_reason": "tool_use" if answer.tool else "end_turn",
            "stop_sequence": None,
            "usage": self.usage(answer.usage),
        }

    def stream(self, answer: Answer, _body: Json) -> Stream:
        message = self.whole(answer)
        end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        message |= {"content": [], "stop_reason": None}
        message["usage"] = message["usage"] | {"output_tokens": 1}
        if answer.tool:
            block = self._tool_use(answer, answer.tool, {})
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in answer.pieces]
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": text} for text in answer.deltas]
        thought = self._thought(answer)
        index = 1 if thought else 0
        return Stream(
            [
                sse({"type": "message_start", "message": message}),
                *thought,
                sse({"type": "content_block_start", "index": index, "content_block": block}),
                sse({"type": "ping"}),
            ],
            [sse({"type": "content_block_delta", "index": index, "delta": d}) for d in deltas],
            [
                sse({"type": "content_block_stop", "index": index}),
                sse({"type": "message_delta", "delta": end, "usage": self.usage(answer.usage)}),
                sse({"type": "message_stop"}),
            ],
        )

    def _thought(self, answer: Answer) -> list[bytes]:
        """The events of a thinking block; none where nothing is thought."""
        if not answer.thinking:
            return []
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": answer.thinking},
            {"type": "signature_delta", "signature": signature(answer.model)},
        ]
        return [
            sse({"type": "content_block_start", "index": 0, "content_block": empty}),
            *(sse({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas),
            sse({"type": "content_block_stop", "index": 0}),
        ]

    def _tool_use(self, answer: Answer, tool: Tool, tool_input: Json) -> Json:
        return {
            "type": "tool_use",
            "id": f"toolu_{answer.key}",
            "name": tool.name,
            "input": tool_input,
        }


class OpenAI:
    """What the two dialects of OpenAI share."""

    def error(self, status: int, message: str) -> Json:
        kind, code = OPENAI_ERRORS.get(status, ("server_error", None))
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def error_event(self, status: int, message: str) -> bytes:
        return f"data: {json.dumps(self.error(status, message))}\n\n".encode()


class Chat(OpenAI):
    """OpenAI Chat Completions."""

    def offered(self, body: Json) -> set[str]:
        return {tool.get("function", {}).get("name", "") for tool in body.get("tools") or []}

    def result(self, body: Json) -> str | None:
        found = None
        for message in body.get("messages") or []:
            if message["role"] == "assistant":
                found = None
            elif message["role"] == "tool":
                found = flat(message.get("content", ""))
        return found

    def usage(self, usage: Usage) -> Json:
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.output,
            "total_tokens": usage.prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        }

    def whole(self, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool:
            message |= {"content": None, "tool_calls": [self._call(answer)]}
        reason = "tool_calls" if answer.tool else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        frame = self._frame(answer, "chat.completion", [choice])
        return frame | {"usage": self.usage(answer.usage)}

    def stream(self, answer: Answer, body: Json) -> Stream:
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))

        def chunk(delta: Json, reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            frame = self._frame(answer, "chat.completion.chunk", [choice])
            return self._data(frame | ({"usage": None} if with_usage else {}))

        role: Json = {"role": "assistant", "content": "", "refusal": None}
        if answer.tool:
            call = self._call(answer)
            call |= {"index": 0, "function": call["function"] | {"arguments": ""}}
            head = [chunk(role | {"content": None, "tool_calls": [call]})]
            deltas = [
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
                for piece in answer.pieces
            ]
            tail = [chunk({}, "tool_calls")]
        else:
            head = [chunk(role)]
            deltas = [chunk({"content": text}) for text in answer.deltas]
            tail = [chunk({}, "stop")]
        if with_usage:
            frame = self._frame(answer, "chat.completion.chunk", [])
            tail.append(self._data(frame | {"usage": self.usage(answer.usage)}))
        return Stream(head, deltas, [*tail, b"data: [DONE]\n\n"])

    def _frame(self, answer: Answer, kind: str, choices: list[Json]) -> Json:
        return {
            "id": f"chatcmpl-{answer.key}",
            "object": kind,
            "created": CREATED,
            "model": answer.model,
            "choices": choices,
        }

    def _call(self, answer: Answer) -> Json:
        assert answer.tool is not None
        function = {"name": answer.tool.name, "arguments": answer.arguments}
        return {"id": f"call_{answer.key}", "type": "function", "function": function}

    def _data(self, payload: Json) -> bytes:
        return f"data: {json.dumps(payload)}\n\n".encode()


class Responses(OpenAI):
    """OpenAI Responses."""

    def offered(self, body: Json) -> set[str]:
        return {tool.get("name", "") for tool in body.get("tools") or []}

    def error_event(self, status: int, message: str) -> bytes:
        error = self.error(status, message)["error"]
        return sse({"type": "error", "sequence_number": 9, **error})

    def result(self, body: Json) -> str | None:
        found = None
        for item in body["input"] if isinstance(body.get("input"), list) else []:
            if item.get("type") == "function_call_output":
                found = flat(item.get("output", ""))
            elif item.get("type") == "function_call" or item.get("role") == "assistant":
                found = None
        return found

    def usage(self, usage: Usage) -> Json:
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cache_read},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt + usage.output,
        }

    def whole(self, answer: Answer) -> Json:
        frame = self._frame(answer, "completed", [self._item(answer, "completed")])
        return frame | {"usage": self.usage(answer.usage)}

    def stream(self, answer: Answer, _body: Json) -> Stream:
        opened, done = self._item(answer, "in_progress"), self._item(answer, "completed")
        at: Json = {"item_id": done["id"], "output_index": 0}
        created = self._frame(answer, "in_progress", [])
        head: list[Json] = [
            {"type": "response.created", "response": created},
            {"type": "response.in_progress", "response": created},
            {"type": "response.output_item.added", "output_index": 0, "item": opened},
        ]
        if answer.tool:
            kind = "response.function_call_arguments"
            deltas: list[Json] = [
                {"type": f"{kind}.delta", **at, "delta": piece} for piece in answer.pieces
            ]
            call = {"name": answer.tool.name, "arguments": answer.arguments}
            tail: list[Json] = [{"type": f"{kind}.done", **at, **call}]
        else:
            at["content_index"] = 0
            part = done["content"][0]
            kind = "response.output_text"
            head.append({"type": "response.content_part.added", **at, "part": part | {"text": ""}})
            deltas = [
                {"type": f"{kind}.delta", **at, "delta": text, "logprobs": []}
                for text in answer.deltas
            ]
            tail = [
                {"type": f"{kind}.done", **at, "text": answer.text, "logprobs": []},
                {"type": "response.content_part.done", **at, "part": part},
            ]
        tail += [
            {"type": "response.output_item.done", "output_index": 0, "item": done},
            {"type": "response.completed", "response": self.whole(answer)},
        ]
        numbers = itertools.count()

        def numbered(payloads: list[Json]) -> list[bytes]:
            return [sse(payload | {"sequence_number": next(numbers)}) for payload in payloads]

        return Stream(numbered(head), numbered(deltas), numbered(tail))

    def _item(self, answer: Answer, status: str) -> Json:
        """The one output item, empty while it is in progress."""
        done = status == "completed"
        if answer.tool:
            return {
                "type": "function_call",
                "id": f"fc_{answer.key}",
                "call_id": f"call_{answer.key}",
                "status": status,
                "name": answer.tool.name,
                "arguments": answer.arguments if done else "",
            }
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        return {
            "type": "message",
            "id": f"item_{answer.key}",
            "status": status,
            "role": "assistant",
            "content": [part] if done else [],
        }

    def _frame(self, answer: Answer, status: str, output: list[Json]) -> Json:
        return {
            "id": f"resp_{answer.key}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": answer.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
        }


DIALECTS: dict[str, Messages | Chat | Responses] = {
    "/v1/messages": Messages(),
    "/chat/completions": Chat(),
    "/responses": Responses(),
}


@dataclass
class _Plan:
    """A behaviour and how many requests still meet its fault."""

    behaviour: Behaviour
    left: int | None


@dataclass
class _Exchange:
    """One request on the wire and the way to answer it."""

    request: Request
    receive: Receive
    send: Send

    async def start(self, status: int, kind: str, length: int | None = None) -> None:
        headers = [(b"content-type", kind.encode()), (b"request-id", b"req_fake")]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def json(self, status: int, payload: Json) -> None:
        data = json.dumps(payload).encode()
        await self.start(status, "application/json", len(data))
        await self.body(data, more=False)

    async def missing(self) -> None:
        where = f"{self.request.method} {self.request.path}"
        await self.json(404, Messages().error(404, f"no such route: {where}"))

    async def until_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def drop(self) -> None:
        """Close the connection.

        ASGI has no word for it: uvicorn's `send` is a method of what holds the transport.
        """
        await asyncio.sleep(0.01)  # uvloop holds writes back; what was sent must arrive
        cast(Any, self.send).__self__.transport.abort()
        await self.until_disconnect()


class FakeUpstream:
    """The fake provider; a context manager that serves from a thread of this process.

    ``name`` is what replies call it. ``models`` is what ``GET …/models`` lists; any model is
    answered all the same. ``dialects`` are the routes of DIALECTS that it has.
    """

    def __init__(
        self,
        name: str = "upstream",
        models: Sequence[str] = ("fake-model",),
        *,
        port: int = 0,
        record: bool = True,
        dialects: Sequence[str] = tuple(DIALECTS),
    ) -> None:
        self.name = name
        self.models = models
        self.requests: list[Request] = []
        self.asked = 0
        self._record = record
        self._dialects = {suffix: DIALECTS[suffix] for suffix in dialects}
        self._lock = threading.Lock()
        self._plans: dict[str | None, _Plan] = {None: _Plan(Behaviour(), None)}
        self._cached: set[str] = set()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            timeout_keep_alive=75,  # as providers do; uvicorn's 5 s would break pooled connections
            timeout_graceful_shutdown=0,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.serve, name=f"upstream {name}", daemon=True)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the fake upstream did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive(), "the fake upstream did not stop"

    def serve(self) -> None:
        """Serve in this thread until told to stop (in the main thread also by SIGTERM, SIGINT)."""
        self._server.run(sockets=[self._socket])

    def behave(self, behaviour: Behaviour, model: str | None = None) -> None:
        """From now on answer requests for ``model`` (None: all others) like this."""
        with self._lock:
            self._plans[model] = _Plan(behaviour, behaviour.times)

    def heal(self) -> None:
        """Answer every request as if nothing had been said of it."""
        with self._lock:
            self._plans = {None: _Plan(Behaviour(), None)}

    def clear(self) -> None:
        """Forget the recorded requests."""
        self.requests.clear()

    def of(self, path_suffix: str) -> list[Request]:
        """The recorded requests whose path ends so."""
        return [request for request in self.requests if request.path.endswith(path_suffix)]

    def _plan(self, model: str) -> _Plan:
        return self._plans.get(model) or self._plans[None]

    def _behaviour(self, model: str) -> Behaviour:
        """How to answer this request; counts it against `times`."""
        with self._lock:
            plan = self._plan(model)
            if plan.left == 0:
                return plan.behaviour.healthy()
            if plan.left is not None:
                plan.left -= 1
            return plan.behaviour

    async def _app(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        raw = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            raw += message.get("body", b"")
            more = message.get("more_body", False)
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode(),
            headers=_joined(scope["headers"]),
            body=_parsed(raw),
        )
        self.asked += 1
        if self._record:
            self.requests.append(request)
        await self._route(_Exchange(request, receive, send))

    async def _route(self, exchange: _Exchange) -> None:
        method, path = exchange.request.method, exchange.request.path
        dialect = next((d for suffix, d in self._dialects.items() if path.endswith(suffix)), None)
        if "//" in path or "/v1/v1/" in path:
            await exchange.missing()
        elif method == "GET" and path.endswith("/models"):
            anthropic = "anthropic-version" in exchange.request.headers
            await exchange.json(200, self._model_list(anthropic))
        elif method == "POST" and path.endswith("/v1/messages/count_tokens"):
            model = str((exchange.request.body or {}).get("model"))
            await exchange.json(200, {"input_tokens": self._plan(model).behaviour.usage.prompt})
        elif method == "POST" and dialect:
            await self._answer(exchange, dialect)
        else:
            await exchange.missing()

    def _model_list(self, anthropic: bool) -> Json:
        if anthropic:
            rows: list[Json] = [
                {
                    "type": "model",
                    "id": model,
                    "display_name": model,
                    "created_at": "2023-11-14T22:13:20Z",
                }
                for model in self.models
            ]
            ends = {"first_id": self.models[0], "last_id": self.models[-1]} if self.models else {}
            return {"data": rows, "has_more": False, **ends}
        rows = [
            {"id": model, "object": "model", "created": CREATED, "owned_by": self.name}
            for model in self.models
        ]
        return {"object": "list", "data": rows}

    async def _answer(self, exchange: _Exchange, dialect: Messages | Chat | Responses) -> None:
        body = exchange.request.body
        if body is None or not isinstance(body.get("model"), str):
            await exchange.json(400, dialect.error(400, "model: Field required"))
            return
        behaviour = self._behaviour(body["model"])
        if behaviour.key and behaviour.key not in _credentials(exchange.request):
            behaviour = behaviour.healthy()
        if behaviour.hang:
            await exchange.until_disconnect()
        elif behaviour.drop_before_first_byte:
            await exchange.drop()
        elif behaviour.status != 200 and not (behaviour.error_mid_stream and body.get("stream")):
            error = dialect.error(behaviour.status, behaviour.error)
            await exchange.json(200 if behaviour.error_as_200 else behaviour.status, error)
        elif message := behaviour.refuse and behaviour.refuse(body):
            await exchange.json(400, dialect.error(400, message))
        else:
            answer = self._compose(body, behaviour, dialect)
            if body.get("stream") and not behaviour.whole:
                stream = dialect.stream(answer, body)
                if behaviour.error_mid_stream:
                    event = dialect.error_event(behaviour.status, behaviour.error)
                    half = stream.deltas[: len(stream.deltas) // 2]
                    stream = stream._replace(deltas=half, tail=[event])
                elif not behaviour.ends:
                    stream = stream._replace(tail=[])
                await self._stream(exchange, stream, behaviour)
            else:
                whole = dialect.whole(answer)
                whole = whole if behaviour.tells_usage else _without_usage(whole)
                await self._whole(exchange, whole, behaviour, len(answer.deltas))

    def _compose(
        self, body: Json, behaviour: Behaviour, dialect: Messages | Chat | Responses
    ) -> Answer:
        model = body["model"]
        reply = behaviour.reply.replace("{model}", model).replace("{name}", self.name)
        tool = None
        if CLASSIFIER in (body.get("stop_sequences") or body.get("stop") or ()):
            reply = "<block>no"
        elif behaviour.tool and body.get("max_tokens") != PROBE_TOKENS:
            result = dialect.result(body)
            if result is not None and not behaviour.deaf:
                reply += f" and the tool said: {result}"
            elif result is None and behaviour.tool.name in dialect.offered(body):
                tool = behaviour.tool
        if behaviour.events:
            deltas = (reply, *(f" {number}" for number in range(2, behaviour.events + 1)))
        else:
            deltas = tuple(_words(reply))
        usage = self._cache(body, behaviour.usage) if behaviour.caches else behaviour.usage
        thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        thinking = behaviour.thinking if thinks else None
        return Answer(uuid.uuid4().hex, model, deltas, tool, usage, thinking)

    def _cache(self, body: Json, usage: Usage) -> Usage:
        """The usage of a request whose prompt, marked for it, is kept in the cache."""
        prompt = json.dumps(body)
        if "cache_control" not in prompt:
            return usage
        with self._lock:
            known = prompt in self._cached
            self._cached.add(prompt)
        if known:
            return replace(usage, input=0, cache_read=usage.prompt)
        return replace(usage, input=0, cache_write=usage.prompt)

    async def _whole(
        self, exchange: _Exchange, payload: Json, behaviour: Behaviour, deltas: int
    ) -> None:
        await asyncio.sleep(behaviour.delay * (deltas - 1))
        data = json.dumps(payload).encode()
        await exchange.start(200, "application/json", len(data))
        if behaviour.drop_mid_stream:
            await exchange.body(data[: len(data) // 2], more=True)
            await exchange.drop()
        else:
            await exchange.body(data, more=False)

    async def _stream(self, exchange: _Exchange, stream: Stream, behaviour: Behaviour) -> None:
        await exchange.start(200, "text/event-stream; charset=utf-8")
        if not behaviour.tells_usage:
            stream = Stream(*(list(map(_untold, part)) for part in stream))
        for event in stream.head:
            await exchange.body(event, more=True)
        await asyncio.sleep(behaviour.first_after)
        if behaviour.disordered:
            stream = Stream(stream.head, stream.tail[:1], [*stream.deltas, *stream.tail[1:]])
        deltas = stream.deltas
        if behaviour.drop_mid_stream:
            deltas = deltas[: (len(deltas) + 1) // 2]
        for number, event in enumerate(deltas):
            if number and behaviour.delay:
                await asyncio.sleep(behaviour.delay)
            await exchange.body(event, more=True)
        if behaviour.drop_mid_stream:
            await exchange.drop()
            return
        for event in stream.tail:
            await exchange.body(event, more=True)
        await exchange.body(b"", more=False)


def _without_usage(payload: Json) -> Json:
    """An answer or an event that says nothing of tokens."""
    return {
        name: _without_usage(value) if name in ("message", "response") else value
        for name, value in payload.items()
        if name != "usage"
    }


def _untold(event: bytes) -> bytes:
    """The same event without its usage."""
    head, mark, data = event.partition(b"data: ")
    if data.startswith(b"[DONE]"):
        return event
    return head + mark + json.dumps(_without_usage(json.loads(data))).encode() + b"\n\n"


def _words(text: str) -> Iterator[str]:
    """The text in pieces that add up to it: a word each, with the blank before it."""
    first, *others = text.split(" ")
    yield first
    yield from (f" {word}" for word in others)


def _credentials(request: Request) -> set[str]:
    """The keys that a request carries."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return {bearer, request.headers.get("x-api-key", "")}


def _joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _parsed(raw: bytes) -> Json | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def main() -> None:
    """Serve until SIGTERM or SIGINT; print the URL when the port is bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--name", default="upstream")
    parser.add_argument("--events", type=int, default=0, help="text deltas of a reply")
    parser.add_argument(
        "--events-of", action="append", default=[], metavar="MODEL=N", help="of that model instead"
    )
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between them")
    arguments = parser.parse_args()
    upstream = FakeUpstream(arguments.name, port=arguments.port, record=False)
    upstream.behave(Behaviour(events=arguments.events, delay=arguments.delay))
    for model, _, events in (option.rpartition("=") for option in arguments.events_of):
        upstream.behave(Behaviour(events=int(events), delay=arguments.delay), model)
    print(upstream.url, flush=True)
    upstream.serve()


if __name__ == "__main__":
    main()
