"""The shell wrappers: written, listed and taken away. Never a file that is not ours, and never the
user's shell start-up files.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.generated import is_generated
from llmswitch.paths import ProfileRef, expanded, write_private
from llmswitch.render.templates import render

# What moves our files or names the client: the wrapper carries it, so that it does not matter which
# shell it is started from.
_CARRIED = ("LLMSWITCH_HOME", "LLMSWITCH_CLAUDE", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
# The modules stood elsewhere once: a wrapper from then is known, and `wrapper install` renews it.
_STARTS = re.compile(r' -m llmswitch\.(?:claude\.)?(session|direct) (.+) "\$@"$', re.MULTILINE)


class Direct(NamedTuple):
    """What a direct wrapper starts: a provider, and what `--profile` takes to name the profile
    that has its models; "" where that is the default one, if there is one.
    """

    provider: str
    profile: str

    @property
    def option(self) -> str:
        """The same as one types it after `llmswitch wrapper install`."""
        of = f" --profile {shlex.quote(self.profile)}" if self.profile else ""
        return f"--direct {shlex.quote(self.provider)}{of}"


class Installed(NamedTuple):
    """What an installation did, and whether its folder is on PATH."""

    file: Path
    did: Literal["installed", "updated", "nothing"]
    on_path: bool


def install(
    of: ProfileRef | Direct, name: str, folder: Path, environ: Mapping[str, str]
) -> Installed:
    """Write the wrapper `name` for a profile or a provider into a folder.

    Raises LlmswitchError when a file of that name is there that llmswitch did not write, and when
    it starts another provider, or the gateway where a provider is wanted, or the other way round.
    """
    _check_name(name)
    file = expanded(str(folder)) / name
    text = wanted_text(of, name, environ)
    did: Literal["installed", "updated", "nothing"] = "installed"
    if os.path.lexists(file):
        _check_ours(file)
        cure = f"choose another name with --name, or first: {_taking_away(file)}"
        _check_kind(file, of.provider if isinstance(of, Direct) else None, cure)
        did = "nothing" if file.read_bytes() == text.encode() else "updated"
    if did != "nothing":
        write_private(file, text, 0o755)
    return Installed(file, did, _is_on_path(file.parent, environ))


def wanted_text(of: ProfileRef | Direct, name: str, environ: Mapping[str, str]) -> str:
    """What the wrapper `name` holds when it is installed from this shell: everything that it needs,
    so that it runs from any other.
    """
    if isinstance(of, Direct):
        what, module, arguments = f"{of.provider}, with no gateway", "direct", [*of]
    else:
        what, module, arguments = f"the profile {of.name}", "session", [of.argument]
    return render(
        "claude-multi.sh.j2",
        what=what,
        module=f"llmswitch.claude.{module}",
        arguments=arguments,
        install_option=f" --direct {of.provider}" if isinstance(of, Direct) else "",
        uninstall_name="" if name == "claude-multi" else f" --name {shlex.quote(name)}",
        python=sys.executable,
        exports={name: str(expanded(environ[name])) for name in _CARRIED if environ.get(name)},
    )


def direct_of(file: Path) -> Direct | None:
    """What a direct wrapper starts; None for another one."""
    module, arguments = _started(file)
    return Direct(*arguments) if module == "direct" else None


def profile_of(file: Path) -> str | None:
    """The profile that a wrapper starts, as `--profile` takes it; None for a direct wrapper."""
    module, arguments = _started(file)
    return arguments[0] if module == "session" else None


def is_for(file: Path, ref: ProfileRef) -> bool:
    """Whether a wrapper starts this profile."""
    return _started(file) == ("session", [ref.argument])


def _started(file: Path) -> tuple[str, list[str]]:
    """The module that a wrapper starts, and the arguments that it is given."""
    found = _STARTS.search(file.read_text(errors="replace"))
    return (found[1], shlex.split(found[2])) if found else ("", [])


def is_of(file: Path, environ: Mapping[str, str]) -> bool:
    """Whether a wrapper starts this installation, and not one with another LLMSWITCH_HOME."""
    moved = environ.get("LLMSWITCH_HOME")
    text = file.read_text(errors="replace")
    wanted = f"LLMSWITCH_HOME={shlex.quote(moved)}\n" if moved else ""
    return wanted in text if moved else "LLMSWITCH_HOME=" not in text


def uninstall(name: str, folder: Path, provider: str | None = None) -> Path | None:
    """Take a wrapper away; returns its file, None where there was none. One that is named by its
    provider must be that provider's.
    """
    _check_name(name)
    file = expanded(str(folder)) / name
    if not os.path.lexists(file):
        return None
    _check_ours(file)
    if provider is not None:
        _check_kind(file, provider, _taking_away(file))
    file.unlink()
    return file


def list_installed(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    """The wrappers in a folder and in every folder on PATH, each once."""
    folders = [expanded(str(folder)), *_path(environ)]
    return [
        file
        for place in dict.fromkeys(folders)
        for file in _files_in(place)
        if os.access(file, os.X_OK) and is_generated(file)
    ]


def _path(environ: Mapping[str, str]) -> list[Path]:
    return [Path(part).absolute() for part in environ.get("PATH", "").split(os.pathsep) if part]


def _is_on_path(folder: Path, environ: Mapping[str, str]) -> bool:
    return folder.resolve() in (part.resolve() for part in _path(environ))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:  # PATH may name what is not there, or not ours to read
        return []


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise LlmswitchError(
            f"{name!r} is not a valid command name",
            "use letters, digits and . _ -, such as claude-multi",
        )


def _check_ours(file: Path) -> None:
    if file.is_symlink() or not file.is_file() or not is_generated(file):
        raise LlmswitchError(
            f"{file} was not written by llmswitch, so it is left alone",
            "choose another --name or --dir, or move that file away",
        )


def _check_kind(file: Path, provider: str | None, cure: str) -> None:
    """Hold that a wrapper starts this provider; with None, the gateway."""
    there = direct_of(file)
    starts = there.provider if there else None
    if starts != provider:
        raise LlmswitchError(
            f"{file} starts Claude Code {_way(starts)}, not {_way(provider)}", cure
        )


def _way(provider: str | None) -> str:
    return f"at {provider} itself" if provider else "through the gateway"


def _taking_away(file: Path) -> str:
    """What takes a wrapper away, whatever it starts."""
    return f"llmswitch wrapper uninstall --name {file.name} --dir {shlex.quote(str(file.parent))}"
