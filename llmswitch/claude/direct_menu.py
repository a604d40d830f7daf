"""What Claude Code is told for one provider alone, with no gateway between: each model is called as
the provider calls it.
"""

from __future__ import annotations

from typing import Any

from llmswitch import __version__
from llmswitch.errors import LlmswitchError
from llmswitch.paths import PROFILE_NAME, ProfileRef, stamp
from llmswitch.profile.catalogue import get_provider, providers
from llmswitch.profile.load import load_profile
from llmswitch.profile.prices import price_map_file
from llmswitch.profile.providers import CATALOGUE, DIRECT, Provider, api_base, catalogue_data
from llmswitch.profile.schema import Model, Profile, Roles
from llmswitch.render.claude_settings import make_client
from llmswitch.render.menu import Menu, make_menu
from llmswitch.render.plan import shown_path


def possible(profile: Profile | None) -> list[str]:
    """The providers that Claude Code can speak to by itself."""
    return [name for name, one in providers(profile).items() if one.dialect in DIRECT]


def wrapper_name(provider: str, ref: ProfileRef | None) -> str:
    """What the direct wrapper of a provider is called, unless one says otherwise."""
    return _named(_load(ref), provider).wrapper or f"claude-{provider}"


def render(provider: str, ref: ProfileRef | None) -> dict[str, Any]:
    """Everything that a session needs of a provider, as it is kept for the next one: the models of
    the profile on that provider, else those that the catalogue knows.

    `parts` are the files that it was made of, by their stamps; `keys` the variables that can hold
    the key. Raises LlmswitchError for a provider that needs the gateway, and for no model.
    """
    parts = [CATALOGUE, *([ref.file] if ref else []), *([f] if (f := price_map_file()) else [])]
    stamps = {str(file): stamp(file) for file in parts if file.exists()}
    profile = _load(ref)
    one = _named(profile, provider)
    own = _own(profile, provider, one)
    menu = make_menu(own, own.key_names)
    by_id = _by_id(menu)
    url = api_base(one) or ""
    keys = own.key_names
    page = f"    (from {one.key_page})" if one.key_page else ""
    return {
        "version": __version__,
        "profile": str(ref.file) if ref else None,
        "parts": stamps,
        "clients": {
            "picker": make_client(by_id, "picker", url),
            "rows": make_client(_spread(by_id, own), "rows", url),
        },
        "roles": by_id.roles,
        "aliases": {row.name: row.model.id for row in menu.served},
        "keys": keys,
        "cure": f"llmswitch key set {provider if provider in catalogue_data() else keys[0]}{page}"
        if keys
        else None,
        "label": one.label or provider,
    }


def _load(ref: ProfileRef | None) -> Profile | None:
    return load_profile(ref.file, shown_path(ref.file)) if ref else None


def _named(profile: Profile | None, provider: str) -> Provider:
    one = get_provider(profile, provider)
    if one.dialect not in DIRECT:
        raise LlmswitchError(
            f"{provider} has no known Anthropic-compatible endpoint, so Claude Code cannot "
            f"talk to it directly; these have one: {', '.join(possible(profile))}",
            "llmswitch wrapper install    (through the gateway, with every provider)",
        )
    if not PROFILE_NAME.fullmatch(provider):
        raise LlmswitchError(
            f"{provider!r} is not a valid folder name",
            "rename it under `providers:` in the profile",
        )
    return one


def _own(profile: Profile | None, provider: str, one: Provider) -> Profile:
    """A profile of this provider's models alone."""
    used = {n: m for n, m in profile.models.items() if m.provider == provider} if profile else {}
    if profile and used:
        return profile.model_copy(update={"models": used})
    known = {model.id: Model(model=f"{provider}/{model.id}") for model in one.models}
    if not known:
        raise LlmswitchError(
            f"no models of {provider} are known",
            f"llmswitch models add {provider}/MODEL    (what it serves: llmswitch models "
            f"--provider {provider} --refresh)",
        )
    return Profile(models=known, roles=Roles(**one.roles), providers={provider: one})


def _by_id(menu: Menu) -> Menu:
    """The menu with each model under the provider's own id, once."""
    rows = {row.model.id: row._replace(name=row.model.id) for row in reversed(menu.served)}
    ids = {row.name: row.model.id for row in menu.served}
    roles = {role: ids[name] for role, name in menu.roles.items()}
    return Menu(tuple(reversed(rows.values())), roles)


def _spread(menu: Menu, own: Profile) -> Menu:
    """The menu for a client that shows a row for each role and one more: a role that nobody has
    written shows a model that would have no row. What stands for Opus is such a client's Default.
    """
    free = iter(dict.fromkeys(r.name for r in menu.rows if r.name not in menu.roles.values()))
    unwritten = [role for role in ("sonnet", "fable")
                 if not getattr(own.roles, role) and role not in own.models]  # fmt: skip
    return menu._replace(
        roles=menu.roles | {role: next(free, menu.roles[role]) for role in unwritten}
    )
