"""/v1/chat/completions and /v1/responses for a model of any dialect.

LiteLLM asks an `openai/` deployment at the path of the route that the client has used, which one of
the dialect `messages` does not have. Here such a call goes to /v1/messages, to which LiteLLM's
Anthropic client translates it. (For `chat` and `responses` a setting of the deployment does it, see
deployments.py.) There is no second deployment: keys, budgets and the ledger see the same one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.types.utils import CallTypes

if TYPE_CHECKING:
    import httpx

# What an answer may have at most, where the client does not say it: what Claude Code asks for. The
# Messages API has no default, and LiteLLM's is 4096, which cuts a file in two.
_MOST_TOKENS = 32_000
_LIMITS = ("max_tokens", "max_completion_tokens")
_OPENAI = "openai/"


def rerouted(kwargs: dict[str, Any], call_type: CallTypes | None) -> dict[str, Any] | None:
    """The changed arguments of a call that LiteLLM is about to send, None for no change. Called
    again where LiteLLM makes a chat completion of a call of Responses.
    """
    info = kwargs.get("model_info") or {}
    is_messages = "llmswitch_provider" in info and "supported_endpoints" in info
    if call_type is CallTypes.aresponses and is_messages:
        return _as_anthropic(_without_openais_own(kwargs))
    if call_type is CallTypes.aresponses and kwargs.get("use_chat_completions_api"):
        return _without_openais_own(kwargs)
    if call_type is CallTypes.acompletion and is_messages:
        return _as_anthropic(kwargs) | _way_to_a_host(kwargs)
    return None


def _without_openais_own(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call of Responses without what only OpenAI can do, and Codex always asks for: searching
    the web on its servers, and a hint for their cache. Strict hosts refuse a request for it.
    """
    kept = {name: value for name, value in kwargs.items() if name != "prompt_cache_key"}
    tools = kept.get("tools")
    if isinstance(tools, list):
        kept["tools"] = [tool for tool in tools if not _searches(tool)] or None
    return kept


def _searches(tool: Any) -> bool:
    return isinstance(tool, dict) and str(tool.get("type")).startswith("web_search")


def _as_anthropic(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The same call by LiteLLM's Anthropic client. Only here, with the deployment's own address and
    key written out, and no key of anybody's in the environment, is it safe for another host.
    """
    name = kwargs["model"]
    if kwargs.get("custom_llm_provider") != "anthropic":  # the first of two calls, or the only one
        name = name.removeprefix(_OPENAI)
    return {**kwargs, "model": f"anthropic/{name}", "custom_llm_provider": "anthropic"}


def _way_to_a_host(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The key as a Bearer token, as on /v1/messages, and a limit for the answer."""
    way: dict[str, Any] = {
        "extra_headers": {"authorization": f"Bearer {kwargs['api_key']}"},
        "client": _client(),
    }
    if all(kwargs.get(limit) is None for limit in _LIMITS):
        window = kwargs["model_info"].get("max_input_tokens") or 2 * _MOST_TOKENS
        way["max_tokens"] = min(_MOST_TOKENS, window // 2)
    return way


@cache
def _client() -> AsyncHTTPHandler:
    """The HTTP client of these calls, one for each worker."""
    return AsyncHTTPHandler(event_hooks={"request": [_one_credential]})


async def _one_credential(request: httpx.Request) -> None:
    """LiteLLM adds the key as x-api-key beside the header that we give it."""
    if "authorization" in request.headers:
        request.headers.pop("x-api-key", None)
