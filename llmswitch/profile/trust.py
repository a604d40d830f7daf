"""What a profile does that its reader should know before they use somebody else's: where it sends
keys, and what of its `litellm:` part runs code or sends data elsewhere.

Allowed in silence is what is on a list: a key that goes to a host that the catalogue has for its
provider, and settings of LiteLLM that are known to be harmless. All else is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from llmswitch.profile.litellm_rules import FALLBACKS, NO_KEY
from llmswitch.profile.providers import Provider, catalogue_data
from llmswitch.profile.schema import Profile

Does = Literal["runs code", "sends data elsewhere", "is not known to be harmless"]
_VARIABLE = re.compile(r"os\.environ/(\w+)")
_ASKED = "what you ask"
_LOGIN = "your Claude login"
# Settings that neither run code nor send anything elsewhere, whatever their value, unless it names
# a variable or an address.
_HARMLESS = {
    "general_settings": {
        "disable_model_info_refresh", "disable_spend_logs", "global_max_parallel_requests",
        "max_parallel_requests", "max_request_size_mb", "max_response_size_mb",
    },
    "router_settings": {
        *FALLBACKS, "allowed_fails", "allowed_fails_policy", "cooldown_time", "debug_level",
        "default_max_parallel_requests", "disable_cooldowns", "enable_pre_call_checks",
        "max_fallbacks", "model_group_alias", "model_group_retry_policy", "num_retries",
        "retry_after", "retry_policy", "routing_strategy", "routing_strategy_args", "set_verbose",
        "stream_timeout", "timeout",
    },
    "litellm_settings": {
        *FALLBACKS, "allowed_fails", "cache", "cooldown_time", "drop_params",
        "expose_router_debug_in_errors", "json_logs", "modify_params", "num_retries",
        "redact_messages_in_exceptions", "request_timeout", "set_verbose", "suppress_debug_info",
        "turn_off_message_logging",
    },
}  # fmt: skip
_HARMLESS_PARAMS = {  # of a deployment in `model_list`
    "additional_drop_params", "api_version", "cache_creation_input_token_cost",
    "cache_read_input_token_cost", "drop_params", "input_cost_per_token",
    "max_parallel_requests", "max_retries", "max_tokens", "model", "num_retries", "order",
    "output_cost_per_token", "rpm", "stream_timeout", "temperature", "timeout", "top_p", "tpm",
    "weight",
}  # fmt: skip
# What the name of a setting says of it, where its value does not.
_CODE = re.compile(r"custom|handler|guardrail|_rules$|mcp|command|prompt|(?<!web)hook|plugin")
_ELSEWHERE = re.compile(
    r"callback|alert|webhook|cache|database|redis|secret|key_management|bucket|search|vector"
    r"|storage|s3|gcs|otel|host|url|endpoint|base|pass_through|smtp|email|credential|log"
)
_ADDRESS = re.compile(r"host|url|endpoint|_base$|address|domain")
_NAME = re.compile(r"[\w-]{1,60}")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class Sent(NamedTuple):
    """A variable's value, the Claude login or what is asked, and the host that it goes to."""

    what: str
    to: str
    why: str


class Part(NamedTuple):
    """A setting of LiteLLM by its path in the profile, what it does, and the names or hosts that
    its value has.
    """

    path: str
    does: Does
    named: tuple[str, ...]


class Trust(NamedTuple):
    """All that is to be known of a profile."""

    sent: tuple[Sent, ...]
    parts: tuple[Part, ...]


def look(profile: Profile) -> Trust:
    """Where a profile sends what, and what its `litellm:` part does; both empty where it sends
    each key to its provider's own host and sets nothing but what is harmless.
    """
    found = dict.fromkeys([*_providers(profile), *_cache(profile), *_engine(profile.litellm)])
    sent = tuple(one for one in found if isinstance(one, Sent))
    return Trust(sent, tuple(one for one in found if isinstance(one, Part)))


