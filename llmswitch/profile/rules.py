"""What one part of a profile says of another: names of something that is there, no two budgets of
the same, and no Claude login beside a key or at another host.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from llmswitch.ledger import OWN_CLIENT
from llmswitch.profile.litellm_rules import ANTHROPIC_BASE
from llmswitch.profile.providers import catalogue_data
from llmswitch.profile.schema import ALIASES, ROLES
from llmswitch.profile.yaml_lines import Path, dotted

Found = Iterator[tuple[Path, str]]  # places in a profile and what is wrong with each

TARGET = "must be provider/model, such as zai/glm-4.7"
RESERVED = ("default", "inherit", "opusplan", "best")
SUBSCRIPTION = "subscription"
# 127.0.0.1:PORT, [::1]:PORT or localhost:PORT. A server of tests on this machine is named by the
# environment: a profile may be somebody else's, and on a port of this machine anybody may listen.
TEST_HOST = "LLMSWITCH_TEST_LOGIN_HOST"
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
_SHOWN = 60  # characters of a wrong value


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or what there is."""
    known = [dotted((item,)) for item in known]
    match = difflib.get_close_matches(word.lower(), [item.lower() for item in known], 1, 0.6)
    if match:
        right = next(item for item in known if item.lower() == match[0])
        return f"; did you mean `{right}`?"
    return f"; there are: {', '.join(known)}" if known else ""


def short(value: Any) -> str:
    """A wrong value as it is shown in a complaint."""
    text = "empty" if value in (None, "", [], {}) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def rule_problems(data: dict[str, Any], environ: Mapping[str, str]) -> Found:
    """Everything that one part of a profile says of another, and should not. Takes the profile as
    plain data, its providers filled in.
    """
    models, providers = _mapping(data.get("models")), _mapping(data.get("providers"))
    long_forms = {name: model for name, model in models.items() if isinstance(model, dict)}
    own = {name: spec for name, spec in providers.items() if isinstance(spec, dict)}
    yield from _names(models)
    yield from _targets(long_forms, {**catalogue_data(), **providers})
    yield from _fallbacks(long_forms, models)
    yield from _roles(models, _mapping(data.get("roles")))
    yield from _providers(own)
    yield from _logins(long_forms, own, environ.get(TEST_HOST))
    yield from _budgets(long_forms, data)
    yield from _cached(models, _mapping(data.get("cache")))
    yield from _clients(_list(data.get("clients")))


def _names(models: dict[str, Any]) -> Found:
    seen: dict[str, str] = {}
    for name in models:
        path, low = ("models", name), name.lower()
        if not _NAME.fullmatch(name):
            rule = "use letters, digits and . _ : / @ + -"
            yield path, f"is not a name that Claude Code can send: {rule}"
        elif low in RESERVED or low.startswith("claude-router-"):
            yield path, "is reserved by Claude Code; choose another name"
        elif low in seen:
            yield path, f"differs from `{seen[low]}` only in case; choose another name"
        seen.setdefault(low, name)


def _targets(models: dict[str, dict[str, Any]], providers: Iterable[str]) -> Found:
    for name, model in models.items():
        target = model.get("model")
        if isinstance(target, str) and target:
            path: Path = ("models", name, "model")
            provider, slash, rest = target.partition("/")
            if not slash or not rest.strip():
                yield path, f"is {short(target)}, but {TARGET}"
            elif provider not in providers:
                yield path, f"has an unknown provider {provider!r}{nearest(provider, providers)}"


def _fallbacks(models: dict[str, dict[str, Any]], known: Iterable[str]) -> Found:
    for name, model in models.items():
        for field in ("fallbacks", "context_fallbacks"):
            for index, fallback in enumerate(_list(model.get(field))):
                path: Path = ("models", name, field, index)
                if fallback == name:
                    yield path, "is the model itself; name another"
                elif isinstance(fallback, str):
                    yield from _known(path, fallback, known, "model")


def _roles(models: dict[str, Any], roles: dict[str, Any]) -> Found:
    for role, wanted in roles.items():
        path = ("roles", role)
        if role not in ROLES or not isinstance(wanted, str):
            continue
        if wanted not in models:
            yield from _known(path, wanted, models, "model")
        elif role in ALIASES and role in models and wanted != role:
            reason = f"but Claude Code takes the name of the model `{role}` for the role"
            yield path, f"is {wanted!r}, {reason}; rename that model or give it the role"


