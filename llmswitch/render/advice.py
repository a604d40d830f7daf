"""What to know of a profile that is valid: what is left out, unknown, or limits the rest."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from llmswitch.errors import LlmswitchError
from llmswitch.profile.providers import catalogue_data
from llmswitch.profile.schema import Profile
from llmswitch.render.claude_settings import compaction_window, max_context
from llmswitch.render.menu import Menu, Row, format_context, make_menu, make_rows


def notes(profile: Profile, keys: Container[str]) -> list[str]:
    """One sentence for each thing, given the names of the keys that are set."""
    rows = make_rows(profile, keys)
    found = [*_keys(rows), *_unverified(rows), *_fallbacks(rows), *_unknown(rows)]
    found += [*_budgets(profile, rows), *_cache(profile), *_address(profile)]
    try:
        found += _windows(make_menu(profile, keys))
    except LlmswitchError as error:
        found.append(error.message.partition(":")[0])
    return found


def _keys(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.reason:
            yield f"{row.name} is left out of the menu: {row.reason}"
        else:
            yield from (f"{row.name} works without {key}, which is not set" for key in row.missing)


def _unverified(rows: Sequence[Row]) -> Iterator[str]:
    """What the catalogue is not sure of, where the profile does not say it better. Where to get a
    key matters to those alone who lack one.
    """
    lacking = {row.provider_name for row in rows if row.missing}
    for name, provider in {row.provider_name: row.provider for row in rows}.items():
        for field in provider.unverified:
            value = getattr(provider, field)
            ours = catalogue_data().get(name, {}).get(field) == value
            if ours and (field != "key_page" or name in lacking):
                said = f"{name} has an unverified {field}, {value}"
                yield f"{said}; correct it under `providers:`"


def _fallbacks(rows: Sequence[Row]) -> Iterator[str]:
    left_out = {row.name for row in rows if row.reason}
    for row in rows:
        targets = dict.fromkeys([*row.model.fallbacks, *row.model.context_fallbacks])
        for name in targets if row.name not in left_out else ():
            if name in left_out:
                yield f"{row.name} cannot fall back to {name}, which is left out"


def _unknown(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.price is None:
            yield f"{row.name} has no known price; write `price: {{input: ..., output: ...}}`"
        if row.context is None:
            yield f"{row.name} has no known context window, so 200k is assumed; write `context:`"


def _budgets(profile: Profile, rows: Sequence[Row]) -> Iterator[str]:
    """A budget counts only what has a price."""
    for budget in profile.all_budgets:
        blind = [
            row.name
            for row in rows
            if row.price is None
            and budget.limits().get("model", row.name) == row.name
            and budget.limits().get("provider", row.provider_name) == row.provider_name
        ]
        if blind:
            names = ", ".join(blind)
            yield f"the budget {budget.name} cannot count {names}: their price is unknown"


def _cache(profile: Profile) -> Iterator[str]:
    if cache := profile.cache:
        of = f" of {' and '.join(cache.models)}" if cache.models else ""
        yield (
            f"answers{of} are given again to the same request for {cache.ttl} s: also a tool call, "
            "which Claude Code then runs again"
        )


def _address(profile: Profile) -> Iterator[str]:
    host = profile.gateway.host
    if not (host.startswith("127.") or host in {"localhost", "::1"}):
        yield f"the gateway listens on {host}: anyone who reaches it with its key can use your keys"


def _windows(menu: Menu) -> Iterator[str]:
    if row := compaction_window(menu, "picker"):
        yield (
            f"{row.name} has a window of {format_context(row.context)}, the smallest of the menu, "
            "so Claude Code compacts every session at that"
        )
    small = max_context(menu)
    if small and small.context:
        yield (
            f"{small.name} has a window of {format_context(small.context)}; Claude Code is told, "
            "but it takes 20k to 30k for its own tools before the first word"
        )
