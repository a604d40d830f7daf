"""How `init` asks for a key: pasted unseen, and checked with its provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from llmswitch.cli import progress, text_init
from llmswitch.cli.ask import Screen
from llmswitch.profile import catalogue, keys, model_lists
from llmswitch.profile.providers import Provider

_KEY = "key: "


class Pasted(NamedTuple):
    """A key, its provider, and the models that the provider then listed."""

    provider: str
    key: str
    models: list[dict[str, Any]]


def ask(screen: Screen, providers: Mapping[str, Provider], given: str) -> Pasted | None:
    """Ask for a key, or take the given one, until one is not refused; None where none comes."""
    key: str | None = given
    if not given:
        screen.tell(["", *text_init.PASTE])
        key = screen.secret(_KEY)
    if key is None:
        return None
    named = _find(key, providers)  # the name of a provider in place of a key
    name = named or owner(key, providers) or _ask_provider(screen, providers)
    if name is None:
        return None
    if named or not key:
        screen.tell(text_init.key_page(providers[name], name))
        key = screen.secret(_KEY)
    while key:
        name = owner(key, providers) or name
        answer = _check(screen, providers[name], name, key)
        if answer is not None:
            return Pasted(name, key, answer.models)
        key = screen.secret(_KEY)
    return None


def owner(key: str, providers: Mapping[str, Provider]) -> str | None:
    """The provider whose keys begin like this one."""
    name = catalogue.of_key(key)
    return name if name in _with_key(providers) else None


def _with_key(providers: Mapping[str, Provider]) -> list[str]:
    """The providers that need a key and nothing else."""
    return [name for name, one in providers.items() if one.key and not one.env]


def _find(text: str, providers: Mapping[str, Provider]) -> str | None:
    """The provider of this name or label."""
    names = _with_key(providers)
    shown = {(providers[name].label or name).lower(): name for name in names}
    return (shown | {name: name for name in names}).get(text.lower())


def _ask_provider(screen: Screen, providers: Mapping[str, Provider]) -> str | None:
    """Ask whose key it is; None for an empty answer."""
    names = _with_key(providers)
    screen.tell(text_init.providers(providers, names))
    numbers = {str(at): name for at, name in enumerate(names, 1)}
    while answer := screen.line("which provider? number or name: "):
        name = numbers.get(answer) or _find(answer, providers)
        screen.took(answer if name else "")
        if name:
            return name
        screen.tell(["not in the list: type a number or a name from it"])
    if answer is not None:
        screen.took("")
    return None


def _check(screen: Screen, provider: Provider, name: str, key: str) -> model_lists.Answer | None:
    """What the provider says to a key; None for one that it refuses, or that cannot be one."""
    if wrong := next(keys.key_problems(key, provider), None):
        screen.tell([f"that {wrong}; {text_init.AGAIN}"])
        return None
    label = provider.label or name
    with progress.shown() as tell:
        tell(f"asking {label}")
        answer = model_lists.check_key(provider, key)
        if answer.trouble is None and not answer.models:  # its list has a URL of its own
            answer = answer._replace(models=model_lists.ask_models(provider, key).models)
    screen.tell([text_init.checked(label, answer)])
    return None if answer.refused else answer
