"""What can be used: the providers and the models that are known, and what a profile has of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llmswitch.errors import LlmswitchError
from llmswitch.profile import model_lists
from llmswitch.profile.labels import proper_label
from llmswitch.profile.prices import look_up
from llmswitch.profile.providers import Provider, catalogue_data, known_model
from llmswitch.profile.rules import nearest
from llmswitch.profile.schema import Model, Profile
from llmswitch.profile.secrets import missing_reason

Said = Mapping[str, Mapping[str, Any]]
_SHOWN = {"label", "dialect", "auth", "base_url", "key", "key_page", "source", "read", "unverified"}


def providers(profile: Profile | None) -> dict[str, Provider]:
    """Every provider there is: those of the catalogue, and the profile's own over them."""
    found = {name: Provider.model_validate(data) for name, data in catalogue_data().items()}
    return found | (profile.providers if profile else {})


def get_provider(profile: Profile | None, name: str) -> Provider:
    """The provider of a name. Raises LlmswitchError where there is none."""
    found = providers(profile)
    if name not in found:
        raise LlmswitchError(
            f"there is no provider {name!r}{nearest(name, found)}", "llmswitch providers"
        )
    return found[name]


def keys_of(profile: Profile | None, name: str) -> list[str]:
    """The variables that can hold a key of a provider: its own, and those of the profile's models
    of it.
    """
    own = get_provider(profile, name).key
    models = profile.models.values() if profile else ()
    used = [key for model in models if profile and model.provider == name
            for key in profile.keys_of(model)]  # fmt: skip
    return list(dict.fromkeys([*([own] if own else []), *used]))


def variable(profile: Profile | None, which: str) -> tuple[str, Provider | None]:
    """The variable of a key, named by itself or by its provider, and that provider, where one is
    known. Raises LlmswitchError, without showing what may be a key.
    """
    found = providers(profile)
    if which in found:
        if own := found[which].key:
            return own, found[which]
        _refuse_login(found[which], which)
        raise LlmswitchError(f"{which} needs no key", "llmswitch providers")
    if not (which.isascii() and which.isidentifier() and which == which.upper()):
        raise LlmswitchError(
            "this is neither a provider nor a variable such as ZAI_API_KEY (never write a key "
            "itself on the command line)",
            "llmswitch providers",
        )
    of = variables(profile).get(which)
    return which, found[of[0]] if of else None


def variables(profile: Profile | None) -> dict[str, list[str]]:
    """Every variable that is known to hold a key, and the providers that it is a key of."""
    result: dict[str, list[str]] = {}
    for name in providers(profile):
        for key in keys_of(profile, name):
            result.setdefault(key, []).append(name)
    return result


def of_key(key: str) -> str | None:
    """The provider whose keys begin as this one does; None where that says nothing."""
    found = {
        name: prefix
        for name, one in providers(None).items()
        if (prefix := one.key_prefix) and key.startswith(prefix)
    }
    return max(found, key=lambda name: len(found[name]), default=None)


def provider_rows(
    profile: Profile | None, set_names: Collection[str], said: Said
) -> list[dict[str, Any]]:
    """`providers --json`: each provider, its key's variable and whether that is set."""
    return [
        {
            "name": name,
            **provider.model_dump(include=_SHOWN),
            "label": provider.label or name,
            "key_set": provider.key in set_names if provider.key else None,
            "models": len(_known(profile, name, provider, said)),
        }
        for name, provider in providers(profile).items()
    ]


def model_rows(
    profile: Profile | None,
    set_names: Collection[str],
    said: Said,
    provider: str | None = None,
    search: str = "",
) -> list[dict[str, Any]]:
    """`models --json`: the known models of each provider, or of one, with a text in their name."""
    wanted = {provider: get_provider(profile, provider)} if provider else providers(profile)
    return [
        _row(profile, name, one, model, set_names)
        for name, one in wanted.items()
        for model in _known(profile, name, one, said).values()
        if search.lower() in f"{name}/{model['id']} {one.label}".lower()
    ]


def _known(
    profile: Profile | None, name: str, provider: Provider, said: Said
) -> dict[str, dict[str, Any]]:
    """The models of a provider by their ids in small letters, in which providers do not tell them
    apart: of the catalogue, of its own list, of the profile.
    """
    found = {one.id.lower(): {"id": one.id} for one in provider.models}
    found |= {one["id"].lower(): one for one in said.get(name, {}).get("models", ())}
    for model in profile.models.values() if profile else ():
        if model.provider == name:
            found.setdefault(model.id.lower(), {"id": model.id})
    return found


