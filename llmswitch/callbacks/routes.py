"""The one route that Claude Code lives by, made ready before a worker is forked.

LiteLLM 1.106 has more than 80 routers, each built at the first request that looks at it, and looks
at them in order, with /v1/messages near the end: the first request to every worker paid 0.8 s, and
each later one walked past them all. Here that route stands first and is built in the master.
"""

from __future__ import annotations

import importlib
from typing import Any

# What a worker's first request would import.
_FIRST_REQUEST = (
    "litellm.integrations.shadow_eval_logger",
    "litellm.integrations.websearch_interception.tools",
    "litellm.interactions",
    "litellm.proxy._experimental.mcp_server.auth.user_api_key_auth_mcp",
    "litellm.proxy._experimental.mcp_server.mcp_server_manager",
    "litellm.proxy._experimental.mcp_server.tool_catalog_guard",
)


def put_messages_first(app: Any) -> None:
    """Let LiteLLM's application look for /v1/messages first, and build that route now."""
    from litellm.proxy.anthropic_endpoints.endpoints import router

    app.include_router(router)
    routes = app.router.routes
    routes.insert(0, routes.pop())
    routes[0].matches(
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
    for name in _FIRST_REQUEST:
        importlib.import_module(name)
