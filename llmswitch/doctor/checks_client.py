"""Checks of Claude Code, of the wrappers that start it, and of what redirects either."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from llmswitch import __version__
from llmswitch.claude import managed_settings, saved_default
from llmswitch.claude.login import LOG_IN, NO_LOGIN, has_login
from llmswitch.claude.program import PICKER_FROM, ask_version, find_claude, shown
from llmswitch.claude.settings_files import user_settings
from llmswitch.claude.wrapper import Direct, direct_of, is_for, is_of, list_installed, wanted_text
from llmswitch.doctor.context import Context, Verdict
from llmswitch.errors import LlmswitchError
from llmswitch.generated import MARK
from llmswitch.health import connect_host
from llmswitch.paths import ProfileRef, find_profile_if_any
from llmswitch.render.claude_settings import ALIASES, HIJACKING, plain_name

_OFF = (None, "", "0", "false")
_SECONDS = 5.0  # it takes a tenth
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_USUAL = "claude-multi"


def check_client(context: Context) -> Verdict:
    """The real Claude Code is there, and how much of the menu its version can show."""
    claude = find_claude(context.environ)
    version = ask_version(claude, _SECONDS)
    managed_settings.check()
    this, newer = f"Claude Code {shown(version)}, {claude}", f"{shown(PICKER_FROM)} and newer"
    if version >= PICKER_FROM:
        return Verdict("ok", f"{this}: /model shows exactly the profile's models")
    if any(row.needs_login for row in context.rows_if_any):
        said = "with a Claude login /model shows its own models; type /model NAME for another"
        return Verdict("info", f"{this}: {said}; {newer} show all", "claude update")
    said = "/model shows five models at most"
    return Verdict("warning", f"{this}: {said}; {newer} show all", "claude update")


def check_login(context: Context) -> Verdict | None:
    """A profile with a subscription needs a Claude login, which is the client's to keep."""
    names = ", ".join(row.name for row in context.rows_if_any if row.needs_login)
    if not names:
        return None
    found = has_login(context.environ)
    if found is None:
        return Verdict("ok", f"your Claude login, in the keychain of macOS, pays for {names}")
    if not found:
        return Verdict("warning", f"{NO_LOGIN}, and the subscription pays for {names}", LOG_IN)
    return Verdict("ok", f"your Claude login pays for {names}; it is sent to Anthropic alone")


# ---------------------------------------------------------------- wrappers


def check_wrapper(context: Context) -> Verdict:
    """A wrapper starts this profile, is as it would be written today, and is the first of its name
    on PATH; so is each direct one. Who has those alone needs no other.
    """
    found = list_installed(context.bin, context.environ)
    wrappers = [file for file in found if not file.is_symlink()]
    direct = {f: of for f in wrappers if (of := direct_of(f)) and is_of(f, context.environ)}
    for file, of in direct.items():
        if problem := _problem_of_direct(context, file, of):
            return problem
    if direct and isinstance(context.named, LlmswitchError):
        return Verdict("ok", ", ".join(map(str, direct)))
    ours = [file for file in wrappers if is_for(file, context.ref)]
    if direct and not ours:
        return Verdict("ok", ", ".join(map(str, direct)))
    install = context.command("wrapper install")
    if not ours:
        return Verdict("warning", f"no wrapper starts the profile {context.ref.name}", install)
    # One that is as it should be is enough; else the one of the usual name is to be renewed.
    wrong = {file: _difference(context, file, context.ref) for file in ours}
    file = min(ours, key=lambda one: (wrong[one] is not None, one.name != _USUAL))
    if difference := wrong[file]:
        return Verdict("warning", difference, install + _place(context, file, _USUAL))
    return _not_found(context, file) or Verdict("ok", ", ".join(map(str, [file, *direct])))


def _problem_of_direct(context: Context, file: Path, of: Direct) -> Verdict | None:
    place = _place(context, file, None)
    if difference := _difference(context, file, of):
        return Verdict("warning", difference, f"llmswitch wrapper install {of.option}{place}")
    try:
        find_profile_if_any(context.home, of.profile or None, context.environ)
    except LlmswitchError as error:
        cure = f"llmswitch wrapper install {of._replace(profile='').option}{place}"
        return Verdict("warning", f"{file}: {error.message}", cure)
    return _not_found(context, file)


