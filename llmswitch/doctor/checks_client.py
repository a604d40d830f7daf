"""Checks of Claude Code, of the wrapper that starts it, and of what would lead either astray."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from llmswitch.claude import managed_settings, saved_default
from llmswitch.claude.login import LOG_IN, NO_LOGIN, has_login
from llmswitch.claude.program import PICKER_FROM, ask_version, find_claude, menu_support, shown
from llmswitch.claude.settings_files import user_settings
from llmswitch.claude.wrapper import Direct, direct_of, is_for, is_of, list_installed, wanted_text
from llmswitch.doctor.checks_profile import has_subscription
from llmswitch.doctor.facts import Facts, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.health import connect_host
from llmswitch.paths import find_profile_if_any
from llmswitch.render.claude_settings import ALIASES, HIJACKING, plain_name

_OFF = (None, "", "0", "false")
_SECONDS = 5.0  # it takes a tenth
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_MENUS = {
    "picker": "/model shows exactly the profile's models",
    "rows": f"/model shows five models at most; {shown(PICKER_FROM)} and newer show all",
}


def check_client(facts: Facts) -> Verdict:
    """The real Claude Code is there, and how much of the menu its version can show."""
    try:
        claude = find_claude(facts.environ)
        version = ask_version(claude, _SECONDS)
        managed_settings.check()
    except LlmswitchError as error:
        return Verdict("error", error.message, error.hint)
    if has_subscription(facts) and version < PICKER_FROM:
        said = (
            f"Claude Code {shown(version)}, {claude}: with a Claude login /model lists its own "
            f"names, and a model is picked by /model NAME; {shown(PICKER_FROM)} and newer list all"
        )
        return Verdict("info", said, "claude update")
    support = menu_support(version)
    said = f"Claude Code {shown(version)}, {claude}: {_MENUS[support]}"
    if support == "picker":
        return Verdict("ok", said)
    return Verdict("warning", said, "claude update")


def check_login(facts: Facts) -> Verdict:
    """A profile with a subscription needs a Claude login, which is the client's to keep."""
    names = [row.name for row in facts.rows if row.needs_login]
    found = has_login(facts.environ)
    if found is None:
        return Verdict("ok", f"{', '.join(names)} use yours, which macOS keeps in its keychain")
    if not found:
        said = f"{NO_LOGIN}, and the subscription pays for {', '.join(names)}"
        return Verdict("warning", said, LOG_IN)
    return Verdict("ok", f"{', '.join(names)} use yours; it is sent to Anthropic and nowhere else")


def check_wrapper(facts: Facts) -> Verdict:
    """A wrapper starts this profile, is as it would be written today, and is the first of its name
    on PATH; so is each direct one. Who has those alone needs no other.
    """
    found = list_installed(facts.bin, facts.environ)
    wrappers = [file for file in found if not file.is_symlink()]
    direct = {f: of for f in wrappers if (of := direct_of(f)) and is_of(f, facts.environ)}
    for file, of in direct.items():
        if wrong := _wrong_with_direct(facts, file, of):
            return wrong
    ours = [] if direct and isinstance(facts.named, LlmswitchError) else [
        file for file in wrappers if is_for(file, facts.ref)]  # fmt: skip
    if direct and not ours:
        return Verdict("ok", ", ".join(map(str, direct)))
    install = f"llmswitch wrapper install --profile {facts.ref.typed}"
    if not ours:
        return Verdict("warning", f"no wrapper starts the profile {facts.ref.name}", install)
    # One that is as it should be is enough; else the one of the usual name is to be mended.
    ours.sort(key=lambda file: (not _is_current(facts, file), file.name != "claude-multi"))
    file = ours[0]
    if not _is_current(facts, file):
        said = f"{file} is of another llmswitch, or of another LLMSWITCH_HOME"
        return Verdict("warning", said, install + _place(facts, file, "claude-multi"))
    return _not_found(facts, file) or Verdict("ok", ", ".join(map(str, [file, *direct])))


def _wrong_with_direct(facts: Facts, file: Path, of: Direct) -> Verdict | None:
    install = f"llmswitch wrapper install {of.option}{_place(facts, file, None)}"
    if file.read_bytes() != wanted_text(of, file.name, facts.environ).encode():
        return Verdict("warning", f"{file} is of another llmswitch", install)
    try:
        find_profile_if_any(facts.home, of.profile or None, facts.environ)
    except LlmswitchError as error:
        anew = of._replace(profile="").option + _place(facts, file, None)
        return Verdict("warning", f"{file}: {error.message}", f"llmswitch wrapper install {anew}")
    return _not_found(facts, file)