def lines(trust: Trust) -> list[str]:
    """The same for people, one line each."""
    told = [f"{one.what} -> {one.to} ({one.why})" for one in trust.sent]
    for part in trust.parts:
        named = f": {', '.join(part.named)}" if part.named else ""
        told.append(f"{part.path} {part.does}{named}")
    return ["".join(c if c.isprintable() else "?" for c in line) for line in told]


def data(trust: Trust) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "sent": [one._asdict() for one in trust.sent],
        "litellm": [{**part._asdict(), "named": list(part.named)} for part in trust.parts],
    }


# ------------------------------------------------------------------ providers


def _providers(profile: Profile) -> Iterator[Sent]:
    for name, provider in profile.providers.items():
        of = [model for model in profile.models.values() if model.provider == name]
        keys = [key for model in of for key in profile.keys_of(model)]
        variables = dict.fromkeys([*keys, *([provider.key] if provider.key else []), *provider.env])
        entry = catalogue_data().get(name)
        yield from _of_provider(name, provider, list(variables), entry)


def _of_provider(
    name: str, provider: Provider, variables: list[str], entry: dict[str, Any] | None
) -> Iterator[Sent]:
    catalogued = Provider(**entry) if entry else None
    known = _destinations(name, catalogued, None) if catalogued else []
    why = f"provider {name} is not in the catalogue"
    if catalogued:
        has = ", ".join(known) if known else "no host"
        why = f"provider {name}; the catalogue has {has}"
    for to in _destinations(name, provider, catalogued):
        foreign = to not in known
        if foreign and provider.auth == "subscription":
            yield Sent(_LOGIN, to, why)
        elif foreign and not variables and not _is_loopback(to):
            yield Sent(_ASKED, to, why)
        for variable in variables:
            if foreign:
                yield Sent(variable, to, why)
            elif catalogued and not _belongs(variable, catalogued):
                theirs = ", ".join(_names(catalogued)) or "none"
                yield Sent(variable, to, f"provider {name}; its variables are {theirs}")


def _destinations(name: str, provider: Provider, catalogued: Provider | None) -> list[str]:
    """Every host that a provider's key is sent to, as it is shown."""
    urls = (provider.base_url, provider.models_url, provider.key_url)
    found = [_origin(url) for url in urls if url]
    prefix = provider.prefix or name
    renamed = catalogued is not None and prefix != (catalogued.prefix or name)
    if provider.dialect == "litellm" and (not provider.base_url or renamed):
        found.append(_own_host(prefix))
    return list(dict.fromkeys(found))


def _own_host(prefix: str) -> str:
    return f"LiteLLM's own host for {prefix}"


def _names(provider: Provider) -> list[str]:
    return [*([provider.key] if provider.key else []), *provider.env]


def _belongs(variable: str, provider: Provider) -> bool:
    """Whether a variable is the provider's by its name: ZAI_API_KEY_2 is Z.ai's."""
    return any(variable.startswith(f"{name.partition('_')[0]}_") for name in _names(provider))


def _origin(url: str) -> str:
    """The host of a URL as it is shown and compared: with a port that is not the usual one, and
    with `http://` where there is no TLS. What stands before an `@` is no host.
    """
    variable = _VARIABLE.fullmatch(url)
    if variable:
        return f"the host that {variable[1]} names"
    unreadable = "an address that is not a URL"
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return unreadable
    if not host:
        return unreadable
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    shown = host if port in (None, usual) else f"{host}:{port}"
    return shown if parts.scheme in ("", "https") else f"{parts.scheme}://{shown}"


def _is_loopback(origin: str) -> bool:
    host = origin.rpartition("://")[2]
    return bool(re.fullmatch(r"(localhost|127(\.\d{1,3}){3}|\[?::1\]?)(:\d+)?", host))


def _cache(profile: Profile) -> Iterator[Sent]:
    cache = profile.cache
    if cache is None or cache.host is None:
        return
    to = f"{cache.host}:{cache.port or 6379}"
    if cache.key:
        yield Sent(cache.key, to, "the cache")
    if not _is_loopback(to):
        yield Sent("what your models answer", to, "the cache")


