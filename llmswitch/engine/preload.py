"""What every worker of LiteLLM 1.106 would make for itself, made once before they are forked.

A worker imports some seventy modules while it starts and answers its first requests, builds two
dozen models, and reads the list of all prices once more. It would do so each time anew, and what it
writes meanwhile between the objects that it shares with the master costs each of them a copy of the
page: 11 MB alone for one look of `inspect` at all modules. Nothing of ours is among it: a worker's
callbacks know which worker they are, and with which configuration it started.
"""

from __future__ import annotations

import importlib
from contextlib import suppress

# Imported by a worker's start, then by the first request of each dialect.
MODULES = (
    "litellm.llms.anthropic.pass_through.messages.streaming_iterator",
    "litellm.llms.hosted_vllm.chat.transformation",
    "litellm.proxy.hooks.mcp_semantic_filter.hook",
    "litellm.proxy.pass_through_endpoints.llm_passthrough_endpoints",
    "litellm.proxy.policy_engine.init_policies",
    "litellm.sandbox.sandbox_tools",
    "litellm_enterprise.proxy.auth.route_checks",
    "litellm.integrations.shadow_eval_logger",
    "litellm.integrations.websearch_interception.tools",
    "litellm.litellm_core_utils.default_encoding",
    "litellm.llms.anthropic.completion.transformation",
    "litellm.llms.openai_like.messages.transformation",
    "litellm.llms.vertex_ai.vertex_ai_partner_models.anthropic.transformation",
    "litellm.proxy._experimental.mcp_server.auth.user_api_key_auth_mcp",
    "litellm.proxy._experimental.mcp_server.mcp_server_manager",
    "litellm.proxy._experimental.mcp_server.tool_catalog_guard",
    "litellm.proxy.guardrails.anthropic_sse",
    "litellm.types.litellm_core_utils.streaming_chunk_builder_utils",
    "litellm.types.proxy.litellm_pre_call_utils",
    "anyio._backends._asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
# LiteLLM has pydantic build them when they are first used.
MODELS = {
    "litellm.litellm_core_utils.served_output_texts": "_AnthropicMessage _ChatChoices _TextBlock",
    "litellm.litellm_core_utils.streaming_handler": "_ParsedChunkHiddenParams",
    "litellm.llms.anthropic.cost_calculation": "_AnthropicResponseProbe _AnthropicUsageProbe",
    "litellm.proxy._types": "ConfigGeneralSettings LiteLLM_JWTAuth UserAPIKeyAuth",
    "litellm.proxy.auth.network": "NetworkContext TrustedProxyConfig",
    "litellm.proxy.auth.resolvers.models": "CredentialRef Principal",
    "litellm.proxy.hooks.batch_enqueued_tokens": "_BatchResponseView",
    "litellm.proxy.hooks.prompt_cache_prediction": "_Event _Logged _Metadata",
    "litellm.types.llms.anthropic": "AnthropicResponseContentBlockText",
    "litellm.types.llms.openai": "ResponseAPIUsage",
    "litellm.types.passthrough_endpoints.vertex_ai": "VertexPassThroughCredentials",
    "litellm.types.router": "Deployment GenericLiteLLMParams LiteLLM_Params ModelGroupInfo"
    " ModelInfo",
    "litellm.types.services": "ServiceLoggerPayload",
    "litellm.types.utils": "Choices CompletionTokensDetailsWrapper Delta Message ModelResponse"
    " ModelResponseStream PromptTokensDetailsWrapper StreamingChoices Usage",
}


def preload() -> None:
    """Import and build it. What another LiteLLM does not have is left out."""
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    for name, models in MODELS.items():
        with suppress(ImportError):
            module = importlib.import_module(name)
            for model in models.split():
                if hasattr(module, model):
                    getattr(module, model).model_rebuild()
    with suppress(ImportError):
        from litellm.utils import get_bundled_model_cost_map

        get_bundled_model_cost_map()
