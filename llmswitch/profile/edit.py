"""The user's own file with one model more or one less: locked, checked before it is written, and
with its mode, its links and its byte order mark. `edit_text.py` changes the text.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmswitch.errors import LlmswitchError, ProfileError
from llmswitch.paths import Home, ProfileRef, data_folder, locked, write_private
from llmswitch.profile.edit_text import with_model, without_model
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.schema import ROLES, Profile
from llmswitch.profile.yaml_lines import read_document


def add(home: Home, ref: ProfileRef, shown: str, name: str, value: Any) -> bool:
    """Write a model, in its short or long form, into the profile's file, as its last. False where
    it is there already.

    Raises LlmswitchError where the name is another model's, where the profile would not be valid,
    and where it cannot be edited safely.
    """
    return bool(add_all(home, ref, shown, {name: value}))


def add_all(home: Home, ref: ProfileRef, shown: str, models: Mapping[str, Any]) -> list[str]:
    """Write several models in one go; the names of those that were not there. Raises as `add`."""
    added: list[str] = []

    def change(text: str) -> str:
        for name, value in models.items():
            if not _is_there(text, shown, name, value):
                text = with_model(text, name, value)
                added.append(name)
        return text

    _rewrite(home, ref, shown, change)
    return added


def _is_there(text: str, shown: str, name: str, value: Any) -> bool:
    """Whether a profile has this model; raises LlmswitchError where it has another of its name."""
    data = read_document(text).data
    models = data.get("models") if isinstance(data, dict) else None
    there = models.get(name) if isinstance(models, dict) else None
    if there is None:
        return False
    if _target(there) == _target(value):
        return True
    raise LlmswitchError(
        f"{shown} has another model named {name}: {_target(there)}",
        f"llmswitch models add {_target(value)} --name NAME",
    )


def before(file: Path, shown: str) -> Profile | None:
    """The profile as it stands; None where it has no models yet and so is not valid. Raises
    ProfileError where it has another mistake.
    """
    try:
        return load_profile(file, shown)
    except ProfileError:
        doc = read_document(file.read_text(encoding="utf-8-sig", errors="replace"))
        if not doc.problems and (
            doc.data is None or (isinstance(doc.data, dict) and not doc.data.get("models"))
        ):
            return None
        raise


def remove(home: Home, ref: ProfileRef, shown: str, name: str) -> None:
    """Take a model out of the profile's file; raises as `add`, and where the profile names it."""

    def change(text: str) -> str:
        profile = parse_profile(text, shown)
        if name not in profile.models:
            there = ", ".join(profile.models)
            raise LlmswitchError(
                f"{shown} has no model {name!r}; it has: {there}", "llmswitch models"
            )
        if users := ", ".join(_users(profile, name)):
            raise LlmswitchError(
                f"{name} is used by {users}", f"edit {shown} there first, then remove it"
            )
        if len(profile.models) == 1:
            raise LlmswitchError(
                f"{name} is the only model of {shown}",
                "add another first: llmswitch models add",
            )
        return without_model(text, name)

    _rewrite(home, ref, shown, change)


def is_ready_made(ref: ProfileRef) -> bool:
    """Whether a profile ships with llmswitch."""
    return ref.file.parent.resolve() == data_folder("profiles").resolve()


def check_own(ref: ProfileRef) -> None:
    """Raise LlmswitchError for a profile that is not the user's to edit."""
    if is_ready_made(ref):
        raise LlmswitchError(
            f"{ref.name} is a ready-made profile and cannot be edited",
            f"llmswitch init --from {ref.typed}    (makes a copy of your own)",
        )


def _target(model: Any) -> Any:
    return model.get("model") if isinstance(model, dict) else model


def _rewrite(home: Home, ref: ProfileRef, shown: str, change: Callable[[str], str]) -> bool:
    """Change the profile's file; tells whether there was something to change."""
    check_own(ref)
    with locked(home.state / "edit.lock"):
        raw = ref.file.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise LlmswitchError(f"{shown} is not UTF-8 text", "save it as UTF-8") from error
        new = change(text)
        if new == text:
            return False
        try:
            parse_profile(new, shown)
        except ProfileError as error:
            raise LlmswitchError(
                f"{shown} was not changed, because it would not be valid:\n{error.message}",
                f"llmswitch validate {ref.typed}",
            ) from error
        mark = raw[: len(raw) - len(text.encode())]  # a byte order mark stays
        file = ref.file.resolve()  # a link stays a link
        mode = stat.S_IMODE(file.stat().st_mode)
        if not mode & stat.S_IWUSR:  # a rename would not ask
            raise LlmswitchError(
                f"{shown} is read-only and was not changed",
                f"chmod u+w {shlex.quote(str(file))}",
            )
        write_private(file, mark + new.encode(), mode)
    return True


def _users(profile: Profile, name: str) -> Iterator[str]:
    """Every place of a profile, but its own, that names a model."""
    yield from (f"roles.{role}" for role in ROLES if getattr(profile.roles, role) == name)
    for other, model in profile.models.items():
        for kind in ("fallbacks", "context_fallbacks"):
            if other != name and name in getattr(model, kind):
                yield f"models.{other}.{kind}"
    for index, budget in enumerate(profile.budgets):
        if budget.model == name:
            yield f"budgets[{index}]"
    if profile.cache and name in (profile.cache.models or ()):
        yield "cache.models"
