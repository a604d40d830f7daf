"""What one part of a profile says of another: names that must be of something that is there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmswitch.ledger import OWN_CLIENT
from llmswitch.profile import yaml_lines
from llmswitch.profile.providers import catalogue_data
from llmswitch.profile.schema import ALIASES, ROLES
from llmswitch.profile.yaml_lines import dotted

TARGET = "must be provider/model, such as zai/glm-4.7"
RESERVED = ("default", "inherit", "opusplan", "best")
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


class Where(NamedTuple):
    """A place in a profile and what is wrong with it."""

    path: yaml_lines.Path
    text: str


def references(data: dict[str, Any]) -> list[Where]:
    """Everything that one part of a profile says of another, and should not."""
    models = data["models"] if isinstance(data.get("models"), dict) else {}
    found = [*_names(models), *_model_references(models, data), *_roles(models, data.get("roles"))]
    found += _provider_needs(data.get("providers"))
    return [*found, *_budgets(models, data), *_cached(models, data.get("cache")), *_clients(data)]


def _names(models: dict[str, Any]) -> Iterator[Where]:
    seen: dict[str, str] = {}
    for name in models:
        path = ("models", name)
        if not _NAME.fullmatch(name):
            yield Where(
                path,
                "is not a name that Claude Code can send: use letters, digits and . _ : / @ + -",
            )
        elif name.lower() in RESERVED or name.lower().startswith("claude-router-"):
            yield Where(path, "is a name that Claude Code keeps for itself; choose another")
        elif name.lower() in seen:
            yield Where(
                path, f"differs from `{seen[name.lower()]}` only by case; choose another name"
            )
        seen.setdefault(name.lower(), name)


def _model_references(models: dict[str, Any], data: dict[str, Any]) -> Iterator[Where]:
    providers = data.get("providers")
    known = {**catalogue_data(), **(providers if isinstance(providers, dict) else {})}
    for name, model in models.items():
        if not isinstance(model, dict):
            continue
        target = model.get("model")
        if isinstance(target, str) and target:
            provider, slash, rest = target.partition("/")
            where: yaml_lines.Path = ("models", name, "model")
            if not slash or not rest.strip():
                yield Where(where, f"is {short(target)}, but {TARGET}")
            elif provider not in known:
                yield Where(where, f"names no provider: {provider!r}{nearest(provider, known)}")
        for field in ("fallbacks", "context_fallbacks"):
            for index, fallback in enumerate(_list(model.get(field))):
                path: yaml_lines.Path = ("models", name, field, index)
                if fallback == name:
                    yield Where(path, f"is {name!r} itself; name another model")
                elif isinstance(fallback, str):
                    yield from _known(path, fallback, models, "model")


def _roles(models: dict[str, Any], roles: Any) -> Iterator[Where]:
    roles = roles if isinstance(roles, dict) else {}
    for role in ROLES:
        wanted = roles.get(role)
        path = ("roles", role)
        if isinstance(wanted, str) and wanted not in models:
            yield from _known(path, wanted, models, "model")
        elif role in ALIASES and role in models and isinstance(wanted, str) and wanted != role:
            yield Where(
                path,
                f"is {wanted!r}, but there is a model named `{role}`, and Claude Code takes that "
                "name for the role; rename the model or give it the role",
            )


def _provider_needs(providers: Any) -> Iterator[Where]:
    for name, spec in providers.items() if isinstance(providers, dict) else ():
        if not isinstance(spec, dict):
            continue
        dialect = spec.get("dialect")
        if dialect in ("anthropic", "messages", "chat", "responses") and not spec.get("base_url"):
            yield Where(("providers", name), f"has the dialect {dialect} and so needs a base_url")
        if "prefix" in spec and dialect != "litellm":
            yield Where(("providers", name, "prefix"), "goes only with `dialect: litellm`")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            yield Where(("providers", name), "is not a name: use letters, digits and . _ -")


def _budgets(models: dict[str, Any], data: dict[str, Any]) -> Iterator[Where]:
    """A budget counts what there is, and there is one of each name."""
    used = {str(model["model"]).partition("/")[0] for model in models.values()
            if isinstance(model, dict) and "model" in model}  # fmt: skip
    known = {"model": models, "provider": used, "client": [*_list(data.get("clients")), OWN_CLIENT]}
    places: dict[tuple[Any, ...], yaml_lines.Path] = {}
    stated: list[tuple[yaml_lines.Path, Any]] = [
        (("models", name, "budget"), {**model["budget"], "model": name})
        for name, model in models.items()
        if isinstance(model, dict) and isinstance(model.get("budget"), dict)
    ]
    stated += [(("budgets", n), budget) for n, budget in enumerate(_list(data.get("budgets")))]
    for path, budget in stated:
        if not isinstance(budget, dict):
            continue
        for kind, names in known.items():
            if isinstance(wanted := budget.get(kind), str):
                yield from _known((*path, kind), wanted, names, kind)
        same = tuple(repr(budget.get(field)) for field in ("per", *known))
        if same in places:
            yield Where(path, f"is of the same as {dotted(places[same])}; take one of them out")
        places.setdefault(same, path)


def _cached(models: dict[str, Any], cache: Any) -> Iterator[Where]:
    """What is cached is there, and Redis has an address."""
    if not isinstance(cache, dict):
        return
    for index, name in enumerate(_list(cache.get("models"))):
        if isinstance(name, str):
            yield from _known(("cache", "models", index), name, models, "model")
    if cache.get("type") == "redis" and "host" not in cache:
        yield Where(("cache",), "has the type redis and so needs a host")
    for field in {"host", "port", "key"} & set(cache) if cache.get("type") == "local" else ():
        yield Where(("cache", field), "goes only with `type: redis`")


def _clients(data: dict[str, Any]) -> Iterator[Where]:
    seen = set()
    for index, name in enumerate(_list(data.get("clients"))):
        if name == OWN_CLIENT:
            yield Where(("clients", index), f"is {name!r}, which is who has the gateway's own key")
        elif isinstance(name, str) and name in seen:
            yield Where(("clients", index), f"is {name!r}, which is there already; take it out")
        elif isinstance(name, str):
            seen.add(name)


def _known(path: yaml_lines.Path, name: str, known: Iterable[str], kind: str) -> Iterator[Where]:
    known = [str(item) for item in known]
    if name not in known:
        yield Where(path, f"is {name!r}, which is no {kind} here{nearest(name, known)}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
