"""What the tokens of a period would have cost on each model of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import ProfileError
from llmswitch.profile.load import load_profile
from llmswitch.profile.prices import look_up
from llmswitch.profile.schema import Price
from llmswitch.usage.summary import Group


class WhatIf(NamedTuple):
    """What the same tokens would have cost on one model; None: its price is unknown."""

    model: str
    cost_usd: float | None


def prices_of(file: Path) -> tuple[dict[str, Price | None], str | None]:
    """The price of each model of a profile, and why there is none where it cannot be read."""
    try:
        profile = load_profile(file)
    except ProfileError:
        return {}, f"the profile {file} is not valid, so the costs on other models are left out"
    models = profile.models.items()
    return {name: look_up(m, profile.provider_of(m)).price for name, m in models}, None


def what_if(total: Group, prices: dict[str, Price | None]) -> list[WhatIf]:
    """What the same tokens would have cost on each model, the cheapest first."""
    found = [WhatIf(name, _cost(total, price) if price else None) for name, price in prices.items()]
    return sorted(found, key=lambda item: (item.cost_usd is None, item.cost_usd or 0))


def _cost(total: Group, price: Price) -> float:
    """In USD; what a provider does not price apart it takes as input."""
    return (
        total.input_tokens * price.input
        + total.output_tokens * price.output
        + total.cache_read_tokens * price.reading
        + total.cache_write_tokens * price.writing
    ) / 1_000_000
