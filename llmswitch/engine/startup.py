"""The start of a worker: LiteLLM leaves out models that it cannot make sense of, and goes on. Here
a worker that lacks one does not start.
"""

from __future__ import annotations

from collections import Counter

from llmswitch.engine.asgi import Message, Send
from llmswitch.engine.budget import spending
from llmswitch.engine.completion import finish
from llmswitch.engine.fields import steering_extensions
from llmswitch.engine.logging import be_quiet
from llmswitch.engine.recorder import writer
from llmswitch.engine.request import config
from llmswitch.engine.routes import POSTED
from llmswitch.engine.shapes import kinds


class ModelError(Exception):
    """A model of the configuration that LiteLLM does not serve, or not as it should."""


def checked(send: Send) -> Send:
    """The same `send`, but a start that lacks a model fails."""

    async def check(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            if lacking := _lacking():
                raise ModelError(f"LiteLLM cannot serve {', '.join(lacking)}; its log says why")
            if steering := steering_extensions():
                raise ModelError(f"`pass` of {steering} names a parameter of LiteLLM's own")
            writer().start()
            spending()
            be_quiet()
            for route in POSTED:
                kinds(route)
        if message["type"] == "lifespan.shutdown.complete":
            await finish()
        await send(message)

    return check


def _lacking() -> list[str]:
    """The deployments of the configuration that LiteLLM has left out."""
    from litellm.proxy.proxy_server import llm_router

    wanted = Counter(item["model_name"] for item in config()["model_list"])
    served = Counter(item["model_name"] for item in llm_router.model_list) if llm_router else {}
    return [name for name, number in wanted.items() if served.get(name, 0) < number]
