"""The profile: the user's one file, read strictly, with every mistake found at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from llmswitch import document
from llmswitch.document import Document, Problem, dotted
from llmswitch.engine_rules import engine_problems
from llmswitch.errors import ProfileError
from llmswitch.providers import Provider, Strict, Variable, catalogue_data, one_line

ROLES = ("default", "opus", "sonnet", "haiku", "fable", "subagent")
# What Claude Code itself makes of a typed name: these four are roles, the rest it resolves alone.
_ALIASES = ("opus", "sonnet", "haiku", "fable")
_RESERVED = ("default", "inherit", "opusplan", "best")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
# Fields of the design that this version does not serve. Accepting one would promise what nothing
# keeps, so each is refused by name.
_PLANNED = ("budget", "budgets", "cache", "clients", "idle_timeout")

_NEEDED = ("model", "messages", "max_tokens", "stream", "system", "tools")
_SHOWN = 60  # characters of a wrong value

_TARGET = "must be provider/model, such as zai/glm-4.7"


def _address(value: str) -> str:
    try:
        if ":" in value:
            ipaddress.IPv6Address(value)
    except ValueError:
        value = ""
    if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", value):
        raise ValueError("must be an address to listen on, such as 127.0.0.1")
    return value


def _claude_model(value: str) -> str:
    if not re.fullmatch(r"claude-[a-z0-9.-]+", value):
        raise ValueError("must be the id of a Claude model, such as claude-sonnet-4-5")
    return value


def _top_level_field(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", value):
        raise ValueError("must be the name of a request's field, such as context_management")
    if value in _NEEDED:
        raise ValueError("must leave out no field that every request needs; take it out")
    return value


class Price(Strict):
    """USD per million tokens."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cache_read: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    cache_write: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None


class Model(Strict):
    """One row of the menu. `model` is provider/model id upstream, `context` is in tokens, `drop`
    are top-level fields of Claude Code's requests that its provider refuses.
    """

    model: Annotated[str, Field(min_length=1), AfterValidator(one_line)]
    label: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(one_line)] | None = (
        None
    )
    keys: Annotated[list[Variable], Field(min_length=1)] | None = None
    fallbacks: list[str] = Field(default_factory=list)
    context: Annotated[int, Field(ge=1000, le=100_000_000)] | None = None
    price: Price | None = None
    behaves_as: Annotated[str, AfterValidator(_claude_model)] | None = None
    drop: (
        Annotated[list[Annotated[str, AfterValidator(_top_level_field)]], Field(min_length=1)]
        | None
    ) = None

    @property
    def provider(self) -> str:
        """The provider's name: what stands before the first `/`."""
        return self.model.partition("/")[0]

    @property
    def id(self) -> str:
        """The model id that the provider knows: what stands after the first `/`."""
        return self.model.partition("/")[2]


class Roles(Strict):
    """Which model of the profile serves what Claude Code asks for by itself."""

    default: str | None = None
    opus: str | None = None
    sonnet: str | None = None
    haiku: str | None = None
    fable: str | None = None
    subagent: str | None = None


class Gateway(Strict):
    """Where the gateway listens."""

    host: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4000

    @property
    def address(self) -> str:
        """host:port, as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Profile(Strict):
    """A valid profile. `providers` holds every provider that a model names, overrides applied."""

    models: Annotated[dict[str, Model], Field(min_length=1)]
    roles: Roles = Roles()
    providers: dict[str, Provider] = Field(default_factory=dict)
    gateway: Gateway = Gateway()
    litellm: dict[str, Any] = Field(default_factory=dict)

    def provider_of(self, model: Model) -> Provider:
        """The provider that serves a model."""
        return self.providers[model.provider]

    def keys_of(self, model: Model) -> list[str]:
        """The names of the variables that can hold a model's keys; empty where none is needed."""
        key = self.provider_of(model).key
        return model.keys or ([key] if key else [])

    def role(self, name: str) -> str:
        """The model that serves a role: as written, else of that name, else the default."""
        written: str | None = getattr(self.roles, name)
        if written:
            return written
        if name in _ALIASES and name in self.models:
            return name
        return self.roles.default or next(iter(self.models))


def load_profile(file: Path, shown: str | None = None) -> Profile:
    """Read a profile from a file.

    Raises ProfileError with one line for every mistake in it; `shown` is how the file is called
    in those lines.
    """
    shown = shown or str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ProfileError(f"{shown} cannot be read: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise ProfileError(
            f"{shown} is not UTF-8 text (byte {error.start})", "save it as UTF-8"
        ) from error
    return parse_profile(text, shown)


