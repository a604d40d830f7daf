"""LiteLLM's routes and models are built late, and are then what they would have been."""

from __future__ import annotations

import threading
import time

import httpx
import pytest

from llmswitch.engine.late import LateRoute
from tests.conftest import User, free_port
from tests.engine import look
from tests.gateways import NO_WAY_OUT, Gateway
from tests.upstream import Behaviour, FakeUpstream

_LOOK = """
import json, re, sys
from contextlib import nullcontext
from fastapi import APIRouter
from pydantic import BaseModel
from llmswitch.engine.late import built_late, complete

with built_late() if sys.argv[1] == "late" else nullcontext():
    from litellm.proxy.proxy_server import app

def below(cls):
    for one in cls.__subclasses__():
        yield one
        yield from below(one)

def routes(found):
    for one in found:
        router = vars(one).get("original_router")
        if router:
            yield from routes(router.routes)
        else:
            yield one

def plain(thing):
    return re.sub(" at 0x[0-9a-f]+", "", repr(thing))

unbuilt = sum("_late" in vars(one) for one in routes(app.routes))
def built():
    return sorted({f"{one.__module__}.{one.__qualname__}" for one in below(BaseModel)
                   if one.__pydantic_complete__})

at_first = len(built())
complete()
spoken = app.openapi()
models = built()
print(json.dumps({
    "unbuilt": unbuilt,
    "unbuilt after all were looked at": sum("_late" in vars(one) for one in routes(app.routes)),
    "models built at first": at_first,
    "models built": models,
    "described": spoken,
    "routes": [[one.path, one.name, sorted(one.methods), plain(getattr(one, "dependant", None))]
               for one in routes(app.routes) if getattr(one, "methods", None)],
    "defaults afterwards": [BaseModel.model_config, APIRouter().route_class.__name__],
}))
"""


def test_what_is_built_late_is_what_it_would_have_been() -> None:
    """Every route with its parameters, and all that LiteLLM tells of its API."""
    usual, late = look(_LOOK, "usual"), look(_LOOK, "late")
    assert usual["unbuilt"] == 0
    assert late["unbuilt"] > 0.9 * len(late["routes"]) > 500
    assert late["unbuilt after all were looked at"] == 0
    assert late["models built at first"] < usual["models built at first"] / 2
    assert late["models built"] == usual["models built"]
    assert late["routes"] == usual["routes"]
    assert late["described"] == usual["described"]
    assert late["defaults afterwards"] == usual["defaults afterwards"]


def test_a_route_says_its_path_and_name_before_it_is_built_and_all_else_afterwards() -> None:
    """A name that no route has is missing before and after."""

    def endpoint(one: int) -> int:
        return one

    route = LateRoute("/a/{one}", endpoint, methods=["POST"])
    assert (route.path, route.name) == ("/a/{one}", "endpoint")
    assert "_late" in vars(route)
    assert not hasattr(route, "missing")
    assert "_late" not in vars(route)
    assert route.methods == {"POST"}
    assert [field.name for field in route.dependant.path_params] == ["one"]
    assert LateRoute("/", endpoint, name="another").name == "another"


@pytest.mark.timeout(300)
def test_who_streams_does_not_wait_while_routes_are_built(user: User) -> None:
    """The first request for another of LiteLLM's routes has all of them built, beside the rest."""
    port = free_port()
    with FakeUpstream("u") as upstream:
        upstream.behave(Behaviour(reply="fine", events=300, delay=0.02))
        user.keys = {**NO_WAY_OUT, "OWN_KEY": "own"}
        user.write_profile(
            "models: {m: {model: own/m, price: {input: 1, output: 2}}}\n"
            f"providers: {{own: {{dialect: messages, base_url: '{upstream.url}', key: OWN_KEY}}}}\n"
            f"gateway: {{port: {port}}}\n"
        )
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        gateway = Gateway(f"http://127.0.0.1:{port}", user.gateway_key())
        begun = threading.Event()
        gaps: list[float] = []

        def stream() -> None:
            said = [{"role": "user", "content": "hi"}]
            body = {"model": "m", "max_tokens": 9, "stream": True, "messages": said}
            headers = {"authorization": f"Bearer {gateway.key}"}
            url = f"{gateway.url}/v1/messages"
            with httpx.stream(
                "POST", url, headers=headers, json=body, timeout=60, trust_env=False
            ) as answer:
                last = time.monotonic()
                for _ in answer.iter_raw():
                    gaps.append(time.monotonic() - last)
                    last += gaps[-1]
                    if len(gaps) == 20:
                        begun.set()

        streaming = threading.Thread(target=stream)
        streaming.start()
        assert begun.wait(60)
        before = len(gaps)
        asked = time.monotonic()
        answer = gateway.send("GET", "/v1/model/info")
        took = time.monotonic() - asked
        during = gaps[before:]
        streaming.join(60)
        assert [one["model_name"] for one in answer.json()["data"]] == ["m"]
        assert during
        assert max(during) < took / 2
        user.run("down")
