"""What LiteLLM and the gateway are told of one model: its deployments and its row of the menu."""

from __future__ import annotations

from typing import Any

from llmswitch.profile.litellm_rules import ENVIRON, NO_KEY
from llmswitch.profile.providers import api_base, counts_tokens
from llmswitch.profile.schema import Key, Profile
from llmswitch.profile.secrets import inside_name
from llmswitch.render.claude_settings import behaves_as
from llmswitch.render.menu import Row

# The engine's own name for each dialect that is spoken to by base URL. `openai/` with
# supported_endpoints is an untranslated POST to {base}/v1/messages; without, POST {base}/responses.
_ENGINE_PREFIX = {
    "anthropic": "anthropic",
    "messages": "openai",
    "chat": "hosted_vllm",
    "responses": "openai",
}


def menu_row(row: Row) -> dict[str, Any]:
    """What the gateway tells a client of a model."""
    price = row.price
    return {
        "name": row.name,
        "label": row.label,
        "provider": row.provider_name,
        "window": row.context,
        "price": price and {"input": price.input, "output": price.output},
        "behaves_as": behaves_as(row),
    }


def deployments_of(profile: Profile, row: Row) -> list[dict[str, Any]]:
    """One deployment for each key: LiteLLM balances the load over those of one name."""
    dialect = row.provider.dialect
    prefix = _ENGINE_PREFIX.get(dialect) or row.provider.prefix or row.provider_name
    params: dict[str, Any] = {"model": f"{prefix}/{row.model.id}"}
    if base := api_base(row.provider):
        params["api_base"] = base
    if dialect == "chat":  # else LiteLLM asks for {base_url}/responses on /v1/responses
        params["use_chat_completions_api"] = True
    if row.model.drop:
        params["additional_drop_params"] = row.model.drop
    info = _model_info(row)
    if row.model.timeout:
        params["timeout"] = row.model.timeout
    keys = [key for key in profile.all_keys_of(row.model) if key.name in row.keys]
    if len(keys) > 1:
        params["num_retries"] = len(keys) - 1
    if not keys:
        secret = {} if dialect == "litellm" else {"api_key": NO_KEY}
        return [{"model_name": row.name, "litellm_params": params | secret, "model_info": info}]
    return [
        {
            "model_name": row.name,
            "litellm_params": params | _share(key),
            "model_info": info | {"llmswitch_key": key.name},
        }
        for key in keys
    ]


def _model_info(row: Row) -> dict[str, Any]:
    """What LiteLLM and our part of it are told of a model."""
    info: dict[str, Any] = {"display_name": f"{row.label} · {row.description}"}
    if row.provider.dialect == "messages":
        info["supported_endpoints"] = ["/v1/messages"]
    if row.provider.dialect == "responses":  # else it asks for {base_url}/chat/completions too
        info["mode"] = "responses"
    if row.context:
        info["max_input_tokens"] = row.context
    if price := row.price:
        # LiteLLM takes a missing price for 0; a cached token costs what any other does then.
        rates = {
            "input_cost_per_token": price.input,
            "output_cost_per_token": price.output,
            "cache_read_input_token_cost": price.reading,
            "cache_creation_input_token_cost": price.writing,
        }
        info |= {name: round(usd / 1_000_000, 15) for name, usd in rates.items()}
        info |= dict(row.tiers)
    info |= {"llmswitch_provider": row.provider_name, "llmswitch_label": row.provider_label}
    if counts_tokens(row.provider):
        info["llmswitch_counts_tokens"] = True
    if row.needs_login:
        info["llmswitch_key"] = "Claude login"  # what the ledger says that served
    return info


def _share(key: Key) -> dict[str, Any]:
    """A key by the name that it has inside the gateway, and its share of the load."""
    share = {"weight": key.weight, "order": key.order}
    given = {name: number for name, number in share.items() if number is not None}
    return {"api_key": ENVIRON + inside_name(key.name), **given}
