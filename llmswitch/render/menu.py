"""The rows of the menu: each model of a profile, what is known of it, and if it can be served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.profile.labels import proper_label
from llmswitch.profile.prices import look_up
from llmswitch.profile.providers import KnownModel, Provider, known_model
from llmswitch.profile.schema import ROLES, Model, Price, Profile
from llmswitch.profile.secrets import missing_reason

MILLION = 1_000_000


class Row(NamedTuple):
    """One model of the profile. `keys` are the variables that hold its keys and are set,
    `missing` those that are not; `reason` says why it cannot be served, None if it can; `known` is
    what the catalogue has of it.
    """

    name: str
    model: Model
    provider: Provider
    provider_name: str
    label: str
    context: int | None
    price: Price | None
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    reason: str | None
    tiers: tuple[tuple[str, float], ...] = ()
    known: KnownModel | None = None

    @property
    def description(self) -> str:
        """What stands beside the label: provider, context window, price."""
        price = "Claude subscription" if self.is_subscription else format_price(self.price)
        return " · ".join((self.provider_label, format_context(self.context), price))

    @property
    def needs_login(self) -> bool:
        """Whether it is served to those alone who bring a Claude login."""
        return self.provider.auth == "subscription"

    @property
    def is_subscription(self) -> bool:
        """Whether nothing is paid for it by the token."""
        return self.needs_login and self.model.price is None

    @property
    def provider_label(self) -> str:
        """The provider as people call it."""
        return self.provider.label or self.provider_name


class Menu(NamedTuple):
    """The rows of a profile in its order, and the model that serves each role."""

    rows: tuple[Row, ...]
    roles: dict[str, str]

    @property
    def served(self) -> tuple[Row, ...]:
        """The rows that can be served."""
        return tuple(row for row in self.rows if row.reason is None)


def make_menu(profile: Profile, keys: Container[str]) -> Menu:
    """The menu of a profile, given the names of the keys that are set.

    A role whose model cannot be served goes to the default model, and the default role to the
    first model that can. Raises LlmswitchError when no model can be served.
    """
    rows = make_rows(profile, keys)
    served = [row.name for row in rows if row.reason is None]
    if not served:
        wanted = sorted({name for row in rows for name in row.missing})
        raise LlmswitchError(
            "no model of the profile can be used: "
            + "; ".join(f"{row.name}: {row.reason}" for row in rows),
            f"set one of them and try again: export {wanted[0]}=...",
        )
    default = profile.role("default") if profile.role("default") in served else served[0]
    # Subagents inherit the session's model unless the profile says otherwise.
    wanted_roles = [role for role in ROLES if role != "subagent" or profile.roles.subagent]
    serving = {role: profile.role(role) for role in wanted_roles}
    return Menu(rows, {role: name if name in served else default for role, name in serving.items()})


def make_rows(profile: Profile, keys: Container[str]) -> tuple[Row, ...]:
    """Every model of a profile in its order, given the names of the keys that are set."""
    labels = _labels(profile)
    return tuple(
        _row(profile, name, model, labels[name], keys) for name, model in profile.models.items()
    )


def _row(profile: Profile, name: str, model: Model, label: str, keys: Container[str]) -> Row:
    provider = profile.provider_of(model)
    wanted = profile.keys_of(model)
    found = tuple(key for key in wanted if key in keys)
    missing = tuple(key for key in wanted if key not in keys)
    reason = None
    if wanted and not found:
        reason = missing_reason(missing)
    known = look_up(model, provider)
    return Row(
        name=name,
        model=model,
        provider=provider,
        provider_name=model.provider,
        label=label,
        context=known.context,
        price=known.price,
        tiers=known.tiers,
        keys=found,
        missing=missing,
        reason=reason,
        known=known_model(provider, model.id),
    )


def row_data(row: Row) -> dict[str, Any]:
    """A row as `status --json` shows it. `keys` are all the variables that can hold its key,
    `retires` is the day from which its provider no longer serves it, `instead` what to write then.
    """
    instead = row.known.instead if row.known else None
    return {
        "name": row.name,
        "model": row.model.model,
        "provider": row.provider_name,
        "label": row.label,
        "description": row.description,
        "available": row.reason is None,
        "reason": row.reason,
        "keys": [*row.keys, *row.missing],
        "missing": list(row.missing),
        "retires": row.known.retires if row.known else None,
        "instead": f"{row.provider_name}/{instead}" if instead else None,
    }


def _labels(profile: Profile) -> dict[str, str]:
    """The label of each model: the profile's, else its proper name where no other model of the
    profile has that too.
    """
    proper = {
        name: model.label or proper_label(profile.provider_of(model), model.id)
        for name, model in profile.models.items()
    }
    shared = Counter(proper.values())
    return {
        name: model.label
        or (own if (own := proper[name]) and shared[own] == 1 else _plain_label(name, model))
        for name, model in profile.models.items()
    }


def _plain_label(name: str, model: Model) -> str:
    """The name, and beside it the id upstream where the name does not already say it."""
    upstream = model.id.rpartition("/")[2]
    return name if upstream.lower() == name.lower() else f"{name} ({upstream})"


def format_context(tokens: int | None) -> str:
    """200000 -> "200k", 1048576 -> "1M"."""
    if tokens is None:
        return "context unknown"
    if tokens >= MILLION:
        return f"{tokens / MILLION:.1f}".removesuffix(".0") + "M"
    return f"{tokens // 1000}k"


def format_price(price: Price | None) -> str:
    """USD per million tokens in and out; a price that nobody knows is unknown, never 0."""
    if price is None:
        return "price unknown"
    if price.input == price.output == 0:
        return "free"
    return f"{_usd(price.input)}/{_usd(price.output)} per Mtok"


def _usd(value: float) -> str:
    if value == int(value):
        return f"${int(value)}"
    return f"${value:.2f}" if round(value, 2) == value else f"${value:g}"