def parse_profile(text: str, shown: str) -> Profile:
    """A profile from its text; see load_profile."""
    doc = document.read_document(text)
    problems = list(doc.problems)
    profile: Profile | None = None
    if not problems and not isinstance(doc.data, dict):
        problems = [Problem(1, "holds no profile; it must start with `models:`")]
    elif isinstance(doc.data, dict):
        data = _long_forms(doc.data)
        try:
            profile = Profile.model_validate(data)
        except ValidationError as error:
            problems += [_explain(doc, data, item) for item in error.errors(include_url=False)]
        problems += _references(doc, data)
        problems += [Problem(doc.line_of(path), text) for path, text in engine_problems(data)]
    if problems or profile is None:
        lines = [f"{shown}:{line}: {text}" for line, text in sorted(set(problems))]
        raise ProfileError("\n".join(lines), f"edit {shown}, then: llmswitch validate {shown}")
    return profile


def _long_forms(data: dict[str, Any]) -> dict[str, Any]:
    """The same profile with its short forms written out and the catalogue's providers filled in."""
    data = dict(data)
    models = data.get("models")
    if isinstance(models, dict):
        models = {k: {"model": v} if isinstance(v, str) else v for k, v in models.items()}
        data["models"] = models
    catalogue = catalogue_data()
    own = data.get("providers", {})
    if isinstance(own, dict):
        merged = {
            name: {**catalogue.get(name, {}), **spec} if isinstance(spec, dict) else spec
            for name, spec in own.items()
        }
        for name in _named_providers(models):
            if name in catalogue:
                merged.setdefault(name, catalogue[name])
        for spec in merged.values():
            if isinstance(spec, dict) and isinstance(spec.get("env"), list):
                spec["env"] = tuple(spec["env"])
        data["providers"] = merged
    return data


def _named_providers(models: Any) -> Iterator[str]:
    for model in models.values() if isinstance(models, dict) else ():
        if isinstance(model, dict) and isinstance(model.get("model"), str):
            yield model["model"].partition("/")[0]


def _nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or what there is."""
    known = [dotted((item,)) for item in known]
    match = difflib.get_close_matches(word.lower(), [item.lower() for item in known], 1, 0.6)
    if match:
        right = next(item for item in known if item.lower() == match[0])
        return f"; did you mean `{right}`?"
    return f"; there are: {', '.join(known)}" if known else ""


def _explain(doc: Document, data: dict[str, Any], error: Any) -> Problem:
    """One pydantic error in our grammar: path, what is there, what must be there."""
    path = tuple(part for part in error["loc"])
    where, kind = dotted(path), error["type"]
    line = doc.line_of(path)
    if kind == "extra_forbidden":
        field = str(path[-1])
        if field in _PLANNED:
            return Problem(line, f"{where} is not built yet in this version of llmswitch, and "
                           "would promise what nothing keeps; take it out")  # fmt: skip
        fields = _model_at(path[:-1]).model_fields
        return Problem(line, f"{where} is not a field{_nearest(field, fields)}")
    if kind == "missing":
        return Problem(line, f"{where} is missing")
    value, rule = _value_at(data, path), _rule(error)
    if _may_be_secret(path, value) or rule == _NOT_EMPTY:
        return Problem(line, f"{where} {rule}")
    return Problem(line, f"{where} is {_short(value)}, but {rule}")


_NOT_EMPTY = "must not be empty"


def _rule(error: Any) -> str:
    """What a field must be, from pydantic's kind of error."""
    context = error.get("ctx", {})
    named = {
        "string_type": "must be text",
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "list_type": "must be a list",
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "tuple_type": "must be a list",
        "too_short": _NOT_EMPTY,
        "string_too_short": _NOT_EMPTY,
        "string_too_long": f"must have at most {context.get('max_length')} characters",
    }
    if error["type"] == "model_type" and error["loc"][:-1] == ("models",):
        return _TARGET
    if error["type"] in named:
        return named[error["type"]]
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] == "literal_error":
        return f"must be one of {context['expected']}"
    message: str = error["msg"]
    return "must be " + message.removeprefix("Input should be ")


