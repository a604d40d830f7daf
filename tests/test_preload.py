"""What every worker would make for itself is there before it is forked, and is named rightly."""

from __future__ import annotations

from llmswitch.engine.preload import MODELS, MODULES
from tests.engine import look

_LOOK = """
import json, sys, threading
from llmswitch.engine.late import built_late
from llmswitch.engine.preload import MODELS, MODULES, preload

with built_late():
    import litellm.proxy.proxy_server
from litellm.utils import get_bundled_model_cost_map

def state():
    models = [getattr(sys.modules.get(module), name, None)
              for module, names in MODELS.items() for name in names.split()]
    return {
        "modules": [name for name in MODULES if name in sys.modules],
        "models": [model.__name__ for model in models if model and model.__pydantic_complete__],
        "ours": sorted(name for name in sys.modules if name.startswith("llmswitch.")),
        "threads": threading.active_count(),
        "prices": get_bundled_model_cost_map.cache_info().currsize,
    }

before = state()
with built_late():
    preload()
print(json.dumps([before, state()]))
"""


def test_modules_models_and_prices_are_there_and_were_not_before() -> None:
    """A name that LiteLLM no longer has, or builds by itself, is found here and not by a user."""
    before, after = look(_LOOK)
    ours = ["llmswitch.engine", "llmswitch.engine.late", "llmswitch.engine.preload"]
    same = {"ours": ours, "threads": 1}  # a thread would be missing in the workers
    assert before == {"modules": [], "models": [], "prices": 0, **same}
    assert after == {
        "modules": list(MODULES),
        "models": [name for names in MODELS.values() for name in names.split()],
        "prices": 1,
        **same,
    }
