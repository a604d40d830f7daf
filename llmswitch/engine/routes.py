"""The routes that clients live by, made ready before a worker is forked; and the others.

LiteLLM 1.106 has more than 80 routers, each built at the first request that looks at it, and looks
at them in order: the first requests to every worker paid up to 0.8 s and 16 MB, which no other
worker shares, and each later one walked past them all. Here these routes stand first and are built
in the master. A request for another one builds them all, in a thread: whoever streams meanwhile
does not wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports LiteLLM
    from llmswitch.engine.log import App, Message, Receive, Send

_FIRST = (
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/responses",
    "/health/liveliness",
    "/health/liveness",
    "/health/readiness",
)


def put_first(app: Any) -> None:
    """Let LiteLLM's application look for these routes first, and build them now."""
    from fastapi import APIRouter
    from litellm.proxy import proxy_server
    from litellm.proxy.anthropic_endpoints import endpoints as messages
    from litellm.proxy.health_endpoints import _health_endpoints as health
    from litellm.proxy.response_api_endpoints import endpoints as responses

    first = APIRouter()
    for module in (messages, proxy_server, health, responses):
        first.routes.extend(route for route in module.router.routes if route.path in _FIRST)
    app.include_router(first)
    routes = app.router.routes
    routes.insert(0, routes.pop())
    _build(routes[:1])


def built_aside(app: Any) -> App:
    """LiteLLM's application, whose other routes are built before they are first looked at."""
    alone = asyncio.Lock()
    built = False

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal built
        if not built and scope["type"] != "lifespan" and scope["path"] not in _FIRST:
            async with alone:
                if not built:
                    await asyncio.to_thread(_build_all, app)
                    built = True
        await app(scope, receive, send)

    return application


def _build_all(app: Any) -> None:
    from llmswitch.engine.late import complete

    complete()
    _build([*app.router.routes])


def _build(routes: list[Any]) -> None:
    """Have each of them look whether it is meant, for which it is built."""
    for route in routes:
        route.matches(
            {
                "type": "http",
                "method": "POST",
                "path": "/v1/messages",
                "root_path": "",
                "headers": [],
                "query_string": b"",
                "path_params": {},
                "app": None,
            }
        )
