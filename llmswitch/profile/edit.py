"""A profile with one model more or one less, and every other byte as the user wrote it.

Each place where the change may belong is tried, the likeliest first, and read again: the first text
that says exactly what was meant is taken. Where there is none, the edit is refused with the line to
write by hand.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from llmswitch.errors import LlmswitchError, ProfileError
from llmswitch.paths import Home, ProfileRef, data_folder, locked, write_private
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.schema import ROLES, Profile
from llmswitch.profile.yaml_lines import Document, read_document

_BREAKS = "\r\n\x85\u2028\u2029"  # of lines, for YAML
_LINE = re.compile(rf"[^{_BREAKS}]*(?:\r\n|[{_BREAKS}])|[^{_BREAKS}]+$")
_PARTS = 40  # of a flow mapping, within which a model ends


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


# ------------------------------------------------------------------ the text


def with_model(text: str, name: str, value: Any) -> str:
    """The text of a profile with one more model, the last; `value` is its short or long form."""
    written = entry(name, value)
    by_hand = f"add it yourself, below `models:`:  {written}"
    doc = _read(text, by_hand)
    data = doc.data or {}
    wanted = {**data, "models": {**(data.get("models") or {}), name: value}}
    return _first((*_lines_more(text, doc, written), *_flow_more(text, written)), wanted, by_hand)


def entry(name: str, value: Any) -> str:
    """A model as it is written into a profile, on one line."""
    flow = yaml.safe_dump(
        {name: value}, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**31
    )
    return flow.strip()[1:-1]


def without_model(text: str, name: str) -> str:
    """The text of a profile without a model: its lines, or its part of one line, are cut out."""
    doc = _read(text, "remove it yourself")
    line = doc.lines["models", name]
    others = {key: value for key, value in doc.data["models"].items() if key != name}
    by_hand = f"remove it yourself, on line {line}"
    cuts = (*_lines_less(text, line), *_flow_less(text, line, name))
    return _first(cuts, {**doc.data, "models": others}, by_hand)


def _read(text: str, by_hand: str) -> Document:
    doc = read_document(text)
    if doc.problems:
        line, said = doc.problems[0]
        raise LlmswitchError(f"the profile has an error on line {line}: {said}", by_hand)
    if not isinstance(doc.data, dict | None):
        raise LlmswitchError("the profile is not a mapping", by_hand)
    return doc


def _first(texts: tuple[str, ...], wanted: dict[str, Any], by_hand: str) -> str:
    for text in texts:
        doc = read_document(text)
        same = not doc.problems and doc.data == wanted
        if same and list(doc.data["models"]) == list(wanted["models"]):
            return text
    raise LlmswitchError("the profile is written in a way that is not safe to edit", by_hand)


def _lines_more(text: str, doc: Document, written: str) -> Iterator[str]:
    """With a line more, below the last model or any line behind it."""
    lines, eol = _LINE.findall(text), "\r\n" if "\r\n" in text else "\n"
    data = doc.data or {}
    models, indent = data.get("models"), "  "
    if models:
        last = lines[doc.lines["models", next(reversed(models))] - 1]
        indent = last[: len(last) - len(last.lstrip(" "))]
    more = indent + written if "models" in data else f"models:{eol}  {written}"
    within = doc.lines.items() if data else ()
    own = [line for path, line in within if "models" not in data or path[:1] == ("models",)]
    for at in range(max(own, default=len(lines)), len(lines) + 1):
        before, behind = "".join(lines[:at]), "".join(lines[at:])
        ends = not before or before[-1] in _BREAKS
        yield f"{before}{more}{eol}{behind}" if ends else f"{before}{eol}{more}"


def _flow_more(text: str, written: str) -> Iterator[str]:
    """With a part more, before any `}`."""
    for found in re.finditer("}", text):
        for more in (written, f"models: {{{written}}}"):
            for comma in (", ", ""):
                yield text[: found.start()] + comma + more + text[found.start() :]


def _lines_less(text: str, line: int) -> Iterator[str]:
    """Without the lines from this one on, as few as possible."""
    lines = _LINE.findall(text)
    for end in range(line, len(lines) + 1):
        yield "".join(lines[: line - 1] + lines[end:])


def _flow_less(text: str, line: int, name: str) -> Iterator[str]:
    """Without a part that begins on this line: with one comma, and as short as possible."""
    begin = len("".join(_LINE.findall(text)[: line - 1]))
    edges = [found.span() for found in re.finditer("[{},] *", text[begin:])][:_PARTS]
    places = sorted({begin, *(begin + edge for span in edges for edge in span)})
    cuts = []
    for start, end in combinations(places, 2):
        part = text[start:end]
        if name in part and "#" not in part:  # comments stay
            commas = part.startswith(",") + part.rstrip(" ").endswith(",")
            cuts.append((commas != 1, end - start, text[:start] + text[end:]))
    return (new for _, _, new in sorted(cuts))
