"""What the `litellm:` part of a profile must not say, because it leaks a credential or opens the
gateway. Nothing else of LiteLLM is out of reach.

Each rule comes from a measurement or from LiteLLM's own source (1.106.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from llmswitch.profile.yaml_lines import Path

ANTHROPIC_BASE = "https://api.anthropic.com"
ENVIRON = "os.environ/"
NO_KEY = "none"  # given outright: without any, LiteLLM looks for a key that is meant for others
_SECTIONS = ("general_settings", "litellm_settings", "router_settings")  # ours, merged with theirs
SECRETS = ("_key", "_secret", "_token", "_password")
_ABSENT = object()
# What a default of the router, and a fallback that is a mapping, put in the place of a deployment's
# own: its key, or a Claude login, would go to another host, or another key to its host (seen).
REDIRECTING = (
    "api_base",
    "base_url",
    "custom_llm_provider",
    "extra_headers",
    "headers",
    "litellm_credential_name",
)
_MISDIRECTS = "would send a key, or your Claude login, where it does not belong; remove it"
FALLBACKS = (
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "default_fallbacks",
)

_OURS = "is set by llmswitch; remove it"
_NAMES_THE_HOST = "would let a request name the host that receives your key; remove it"
_REFUSED: dict[Path, str] = {
    ("general_settings", "master_key"): _OURS,
    ("general_settings", "custom_auth"): _OURS,
    ("general_settings", "forward_llm_provider_auth_headers"): (
        "would send a client's key to every provider; remove it"
    ),
    ("general_settings", "forward_client_headers_to_llm_api"): (
        "would send a client's headers, keys among them, to every provider; remove it"
    ),
    ("general_settings", "pass_through_endpoints"): (
        "would answer without the gateway's key; add a provider under `providers:` instead"
    ),
    ("general_settings", "allow_client_side_credentials"): _NAMES_THE_HOST,
    ("general_settings", "public_routes"): (
        "would open the gateway to anyone on this machine; remove it"
    ),
    ("litellm_settings", "model_group_settings", "forward_client_headers_to_llm_api"): (
        "would send a client's headers to the provider; remove it"
    ),
    ("environment_variables",): (
        "would set variables that redirect LiteLLM's requests; use `providers:` instead"
    ),
    ("llmswitch",): _OURS,
    ("litellm_settings", "global_disable_no_log_param"): _OURS,
    ("include",): "would include a file that llmswitch does not check; write its lines here",
}


def engine_problems(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every refused line of `litellm:` as (path, sentence). Takes the profile as plain data."""
    engine = data.get("litellm")
    if not isinstance(engine, dict):
        return
    for section in _SECTIONS:
        if not isinstance(engine.get(section, {}), dict):  # would replace ours, its lock included
            yield ("litellm", section), "must be a mapping"
    for rule, reason in _REFUSED.items():
        here: Any = engine
        for part in rule:
            here = here.get(part, _ABSENT) if isinstance(here, dict) else _ABSENT
        switched_off = here is None or here is False
        if here is not _ABSENT and (reason == _OURS or not switched_off):
            yield ("litellm", *rule), reason
    defaults = _section(_section(engine, "router_settings"), "default_litellm_params")
    for field in _redirecting(defaults):
        yield ("litellm", "router_settings", "default_litellm_params", field), _MISDIRECTS
    callbacks = _section(engine, "litellm_settings").get("callbacks", [])
    if not isinstance(callbacks, list | str):
        yield ("litellm", "litellm_settings", "callbacks"), "must be a list of names"
    deployments = engine.get("model_list", [])
    models = data.get("models")
    names = set(models) if isinstance(models, dict) else set()
    if not isinstance(deployments, list):
        yield ("litellm", "model_list"), "must be a list"
        return
    yield from _deployments(deployments, names)
    names |= {str(item.get("model_name")) for item in deployments if isinstance(item, dict)}
    yield from _fallbacks(engine, names)


def _deployments(deployments: list[Any], names: set[str]) -> Iterator[tuple[Path, str]]:
    for index, item in enumerate(deployments):
        path: Path = ("litellm", "model_list", index)
        params = item.get("litellm_params") if isinstance(item, dict) else None
        if not isinstance(params, dict) or not isinstance(item.get("model_name"), str):
            yield path, "needs a model_name and litellm_params"
            continue
        if (name := item["model_name"]) in names:
            yield path, f"has the same name as a model of `models:`: {name!r}"
        for field, reason in _parameters(params):
            yield (*path, "litellm_params", field), reason


def _parameters(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for field, value in params.items():
        named = value in (None, NO_KEY) or str(value).startswith(ENVIRON)
        if field.endswith(SECRETS) and not named:
            yield field, f"must be {ENVIRON}NAME, never the key itself"
    if params.get("configurable_clientside_auth_params"):
        yield "configurable_clientside_auth_params", _NAMES_THE_HOST
    provider, slash, _ = str(params.get("model", "")).partition("/")
    if not slash:
        reason = "without a provider LiteLLM guesses one, or drops the model"
        yield "model", f"must be provider/model; {reason}"
    bases = {str(params[name]) for name in ("api_base", "base_url") if name in params}
    if "anthropic" in (provider, params.get("custom_llm_provider")) and bases != {ANTHROPIC_BASE}:
        reason = "LiteLLM would send Anthropic's credentials to any other host"
        cure = "use a provider with `dialect: messages`"
        yield "api_base", f"must be {ANTHROPIC_BASE}: {reason}; {cure}"
    if provider == "openai" and bases and not params.get("api_key"):
        reason = f"is missing, so LiteLLM would send OPENAI_API_KEY there; write {ENVIRON}NAME"
        yield "api_key", f"{reason} or {NO_KEY}"


def _fallbacks(engine: dict[str, Any], names: set[str]) -> Iterator[tuple[Path, str]]:
    for section in ("router_settings", "litellm_settings"):
        settings = _section(engine, section)
        known = {*names, *_section(settings, "model_group_alias")}
        for field in FALLBACKS:
            path: Path = ("litellm", section, field)
            form = "models" if field == "default_fallbacks" else "{model: [models]}"
            rules = settings.get(field, [])
            for rule in rules if isinstance(rules, list) else [None]:
                named = _named(rule, form)
                if named is None:
                    yield path, f"must be a list of {form}"
                for part in _redirecting_of(rule):
                    yield path, f"sets {part}, which {_MISDIRECTS}"
                for name in named or ():
                    if name != "*" and not any(fnmatchcase(name, one) for one in known):
                        yield path, f"names {name!r}, which is not a model of this profile"


def _named(rule: Any, form: str) -> list[str] | None:
    """The names in one rule of fallbacks; None where LiteLLM would not start with it."""
    if form == "models":
        return [rule] if isinstance(rule, str) else None
    if not isinstance(rule, dict) or len(rule) != 1:
        return None
    [(name, targets)] = rule.items()
    if not isinstance(targets, list):
        return None
    return [name, *(str(fallback_name(target)) for target in targets)]


def _redirecting(params: dict[str, Any]) -> Iterator[str]:
    for field in params:
        if field in REDIRECTING or str(field).endswith(SECRETS):
            yield field


def _redirecting_of(rule: Any) -> Iterator[str]:
    """The same of every fallback in a rule that is a mapping."""
    targets = [to for tos in rule.values() for to in tos] if _named(rule, "") else []
    for target in targets:
        yield from _redirecting(target) if isinstance(target, dict) else ()


def fallback_name(target: Any) -> Any:
    """The model that a fallback names: LiteLLM takes `{model: x, temperature: 0}` besides `x`."""
    return target.get("model") if isinstance(target, dict) else target


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
