"""What the gateway's environment tells LiteLLM to leave alone."""

from __future__ import annotations

import json

import pytest

from llmswitch.render.plan import _LITELLM
from tests.imported_engine import look

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

_ASK = """
import json, os, sys
os.environ.update(json.loads(sys.argv[1]))
import litellm
from litellm.proxy.telemetry.settings import env_policy, load_settings
from litellm.rust_bridge import catalog, configuration
configuration.rust(True)  # as a setting of the configuration does
routes = [route for route in catalog.Route if route.value not in ("ocr", "transcription")]
print(json.dumps({
    "telemetry is off": env_policy(load_settings()).locked_off,
    "in Rust": [
        route.value for route in routes for provider in ("anthropic", "openai", "deepseek")
        if catalog.decision(catalog.RouteContext(route=route, provider=provider))
        is not configuration.Decision.PYTHON
    ],
}))
"""


def test_no_telemetry_and_no_rust() -> None:
    """Nothing is sent to LiteLLM's makers, and no route of the gate is carried by Rust, where no
    redirect, no size and no key in a log would be held; whatever the profile's `litellm:` says.
    """
    assert look(_ASK, json.dumps(_LITELLM)) == {"telemetry is off": True, "in Rust": []}
    assert look(_ASK, json.dumps({}))["in Rust"] != []