# ------------------------------------------------------------------ litellm:


def _engine(engine: Mapping[str, Any]) -> Iterator[Sent | Part]:
    for name, value in engine.items():
        section = str(name)
        path = f"litellm.{section}"
        if section == "model_list":
            for index, item in enumerate(value):
                yield from _deployment(f"{path}[{index}]", item)
        elif section in _HARMLESS:
            yield from _settings(path, value, _HARMLESS[section])
        else:
            yield from _setting(path, section, value)


def _settings(path: str, values: Mapping[str, Any], harmless: set[str]) -> Iterator[Sent | Part]:
    for name, value in values.items():
        field = str(name)
        quiet = field in harmless and not any(_speaks(text) for _, text in _texts(field, value))
        if not quiet:
            yield from _setting(f"{path}.{field}", field, value)


def _setting(path: str, field: str, value: Any) -> Iterator[Sent | Part]:
    """One setting that is not known to be harmless, and the variables that it names."""
    texts = list(_texts(field, value))
    hosts = [text for name, text in texts if "://" in text or _ADDRESS.search(name.lower())]
    named = list(dict.fromkeys(_origin(text) for text in hosts))
    for _, text in texts:
        to = ", ".join(named) if text not in hosts and named else "LiteLLM"
        yield from (Sent(variable, to, path) for variable in _VARIABLE.findall(text))
    code = [text for _, text in texts if _DOTTED.fullmatch(text) and text not in hosts]
    names = [name.lower() for name in (field, *(name for name, _ in texts))]
    if code or any(_CODE.search(name) for name in names):
        yield Part(path, "runs code", tuple(dict.fromkeys(code)))
    if hosts or any(_ELSEWHERE.search(name) for name in names):
        called = "callback" in field or field == "alerting"
        others = [text for _, text in texts if called and _NAME.fullmatch(text)]
        if hosts or others or not code:
            yield Part(path, "sends data elsewhere", tuple(dict.fromkeys([*named, *others])))
    elif not code and not any(_CODE.search(name) for name in names):
        yield Part(path, "is not known to be harmless", ())


def _deployment(path: str, item: Mapping[str, Any]) -> Iterator[Sent | Part]:
    """A model of LiteLLM's own list: where its key goes, and whatever else it sets."""
    params = item["litellm_params"]
    prefix = str(params.get("model", "")).partition("/")[0]
    prefix = str(params.get("custom_llm_provider") or prefix)
    bases = [str(params[name]) for name in ("api_base", "base_url") if params.get(name)]
    variables = _VARIABLE.findall(str(params.get("api_key")))
    for to in map(_origin, bases) if bases else [_own_host(prefix)]:
        for variable in variables:
            if not _is_catalogued(variable, to):
                yield Sent(variable, to, path)
        if not variables and bases and not _is_loopback(to):
            yield Sent(_ASKED, to, path)
    others = {
        name: value
        for name, value in params.items()
        if name not in ("api_base", "base_url", "api_key", "custom_llm_provider")
        and value not in (None, NO_KEY)
    }
    yield from _settings(f"{path}.litellm_params", others, _HARMLESS_PARAMS)
    for field, value in item.items():
        if field not in ("model_name", "litellm_params", "model_info"):
            yield from _setting(f"{path}.{field}", str(field), value)


def _is_catalogued(variable: str, to: str) -> bool:
    """Whether some provider of the catalogue has this host and calls its key so."""
    for name, entry in catalogue_data().items():
        provider = Provider(**entry)
        hosts = [*_destinations(name, provider, None), _own_host(provider.prefix or name)]
        if to in hosts and _belongs(variable, provider):
            return True
    return False


def _texts(field: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a value, with the name of the field that it stands in."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(str(name), inner)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for inner in value:
            yield from _texts(field, inner)
    elif isinstance(value, str):
        yield field, value


def _speaks(text: str) -> bool:
    """Whether a text of a harmless setting names an address or a variable after all."""
    return "://" in text or bool(_VARIABLE.search(text))
