"""What `init` says and shows, in the words that a person reads."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from llmswitch.claude.program import shown
from llmswitch.claude.wrapper import Installed
from llmswitch.cli import text
from llmswitch.columns import columns
from llmswitch.doctor.checks import Result
from llmswitch.profile.keys import KEYRING, Place
from llmswitch.profile.model_lists import Answer
from llmswitch.profile.providers import DIRECT, Provider
from llmswitch.redact import with_tilde
from llmswitch.render.menu import Row, format_context, format_price
from llmswitch.setup.compose import Candidate
from llmswitch.setup.detect import Found
from llmswitch.setup.write import Done

NOTHING = "nothing was written"
NOTHING_NEW = "no key and no server is new since it was written"
TERMS = (
    "your Claude login pays for Anthropic's models, and is sent to Anthropic alone; whether the",
    "terms of your plan allow its use through a gateway is between you and Anthropic",
)
LOGIN_TOO = (
    "note:   the Claude login is left out; what lets it pay for Anthropic's models is the line",
    "        providers: {anthropic: {auth: subscription}}",
)
NO_PROVIDER = ["that is no provider of the list: type its number, or its name"]
NO_SUCH = ["that is no model of the list: type numbers of it, such as 2 1"]
PASTE = (
    "paste a key of Anthropic, OpenAI, OpenRouter, Z.ai or another provider; it is not shown",
    "(Enter alone lists the providers)",
)
KEY, WHOSE, ANSWER = "key: ", "which provider? number or name: ", "> "
_TOLD = ("warning", "failed", "error")


def found(there: Found, known: Mapping[str, Provider], places: Mapping[str, Place | None],
          keys: Path) -> list[str]:  # fmt: skip
    """What is there, one thing a line."""
    where = {"keyring": KEYRING, "file": _short(keys), "environment": "the environment"}
    lines = []
    for name, variables in there.keys.items():
        place = where.get(places.get(variables[0]) or "", "the environment")
        lines.append(f"{' and '.join(variables)} in {place} ({_label(known, name)})")
    for name, answer in there.servers.items():
        count = len(answer.models)
        models = "1 model" if count == 1 else f"{count} models"
        host = urlsplit(known[name].base_url or "").netloc
        lines.append(f"{_label(known, name)} on {host} with {models}")
    if there.login:
        lines.append("a Claude login")
    if not lines:
        lines.append("no key, and no server of models on this machine")
    if there.claude:
        claude, version = there.claude
        lines.append(f"Claude Code {shown(version)}, {_short(claude)}")
    lines += [f"the wrapper {_short(file)}" for file in there.wrappers]
    told = [f"{'found:' if not at else '':8}{line}" for at, line in enumerate(lines)]
    if not there.claude:
        told.append(
            "note:   there is no `claude` on PATH    -> npm install -g @anthropic-ai/claude-code"
        )
    if there.astray:
        told.append(f"note:   {there.astray}; it is left as it is")
    return told


def _short(file: Path) -> str:
    return with_tilde(str(file), Path.home())


def _label(known: Mapping[str, Provider], name: str) -> str:
    return known[name].label or name


def providers(known: Mapping[str, Provider], names: Sequence[str]) -> list[str]:
    """The providers by number, with the page that has the key of each."""
    cells = [("", "PROVIDER", "A KEY IS FROM")]
    cells += [
        (f"{at:2}", _label(known, name), known[name].key_page or "-")
        for at, name in enumerate(names, 1)
    ]
    return columns(cells)


def page_of(provider: Provider, name: str) -> list[str]:
    """What key is asked for, and where it is from."""
    page = f", from {provider.key_page}" if provider.key_page else ""
    return [f"paste the key of {provider.label or name}{page}; it is not shown"]


def wrong(what: str) -> list[str]:
    """What is wrong with a key, which is not taken."""
    return [f"that {what}; paste another, or Enter to go on without"]


def checked(label: str, answer: Answer) -> list[str]:
    """What a provider said to a key."""
    if answer.trouble is None:
        return [f"{label} takes the key"]
    if answer.refused:
        return [f"{label} {answer.trouble}; paste another, or Enter to go on without"]
    return [f"a key of {label}; it was not checked: {label} {answer.trouble}"]


def no_models(provider: Provider, name: str) -> list[str]:
    """That nothing can be chosen of a provider."""
    known = f"no model of {provider.label or name} is known that is not there already"
    return [f"{known}    -> llmswitch models add {name}/MODEL"]


def models(there: Sequence[Candidate], chosen: Collection[Candidate]) -> list[str]:
    """The models to choose from, with what each costs; those that are chosen with a star."""
    if not there:
        return []
    cells = [("", "", "NAME", "MODEL", "CONTEXT", "USD PER Mtok")]
    for at, one in enumerate(there, 1):
        context = format_context(one.context).removeprefix("context ")
        price = format_price(one.price).removeprefix("price ").removesuffix(" per Mtok")
        price = "subscription" if one.by_login else price
        mark = "*" if one in chosen else ""
        cells.append((f"{at:2}", mark, one.name, one.target, context, price))
    return columns(cells)


def profile(file: Path, text: str, taken: Sequence[Candidate]) -> list[str]:
    """The profile that will be written, and who decides whether a login may pay for it."""
    lines = [f"{_short(file)} will be:", "", *(f"  {line}" for line in text.splitlines())]
    return [*lines, "", *TERMS] if any(one.by_login for one in taken) else lines


def additions(file: Path, lines: Sequence[str]) -> list[str]:
    """What will be added to a profile that is there."""
    return [f"added to {_short(file)} will be:", "", *(f"  {line}" for line in lines)]


def question(there: Sequence[Candidate], taken: Sequence[Candidate], edits: bool) -> list[str]:
    """What can be answered."""
    if edits and not taken:
        return ["Enter adds nothing; numbers add models; k takes a key"]
    writes, first = ("adds them", "") if edits else ("writes it", ", the first one first")
    lines = (
        [f"Enter {writes}; numbers choose other models{first}"] if there else ["Enter writes it"]
    )
    leave = "n adds nothing" if edits else "n leaves, and nothing is written"
    return [*lines, f"k takes another key; {leave}"]


def second(file: Path, rows: Sequence[Row]) -> list[str]:
    """What is set up already."""
    usable = sum(row.reason is None for row in rows)
    models = "1 model" if len(rows) == 1 else f"{len(rows)} models"
    out = "" if usable == len(rows) else f", {len(rows) - usable} left out for want of a key"
    return [f"{_short(file)} is your profile: {models}{out}"]


def of_a_file(source: str, told: Sequence[str]) -> list[str]:
    """What is to be known of a profile that may be somebody else's."""
    if not told:
        return [f"{source} sends each key to its provider alone, and runs no code"]
    return [f"{source}, if you did not write it:", *(f"  {one}" for one in told)]