def _row(
    profile: Profile | None,
    name: str,
    provider: Provider,
    model: Mapping[str, Any],
    set_names: Collection[str],
) -> dict[str, Any]:
    target = f"{name}/{model['id']}"
    known = look_up(Model(model=target), provider)
    price = known.price.model_dump(exclude_none=True) if known.price else model.get("price")
    keys = keys_of(profile, name)
    there = profile.models.items() if profile else ()
    listed = known_model(provider, model["id"])
    return {
        "model": target,
        "label": proper_label(provider, model["id"]),
        "retires": listed.retires if listed else None,
        "auth": provider.auth,
        "context": known.context or model.get("context"),
        "price": price,
        "key_set": any(key in set_names for key in keys) if keys else None,
        "keys": keys,
        "in_profile": [called for called, one in there if one.model.lower() == target.lower()],
    }


def model_row(
    profile: Profile, set_names: Collection[str], said: Said, called: str
) -> dict[str, Any]:
    """The row of one model of the profile."""
    model = profile.models[called]
    listed = _known(profile, model.provider, profile.provider_of(model), said)
    return _row(
        profile, model.provider, profile.provider_of(model), listed[model.id.lower()], set_names
    )


def entry(profile: Profile | None, said: Said, target: str) -> tuple[str, Any, bool]:
    """A model as it is written into a profile: a name for it, its short form, and whether it is
    known. In its long form, where only the provider's own list has its window and its price.

    Raises LlmswitchError where `target` is not provider/model.
    """
    name, slash, model = target.partition("/")
    if not slash or not model.strip():
        raise LlmswitchError(
            f"{target!r} must be provider/model, such as zai/glm-4.7", "llmswitch models"
        )
    provider = get_provider(profile, name)
    listed = _known(profile, name, provider, said).get(model.lower())
    known, more = look_up(Model(model=target), provider), listed or {}
    told: dict[str, Any] = {}
    if known.context is None and "context" in more:
        told["context"] = more["context"]
    if known.price is None and "price" in more:
        told["price"] = dict(more["price"])
    return model.rpartition("/")[2], {"model": target, **told} if told else target, bool(listed)


def ask(
    profile: Profile | None, keys: Mapping[str, str], provider: str | None
) -> dict[str, model_lists.Answer]:
    """Ask the providers whose key is set, or one, which models they have; all at once."""
    wanted = list(_askable(profile, keys, provider))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: model_lists.ask_models(one[1], one[2]), wanted))
    return {name: answer for (name, _, _), answer in zip(wanted, answers, strict=True)}


def _askable(
    profile: Profile | None, keys: Mapping[str, str], only: str | None
) -> Iterator[tuple[str, Provider, str | None]]:
    """Those that can be asked, with the key that is set. What needs no key runs on this machine and
    is asked only where it is named, or the profile uses it.
    """
    used = {model.provider for model in profile.models.values()} if profile else set()
    for name in [only] if only else providers(profile):
        provider, wanted = get_provider(profile, name), keys_of(profile, name)
        key = next((keys[key] for key in wanted if key in keys), None)
        if only:
            _refuse_login(provider, name)
        elif provider.auth == "subscription":
            continue
        if only and wanted and not key:
            raise LlmswitchError(
                f"{missing_reason(wanted)}, so {name} cannot be asked",
                f"llmswitch key set {wanted[0]}",
            )
        if key or only or (not wanted and name in used and provider.base_url):
            yield name, provider, key


def _refuse_login(provider: Provider, name: str) -> None:
    """Raises LlmswitchError for a provider that only the client's login opens."""
    if provider.auth == "subscription":
        raise LlmswitchError(
            f"{name} uses your Claude login and needs no key",
            "claude    (and in it: /status, or /login)",
        )


def check_keys(
    profile: Profile | None, keys: Mapping[str, str], provider: str
) -> dict[str, model_lists.Answer]:
    """Whether a provider takes each of its keys that is set, by the name of its variable."""
    one, wanted = get_provider(profile, provider), keys_of(profile, provider)
    _refuse_login(one, provider)
    if not wanted:
        raise LlmswitchError(f"{provider} needs no key", f"llmswitch models --provider {provider}")
    found = [name for name in wanted if name in keys]
    if not found:
        page = f"    (from {one.key_page})" if one.key_page else ""
        raise LlmswitchError(missing_reason(wanted), f"llmswitch key set {wanted[0]}{page}")
    return {name: model_lists.check_key(one, keys[name]) for name in found}
