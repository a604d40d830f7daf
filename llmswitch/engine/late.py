"""LiteLLM's routes and models, built when they are first used and not while it is imported.

LiteLLM 1.106 defines some 650 routes and 3,300 pydantic models. A gateway of ours needs eight of
the routes and a few of the models; building the rest was a quarter of the time of its start, and
25 MB. Nothing of it is out of reach: the first request for a route that routes.py has not put first
builds them all, which takes two or three seconds, once in each worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.routing import APIRoute, APIRouter
from pydantic import BaseModel
from starlette.routing import get_name

_building = threading.RLock()


class LateRoute(APIRoute):
    """A route that knows its path and its name, and builds the rest when it is asked for more."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        self.path = path
        self.name = more.get("name") or get_name(endpoint)
        self._late = (path, endpoint, more)

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        with _building:
            late = self.__dict__.pop("_late", None)
            if late:
                path, endpoint, more = late
                super().__init__(path, endpoint, **more)
        return object.__getattribute__(self, name)


@contextmanager
def built_late() -> Iterator[None]:
    """What is defined meanwhile is built late. FastAPI lets a router have its own class of routes,
    and pydantic a model put off its schema; LiteLLM chooses neither, so the defaults are changed.
    """
    defaults = APIRouter.__init__.__kwdefaults__ or {}
    usual = defaults.get("route_class")
    if usual is APIRoute:  # else this FastAPI is not the one that this was written for
        defaults["route_class"] = LateRoute
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        if usual is APIRoute:
            defaults["route_class"] = usual
        del BaseModel.model_config["defer_build"]


def complete() -> None:
    """Build the models that were put off here alone; those of LiteLLM and of the client library of
    OpenAI put themselves off, and know what follows from that.
    """
    from litellm.types.llms.base import LiteLLMBaseModel
    from openai import BaseModel as OpenAIModel

    for model in _below(BaseModel):
        if not (model.__pydantic_complete__ or issubclass(model, LiteLLMBaseModel | OpenAIModel)):
            model.model_rebuild(raise_errors=False)


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)
