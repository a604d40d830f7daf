"""What LiteLLM's bundled map knows of a model: its context window and its prices.

The map is a JSON file of 3 MB inside the litellm package. It is read without importing litellm,
which would cost seconds.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.profile.providers import Provider, known_model
from llmswitch.profile.schema import Model, Price

_PER_MILLION = 1_000_000
_TIER = re.compile(
    r"(input_cost_per_token|output_cost_per_token|cache_(read|creation)_input_token_cost)"
    r"(_above_1hr|_above_\d+k_tokens)+"
)


class Known(NamedTuple):
    """Tokens of context and USD per million tokens. None: nobody knows, which is not 0. `tiers`
    are other rates of the map, in USD per token by LiteLLM's own names: of long prompts, and of
    what is cached for an hour.
    """

    context: int | None
    price: Price | None
    tiers: tuple[tuple[str, float], ...] = ()


def price_map_file() -> Path | None:
    """Where the map is; None where litellm is not installed."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name("model_prices_and_context_window_backup.json")


@cache
def price_map() -> dict[str, dict[str, Any]]:
    """LiteLLM's map by its own model names; empty where the installed litellm has none."""
    file = price_map_file()
    if file is None:
        return {}
    try:
        loaded: dict[str, dict[str, Any]] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return loaded


def look_up(model: Model, provider: Provider) -> Known:
    """What is known of a model: what the profile says, else the map, else the catalogue.

    What a subscription pays costs nothing more by the token, unless the profile says otherwise.
    """
    entry: dict[str, Any] = {}
    if provider.prices is not None and not (model.context and model.price):
        names = (provider.prices + model.id, provider.prices + model.id.lower())
        entry = next((price_map()[name] for name in names if name in price_map()), {})
    tiers = () if model.price else tuple(rate for rate in entry.items() if _TIER.fullmatch(rate[0]))
    listed = known_model(provider, model.id)
    context = model.context or _tokens(entry) or (listed.context if listed else None)
    if provider.auth == "subscription" and not model.price:
        return Known(context, Price(input=0, output=0))
    return Known(context, model.price or _price(entry), tiers)


def _tokens(entry: dict[str, Any]) -> int | None:
    value = entry.get("max_input_tokens")
    return value if isinstance(value, int) and value > 0 else None


def _price(entry: dict[str, Any]) -> Price | None:
    def per_million(field: str) -> float | None:
        value = entry.get(field)
        return round(value * _PER_MILLION, 6) if isinstance(value, int | float) else None

    given, taken = per_million("input_cost_per_token"), per_million("output_cost_per_token")
    if given is None or taken is None:
        return None
    return Price(
        input=given,
        output=taken,
        cache_read=per_million("cache_read_input_token_cost"),
        cache_write=per_million("cache_creation_input_token_cost"),
    )