def use(name: str) -> str:
    """The question of it."""
    return f"use it as the profile {name}?"


def kept(name: str, place: Place, keys: Path) -> list[str]:
    """Where a pasted key is now."""
    return [f"{name} is kept in {KEYRING if place == 'keyring' else _short(keys)}"]


def written(done: Done) -> list[str]:
    """What became of the profile."""
    file = _short(done.ref.file)
    if done.added:
        return [f"added {', '.join(done.added)} to {file}"]
    return [f"{file} is there already and was left as it is" if done.was_there else f"wrote {file}"]


def installed(done: Installed) -> list[str]:
    """What `wrapper install` did."""
    return [text.installed(done)[0].replace(str(done.file), _short(done.file))]


def doctor(results: Sequence[Result]) -> list[str]:
    """What the doctor found that asks for something to be done."""
    told = [result for result in results if result.level in _TOLD]
    if not told:
        return [f"llmswitch doctor: {len(results)} checks, nothing is wrong"]
    return [
        f"llmswitch doctor: {len(results)} checks, {len(told)} to look at",
        *text.doctor(told),
    ]


def without_gateway(rows: Sequence[Row]) -> list[str]:
    """Where all models are of one provider that Claude Code can speak to itself: how."""
    of = {row.provider_name: row.provider for row in rows}
    name, provider = next(iter(of.items()))
    if len(of) > 1 or provider.dialect not in DIRECT or provider.auth == "subscription":
        return []  # with a login a plain `claude` is enough
    direct = f"llmswitch wrapper install --direct {name}"
    return [f"note: {provider.label or name} alone needs no gateway    -> {direct}"]


def coming(done: Installed, rows: Sequence[Row]) -> list[str]:
    """What to type next; where no model can be used yet, a key first."""
    told = [(done.file.name, "Claude Code, with every model in /model")]
    lines = [""]
    if not done.on_path:
        folder = with_tilde(shlex.quote(str(done.file.parent)), Path.home())
        before = f'export PATH={folder}:"$PATH"'
        told.insert(0, (before, "here, and in your shell's start-up file"))
    if all(row.reason for row in rows):
        lines.insert(0, "the gateway was not started: no model has its key")
        wanted = {row.missing[0]: row.provider.key_page for row in rows}
        keys = [(f"llmswitch key set {name}", page or "") for name, page in wanted.items()]
        told = [*((key, f"with a key from {page}") for key, page in keys), *told]
    shown_lines = columns(told)
    return lines + [f"{'next:' if not at else '':7}{line}" for at, line in enumerate(shown_lines)]
