"""The models that `init` offers, and the profile of the chosen ones. Reads and writes no file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from llmswitch.profile import catalogue
from llmswitch.profile.edit import with_model
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import is_local
from llmswitch.profile.rules import RESERVED, SUBSCRIPTION
from llmswitch.profile.schema import Gateway, Price, Profile

_MOST = 12  # models of one provider that are shown: OpenRouter lists hundreds
_TAKEN = 3  # of one provider, marked by default
_FAMILY = re.compile(r"claude-(opus|sonnet|haiku|fable)-(\d+)-(\d{1,2})(?:-\d{8})?")
_SMALL = re.compile(r"(?<![a-z])(haiku|flash|air|mini|nano|lite|small)(?![a-z])", re.IGNORECASE)
_HEAD = "# Written by `llmswitch init`, and yours from now on.\n"


class Candidate(NamedTuple):
    """A model that can be chosen. `value` is how a profile writes it, `context` is in tokens;
    `by_login`: the user's Claude subscription pays for it; `marked`: it is chosen by default.
    """

    provider: str
    target: str
    name: str
    value: Any
    context: int | None
    price: Price | None
    marked: bool
    by_login: bool = False


def candidates(
    profile: Profile | None,
    wanted: Collection[str],
    unsure: Collection[str],
    said: catalogue.Said,
    listed: Mapping[str, Collection[str]],
    by_login: Collection[str] = (),
) -> list[Candidate]:
    """The models of the wanted providers that a profile does not have yet.

    `unsure` are providers whose models are marked only where no others are. `listed` are the ids
    that a provider has just listed: they come first. `by_login` are providers that a Claude login
    opens.
    """
    names = {*RESERVED, *(name.lower() for name in (profile.models if profile else ()))}
    rows: list[tuple[str, dict[str, Any], bool]] = []
    for provider in catalogue.providers(profile):
        if provider in wanted:
            models = catalogue.model_rows(profile, (), said, provider)
            served = {one.lower() for one in listed.get(provider, ())}
            fresh = [row for row in models if not row["in_profile"]]
            fresh.sort(key=lambda row: _id(row).lower() not in served)  # the others stay in order
            mark = profile is None or not any(row["in_profile"] for row in models)
            rows += [(provider, row, mark and at < _TAKEN) for at, row in enumerate(fresh[:_MOST])]
    sure = any(mark for provider, _, mark in rows if provider not in unsure)
    found = []
    for provider, row, mark in rows:
        name = _unique(_names(_id(row)), provider, names)
        names.add(name.lower())
        value, price = _value(profile, said, provider, row)
        taken = mark and not (sure and provider in unsure)
        rest = (row["context"], price, taken, provider in by_login)
        found.append(Candidate(provider, row["model"], name, value, *rest))
    return found


def _id(row: Mapping[str, Any]) -> str:
    model: str = row["model"]
    return model.partition("/")[2]


def _value(
    profile: Profile | None, said: catalogue.Said, provider: str, row: Mapping[str, Any]
) -> tuple[Any, Price | None]:
    """How a profile writes a model, and its price; a model on this machine is free."""
    _, value, _ = catalogue.entry(profile, said, row["model"])
    long = dict(value) if isinstance(value, dict) else {"model": value}
    price = Price(**row["price"]) if row["price"] else None
    if price is None and is_local(catalogue.providers(profile)[provider]):
        price = Price(input=0, output=0)
        long["price"] = {"input": 0, "output": 0}
    return long if len(long) > 1 else value, price


def _names(model: str) -> Iterator[str]:
    """Names for a model id, the shortest first: without the vendor, a date, `:latest`."""
    short = model.rpartition("/")[2].removesuffix(":latest")
    if claude := _FAMILY.search(short):
        family, major, minor = claude.groups()
        yield family
        yield f"{family}-{major}.{minor}"
    yield re.sub(r"[^A-Za-z0-9._-]+", "-", short).strip("-._")[:60] or "model"


def _unique(names: Iterator[str], provider: str, taken: Collection[str]) -> str:
    last = ""
    for name in names:
        if name.lower() not in taken:
            return name
        last = name
    named = f"{last}-{provider}"
    more = (f"{named}-{number}" for number in range(2, 1000))
    return next(name for name in (named, *more) if name.lower() not in taken)


def profile_text(chosen: Sequence[Candidate], port: int) -> str:
    """The profile of the chosen models; the first is the default. It is valid."""
    text = _HEAD
    for one in chosen:
        text = with_model(text, one.name, one.value)
    names = [one.name for one in chosen]
    roles = {"default": names[0]}
    if "haiku" not in names and (small := next(filter(_SMALL.search, names), None)):
        roles["haiku"] = small
    written = yaml.safe_dump(roles, default_flow_style=True, sort_keys=False, width=2**31)
    text += f"roles: {written}"
    for provider in dict.fromkeys(one.provider for one in chosen if one.by_login):
        text += f"providers: {{{provider}: {{auth: {SUBSCRIPTION}}}}}\n"
    if port != Gateway().port:
        text += f"gateway: {{port: {port}}}    # {Gateway().port} is taken\n"
    parse_profile(text, "the profile")
    return text


def choose(answer: str, there: Sequence[Candidate]) -> list[Candidate] | None:
    """The models in an answer, by number, name or provider; None for an empty answer, and for one
    with an unknown word.
    """
    numbers = {str(at): [one] for at, one in enumerate(there, 1)}
    chosen: list[Candidate] = []
    for word in answer.lower().replace(",", " ").split():
        by_name = [one for one in there if word in {one.name.lower(), one.target.lower()}]
        of = [one for one in there if one.provider == word][:_TAKEN]
        found = numbers.get(word) or by_name or of
        if not found:
            return None
        chosen += [one for one in found if one not in chosen]
    return chosen or None
