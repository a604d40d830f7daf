"""Hooks of the gunicorn master: it holds the port, imports LiteLLM once and forks the workers.

The port is bound before the import (when_ready), so connections wait in the backlog meanwhile. A
worker forked afterwards answers within a quarter of a second, instead of importing for seconds:
that is how fast a reload takes effect and a killed worker is replaced. LiteLLM supports this
itself (it preloads under its own `--run_gunicorn`).

The hooks leave small files in workers/ (run_files.py), from which the commands know how a reload
goes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn.errors import HaltServer

from llmswitch.engine import patches
from llmswitch.engine.idle import use
from llmswitch.engine.routes import BUILT
from llmswitch.run_files import (
    BOUND,
    CRASHED,
    FAILED,
    FORKED,
    HANDOVER,
    IDLE,
    STATE,
    WANTED,
    WORKERS,
    dismissed,
)

_LOOP, _SECONDS = 3, 30.0  # so many workers dead within so many seconds are no accident
# Modules of LiteLLM 1.108, and models in them that pydantic builds late. A worker that imports or
# builds them writes into pages that it shares with the master until then, which takes 15 MB and 90
# ms for each worker. 6 MB of these are for the models alone: pydantic asks for a signature of
# `list`, and Python then touches every module that there is.
SHARED = {
    "anyio._backends._asyncio": (),
    "litellm.integrations.shadow_eval_logger": (),
    "litellm.integrations.websearch_interception.tools": (),
    "litellm.llms.anthropic.completion.transformation": (),
    "litellm.llms.hosted_vllm.chat.transformation": (),
    "litellm.llms.openai_like.messages.transformation": (),
    "litellm.proxy._experimental.mcp_server.mcp_server_manager": (),
    "litellm.proxy._experimental.mcp_server.tool_catalog_guard": (),
    "litellm.proxy.auth.network": ("NetworkContext", "TrustedProxyConfig"),
    "litellm.proxy.auth.resolvers.models": ("CredentialRef", "Principal"),
    "litellm.proxy.hooks.mcp_semantic_filter.hook": (),
    "litellm.proxy.pass_through_endpoints.llm_passthrough_endpoints": (),
    "litellm.proxy.policy_engine.init_policies": (),
    "litellm.sandbox.sandbox_tools": (),
    "litellm.types.litellm_core_utils.streaming_chunk_builder_utils": (),
    "litellm_enterprise.proxy.auth.route_checks": (),
}
_asked: set[int] = set()  # workers that the master itself told to leave
_died: deque[float] = deque(maxlen=_LOOP)  # when the others went, in seconds of a clock


def note(file: Path, text: str = "") -> None:
    """Leave a file for the commands. Where that cannot be done (a full disk, a folder that was
    removed) the gateway goes on without.
    """
    with suppress(OSError):
        WORKERS.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        if text:
            file.write_text(text)


def when_ready(server: Any) -> None:
    """Import LiteLLM in the master, with the garbage collector off (a quarter of the time)."""
    gc.disable()
    use.open_lease()
    note(BOUND)
    try:
        _load(server)
    except patches.PatchError as error:
        note(CRASHED, str(error))  # for the doctor; `up` finds it in the log
        raise
    gc.freeze()  # the workers share these objects; collecting them would copy every page
    gc.enable()
    server.log.info("LiteLLM is loaded")


def _load(server: Any) -> None:
    patches.reserve_for_forking("the gunicorn master")
    with patches.listed_routes(BUILT) as keep:
        keep(importlib.import_module("litellm.proxy.proxy_server").app)
    patches.apply()
    share()
    patches.tell_kills(server, _asked.add)


def share() -> None:
    """Import and build once what each worker would for itself when it begins to serve; what another
    LiteLLM does not have is left to the workers.
    """
    for name, models in SHARED.items():
        with suppress(ImportError):
            module = importlib.import_module(name)
            for model in models:
                if hasattr(module, model):
                    getattr(module, model).model_rebuild()


def pre_fork(server: Any, worker: Any) -> None:
    """Take over keys that were set or changed since the start, so that the next worker has them.

    A process cannot be given new variables from outside; they come in a 0600 file that is deleted
    before it is used.
    """
    note(FORKED, str(worker.age))
    try:
        text = HANDOVER.read_text()
    except FileNotFoundError:
        return
    HANDOVER.unlink()
    os.environ.update(json.loads(text))
    server.log.info("took over keys for worker %s", worker.age)


def child_exit(server: Any, worker: Any) -> None:
    """Forget a worker that is gone, however it went. Too many that went by themselves stop the
    gateway: one that dies again and again is no use to anyone, and nobody would see why.
    """
    with suppress(OSError):
        (WORKERS / str(worker.pid)).unlink(missing_ok=True)
    server.log.info("worker (pid:%s) is gone", worker.pid)
    killed = dismissed(worker.pid)
    if worker.pid in _asked or killed.exists() or FAILED.exists():  # FAILED: a reload cures it
        _asked.discard(worker.pid)
        killed.unlink(missing_ok=True)
        return
    _died.append(time.monotonic())
    if len(_died) == _LOOP and _died[-1] - _died[0] <= _SECONDS:
        reason = f"{_LOOP} workers died within {_SECONDS:.0f} seconds"
        note(CRASHED, reason)
        raise HaltServer(reason, 1)


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """Tell how many workers the master keeps now. Only a start and a reload change that, and what
    died under another configuration is no sign of this one.
    """
    _died.clear()
    note(WANTED, str(new))
    server.log.debug("workers wanted: %s, before: %s", new, old)


def on_exit(server: Any) -> None:
    """Write that nothing runs, as `down` does, where an idle gateway stops."""
    if not IDLE.exists():
        return
    with suppress(OSError, ValueError, TypeError):
        state = json.loads(STATE.read_text())
        scratch = STATE.with_name(f".state.json.{os.getpid()}.tmp")
        scratch.write_text(json.dumps({**state, "pid": None, "started": ""}, indent=1))
        scratch.replace(STATE)
        server.log.info("nobody needs the gateway; claude-multi starts it again")
