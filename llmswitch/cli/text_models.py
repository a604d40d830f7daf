"""Providers and models in the words that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmswitch.columns import columns
from llmswitch.profile.model_lists import Answer
from llmswitch.profile.schema import Price
from llmswitch.render.menu import format_context, format_price

# Where there is no key.
_OPENED_BY = {"key": "needs none", "subscription": "your Claude login"}


def providers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each provider; the page of a key for those alone who lack it."""
    cells = [("PROVIDER", "DIALECT", "MODELS", "KEY")]
    for row in rows:
        if row["key"] is None:
            key = _OPENED_BY[row["auth"]]
        elif row["key_set"]:
            key = f"{row['key']} is set"
        else:
            doubt = " (unverified)" if "key_page" in row["unverified"] else ""
            page = f": {row['key_page']}{doubt}" if row["key_page"] else ""
            key = f"{row['key']} is not set{page}"
        cells.append((row["name"], row["dialect"], str(row["models"]), key))
    return columns(cells)


def models(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each model."""
    if not rows:
        return ["no such model is known; ask the providers: llmswitch models --refresh"]
    cells = [("MODEL", "CONTEXT", "PRICE", "KEY", "IN THE PROFILE")]
    for row in rows:
        price = Price(**row["price"]) if row["price"] else None
        key = {
            None: _OPENED_BY[row["auth"]],
            True: "set",
            False: f"{' or '.join(row['keys'])} is not set",
        }
        context = format_context(row["context"]).removeprefix("context ")
        cells.append(
            (
                row["model"],
                context,
                "Claude subscription"
                if row["auth"] == "subscription"
                else format_price(price).removeprefix("price "),
                key[row["key_set"]],
                ", ".join(row["in_profile"]) or "-",
            )
        )
    return columns(cells)


def refreshed(answers: Mapping[str, Answer]) -> list[str]:
    """What each provider said that was asked."""
    if not answers:
        return ["no provider was asked: no key is set    -> llmswitch providers"]
    return [
        f"{name} {answer.trouble}" if answer.trouble else f"{name} lists {len(answer.models)}"
        for name, answer in answers.items()
    ]


def refreshed_data(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """The same for --json."""
    return {
        "providers": {
            name: {"models": [one["id"] for one in answer.models], "trouble": answer.trouble}
            for name, answer in answers.items()
        }
    }


def added(
    row: Mapping[str, Any], name: str, file: str, done: bool, known: bool, page: str | None
) -> list[str]:
    """What `models add` did, and what the model still needs."""
    if not done:
        return [f"{name} ({row['model']}) is in {file} already"]
    lines = [f"added {name} ({row['model']}) to {file}"]
    if not known:
        lines.append(f"note: {row['model']} is none of the models that are known of its provider")
    if row["key_set"] is False:
        where = f"    (from {page})" if page else ""
        keys = " or ".join(row["keys"])
        lines.append(f"note: {keys} is not set, so it is left out{where}")
    return [*lines, "-> llmswitch up"]
