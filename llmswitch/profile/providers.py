"""The catalogue of providers: how each is spoken to, where, and with which key."""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from llmswitch.paths import LOOPBACK
from llmswitch.profile.yaml_lines import read_document

Dialect = Literal["anthropic", "messages", "chat", "responses", "litellm"]
Role = Literal["default", "opus", "sonnet", "haiku", "fable", "subagent"]
# Their requests are Claude Code's own, so it can be sent there without a gateway.
DIRECT: tuple[Dialect, ...] = ("anthropic", "messages")
CATALOGUE = Path(__file__).with_name("providers.yaml")
# `subscription`: a request is paid by the Claude login that its client brings along.
Auth = Literal["key", "subscription"]


class Strict(BaseModel):
    """A part of a profile: no unknown fields, no guessing of types, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _normal_url(value: str) -> str:
    """An http(s) URL without a trailing slash (LiteLLM would send `//v1/messages`)."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL ({error})") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    if not re.fullmatch(r"[!-~]+", value) or re.search(r"[@?#]", value):
        raise ValueError("must be a plain URL, without user, password, space, `?` or `#`")
    return value.rstrip("/")


def matching(pattern: str, rule: str) -> AfterValidator:
    """Checks that all of a text matches a pattern; `rule` says what it must be."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def _one_line(value: str) -> str:
    """Text that cannot end a line, nor move a terminal's cursor, wherever it is shown."""
    if not value.isprintable():
        raise ValueError("must be one line of printable text")
    return value


def _variable(value: str) -> str:
    """The name of an environment variable, and not a key pasted in its place."""
    if not (value.isascii() and value.isidentifier() and value == value.upper()):
        raise ValueError(
            "must be the NAME of an environment variable, such as ZAI_API_KEY, never the key itself"
        )
    return value


def _date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be a date that exists, such as 2027-01-22") from error
    return value


Line = Annotated[str, AfterValidator(_one_line)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Label = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_one_line)]
Day = Annotated[
    str, matching(r"\d{4}-\d\d-\d\d", "must be a date such as 2027-01-22"), AfterValidator(_date)
]
Prefix = Annotated[
    str, matching(r"[a-z0-9_-]+", "must be LiteLLM's name for the provider, such as vertex_ai")
]
Url = Annotated[str, AfterValidator(_normal_url)]
Variable = Annotated[str, AfterValidator(_variable)]


class KnownModel(Strict):
    """A model that a provider is known to serve. `context` is in tokens; None where the price map
    has it or nobody knows. `label` is None where it is made from the id (see labels.py). `retires`
    is the day from which the provider no longer serves it, where that was announced, `instead` the
    id of the model to use then.
    """

    id: Name
    context: int | None = None
    label: Label | None = None
    retires: Day | None = None
    instead: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_id(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"id": value}


class Provider(Strict):
    """One host that serves models.

    `key_page` is where one gets a key, `key_prefix` how each of its keys begins. `prices` is the
    prefix of its models in LiteLLM's price map, None where they are not in it. `prefix` is
    LiteLLM's own name for the provider (dialect `litellm` only), `env` the variables that such a
    provider reads by itself (cloud credentials). `models_url` is where it lists its models, where
    that is not below `base_url`, `key_url` what only a valid key may ask there. `auth` says what
    opens it (Anthropic itself only; see Auth). `counts_tokens` says that it answers POST
    {base_url}/v1/messages/count_tokens, as Anthropic itself does. `unverified` are the fields that
    were not read in the provider's own documentation. `roles` says which of its models serves a
    role, `wrapper` what its direct wrapper is called.
    """

    label: Line = ""
    dialect: Dialect
    base_url: Url | None = None
    key: Variable | None = None
    auth: Auth = "key"
    key_page: str | None = None
    key_prefix: str | None = None
    prices: str | None = None
    prefix: Prefix | None = None
    env: list[Variable] = Field(default_factory=list)
    models: list[KnownModel] = Field(default_factory=list)
    roles: dict[Role, str] = Field(default_factory=dict)
    wrapper: Line | None = None
    models_url: Url | None = None
    key_url: Url | None = None
    counts_tokens: bool = False
    source: str | None = None
    read: str | None = None
    unverified: list[str] = Field(default_factory=list)


@cache
def catalogue_data() -> dict[str, dict[str, Any]]:
    """The catalogue as it stands in providers.yaml, by the provider's name."""
    text = CATALOGUE.read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = read_document(text).data
    return loaded


def known_model(provider: Provider, model_id: str) -> KnownModel | None:
    """What is known of an id. Providers do not tell small letters from capitals, and Anthropic
    takes an id without its date too.
    """
    wanted = model_id.lower()
    exact = (one for one in provider.models if one.id.lower() == wanted)
    dated = (one for one in provider.models if re.sub(r"-\d{8}$", "", one.id.lower()) == wanted)
    return next(exact, None) or next(dated, None)


def is_local(provider: Provider) -> bool:
    """Whether a provider is a server on this machine that needs no key."""
    host = urlsplit(provider.base_url or "").hostname
    return provider.key is None and host in LOOPBACK.split(",")


def counts_tokens(provider: Provider) -> bool:
    """Whether a provider is known to say how many tokens a request has."""
    return provider.dialect == "anthropic" or (
        provider.dialect == "messages" and provider.counts_tokens
    )


def api_base(provider: Provider) -> str | None:
    """The base URL in the form that LiteLLM wants for the provider's dialect.

    LiteLLM appends `/v1/messages` to the base of `anthropic` and `messages`, so a `/v1` that
    a user copied from elsewhere would stand there twice.
    """
    if provider.base_url and provider.dialect in {"anthropic", "messages"}:
        return provider.base_url.removesuffix("/v1")
    return provider.base_url
