"""What `llmswitch init` writes: a profile of the user's own, which is never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.paths import (
    PROFILE_NAME,
    Home,
    ProfileRef,
    data_folder,
    find_profile,
    locked,
    profile_names,
    write_private,
)
from llmswitch.profile import edit
from llmswitch.profile.load import load_profile, read_profile
from llmswitch.profile.schema import Profile
from llmswitch.render.plan import shown_path

FIRST = "main"  # the profile that `init` composes
READY_MADE = "claude-glm"  # where it has nothing to compose one of


class Done(NamedTuple):
    """What `init` left: the profile, whether it was there before, the names of the models that
    were added to it, and the default profile where that stayed another.
    """

    ref: ProfileRef
    was_there: bool
    added: tuple[str, ...] = ()
    default: str | None = None


class Source(NamedTuple):
    """What `init --from` starts from: the file that the profile will have, its text, what it says,
    and whether it comes from a file, not from a ready-made profile.
    """

    target: Path
    content: bytes
    profile: Profile
    is_file: bool


def own_profile(home: Home, environ: Mapping[str, str]) -> ProfileRef | None:
    """The profile that a second run edits: that of LLMSWITCH_PROFILE, else the default one, else
    one that `init` composed. None where there is none yet.

    Raises LlmswitchError where LLMSWITCH_PROFILE names what can neither be edited nor created.
    """
    if environ.get("LLMSWITCH_PROFILE"):
        if _is_new(home, environ["LLMSWITCH_PROFILE"]):
            return None
        ref = find_profile(home, None, environ)
        edit.check_own(ref)
        return ref
    default = _default(home)
    if default and not edit.is_ready_made(default):
        return default
    file = home.profiles / f"{FIRST}.yaml"
    return ProfileRef(FIRST, file, FIRST) if exists(file) else None


def _default(home: Home) -> ProfileRef | None:
    """The default profile; None where there is none, or it is gone."""
    try:
        return find_profile(home, None, {})
    except LlmswitchError:
        return None


def _is_new(home: Home, name: str) -> bool:
    """Whether this is a name, not a file, that no profile has yet."""
    is_name = PROFILE_NAME.fullmatch(name) and not name.endswith((".yaml", ".yml"))
    return bool(is_name) and name not in profile_names(home)


def new_file(home: Home, usual: str, environ: Mapping[str, str]) -> Path:
    """The file of a profile that `own_profile` did not find: named by LLMSWITCH_PROFILE, else by
    the usual name.
    """
    return home.profiles / f"{environ.get('LLMSWITCH_PROFILE') or usual}.yaml"


def ready_made() -> tuple[str, str]:
    """The name and the text of the profile that is used when nothing was found."""
    file = data_folder("profiles") / f"{READY_MADE}.yaml"
    return READY_MADE, file.read_text(encoding="utf-8")


def read(home: Home, source: str) -> Source:
    """A ready-made profile by its name, or one by its file. Raises LlmswitchError for none, and for
    one that is not valid, with its mistakes.
    """
    is_file = "/" in source or source.endswith((".yaml", ".yml"))
    origin = Path(source).expanduser() if is_file else data_folder("profiles") / f"{source}.yaml"
    if not origin.is_file():
        names = ", ".join(sorted(file.stem for file in data_folder("profiles").glob("*.yaml")))
        raise LlmswitchError(
            f"there is no profile {source!r} to start from",
            f"llmswitch init --from NAME, with one of: {names}; or --from FILE.yaml",
        )
    if not PROFILE_NAME.fullmatch(origin.stem):
        raise LlmswitchError(
            f"{source!r} cannot be the name of a profile",
            "rename the file: letters, digits and . _ -",
        )
    content = origin.read_bytes()
    target = home.profiles / f"{origin.stem}.yaml"
    return Source(target, content, read_profile(content, source), is_file=is_file)


def exists(file: Path) -> bool:
    """Whether there is a file, or a broken link, which is reported and not replaced."""
    return file.exists() or file.is_symlink()


def write(home: Home, file: Path, content: bytes, environ: Mapping[str, str]) -> Done:
    """Write a new profile and make it the default. An existing one is kept.

    Raises LlmswitchError where that one cannot be read.
    """
    with locked(home.state / "edit.lock"):
        was_there = exists(file)
        if was_there:
            load_profile(file, shown_path(file))  # what cannot be read becomes no default
        else:
            write_private(file, content)
    ref = ProfileRef(file.stem, file, file.stem)
    return Done(ref, was_there, default=_make_default(home, ref, environ))


def _make_default(home: Home, ref: ProfileRef, environ: Mapping[str, str]) -> str | None:
    """Make a profile the default one. Where LLMSWITCH_PROFILE picked it and another is the default,
    that one stays and is returned.
    """
    there = _default(home)
    if there == ref:
        return None
    if there and environ.get("LLMSWITCH_PROFILE"):
        return there.argument
    write_private(home.default_profile, f"{ref.argument}\n")
    return None


def extend(
    home: Home, ref: ProfileRef, models: Mapping[str, Any], environ: Mapping[str, str]
) -> Done:
    """Add models to a profile of the user's, all or none; no other byte of it changes."""
    added = edit.add_all(home, ref, shown_path(ref.file), models) if models else ()
    default = _make_default(home, ref, environ)
    return Done(ref, was_there=True, added=tuple(added), default=default)