def _difference(context: Context, file: Path, of: ProfileRef | Direct) -> str | None:
    """In what a wrapper is not as it would be written from this shell today."""
    wanted = wanted_text(of, file.name, context.environ)
    there = file.read_text(errors="replace")
    if there == wanted:
        return None
    by = re.search(rf"{MARK} (\S+):", there)
    if by and by[1] != __version__:
        return f"{file} was written by llmswitch {by[1]}, this is {__version__}"
    lines = set(there.splitlines()) ^ set(wanted.splitlines())
    names = sorted({line.partition("=")[0] for line in lines if re.match(r"[A-Z_]+=", line)})
    if names:
        return f"{file} has another {', '.join(names)} than this shell"
    return f"{file} is not as this llmswitch writes it"


def _place(context: Context, file: Path, usual: str | None) -> str:
    """The options that name this very file."""
    name = "" if file.name == usual else f" --name {shlex.quote(file.name)}"
    there = file.parent == context.bin.absolute()
    return name + ("" if there else f" --dir {shlex.quote(str(file.parent))}")


def _not_found(context: Context, file: Path) -> Verdict | None:
    """Why the name of this wrapper does not start it."""
    first = shutil.which(file.name, path=context.environ.get("PATH", os.defpath))
    before = f'export PATH={shlex.quote(str(file.parent))}:"$PATH"'
    if first is None:
        return Verdict("warning", f"{file.parent} is not on PATH", before)
    if not file.samefile(first):
        return Verdict("warning", f"{first} comes before {file} on PATH", before)
    return None


# ---------------------------------------------------------------- the user's own settings


def check_plain_claude(context: Context) -> Verdict:
    """What would redirect plain `claude`; claude-multi overrides all of it."""
    file = user_settings(context.environ)
    settings = _settings(file)
    if settings is None:
        return Verdict("warning", f"{file} is not a JSON object", f"correct {file}")
    block = settings.get("env")
    for name in HIJACKING:
        if isinstance(block, dict) and block.get(name) not in _OFF:
            said = f"{name} in {file} redirects plain `claude` (not claude-multi)"
            return Verdict("warning", said, f"remove {name} from {file}")
        if context.environ.get(name) not in _OFF:
            said = f"{name} is exported and redirects plain `claude` (not claude-multi)"
            return Verdict("warning", said, f"unset {name}")
    return Verdict("ok", "nothing redirects plain `claude`")


def check_saved_default(context: Context) -> Verdict:
    """Plain `claude` starts with a model it supports."""
    file = user_settings(context.environ)
    model = (_settings(file) or {}).get("model")
    name = plain_name(model) if isinstance(model, str) else ""
    records = context.home.state / "sessions"
    row = next((row for row in context.rows if row.name == name), None)
    known = row and row.provider.dialect == "anthropic" and row.model.id == name
    # What is in the menu of a direct wrapper, only its sessions tell.
    picked = not name.startswith("claude-") and saved_default.picked_from(file, records, name)
    if not (row or picked) or known or name in ALIASES:
        return Verdict("ok", "plain `claude` starts with a model it supports")
    sessions = saved_default.sessions(file, records)  # whether each is still open
    if any(sessions):
        said = f"{name!r} is the default model until the open session ends, then your own is back"
        return Verdict("ok", said)
    said = f"{name!r} is the default model in {file}, and plain `claude` does not support it"
    if not sessions:
        return Verdict("warning", said, f'remove "model" from {file}')
    names = [one.name for one in list_installed(context.bin, context.environ)]
    wrapper = names[0] if names and _USUAL not in names else _USUAL
    return Verdict("warning", said, f"{wrapper} -p hi    (restores your own default model)")


def _settings(file: Path) -> dict[str, Any] | None:
    """The user's settings of Claude Code; None where they are not a JSON object."""
    try:
        data = json.loads(file.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def check_proxy(context: Context) -> Verdict:
    """A proxy must not stand between a client and the gateway on this machine."""
    proxies = [name for name in _PROXIES if context.environ.get(name)]
    host = connect_host(context.profile.gateway.host)
    if not proxies:
        return Verdict("ok", "no proxy is set")
    around = context.environ.get("NO_PROXY") or context.environ.get("no_proxy") or ""
    if {part.strip() for part in around.split(",")} & {host, "*"}:
        return Verdict("ok", f"{proxies[0]} is set, and NO_PROXY has {host}")
    said = f"{proxies[0]} is set, and NO_PROXY lacks {host} (claude-multi adds it)"
    return Verdict("info", said, f'export NO_PROXY="$NO_PROXY,{host}"')
