"""LiteLLM looks first for the routes that clients live by: no worker builds others for them."""

from __future__ import annotations

from tests.engine import look

_LOOK = """
import json
from starlette.routing import Match
from litellm.proxy.proxy_server import app
from llmswitch.engine.routes import put_first

def found(method, path):
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": [],
             "query_string": b"", "path_params": {}, "app": app}
    full = [number for number, route in enumerate(app.router.routes)
            if route.matches(dict(scope))[0] == Match.FULL]
    return full[0] if full else None  # LiteLLM adds some at their first request

asked = [("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models"),
         ("POST", "/v1/chat/completions"), ("POST", "/v1/responses"),
         ("GET", "/health/liveliness"), ("GET", "/health/liveness"), ("GET", "/health/readiness")]
before = [found(*one) for one in asked]
put_first(app)
print(json.dumps([before, [found(*one) for one in asked]]))
"""


def test_the_routes_of_clients_and_probes_stand_first() -> None:
    """LiteLLM builds each router that it walks past, in every worker anew."""
    before, after = look(_LOOK)
    assert 0 not in before, "LiteLLM has them first by itself: put_first is needless"
    assert after == [0] * len(after)