def _place(facts: Facts, file: Path, usual: str | None) -> str:
    """The options that name this very file."""
    name = "" if file.name == usual else f" --name {shlex.quote(file.name)}"
    there = file.parent == facts.bin.absolute()
    return name + ("" if there else f" --dir {shlex.quote(str(file.parent))}")


def _not_found(facts: Facts, file: Path) -> Verdict | None:
    """Why this wrapper is not what its name starts."""
    first = shutil.which(file.name, path=facts.environ.get("PATH", os.defpath))
    before = f'export PATH={shlex.quote(str(file.parent))}:"$PATH"'
    if first is None:
        return Verdict("warning", f"{file.parent} is not on PATH", before)
    if not file.samefile(first):
        return Verdict("warning", f"{first} comes before {file} on PATH", before)
    return None


def _is_current(facts: Facts, file: Path) -> bool:
    return file.read_bytes() == wanted_text(facts.ref, file.name, facts.environ).encode()


def check_plain_claude(facts: Facts) -> Verdict:
    """What would send a plain `claude` elsewhere; claude-multi puts all of it out of force."""
    file = user_settings(facts.environ)
    settings = _settings(facts)
    if settings is None:
        return Verdict("warning", f"{file} is no JSON object", f"correct {file}")
    block = settings.get("env")
    for name in HIJACKING:
        if isinstance(block, dict) and block.get(name) not in _OFF:
            said = f"{name} in {file} leads a plain `claude` astray (claude-multi is not affected)"
            return Verdict("warning", said, f"take {name} out of {file}")
        if facts.environ.get(name) not in _OFF:
            said = f"{name} is exported and leads a plain `claude` astray (not claude-multi)"
            return Verdict("warning", said, f"unset {name}")
    return Verdict("ok", "nothing leads a plain `claude` astray")


def check_saved_default(facts: Facts) -> Verdict:
    """The model that a plain `claude` begins with is one that it knows."""
    file = user_settings(facts.environ)
    model = (_settings(facts) or {}).get("model")
    name = plain_name(model) if isinstance(model, str) else ""
    records = facts.home.state / "sessions"
    row = next((row for row in facts.rows if row.name == name), None)
    known = row and row.provider.dialect == "anthropic" and row.model.id == name
    # What is in the menu of a direct wrapper, only its sessions tell.
    picked = not name.startswith("claude-") and saved_default.picked_from(file, records, name)
    if not (row or picked) or known or name in ALIASES:
        return Verdict("ok", "a plain `claude` begins with a model that it knows")
    open_now = saved_default.sessions(file, records)
    if any(open_now):
        return Verdict("ok", f"{name!r} is saved as long as a session is open, then put back")
    said = f"{name!r} is saved in {file}, and a plain `claude` does not know it"
    if open_now:
        names = [one.name for one in list_installed(facts.bin, facts.environ)]
        name = names[0] if names and "claude-multi" not in names else "claude-multi"
        return Verdict("warning", said, f"{name} -p hi    (puts your own back)")
    return Verdict("warning", said, f'take "model" out of {file}')


def check_proxy(facts: Facts) -> Verdict:
    """A proxy must not stand between a client and the gateway on this machine."""
    proxies = [name for name in _PROXIES if facts.environ.get(name)]
    around = facts.environ.get("NO_PROXY") or facts.environ.get("no_proxy") or ""
    hosts = {part.strip() for part in around.split(",")}
    host = connect_host(facts.profile.gateway.host)
    if not proxies:
        return Verdict("ok", "no proxy is set")
    if hosts & {host, "*"}:
        return Verdict("ok", f"{proxies[0]} is set, and NO_PROXY leaves out {host}")
    said = f"{proxies[0]} is set, and NO_PROXY does not leave out {host} (claude-multi does it)"
    return Verdict("info", said, f'export NO_PROXY="$NO_PROXY,{host}"')


def _settings(facts: Facts) -> dict[str, Any] | None:
    """The user's settings of Claude Code; None where they are no JSON object."""
    file = user_settings(facts.environ)
    try:
        data = json.loads(file.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
