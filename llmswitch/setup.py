"""What `llmswitch init` writes: a profile of the user's own, which is never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch import edit
from llmswitch.errors import LlmswitchError
from llmswitch.paths import (
    PROFILE_NAME,
    Home,
    ProfileRef,
    data_folder,
    find_profile,
    locked,
    write_private,
)
from llmswitch.plan import shown_path
from llmswitch.profile import load_profile

FIRST = "main"  # the profile that `init` composes
READY_MADE = "claude-glm"  # where it has nothing to compose one of


class Done(NamedTuple):
    """What `init` left: the profile, whether it was there before, and the names of the models that
    were added to it.
    """

    ref: ProfileRef
    was_there: bool
    added: tuple[str, ...] = ()


def own_profile(home: Home) -> ProfileRef | None:
    """The profile that a second run edits: the default one, else one that `init` has composed."""
    if ref := _default(home):
        return ref
    file = first_file(home)
    return ProfileRef(FIRST, file, FIRST) if file.is_file() else None


def _default(home: Home) -> ProfileRef | None:
    """The default profile; None where there is none, or it is gone, or not the user's own."""
    try:
        ref = find_profile(home, None, {})
    except LlmswitchError:
        return None
    return None if ref.file.parent.resolve() == data_folder("profiles").resolve() else ref


def first_file(home: Home) -> Path:
    """Where the profile that `init` composes goes."""
    return home.profiles / f"{FIRST}.yaml"


def ready_made() -> tuple[str, str]:
    """The name and the text of the profile that is taken where nothing was found."""
    file = data_folder("profiles") / f"{READY_MADE}.yaml"
    return READY_MADE, file.read_text(encoding="utf-8")


def copy(home: Home, source: str) -> Done:
    """Copy a ready-made profile, or a file, to the user's profiles and make it the default.

    A profile of that name that is there already is kept as it is.
    """
    is_file = "/" in source or source.endswith((".yaml", ".yml"))
    origin = Path(source).expanduser() if is_file else data_folder("profiles") / f"{source}.yaml"
    if origin.is_file() and not PROFILE_NAME.fullmatch(origin.stem):
        raise LlmswitchError(
            f"{source!r} has a name that no profile can have",
            "rename the file: letters, digits and . _ -",
        )
    if not origin.is_file():
        ready_made = ", ".join(sorted(file.stem for file in data_folder("profiles").glob("*.yaml")))
        raise LlmswitchError(
            f"there is no profile {source!r} to start from",
            f"llmswitch init --from NAME, with one of: {ready_made}; or --from FILE.yaml",
        )
    load_profile(origin, source)  # a profile that is not valid is refused here, with its mistakes
    return _place(home, origin.stem, origin.read_bytes())


def write(home: Home, text: str) -> Done:
    """Write a composed profile and make it the default; one that came meanwhile is kept."""
    return _place(home, FIRST, text.encode())


def _place(home: Home, name: str, content: bytes) -> Done:
    file = home.profiles / f"{name}.yaml"
    with locked(home.state / "edit.lock"):
        was_there = file.exists() or file.is_symlink()
        if not was_there:
            write_private(file, content)
    _make_default(home, name)
    return Done(ProfileRef(name, file, name), was_there)


def _make_default(home: Home, name: str) -> None:
    write_private(home.default_profile, f"{name}\n")


def extend(home: Home, ref: ProfileRef, models: Mapping[str, Any]) -> Done:
    """Add models to a profile of the user's, all or none, and no other byte of it changes."""
    if models:
        edit.add_all(home, ref, shown_path(ref.file), models)
    if _default(home) != ref:
        _make_default(home, ref.name)
    return Done(ref, was_there=True, added=tuple(models))
