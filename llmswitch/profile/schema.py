"""What a profile can say: its fields, their types, and the rules of each field alone."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from llmswitch.budgets import Budget as Limit
from llmswitch.budgets import Per
from llmswitch.profile.litellm_rules import REDIRECTING, SECRETS
from llmswitch.profile.providers import Label, Name, Provider, Role, Strict, Variable, matching

ROLES: tuple[Role, ...] = get_args(Role)
# What Claude Code itself makes of a typed name: these four are roles, the rest it resolves alone.
ALIASES = ("opus", "sonnet", "haiku", "fable")

_STEERING = ("api_", "aws_", "azure_", "litellm_", "vertex_", "mock_", "fallback", "metadata")
_NEEDED = ("model", "messages", "max_tokens", "stream", "system", "tools")


def _address(value: str) -> str:
    try:
        if ":" in value:
            ipaddress.IPv6Address(value)
    except ValueError:
        value = ""
    if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", value):
        raise ValueError("must be an address to listen on, such as 127.0.0.1")
    return value


def _not_needed(value: str) -> str:
    if value in _NEEDED:
        raise ValueError("every request needs this field; remove it here")
    return value


def _extension(value: str) -> str:
    """A field that a provider has beside those of its API; what steers LiteLLM is no such field
    (engine/fields.py asks LiteLLM's own list before a gateway serves).
    """
    if value.startswith(_STEERING) or value.endswith(SECRETS) or value in REDIRECTING:
        raise ValueError("must not be a parameter of LiteLLM; remove it")
    return value


def client_name(value: str) -> str:
    """A name that is fit for a header, a file and a terminal."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("must be a name of letters, digits and . _ -")
    return value


_Address = Annotated[str, AfterValidator(_address)]
_ClaudeModel = Annotated[
    str,
    matching("claude-[a-z0-9.-]+", "must be the id of a Claude model, such as claude-sonnet-4-5"),
]
_RequestField = Annotated[
    str,
    matching(
        "[a-z][a-z0-9_]{0,60}", "must be the name of a request field, such as context_management"
    ),
    AfterValidator(_not_needed),
]
_Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(Strict):
    """USD per million tokens."""

    input: _Usd
    output: _Usd
    cache_read: _Usd | None = None
    cache_write: _Usd | None = None

    @property
    def reading(self) -> float:
        """That of a token from the provider's cache; of any other where nobody knows it."""
        return self.input if self.cache_read is None else self.cache_read

    @property
    def writing(self) -> float:
        """The same of a token that is written to the cache."""
        return self.input if self.cache_write is None else self.cache_write


class Key(Strict):
    """One of several keys: `name` is that of its variable. Of those with the lowest `order` a
    request goes to one by `weight`; to the others when these fail.
    """

    name: Variable
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None
    order: Annotated[int, Field(ge=1, le=100)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"name": value}


class ModelBudget(Strict):
    """What may be spent in each period: USD."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    per: Per


class Budget(ModelBudget):
    """What may be spent in each period on all that has every name given here."""

    model: str | None = None
    provider: str | None = None
    client: str | None = None


class Cache(Strict):
    """Answers that are given again to the same request for `ttl` seconds, of these models or all.
    `key` names the variable of Redis' password.
    """

    type: Literal["local", "redis"]
    ttl: Annotated[int, Field(ge=1, le=31_536_000)] = 300
    models: Annotated[list[str], Field(min_length=1)] | None = None
    host: _Address | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    key: Variable | None = None


class Model(Strict):
    """One row of the menu. `model` is provider/model id upstream, `context` is in tokens, `drop`
    are top-level fields of Claude Code's requests that its provider refuses, `extensions` (`pass`)
    those that its provider has beside its API's, `timeout` the seconds without a byte of an answer
    after which a try has failed.
    """

    model: Name
    label: Label | None = None
    keys: Annotated[list[Key], Field(min_length=1)] | None = None
    fallbacks: list[str] = Field(default_factory=list)
    context_fallbacks: list[str] = Field(default_factory=list)
    timeout: Annotated[int, Field(ge=1, le=86_400)] | None = None
    context: Annotated[int, Field(ge=1000, le=100_000_000)] | None = None
    price: Price | None = None
    budget: ModelBudget | None = None
    behaves_as: _ClaudeModel | None = None
    drop: Annotated[list[_RequestField], Field(min_length=1)] | None = None
    extensions: list[Annotated[_RequestField, AfterValidator(_extension)]] = Field(
        alias="pass", default_factory=list
    )

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
    """Where the gateway listens, and how many seconds after its last use it goes where a session
    has started it (0: it stays).
    """

    host: _Address = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4000
    idle_timeout: Annotated[int, Field(ge=0, le=31_536_000)] = 600

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
    cache: Cache | None = None
    budgets: list[Budget] = Field(default_factory=list)
    clients: list[Annotated[str, AfterValidator(client_name)]] = Field(default_factory=list)
    litellm: dict[str, Any] = Field(default_factory=dict)

    def provider_of(self, model: Model) -> Provider:
        """The provider that serves a model."""
        return self.providers[model.provider]

    def keys_of(self, model: Model) -> list[str]:
        """The names of the variables that can hold a model's keys; empty where none is needed."""
        return [key.name for key in self.all_keys_of(model)]

    def all_keys_of(self, model: Model) -> list[Key]:
        """The same with how they share the load."""
        key = self.provider_of(model).key
        return model.keys or ([Key(name=key)] if key else [])

    @property
    def key_names(self) -> list[str]:
        """Every variable that can hold a key of a model, each once."""
        models = self.models.values()
        return list(dict.fromkeys(name for model in models for name in self.keys_of(model)))

    @property
    def all_budgets(self) -> list[Limit]:
        """Those of single models, then those of `budgets:`."""
        own = [(name, m.budget) for name, m in self.models.items() if m.budget]
        found = [Limit(budget.usd, budget.per, model=name) for name, budget in own]
        return found + [Limit(**budget.model_dump()) for budget in self.budgets]

    def role(self, name: str) -> str:
        """The model that serves a role: as written, else of that name, else the default."""
        written: str | None = getattr(self.roles, name)
        if written:
            return written
        if name in ALIASES and name in self.models:
            return name
        return self.roles.default or next(iter(self.models))
