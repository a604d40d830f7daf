"""One request on its way through the gateway: who sent it, what is learned of it on the way, and
what the configuration says to those who handle it.

LiteLLM runs its hooks in the context of the request, also those that come after the answer; what
the gate knows reaches them by a context variable.
"""

from __future__ import annotations

import os
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from llmswitch.engine.streams import Observer, UsageWatch
from llmswitch.ledger import Try

_LONGEST = 200  # characters of a name that a client sends


@dataclass(frozen=True)
class Failure:
    """What one try of a model got in place of an answer. `message` is what the client is told: the
    provider's words behind its label, or a refusal of ours. `kind`, `code` and `request_id` are
    those of the upstream's error, in Anthropic's form or (not `is_anthropic`) in another.
    """

    model: str
    status: int
    message: str
    is_anthropic: bool = False
    kind: str | None = None
    code: str | None = None
    request_id: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class RequestContext:
    """`asked` is the model that the client named, once it is known that there is one, `unknown` one
    that there is not. `first_byte` is that of an answer, not of a refusal, in seconds from the
    arrival. `is_final` means that to send it again would be refused again, `is_over_budget` that no
    budget has room for it. `tried` are LiteLLM's ids of deployments, `rows` what the ledger notes.
    `login` is the token of the Claude login that the client has brought along, `lacks_login` that
    it brought none and a model wanted one. `no_fallbacks` is the client's wish to be answered by
    the model that it named, or by none.
    `prompt_tokens` is an estimate, None until a budget has asked for it. `trying` is LiteLLM's id
    of the deployment that is asked and not told of yet, `usage` sees what its provider answers.
    `observer` sees the answer, once one begins; `is_over` when there is no more of it, and `left`
    when its client went before. `deployment` is LiteLLM's of the try that is under way and has not
    failed, `failures` what the others got, `exceptions` all that LiteLLM raised for those. `beyond`
    are the fields of its body that are not of the API, of which a model may want some.
    """

    client: str
    session: str | None
    agent: str | None
    asked: str | None = None
    unknown: str | None = None
    first_byte: float | None = None
    is_answered: bool = False
    is_final: bool = False
    is_over_budget: bool = False
    login: bytes | None = field(default=None, repr=False)
    lacks_login: bool = False
    no_fallbacks: bool = False
    prompt_tokens: int | None = None
    trying: str | None = None
    usage: UsageWatch = field(default_factory=UsageWatch)
    observer: Observer | None = None
    is_over: bool = False
    left: bool = False
    beyond: dict[str, Any] = field(default_factory=dict, repr=False)
    tried: set[str] = field(default_factory=set)
    rows: list[Try] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    exceptions: list[BaseException] = field(default_factory=list, repr=False)
    deployment: dict[str, Any] = field(default_factory=dict, repr=False)
    arrived: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def note_first_byte(self) -> None:
        """The first byte of the answer's body is on its way."""
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.arrived


def begin(client: str, headers: list[tuple[bytes, bytes]]) -> RequestContext:
    """The context of this context, from now on."""

    def sent(name: bytes) -> str | None:
        value = next((value for key, value in headers if key == name), b"")
        return value.decode("latin-1")[:_LONGEST] or None

    context = RequestContext(
        client, sent(b"x-claude-code-session-id"), sent(b"x-claude-code-agent-id")
    )
    current.set(context)
    return context


current: ContextVar[RequestContext | None] = ContextVar("context", default=None)


def in_context() -> RequestContext:
    """The one of a request that `begin` was called for."""
    context = current.get()
    if context is None:
        raise LookupError("no request has begun")
    return context


@cache
def config() -> dict[str, Any]:
    """litellm_config.yaml as this worker started with it."""
    import yaml  # only in a worker: the master loads this module before it holds the port

    text = Path(os.environ["CONFIG_FILE_PATH"]).read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def settings() -> dict[str, Any]:
    """Our part: `budgets`; `cached`, the models whose answers are cached (None: all);
    `idle_timeout` in seconds.
    """
    part: dict[str, Any] = config().get("llmswitch") or {}
    return part