def _model_at(path: document.Path) -> type[BaseModel]:
    """The model class that a path leads to, for the names of its fields."""
    here: Any = Profile
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(part)].annotation
        else:
            here = get_args(here)[-1]
        while not isinstance(here, type) and type(None) in get_args(here):
            here = next(item for item in get_args(here) if item is not type(None))
    model: type[BaseModel] = here
    return model


def _value_at(data: Any, path: document.Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _may_be_secret(path: document.Path, value: Any) -> bool:
    """Whether someone may have pasted a key where its name belongs, or put one into a URL; such a
    value is not shown.
    """
    if path[0] == "providers" and isinstance(value, str) and re.search(r"[@?#]", value):
        return True
    return path[:-1] == ("providers",) or any(part in {"keys", "key", "env"} for part in path[-2:])


def _short(value: Any) -> str:
    text = "empty" if value in (None, "", [], {}) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class _Where(NamedTuple):
    path: document.Path
    text: str


def _references(doc: Document, data: dict[str, Any]) -> list[Problem]:
    """Everything that one part of a profile says of another."""
    models = data["models"] if isinstance(data.get("models"), dict) else {}
    found = [*_names(models), *_model_references(models, data), *_roles(models, data.get("roles"))]
    found += _provider_needs(data.get("providers"))
    return [Problem(doc.line_of(path), f"{dotted(path)} {text}") for path, text in found]


def _names(models: dict[str, Any]) -> Iterator[_Where]:
    seen: dict[str, str] = {}
    for name in models:
        path = ("models", name)
        if not _NAME.fullmatch(name):
            yield _Where(
                path,
                "is not a name that Claude Code can send: use letters, digits and . _ : / @ + -",
            )
        elif name.lower() in _RESERVED or name.lower().startswith("claude-router-"):
            yield _Where(path, "is a name that Claude Code keeps for itself; choose another")
        elif name.lower() in seen:
            yield _Where(
                path, f"differs from `{seen[name.lower()]}` only by case; choose another name"
            )
        seen.setdefault(name.lower(), name)


def _model_references(models: dict[str, Any], data: dict[str, Any]) -> Iterator[_Where]:
    providers = data.get("providers")
    known = {**catalogue_data(), **(providers if isinstance(providers, dict) else {})}
    for name, model in models.items():
        if not isinstance(model, dict):
            continue
        target = model.get("model")
        if isinstance(target, str) and target:
            provider, slash, rest = target.partition("/")
            where: document.Path = ("models", name, "model")
            if not slash or not rest.strip():
                yield _Where(where, f"is {_short(target)}, but {_TARGET}")
            elif provider not in known:
                yield _Where(where, f"names no provider: {provider!r}{_nearest(provider, known)}")
        fallbacks = model.get("fallbacks")
        for index, fallback in enumerate(fallbacks if isinstance(fallbacks, list) else ()):
            path: document.Path = ("models", name, "fallbacks", index)
            if fallback == name:
                yield _Where(path, f"is {name!r} itself; name another model")
            elif isinstance(fallback, str) and fallback not in models:
                yield _Where(
                    path, f"is {fallback!r}, which is no model here{_nearest(fallback, models)}"
                )


def _roles(models: dict[str, Any], roles: Any) -> Iterator[_Where]:
    roles = roles if isinstance(roles, dict) else {}
    for role in ROLES:
        wanted = roles.get(role)
        path = ("roles", role)
        if isinstance(wanted, str) and wanted not in models:
            yield _Where(path, f"is {wanted!r}, which is no model here{_nearest(wanted, models)}")
        elif role in _ALIASES and role in models and isinstance(wanted, str) and wanted != role:
            yield _Where(
                path,
                f"is {wanted!r}, but there is a model named `{role}`, and Claude Code takes that "
                "name for the role; rename the model or give it the role",
            )


def _provider_needs(providers: Any) -> Iterator[_Where]:
    for name, spec in providers.items() if isinstance(providers, dict) else ():
        if not isinstance(spec, dict):
            continue
        dialect = spec.get("dialect")
        if dialect in ("anthropic", "messages", "chat", "responses") and not spec.get("base_url"):
            yield _Where(("providers", name), f"has the dialect {dialect} and so needs a base_url")
        if "prefix" in spec and dialect != "litellm":
            yield _Where(("providers", name, "prefix"), "goes only with `dialect: litellm`")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            yield _Where(("providers", name), "is not a name: use letters, digits and . _ -")
