"""What the `litellm:` part of a profile must not say, because it leaks a credential or opens the
gateway. Nothing else of LiteLLM is out of reach.

Each rule comes from a measurement or from LiteLLM's own source (1.106.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmswitch.document import Path, dotted

ANTHROPIC_BASE = "https://api.anthropic.com"
ENVIRON = "os.environ/"
_FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")

_OURS = "is set by llmswitch; take it out"
_REFUSED: dict[Path, str] = {
    ("general_settings", "master_key"): _OURS,
    ("general_settings", "custom_auth"): _OURS,
    ("general_settings", "forward_llm_provider_auth_headers"): (
        "would send a client's key to every provider; take it out"
    ),
    ("general_settings", "forward_client_headers_to_llm_api"): (
        "would send a client's headers, keys among them, to every provider; take it out"
    ),
    ("general_settings", "pass_through_endpoints"): (
        "would answer without the gateway's key; add a provider under `providers:` instead"
    ),
    ("general_settings", "allow_client_side_credentials"): (
        "would let a request name the host that receives your key; take it out"
    ),
    ("general_settings", "public_routes"): (
        "would open the gateway to anyone on this machine; take it out"
    ),
    ("environment_variables",): (
        "would set variables that redirect LiteLLM's requests; use `providers:` instead"
    ),
    ("include",): "would bring in a file that is not checked; write its lines here",
}


def engine_problems(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every refused line of `litellm:` as (path, sentence). Takes the profile as plain data."""
    engine = data.get("litellm")
    if not isinstance(engine, dict):
        return
    for rule, reason in _REFUSED.items():
        here: Any = engine
        for part in rule:
            here = here.get(part) if isinstance(here, dict) else None
        if here is not None and here is not False:
            path = ("litellm", *rule)
            yield path, f"{dotted(path)} {reason}"
    deployments = engine.get("model_list", [])
    models = data.get("models")
    names = set(models) if isinstance(models, dict) else set()
    if not isinstance(deployments, list):
        yield ("litellm", "model_list"), "litellm.model_list must be a list"
        return
    yield from _deployments(deployments, names)
    names |= {str(item.get("model_name")) for item in deployments if isinstance(item, dict)}
    yield from _fallbacks(engine, names)


def _deployments(deployments: list[Any], names: set[str]) -> Iterator[tuple[Path, str]]:
    for index, item in enumerate(deployments):
        path: Path = ("litellm", "model_list", index)
        params = item.get("litellm_params") if isinstance(item, dict) else None
        if not isinstance(params, dict) or not isinstance(item.get("model_name"), str):
            yield path, f"{dotted(path)} needs a model_name and litellm_params"
            continue
        if item["model_name"] in names:
            yield path, f"{dotted(path)} has the name of a model of `models:`: {item['model_name']}"
        key = params.get("api_key")
        if key is not None and not str(key).startswith(ENVIRON):
            where = (*path, "litellm_params", "api_key")
            yield where, f"{dotted(where)} must be {ENVIRON}NAME, never the key itself"
        base = str(params.get("api_base", ""))
        if str(params.get("model", "")).startswith("anthropic/") and base != ANTHROPIC_BASE:
            where = (*path, "litellm_params", "api_base")
            yield (
                where,
                f"{dotted(where)} must be {ANTHROPIC_BASE}: LiteLLM would send Anthropic's "
                "credentials there; use a provider with `dialect: messages`",
            )


def _fallbacks(engine: dict[str, Any], names: set[str]) -> Iterator[tuple[Path, str]]:
    for section in ("router_settings", "litellm_settings"):
        settings = engine.get(section) or {}
        if not isinstance(settings, dict):
            continue
        for field in _FALLBACKS:
            path: Path = ("litellm", section, field)
            rules = settings.get(field, [])
            for rule in rules if isinstance(rules, list) else [rules]:
                if not isinstance(rule, dict):
                    yield path, f"{dotted(path)} must be a list of {{model: [models]}}"
                    continue
                targets = [
                    target for group in rule.values() if isinstance(group, list) for target in group
                ]
                for name in [*rule, *targets]:
                    if isinstance(name, str) and name != "*" and name not in names:
                        yield path, f"{dotted(path)} names {name!r}, which is no model here"