def _providers(providers: dict[str, dict[str, Any]]) -> Found:
    for name, spec in providers.items():
        path, dialect = ("providers", name), spec.get("dialect")
        if dialect in ("anthropic", "messages", "chat", "responses") and not spec.get("base_url"):
            yield path, f"needs a base_url, because its dialect is {dialect}"
        if "prefix" in spec and dialect != "litellm":
            yield (*path, "prefix"), "works only with `dialect: litellm`"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            yield path, "is not a valid name; use letters, digits and . _ -"


def _logins(
    models: dict[str, dict[str, Any]], providers: dict[str, dict[str, Any]], test_host: str | None
) -> Found:
    """Every line that would send a Claude login elsewhere, or a key beside it.

    LiteLLM itself would send the login to whatever host an `anthropic/` deployment names, so the
    host is held here, and engine/subscription.py holds the rest.
    """
    logins = {name: one for name, one in providers.items() if one.get("auth") == SUBSCRIPTION}
    for name, spec in logins.items():
        path = ("providers", name)
        if spec.get("dialect") != "anthropic":
            yield (*path, "auth"), "is subscription, which works only with `dialect: anthropic`"
        elif not _may_have_login(str(spec.get("base_url")), test_host):
            said = f"must be {ANTHROPIC_BASE}: your Claude login is sent nowhere else"
            yield (*path, "base_url"), said
        if spec.get("key") is not None:
            yield (*path, "key"), "cannot be combined with `auth: subscription`; remove one"
    for name, model in models.items():
        provider = str(model.get("model")).partition("/")[0]
        if provider in logins and model.get("keys") is not None:
            said = f"cannot be combined with `auth: subscription` of {provider}; remove one"
            yield ("models", name, "keys"), said


def _may_have_login(url: str, test_host: str | None) -> bool:
    """Whether a login may go there: to Anthropic by TLS, or to the very server on this machine that
    the environment names.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return True  # is told as no URL at all
    if parts.hostname in _THIS_MACHINE:
        return test_host is not None and parts.netloc == test_host
    base = urlsplit(ANTHROPIC_BASE)
    return (parts.scheme, parts.hostname, port or 443) == (base.scheme, base.hostname, 443)


def _budgets(models: dict[str, dict[str, Any]], data: dict[str, Any]) -> Found:
    """A budget counts what there is, and there is one of each name."""
    used = {str(model["model"]).partition("/")[0] for model in models.values() if "model" in model}
    known = {"model": models, "provider": used, "client": [*_list(data.get("clients")), OWN_CLIENT]}
    stated: list[tuple[Path, dict[str, Any]]] = [
        (("models", name, "budget"), {**model["budget"], "model": name})
        for name, model in models.items()
        if isinstance(model.get("budget"), dict)
    ]
    stated += [
        (("budgets", index), budget)
        for index, budget in enumerate(_list(data.get("budgets")))
        if isinstance(budget, dict)
    ]
    places: dict[tuple[str, ...], Path] = {}
    for path, budget in stated:
        for kind, names in known.items():
            if isinstance(wanted := budget.get(kind), str):
                yield from _known((*path, kind), wanted, names, kind)
        same = tuple(repr(budget.get(field)) for field in ("per", *known))
        if same in places:
            yield path, f"duplicates {dotted(places[same])}; remove one"
        places.setdefault(same, path)


def _cached(models: dict[str, Any], cache: dict[str, Any]) -> Found:
    """What is cached is there, and Redis has an address."""
    for index, name in enumerate(_list(cache.get("models"))):
        if isinstance(name, str):
            yield from _known(("cache", "models", index), name, models, "model")
    if cache.get("type") == "redis" and "host" not in cache:
        yield ("cache",), "needs a host, because its type is redis"
    for field in {"host", "port", "key"} & set(cache) if cache.get("type") == "local" else ():
        yield ("cache", field), "works only with `type: redis`"


def _clients(clients: list[Any]) -> Found:
    for index, name in enumerate(clients):
        path: Path = ("clients", index)
        if name == OWN_CLIENT:
            yield path, f"is {name!r}, the name of the gateway's own key; choose another name"
        elif name in clients[:index]:
            yield path, f"duplicates clients[{clients.index(name)}]; remove one"


def _known(path: Path, name: str, known: Iterable[str], kind: str) -> Found:
    known = [str(item) for item in known]
    if name not in known:
        yield path, f"is {name!r}, which is not a {kind} of this profile{nearest(name, known)}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
