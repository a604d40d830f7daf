"""Checks of the profile and of the keys that it names."""

from __future__ import annotations

from llmswitch.columns import counted
from llmswitch.doctor.context import Context, Level, Verdict, are, first_of
from llmswitch.errors import LlmswitchError
from llmswitch.profile import trust
from llmswitch.profile.keys import KEYRING, key_problems
from llmswitch.profile.providers import Provider
from llmswitch.profile.secrets import stored_keys
from llmswitch.render.advice import notes
from llmswitch.render.litellm_config import named_in_engine


def check_profile(context: Context) -> Verdict:
    """There is a profile, and it has no mistakes."""
    if isinstance(context.named, LlmswitchError):
        raise context.named
    if isinstance(context.loaded, LlmswitchError):
        mistakes = context.loaded.message.splitlines()
        return Verdict("error", first_of(mistakes), f"llmswitch validate {context.ref.typed}")
    models = counted(len(context.profile.models), "model")
    return Verdict("ok", f"{models} in {context.ref.file}")


def check_advice(context: Context) -> Verdict:
    """What limits or surprises, though nothing is wrong; keys have checks of their own."""
    found = notes(context.profile, context.profile.key_names)
    if not found:
        return Verdict("ok", "no advice")
    return Verdict("info", first_of(found), f"llmswitch validate {context.ref.typed}")


def check_trust(context: Context) -> Verdict | None:
    """Where it sends keys, and what of `litellm:` runs code or sends data elsewhere."""
    if not (found := trust.lines(context.trust)):
        return None
    cure = f"if the profile is not yours, read it: llmswitch validate {context.ref.typed}"
    return Verdict("info", first_of(found), cure)


def check_retirement(context: Context) -> Verdict | None:
    """No model of the profile is about to be retired."""
    if not context.retiring:
        return None
    cures = dict.fromkeys(one.cure for one in context.retiring)
    return Verdict("warning", "; ".join(one.message for one in context.retiring), "; ".join(cures))


def check_prices(context: Context) -> Verdict:
    """The price of every model is known, so that its cost and its budgets are."""
    unknown = [row.name for row in context.rows if row.price is None]
    if not unknown:
        return Verdict("ok", "the price of every model is known")
    said = f"no price for {', '.join(unknown)}: the cost is unknown, and no budget counts it"
    cure = "add `price: {input: ..., output: ...}`, in USD per million tokens"
    return Verdict("warning" if context.profile.all_budgets else "info", said, cure)


def check_key(context: Context, name: str) -> Verdict:
    """A key is set and looks like one. Its value is never shown."""
    key = context.keys.get(name)
    provider = _provider_of(context, name)
    page = f"    (from {provider.key_page})" if provider.key_page else ""
    cure = f"export {name}=...{page}"
    place = "is set in the environment"
    if name not in context.environ and name in context.known.names:
        place = f"is kept in {KEYRING if name in context.known.hidden else context.home.keys}"
        cure = f"llmswitch key set {name}{page}"
    if name in context.known.hidden:
        return Verdict("ok", place)
    if key is None:
        if name in context.held:
            return Verdict("ok", "not set in this shell, but the running gateway has it")
        return _missing(context, name, cure)
    if problem := next(key_problems(key, provider), None):
        return Verdict("warning", f"{place}, but {problem}", cure)
    return Verdict("ok", place)


def _missing(context: Context, name: str, cure: str) -> Verdict:
    out = [row.name for row in context.rows if row.reason and name in row.missing]
    if all(row.reason for row in context.rows):
        return Verdict("error", "is not set, and no model of the profile can be used", cure)
    if not out:
        return Verdict("warning", "is not set; its models use another key", cure)
    return Verdict("warning", f"is not set: {are(out)} left out of the menu", cure)


def _provider_of(context: Context, name: str) -> Provider:
    profile = context.profile
    return next(
        profile.provider_of(model)
        for model in profile.models.values()
        if name in profile.keys_of(model)
    )


def check_kept_keys(context: Context) -> None:
    """What `key set` has kept can be read."""
    stored_keys(context.home)


def check_variables(context: Context) -> Verdict:
    """The variables that `litellm:` and cloud providers read by themselves are set."""
    profile = context.profile
    needed = named_in_engine(profile)
    wanted = {name for model in profile.models.values() for name in profile.provider_of(model).env}
    lacking = sorted((needed | wanted) - {*context.known.names} - context.held)
    if not lacking:
        return Verdict("ok", "all other variables that the profile names are set")
    level: Level = "error" if needed & set(lacking) else "info"
    return Verdict(level, f"{are(lacking)} not set", f"export {lacking[0]}=...")
