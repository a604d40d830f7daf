"""The profile: the user's one file, read strictly, with every mistake found at once."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from llmswitch.errors import ProfileError
from llmswitch.profile import yaml_lines
from llmswitch.profile.litellm_rules import engine_problems
from llmswitch.profile.providers import catalogue_data
from llmswitch.profile.rules import SUBSCRIPTION, TARGET, nearest, rule_problems, short
from llmswitch.profile.schema import Profile
from llmswitch.profile.yaml_lines import Document, Problem, dotted


def load_profile(
    file: Path, shown: str | None = None, environ: Mapping[str, str] = os.environ
) -> Profile:
    """Read a profile from a file.

    Raises ProfileError with one line for every mistake in it; `shown` is how the file is called
    in those lines. `environ` is asked for a server of tests alone (see TEST_HOST in rules.py).
    """
    shown = shown or str(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ProfileError(f"{shown} cannot be read: {error.strerror}", "check the path") from error
    return read_profile(content, shown, environ)


def read_profile(content: bytes, shown: str, environ: Mapping[str, str] = os.environ) -> Profile:
    """A profile from the content of its file; see load_profile."""
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise ProfileError(
            f"{shown} is not UTF-8 text (byte {error.start})", "save it as UTF-8"
        ) from error
    return parse_profile(text, shown, environ)


def parse_profile(text: str, shown: str, environ: Mapping[str, str] = os.environ) -> Profile:
    """A profile from its text; see load_profile."""
    doc = yaml_lines.read_document(text)
    problems = list(doc.problems)
    profile: Profile | None = None
    if isinstance(doc.data, dict):
        data = _long_forms(doc.data)
        try:
            profile = Profile.model_validate(data)
        except ValidationError as error:
            problems += [_explain(doc, data, item) for item in error.errors(include_url=False)]
        problems += [
            Problem(doc.line_of(path), f"{dotted(path)} {text}")
            for path, text in (*rule_problems(data, environ), *engine_problems(data))
        ]
    elif not problems:
        problems = [Problem(1, "is not a profile; it must start with `models:`")]
    if problems or profile is None:
        lines = [f"{shown}:{line}: {text}" for line, text in sorted(set(problems))]
        typed = shown if re.fullmatch(r"[\w./~@+-]+", shown) else shlex.quote(shown)
        raise ProfileError("\n".join(lines), f"edit {shown}, then: llmswitch validate {typed}")
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
            name: {**catalogue.get(name, {}), **_without_key(spec), **spec}
            if isinstance(spec, dict)
            else spec
            for name, spec in own.items()
        }
        for name in _named_providers(models):
            if name in catalogue:
                merged.setdefault(name, catalogue[name])
        data["providers"] = merged
    return data


def _without_key(spec: dict[str, Any]) -> dict[str, Any]:
    """What a login changes of the catalogue's entry."""
    return {"key": None} if spec.get("auth") == SUBSCRIPTION else {}


def _named_providers(models: Any) -> Iterator[str]:
    for model in models.values() if isinstance(models, dict) else ():
        if isinstance(model, dict) and isinstance(model.get("model"), str):
            yield model["model"].partition("/")[0]


_NOT_EMPTY = "must not be empty"
_RULES = {  # by pydantic's kind of error
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": _NOT_EMPTY,
    "string_too_short": _NOT_EMPTY,
    "string_too_long": "must have at most {max_length} characters",
    "value_error": "{error}",
    "literal_error": "must be one of {expected}",
}


def _explain(doc: Document, data: dict[str, Any], error: Any) -> Problem:
    """One pydantic error in our grammar: path, what is there, what must be there."""
    path = tuple(part for part in error["loc"])
    if path[-1] in {"name", "id"} and not isinstance(_value_at(data, path[:-1]), dict):
        path = path[:-1]  # the short form of a key, or of a known model
    line, kind = doc.line_of(path), error["type"]
    if kind == "extra_forbidden":
        text = f"is not a field{nearest(str(path[-1]), _fields_of(_model_at(path[:-1])))}"
    elif kind == "missing":
        text = "is missing"
    else:
        value, text = _value_at(data, path), _rule(error)
        if text != _NOT_EMPTY and not _may_be_secret(path, value):
            text = f"is {short(value)}, but {text}"
    return Problem(line, f"{dotted(path)} {text}")


def _rule(error: Any) -> str:
    """What a field must be."""
    if error["type"] == "model_type" and error["loc"][:-1] == ("models",):
        return TARGET
    if rule := _RULES.get(error["type"]):
        return rule.format(**error.get("ctx", {}))
    return "must be " + str(error["msg"]).removeprefix("Input should be ")


def _model_at(path: yaml_lines.Path) -> type[BaseModel]:
    """The model class that a path leads to, for the names of its fields."""
    here: Any = Profile
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = _fields_of(here)[str(part)].annotation
        else:
            here = get_args(here)[-1]
        while not isinstance(here, type) and type(None) in get_args(here):
            here = next(item for item in get_args(here) if item is not type(None))
        if get_origin(here) is Annotated:
            here = get_args(here)[0]
    model: type[BaseModel] = here
    return model


def _fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the names that they have in a profile."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _value_at(data: Any, path: yaml_lines.Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _may_be_secret(path: yaml_lines.Path, value: Any) -> bool:
    """Whether someone may have pasted a key where its name belongs, or put one into a URL; such a
    value is not shown.
    """
    if path[0] == "providers" and isinstance(value, str) and re.search(r"[@?#]", value):
        return True
    return path[:-1] == ("providers",) or any(part in {"keys", "key", "env"} for part in path[-3:])
