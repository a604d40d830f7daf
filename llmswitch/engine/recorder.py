"""Writes down every finished try (a LiteLLM callback): tokens, money and time, never a text."""

from __future__ import annotations

import time
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine import pending_rows
from llmswitch.engine.budget import worker
from llmswitch.engine.pending_rows import OK, finish_all, writer
from llmswitch.engine.request import RequestContext, current
from llmswitch.engine.streams import UsageWatch
from llmswitch.ledger import Try

__all__ = ["OK", "ended", "finish_all", "ledger", "writer"]
_MOST_TOKENS = 10**12  # of one answer
_RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}


class Ledger(CustomLogger):
    """One row for each try, success or failure, streamed or not."""

    async def async_pre_call_check(self, deployment: dict[str, Any], parent_otel_span: Any) -> None:
        """A deployment was chosen, and is asked now."""
        if context := current.get():
            context.trying = str((deployment.get("model_info") or {}).get("id"))
            context.usage = UsageWatch()

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A try that was answered."""
        _note(kwargs)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A try that failed, was refused for its budget, or whose answer broke off."""
        _note(kwargs)


def _note(kwargs: dict[str, Any]) -> None:
    said = kwargs.get("standard_logging_object")
    context = current.get()
    if said is None or context is None:
        return
    if context.asked is None and not said["model_id"]:
        return  # refused before it was known what is asked for
    info = (kwargs.get("litellm_params") or {}).get("model_info") or {}
    row = _row(said, info, context, bool(kwargs.get("stream")))
    pending_rows.told(context, row, said["model_id"] or "")


def ended(context: RequestContext, *, left: bool) -> None:
    """The answer is over; `left`: its client has not waited for the end."""
    pending_rows.ended(context, _missing, left=left)


def _missing(context: RequestContext) -> Try | None:
    """The row of a try that LiteLLM has told nothing of; what it took is unknown."""
    from litellm.proxy.proxy_server import llm_router

    found = llm_router.get_model_info(context.trying or "") if llm_router else None
    if found is None:
        return None
    info = found.get("model_info") or {}
    now = time.time()
    seconds = time.monotonic() - context.arrived
    said = {
        "model_id": context.trying,
        "model_group": found["model_name"],
        "model": found["litellm_params"]["model"],
        "custom_llm_provider": found["litellm_params"]["model"].partition("/")[0],
        "status": "success",
        "cache_hit": False,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "startTime": now - seconds,
        "endTime": now,
        "response_cost": None,
    }
    return _row(said, info, context, bool(context.observer and context.observer.is_stream))


def _row(said: Any, info: dict[str, Any], context: RequestContext, streamed: bool) -> Try:
    tokens = _tokens(said)
    hit = bool(said["cache_hit"])
    rates = _rates(info)
    failed = said["status"] != "success"
    error = said.get("error_information") or {}
    is_cut = failed and streamed and context.first_byte is not None
    seconds = max(0.0, said["endTime"] - said["startTime"])
    model = said["model_group"] or context.asked or said["model"]
    asked = context.asked or model
    return Try(
        ended=said["endTime"],
        request=context.id,
        session=context.session,
        agent=context.agent,
        client=context.client,
        asked=asked,
        model=model,
        provider=info.get("llmswitch_provider") or (info and said["custom_llm_provider"]) or None,
        upstream=said["model"].partition("/")[2] or said["model"],
        key=info.get("llmswitch_key"),
        streamed=streamed,
        **tokens,
        cost=0.0 if hit else _cost(said, tokens, info, is_cut=is_cut),
        prompt_saved=None if hit else _prompt_saved(tokens, rates),
        first_byte=context.first_byte if streamed and not failed else None,
        seconds=seconds,
        status=_status(error, context) if failed else OK,
        error=_error(error, context) if failed else None,
        cache_hit=hit,
        saved=_sum(tokens, rates) if hit else None,
        fallback_from=asked if asked != model else None,
        worker=worker,
        estimated=any(tokens.values()) and not hit and not context.usage.is_told,
    )


def _tokens(said: Any) -> dict[str, int]:
    """Each token once: LiteLLM counts those of the provider's cache among the prompt's."""
    used = (said.get("metadata") or {}).get("usage_object") or {}
    details = used.get("prompt_tokens_details") or {}
    read = used.get("cache_read_input_tokens") or details.get("cached_tokens") or 0
    write = used.get("cache_creation_input_tokens") or details.get("cache_creation_tokens") or 0
    read, write = _number(read), _number(write)
    return {
        "input": max(0, _number(said["prompt_tokens"]) - read - write),
        "output": _number(said["completion_tokens"]),
        "cache_read": read,
        "cache_write": write,
    }


def _number(value: Any) -> int:
    """A number of tokens as an upstream tells it: none, where it is none that can be."""
    return value if isinstance(value, int) and 0 <= value < _MOST_TOKENS else 0


def _cost(said: Any, tokens: dict[str, int], info: dict[str, Any], *, is_cut: bool) -> float | None:
    """USD; None where the price is unknown, or the answer reported no tokens."""
    rates = _rates(info)
    if not any(tokens.values()):
        is_free = said["status"] != "success" or all(rate == 0 for rate in rates.values())
        return 0.0 if is_free and not is_cut else None
    computed: float = said["response_cost"] or 0.0
    if "llmswitch_provider" not in info:  # a deployment of `litellm:`
        return computed or None
    total = _sum(tokens, rates)
    if total is None or not any("_above_" in name for name in info):
        # LiteLLM would believe an upstream that tells a cost, and price an id that it knows from
        # elsewhere, whoever the provider is.
        return total
    return max(total, computed)  # dearer from some length on, or when cached for an hour


def _rates(info: dict[str, Any]) -> dict[str, float | None]:
    """USD per token of each kind; None where a price is unknown."""
    return {kind: info.get(name) for kind, name in _RATES.items()}


def _sum(tokens: dict[str, int], rates: dict[str, float | None]) -> float | None:
    """Tokens times USD per token; None where a price is unknown."""
    total = 0.0
    for kind, number in tokens.items():
        rate = rates[kind]
        if number and rate is None:
            return None
        total += number * (rate or 0.0)
    return total


def _prompt_saved(tokens: dict[str, int], rates: dict[str, float | None]) -> float | None:
    """What the same prompt would have cost more without the provider's cache."""
    full = rates["input"]
    if full is None:
        return None
    as_it_was = _sum({**tokens, "output": 0}, rates)
    prompt = tokens["input"] + tokens["cache_read"] + tokens["cache_write"]
    return None if as_it_was is None else round(prompt * full - as_it_was, 12)  # -1e-18 is 0


def _error(error: dict[str, Any], context: RequestContext) -> str:
    return "BudgetError" if context.is_over_budget else error.get("error_class") or "Error"


def _status(error: dict[str, Any], context: RequestContext) -> int:
    """That of a failure as the client would be told it (provider_errors.py notes each try first);
    else LiteLLM's, and 502 where the upstream said that all is well, or what HTTP has not.
    """
    if context.failures:
        return context.failures[-1].status
    code = str(error.get("error_code") or "")
    if not code.isdigit():
        return 500
    return int(code) if 400 <= int(code) < 600 else 502  # noqa: PLR2004


ledger = Ledger()
