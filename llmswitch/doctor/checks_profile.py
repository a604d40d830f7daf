"""Checks of the profile and of the keys that it names."""

from __future__ import annotations

from llmswitch.doctor.facts import Facts, Level, NotAskedError, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.profile import trust
from llmswitch.profile.keys import KEYRING, key_problems
from llmswitch.profile.providers import Provider
from llmswitch.profile.secrets import stored_keys
from llmswitch.render.advice import notes
from llmswitch.render.litellm_config import named_in_engine
from llmswitch.render.menu import row_data
from llmswitch.render.retirement import Retirement, retirements


def check_profile(facts: Facts) -> Verdict:
    """There is a profile, and it has no mistakes."""
    if isinstance(facts.named, LlmswitchError):
        return Verdict("error", facts.named.message, facts.named.hint)
    if isinstance(facts.loaded, LlmswitchError):
        first, *others = facts.loaded.message.splitlines()
        more = f" (and {len(others)} more)" if others else ""
        return Verdict("error", first + more, f"llmswitch validate {facts.ref.typed}")
    count = len(facts.profile.models)
    models = "1 model" if count == 1 else f"{count} models"
    return Verdict("ok", f"{facts.ref.name}, {facts.ref.file}: {models}")


def check_advice(facts: Facts) -> Verdict:
    """What limits or surprises, though nothing is wrong; keys have checks of their own."""
    profile = facts.profile
    found = notes(profile, profile.key_names)
    if not found:
        return Verdict("ok", "nothing to know")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Verdict("info", found[0] + more, f"llmswitch validate {facts.ref.typed}")


def trust_of(facts: Facts) -> trust.Trust:
    """What to know of the profile if it is somebody else's; nothing where it has mistakes."""
    try:
        return trust.look(facts.profile)
    except NotAskedError:
        return trust.Trust((), ())


def check_trust(facts: Facts) -> Verdict:
    """Where it sends keys, and what of `litellm:` runs code or sends data elsewhere."""
    found = trust.lines(trust_of(facts))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    cure = f"if you did not write it, read all of it: llmswitch validate {facts.ref.typed}"
    return Verdict("info", found[0] + more, cure)


def retiring(facts: Facts) -> list[Retirement]:
    """The models that their providers are about to retire, or have retired."""
    try:
        return retirements(map(row_data, facts.rows), facts.now)
    except NotAskedError:
        return []


def check_retirement(facts: Facts) -> Verdict:
    """No model of the profile is about to be retired; the row is shown only where one is."""
    found = retiring(facts)
    cures = dict.fromkeys(one.cure for one in found)
    return Verdict("warning", "; ".join(one.message for one in found), "; ".join(cures))


def check_prices(facts: Facts) -> Verdict:
    """The price of every model is known, so that its cost and its budgets are."""
    unknown = [row.name for row in facts.rows if row.price is None]
    if not unknown:
        return Verdict("ok", "the price of every model is known")
    said = f"unknown: {', '.join(unknown)}; their cost is shown as unknown, and no budget counts it"
    cure = "write `price: {input: ..., output: ...}` for them (USD per million tokens)"
    return Verdict("warning" if facts.profile.all_budgets else "info", said, cure)


def check_kept_keys(facts: Facts) -> Verdict:
    """What `key set` has kept can be read."""
    try:
        stored_keys(facts.home)
    except LlmswitchError as error:
        return Verdict("error", error.message, error.hint)
    return Verdict("ok", f"{facts.home.keys} can be read")


def check_variables(facts: Facts) -> Verdict:
    """The variables that `litellm:` and cloud providers read by themselves are set."""
    profile = facts.profile
    needed = named_in_engine(profile)
    wanted = {name for model in profile.models.values() for name in profile.provider_of(model).env}
    lacking = sorted(
        name for name in needed | wanted if name not in facts.known.names and name not in facts.held
    )
    if not lacking:
        return Verdict("ok", "every variable that the profile names beside keys is set")
    level: Level = "error" if needed & set(lacking) else "info"
    was = "is" if len(lacking) == 1 else "are"
    return Verdict(level, f"{', '.join(lacking)} {was} not set", f"export {lacking[0]}=...")


def key_names(facts: Facts) -> list[str]:
    """The variables that can hold a key of the profile's models, in its order."""
    try:
        return facts.profile.key_names
    except NotAskedError:
        return []


def has_subscription(facts: Facts) -> bool:
    """Whether a model of the profile is paid by a Claude login."""
    try:
        return any(row.needs_login for row in facts.rows)
    except NotAskedError:
        return False


def check_key(facts: Facts, name: str) -> Verdict:
    """A key is set and looks like one. Its value is never shown."""
    key = facts.keys.get(name)
    provider = _provider_of(facts, name)
    page = f"    (from {provider.key_page})" if provider.key_page else ""
    cure = f"export {name}=...{page}"
    place = "is set in the environment"
    if name not in facts.environ and name in facts.known.names:
        place = f"is kept in {KEYRING if name in facts.known.hidden else facts.home.keys}"
        cure = f"llmswitch key set {name}{page}"
    if name in facts.known.hidden:
        return Verdict("ok", place)
    if key is None:
        if name in facts.held:
            return Verdict("ok", "not set in this shell, but the running gateway has it")
        return _missing(facts, name, cure)
    if wrong := next(key_problems(key, provider), None):
        return Verdict("warning", f"{place}, but {wrong}", cure)
    return Verdict("ok", place)


def _missing(facts: Facts, name: str, cure: str) -> Verdict:
    out = [row.name for row in facts.rows if row.reason and name in row.missing]
    if all(row.reason for row in facts.rows):
        return Verdict("error", "is not set, and no model of the profile can be used", cure)
    if not out:
        return Verdict("warning", "is not set; another key does its work", cure)
    was = "is" if len(out) == 1 else "are"
    return Verdict("warning", f"is not set: {', '.join(out)} {was} left out of the menu", cure)


def _provider_of(facts: Facts, name: str) -> Provider:
    profile = facts.profile
    return next(
        profile.provider_of(model)
        for model in profile.models.values()
        if name in profile.keys_of(model)
    )
