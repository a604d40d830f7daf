"""What `init` says and shows, in the words that a person reads."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from llmswitch.claude.program import shown
from llmswitch.claude.wrapper import Installed
from llmswitch.cli import text
from llmswitch.cli.common import context_and_price, short
from llmswitch.cli.key import place_name
from llmswitch.columns import columns, counted
from llmswitch.doctor.checks import Result
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.keys import Place
from llmswitch.profile.model_lists import Answer
from llmswitch.profile.providers import DIRECT, Provider
from llmswitch.render.menu import Row
from llmswitch.setup.compose import Candidate
from llmswitch.setup.detect import Found
from llmswitch.setup.write import Done

NOTHING_NEW = "no key and no model server is new"
AGAIN = "paste another, or press Enter to continue without"
PASTE = (
    "paste a key (Anthropic, OpenAI, OpenRouter, Z.ai or any other); it stays hidden",
    "(Enter alone lists the providers)",
)
TERMS = (
    "your Claude login will pay for Anthropic's models; it is sent to Anthropic only.",
    "Whether your plan allows that through a gateway is between you and Anthropic",
)
LOGIN_UNUSED = (
    "note:   the Claude login is not used; what lets it pay for Anthropic's models is",
    "        providers: {anthropic: {auth: subscription}}",
)
_PROBLEMS = ("warning", "failed", "error")
_CLAUDE_CODE = "Claude Code, with every model in /model"


def found(home: Home, there: Found, known: Mapping[str, Provider],
          places: Mapping[str, Place | None]) -> list[str]:  # fmt: skip
    """What was found, one thing a line."""
    lines = []
    for name, variables in there.keys.items():
        place = place_name(home, places[variables[0]])
        lines.append(f"{' and '.join(variables)} in {place} ({_label(known, name)})")
    for name, answer in there.servers.items():
        host = urlsplit(known[name].base_url or "").netloc
        models = counted(len(answer.models), "model")
        lines.append(f"{_label(known, name)} on {host} with {models}")
    if there.login:
        lines.append("a Claude login")
    if not lines:
        lines.append("no key and no model server on this machine")
    if there.claude:
        claude, version = there.claude
        lines.append(f"Claude Code {shown(version)}, {short(claude)}")
    lines += [f"the wrapper {short(file)}" for file in there.wrappers]
    told = _under("found:  ", lines)
    if not there.claude:
        told.append("note:   no `claude` on PATH    -> npm install -g @anthropic-ai/claude-code")
    if there.redirect:
        told.append(f"note:   {there.redirect}; it is left as it is")
    return told


def _under(title: str, lines: Sequence[str]) -> list[str]:
    """Lines behind a title, those after the first below each other."""
    return [f"{'' if at else title:{len(title)}}{line}" for at, line in enumerate(lines)]


def _label(known: Mapping[str, Provider], name: str) -> str:
    return known[name].label or name


def providers(known: Mapping[str, Provider], names: Sequence[str]) -> list[str]:
    """The providers by number, with the page for the key of each."""
    cells = [("", "PROVIDER", "GET A KEY AT")]
    cells += [
        (f"{at:2}", _label(known, name), known[name].key_page or "-")
        for at, name in enumerate(names, 1)
    ]
    return columns(cells)


def key_page(provider: Provider, name: str) -> list[str]:
    """Whose key to paste, and where to get it."""
    page = f" (get one at {provider.key_page})" if provider.key_page else ""
    return [f"paste a key from {provider.label or name}{page}; it stays hidden"]


def checked(label: str, answer: Answer) -> str:
    """What a provider said to a key."""
    if answer.trouble is None:
        return f"{label} accepts the key"
    if answer.refused:
        return f"{label} {answer.trouble}; {AGAIN}"
    return f"the key was not checked: {label} {answer.trouble}"


def no_models(provider: Provider, name: str) -> list[str]:
    """Message for a provider without selectable models."""
    line = f"every known model of {provider.label or name} is in the profile already"
    return [f"{line}    -> llmswitch models add {name}/MODEL"]


def models(there: Sequence[Candidate], chosen: Collection[Candidate]) -> list[str]:
    """The models to choose from, with the cost of each; a star marks the chosen ones."""
    cells = [("", "", "NAME", "MODEL", "CONTEXT", "USD PER Mtok")]
    for at, one in enumerate(there, 1):
        context, price = context_and_price(one.context, one.price)
        price = "subscription" if one.by_login else price.removesuffix(" per Mtok")
        mark = "*" if one in chosen else ""
        cells.append((f"{at:2}", mark, one.name, one.target, context, price))
    return columns(cells) if there else []


def profile(file: Path, content: str, taken: Sequence[Candidate]) -> list[str]:
    """The profile that will be written, and who decides whether a login may pay for it."""
    lines = [f"{short(file)} will be:", "", *(f"  {line}" for line in content.splitlines())]
    return [*lines, "", *TERMS] if any(one.by_login for one in taken) else lines


def additions(file: Path, lines: Sequence[str]) -> list[str]:
    """What will be added to an existing profile."""
    return [f"will be added to {short(file)}:", "", *(f"  {line}" for line in lines)]


def question(there: Sequence[Candidate], taken: Sequence[Candidate], edits: bool) -> list[str]:
    """The possible answers."""
    if edits and not taken:
        return ["Enter adds nothing; numbers add models; k adds a key"]
    if edits:
        return ["Enter adds them; numbers choose other models", "k adds a key; n adds nothing"]
    numbers = "; numbers choose other models, the default first" if there else ""
    return [f"Enter writes it{numbers}", "k adds a key; n quits and writes nothing"]


def existing_profile(file: Path, rows: Sequence[Row]) -> list[str]:
    """The profile that exists already."""
    without = sum(row.reason is not None for row in rows)
    out = f", {without} left out because no key is set" if without else ""
    return [f"your profile is {short(file)}: {counted(len(rows), 'model')}{out}"]


def written(done: Done) -> list[str]:
    """What became of the profile."""
    file = short(done.ref.file)
    line = f"{file} exists and was not changed" if done.was_there else f"wrote {file}"
    if done.added:
        line = f"added {', '.join(done.added)} to {file}"
    if done.default:
        kept = f"LLMSWITCH_PROFILE picked it; the default profile is still {done.default}"
        return [line, kept]
    return [line]


def other_profile(before: ProfileRef, new: ProfileRef) -> str:
    """The question whether claude-multi starts the new profile."""
    return f"claude-multi starts {before.name}; let it start {new.name} instead? [Y/n] "


def doctor(results: Sequence[Result]) -> list[str]:
    """The problems that the doctor found."""
    problems = [result for result in results if result.level in _PROBLEMS]
    if not problems:
        return [f"llmswitch doctor: {len(results)} checks, no problems"]
    sums = f"llmswitch doctor: {len(results)} checks, {counted(len(problems), 'problem')}"
    return [sums, *text.doctor(problems)]


def without_gateway(rows: Sequence[Row]) -> list[str]:
    """How to do without a gateway, where one provider that Claude Code can use has all models."""
    of = {row.provider_name: row.provider for row in rows}
    name, provider = next(iter(of.items()))
    if len(of) > 1 or provider.dialect not in DIRECT or provider.auth == "subscription":
        return []  # with a login plain `claude` is enough
    direct = f"llmswitch wrapper install --direct {name}"
    return [f"note: {provider.label or name} alone needs no gateway    -> {direct}"]


def next_by_hand(done: Done, starts: ProfileRef | None) -> list[str]:
    """What to type after `init --no-start`; `starts` is what an installed claude-multi starts."""
    default = [] if done.default else [f"{done.ref.argument} is now the default profile"]
    rows = [("llmswitch validate", "what the profile needs")]
    if starts != done.ref:
        now = f"claude-multi starts {starts.name} now" if starts else "writes claude-multi"
        option = f" --profile {done.ref.typed}" if done.default else ""
        rows.append((f"llmswitch wrapper install{option}", now))
    rows.append(("claude-multi", _CLAUDE_CODE))
    return [*default, "", *_under("next:  ", columns(rows))]


def next_steps(done: Installed, rows: Sequence[Row]) -> list[str]:
    """What to type next: the keys first, where no model has one."""
    lines, told = [""], []
    if all(row.reason for row in rows):
        lines.insert(0, "the gateway was not started: no model has a key")
        pages = {row.missing[0]: row.provider.key_page or "its provider" for row in rows}
        told += [(f"llmswitch key set {key}", f"get one at {page}") for key, page in pages.items()]
    if not done.on_path:
        folder = short(shlex.quote(str(done.file.parent)))
        told.append((f'export PATH={folder}:"$PATH"', "here, and in your shell's start-up file"))
    told.append((done.file.name, _CLAUDE_CODE))
    return [*lines, *_under("next:  ", columns(told))]
