"""Which routes exist: a short list, for every key alike. LiteLLM's others are not even built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MODELS = "/v1/models"
ONE_MODEL = MODELS + "/"  # and a name

OWN_STATE = "/llmswitch/state"  # ours, see own_state.py
HEALTH = ("/health/liveliness", "/health/liveness", "/health/readiness")  # need no key
# What Claude Code asks before its first request, only to have the connection open.
PROBES = (("HEAD", "/"), ("HEAD", "/api/hello"))

POSTED = (MESSAGES, COUNT_TOKENS, CHAT, RESPONSES)
_BUILT = (MESSAGES, CHAT, RESPONSES, MODELS, "/v1/models/{model_id}")
_ASKED_IN_URL = {MESSAGES: ("beta",), MODELS: ("limit",)}


def is_listed(method: str, path: str) -> bool:
    """Whether LiteLLM is to see such a request."""
    if method == "POST":
        return path in POSTED
    return method == "GET" and (path == MODELS or path.startswith(ONE_MODEL))


def is_quiet(scope: Any) -> bool:
    """Whether a request is one of those that commands and clients send all the time."""
    method, path = scope.get("method"), scope["path"]
    return path in HEALTH or path == OWN_STATE or (method, path) in PROBES


def passed_query(path: str, query: bytes) -> bytes:
    """Of a query those parameters that the API of the route has."""
    known = _ASKED_IN_URL.get(path, ())
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode([pair for pair in pairs if pair[0] in known]).encode()


@contextmanager
def none_but_the_listed() -> Iterator[None]:
    """LiteLLM defines some 650 routes while it is imported; meanwhile FastAPI builds these alone.
    It saves a sixth of the CPU time of a start and 20 MB (LiteLLM 1.108.7).
    """
    from fastapi.routing import APIRouter

    plain = APIRouter.add_api_route

    def add_listed(router: Any, path: str, endpoint: Any, **more: Any) -> None:
        if path in _BUILT:
            plain(router, path, endpoint, **more)

    APIRouter.add_api_route = add_listed  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        APIRouter.add_api_route = plain  # type: ignore[method-assign]


def keep_the_listed(app: Any) -> None:
    """Leave LiteLLM's application the listed routes, and none of its mounts, pages and WebSockets.

    Raises LookupError when LiteLLM has one of them no more.
    """
    from fastapi.routing import APIRouter
    from litellm.proxy import proxy_server
    from litellm.proxy.anthropic_endpoints import endpoints as messages
    from litellm.proxy.response_api_endpoints import endpoints as responses

    listed = APIRouter()
    for module in (messages, proxy_server, responses):
        listed.routes.extend(item for item in module.router.routes if _path(item) in _BUILT)
    if lost := {*_BUILT} - {*map(_path, listed.routes)}:
        raise LookupError(f"LiteLLM has no route {', '.join(sorted(lost))}")
    app.include_router(listed)
    app.router.routes[:] = app.router.routes[-1:]


def _path(route: Any) -> str:
    return str(route.path)
