"""Everything of ours that reaches into LiteLLM, httpx, gunicorn or uvicorn beyond their documents.

Each patch is one function that makes sure that what it changes is there and does what it is changed
for, and raises `Unfit` otherwise: then the gateway does not start, and `up` and `doctor` say why.
The master imports this module before it holds the port, so nothing here imports LiteLLM before it
is called.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature, unwrap
from types import ModuleType
from typing import Any, NamedTuple

from uvicorn.protocols.http.h11_impl import H11Protocol

from llmswitch.engine.request import current

_SO_FAR = "LiteLLM 1.108.0 to 1.110.2"
LONGER = "the answer is longer than"
TOO_LONG = "prompt is too long"  # Anthropic's words
_LONGEST = 64_000_000  # bytes of an answer, unpacked: 200,000 tokens, each with an event of its own
_LONGEST_ERROR = 100_000  # bytes
_REDIRECT = 307
_ROUTERS = ("anthropic_endpoints.endpoints", "proxy_server", "response_api_endpoints.endpoints")
# LiteLLM's own, which carries every route of the gate over a transport for aiohttp (1.108.7 and
# 1.110.2), and the one that the openai package takes where it is given no client.
_HTTP_LIBRARIES = ("httpx", "httpx2")


class PatchError(Exception):
    """A patch does not fit the LiteLLM that is installed, or a package that it came with."""


class Unfit(Exception):  # noqa: N818 - reads as what it says: the patch is unfit
    """What a patch lacks, in words."""


class Patch(NamedTuple):
    """A change of somebody else's code. `seen` are the versions in which it was needed and fitted;
    `make engine` shows whether it still does.
    """

    name: str
    seen: str
    apply: Callable[[], None]


def apply() -> None:
    """Apply all of them in the master, after LiteLLM was imported and before a worker is forked.

    Raises PatchError for the first one that does not fit.
    """
    for patch in PATCHES:
        _try(patch)


def _try(patch: Patch) -> None:
    try:
        patch.apply()
    except (Unfit, ImportError, AttributeError, TypeError, ValueError) as error:
        raise PatchError(
            f"LiteLLM {version('litellm')} does not fit this llmswitch: its patch `{patch.name}`, "
            f"made for {patch.seen}, does not work: {error}"
        ) from None


def _need(holds: object, what: str) -> None:
    if not holds:
        raise Unfit(what)


# ------------------------------------------------------------------------------- HTTP libraries


def follow_no_redirect() -> None:
    """LiteLLM lets its clients follow redirects and has no setting against it: `aclient_session`
    reaches OpenAI's dialects alone. httpx takes `Authorization` off on the way to another host, but
    no other header that carries a key, nor the prompt.
    """
    for library in _libraries():
        library.Response.has_redirect_location = property(lambda _response: False)
        asked: list[Any] = []

        def lead(request: Any, library: ModuleType = library, asked: list[Any] = asked) -> Any:
            asked.append(request)
            return library.Response(_REDIRECT, headers={"location": "http://elsewhere.invalid/"})

        transport = library.MockTransport(lead)
        with library.Client(transport=transport, follow_redirects=True, trust_env=False) as client:
            client.post("http://upstream.invalid/")
        _need(len(asked) == 1, f"{library.__name__} follows redirects all the same")


def bound_answers() -> None:
    """LiteLLM keeps all of an answer, in several copies, so one without an end would take the
    memory of the machine. httpx has no setting for it.
    """
    for library in _libraries():
        response = library.Response
        _need([*signature(response.aiter_bytes).parameters] == ["self", "chunk_size"],
              f"{library.__name__}.Response.aiter_bytes has other parameters")  # fmt: skip
        _need([*signature(response.aread).parameters] == ["self"],
              f"{library.__name__}.Response.aread has other parameters")  # fmt: skip
        _need(getattr(response(200, content=b"x"), "_content", None) == b"x",
              f"{library.__name__}.Response keeps its content elsewhere")  # fmt: skip
        response.aiter_bytes = _bounded(response.aiter_bytes, library.ReadError)
        response.aread = _read_in_bounds(response.aread)


def _libraries() -> list[ModuleType]:
    return [import_module(name) for name in _HTTP_LIBRARIES if find_spec(name)]


def _bounded(bytes_of: Any, error: type[Exception]) -> Any:
    """As httpx reads an answer, streamed or not, up to an end."""

    async def bounded(answer: Any, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        length = 0
        async for part in bytes_of(answer, chunk_size):
            length += len(part)
            if length > _LONGEST:
                raise error(f"{LONGER} {_LONGEST // 1_000_000} MB")
            if context := current.get():
                context.usage.see(part)
            yield part

    return bounded


def _read_in_bounds(read: Any) -> Any:
    """As httpx reads a whole answer, but only the beginning of an error and of what is no JSON.
    LiteLLM makes a message of it, which it searches several times for secrets, at half a second a
    megabyte in which no other request goes on.
    """

    async def read_in_bounds(answer: Any) -> bytes:
        content: bytes = await read(answer)
        if len(content) > _LONGEST_ERROR and (answer.is_error or _is_no_json(answer)):
            answer._content = content[:_LONGEST_ERROR]  # noqa: SLF001 - where httpx keeps it
        kept: bytes = answer.content
        return kept

    return read_in_bounds


def _is_no_json(answer: Any) -> bool:
    if not answer.headers.get("content-type", "").startswith(("text/", "application/json")):
        return False
    try:
        json.loads(answer.content)
    except (ValueError, RecursionError):
        return True
    return False


def mask_log(masked: Callable[[str], str]) -> None:
    """Everything that is logged goes through `masked`, whoever logs it. A filter or a formatter
    would have to be on every handler that LiteLLM, uvicorn and gunicorn make, also later. Called in
    each worker, which knows the keys.
    """
    plain = logging.Handler.format

    def format_masked(handler: logging.Handler, record: logging.LogRecord) -> str:
        return masked(plain(handler, record))

    logging.Handler.format = format_masked  # type: ignore[method-assign, assignment]


# --------------------------------------------------------------------------------------- LiteLLM


def run_no_hooks_of_the_proxy() -> None:
    """LiteLLM's proxy runs nine hooks of its own with every request and every part of a stream: for
    limits of its virtual keys, teams and sessions, its store of skills, other models for sensitive
    data. The gateway has none of these, and a native stream of 300 events took twice the time. What
    a profile's `litellm:` names stands in another list.
    """
    hooks = import_module("litellm.proxy.hooks").PROXY_HOOKS
    used = getattr(import_module("litellm.proxy.utils"), "PROXY_HOOKS", None)
    _need(hooks is used and isinstance(hooks, dict), "their list is elsewhere")
    hooks.clear()


def look_for_no_tenants() -> None:
    """LiteLLM looks with every request for the tenant whose telemetry it would send. The gateway
    has no tenants; and without OpenTelemetry's SDK, which it does not need, an import fails each
    time anew: a fifth of the CPU time of a request, 0.5 ms (1.108.7).
    """
    auth: Any = import_module("litellm.proxy.auth.user_api_key_auth")
    asked = unwrap(auth.user_api_key_auth).__code__.co_names
    _need("_seed_request_destinations" in asked, "they are looked for elsewhere")
    _need(callable(auth._seed_request_destinations), "it is no function")  # noqa: SLF001
    auth._seed_request_destinations = lambda *_: None  # noqa: SLF001


def know_a_long_prompt() -> None:
    """A prompt that is too long goes to the model's context_window_fallbacks. LiteLLM before 1.110
    knows Anthropic's words for it at api.anthropic.com only.
    """
    mapping: Any = import_module("litellm.litellm_core_utils.exception_mapping_utils")
    checkers = mapping.ExceptionCheckers
    known = checkers.is_error_str_context_window_exceeded
    if known(TOO_LONG):
        return

    def is_too_long(error_str: str) -> bool:
        return TOO_LONG in error_str.lower() or known(error_str)

    checkers.is_error_str_context_window_exceeded = staticmethod(is_too_long)
    exceeded = checkers.is_error_str_context_window_exceeded
    _need(exceeded(f"A {TOO_LONG}: 2 > 1") and not exceeded("other"), "it has no effect")


def bill_what_came() -> None:
    """What has come of an answer when its client leaves. With a cache configured LiteLLM looks for
    it in vain where a Responses stream is translated, and notes nothing.
    """
    streaming: Any = import_module("litellm.responses.streaming_iterator")
    partial = streaming.partial_responses_incomplete_event_on_disconnect
    writer = _cache_writer()
    _need("stream" in writer.__init__.__code__.co_names, "it keeps its stream elsewhere")
    writer.partial_response_on_disconnect = lambda self: partial(self.stream)


def _cache_writer() -> Any:
    for folder in ("messages.native", "pass_through.messages"):  # from 1.110 on, and before
        with suppress(ModuleNotFoundError):
            module = import_module(f"litellm.llms.anthropic.{folder}.response_cache")
            return module.AnthropicMessagesStreamCacheWriter
    raise Unfit("its module is gone")


def reserve_for_forking(name: str) -> None:
    """LiteLLM's own guard, which its `--run_gunicorn` calls: this process refuses threads that a
    fork would lose.
    """

    def reserve() -> None:
        guard: Any = import_module("litellm.rust_bridge.fork_guard")
        guard.reserve_process_for_forking(name)

    _try(Patch("refuse threads in the master", _SO_FAR, reserve))


# ------------------------------------------------------------------------------------- FastAPI


@contextmanager
def listed_routes(paths: Collection[str]) -> Iterator[Callable[[Any], None]]:
    """LiteLLM defines some 650 routes while it is imported. Meanwhile FastAPI builds none but
    these, which saves a sixth of the CPU time of a start and 20 MB (1.108.7). The function that is
    given then leaves LiteLLM's application these alone, without its mounts, pages and WebSockets,
    and without its middleware, thirteen layers whose work the gate has done or has no use for.
    """
    routing: Any = import_module("fastapi.routing")
    plain = routing.APIRouter.add_api_route

    def add_listed(router: Any, path: str, endpoint: Any, **more: Any) -> None:
        if path in paths:
            plain(router, path, endpoint, **more)

    routing.APIRouter.add_api_route = add_listed
    try:
        yield lambda app: _try(
            Patch("build listed routes alone", _SO_FAR, partial(_keep_listed, app, paths))
        )
    finally:
        routing.APIRouter.add_api_route = plain


def _keep_listed(app: Any, paths: Collection[str]) -> None:
    listed = import_module("fastapi").APIRouter()
    for name in _ROUTERS:
        router = import_module(f"litellm.proxy.{name}").router
        listed.routes.extend(route for route in router.routes if route.path in paths)
    lost = set(paths) - {route.path for route in listed.routes}
    _need(not lost, f"LiteLLM has no route {', '.join(sorted(lost))}")
    app.include_router(listed)
    app.router.routes[:] = app.router.routes[-1:]
    app.user_middleware.clear()


# --------------------------------------------------------------------------- gunicorn and uvicorn


def tell_kills(arbiter: Any, told: Callable[[int], None]) -> None:
    """Tell the pid of each worker that the master itself ends; gunicorn has no hook for it, and
    child_exit does not say why a worker is gone.
    """

    def tell() -> None:
        kill_worker = arbiter.kill_worker

        def kill_and_tell(pid: int, number: int) -> None:
            told(pid)
            kill_worker(pid, number)

        arbiter.kill_worker = kill_and_tell

    _try(Patch("tell kills", "gunicorn 23", tell))


def wait_for_connections() -> None:
    """That connections.PatientProtocol finds what it relies on in uvicorn."""
    _need(issubclass(H11Protocol, asyncio.Protocol), "it is no asyncio.Protocol")
    for name in ("shutdown", "on_response_complete", "send_400_response"):
        _need(callable(getattr(H11Protocol, name, None)), f"uvicorn calls no {name}")
    cycle = sys.modules[H11Protocol.__module__].RequestResponseCycle
    for owner, names in (
        (H11Protocol, ("cycle", "conn", "server_state", "loop", "transport")),
        (cycle, ("response_started", "response_complete", "default_headers")),
    ):
        for name in names:
            _need(name in owner.__init__.__code__.co_names, f"{owner.__name__} has no {name}")


PATCHES = (
    Patch("follow no redirect", f"{_SO_FAR}, httpx 0.28, httpx2 2.16", follow_no_redirect),
    Patch("bound answers", f"{_SO_FAR}, httpx 0.28, httpx2 2.16", bound_answers),
    Patch("run no hooks of the proxy", _SO_FAR, run_no_hooks_of_the_proxy),
    Patch("look for no tenants", _SO_FAR, look_for_no_tenants),
    Patch("know a long prompt", "LiteLLM 1.108.0 to 1.108.7", know_a_long_prompt),
    Patch("bill what came", _SO_FAR, bill_what_came),
    Patch("wait for connections", "uvicorn 0.54", wait_for_connections),
)
