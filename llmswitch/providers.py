"""The catalogue of providers: how each is spoken to, where, and with which key."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from llmswitch.document import read_document

Dialect = Literal["anthropic", "messages", "chat", "responses", "litellm"]


class Strict(BaseModel):
    """A part of a profile: no unknown fields, no guessing of types, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _normal_url(value: str) -> str:
    """An http(s) URL without a trailing slash (LiteLLM would send `//v1/messages`)."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain URL: no user, password, `?` or `#` in it")
    return value.rstrip("/")


def _variable(value: str) -> str:
    """The name of an environment variable, and not a key pasted in its place."""
    if not (value.isascii() and value.isidentifier() and value == value.upper()):
        raise ValueError(
            "must be the NAME of an environment variable, such as ZAI_API_KEY, never the key itself"
        )
    return value


Url = Annotated[str, AfterValidator(_normal_url)]
Variable = Annotated[str, AfterValidator(_variable)]


class Provider(Strict):
    """One host that serves models.

    `prices` is the prefix of its models in LiteLLM's price map, None where they are not in it.
    `prefix` is LiteLLM's own name for the provider (dialect `litellm` only), `env` the variables
    that such a provider reads by itself (cloud credentials).
    """

    label: str = ""
    dialect: Dialect
    base_url: Url | None = None
    key: Variable | None = None
    key_page: str | None = None
    prices: str | None = None
    prefix: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")
    env: tuple[Variable, ...] = ()
    source: str | None = None


@cache
def catalogue_data() -> dict[str, dict[str, Any]]:
    """The catalogue as it stands in providers.yaml, by the provider's name."""
    text = Path(__file__).with_name("providers.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = read_document(text).data
    return loaded


def api_base(provider: Provider) -> str | None:
    """The base URL in the form that LiteLLM wants for the provider's dialect.

    LiteLLM appends `/v1/messages` to the base of `anthropic` and `messages`, so a `/v1` that
    a user copied from elsewhere would stand there twice.
    """
    if provider.base_url and provider.dialect in {"anthropic", "messages"}:
        return provider.base_url.removesuffix("/v1")
    return provider.base_url
