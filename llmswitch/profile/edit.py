"""A profile with one model more or one less, and every other byte as the user wrote it.

Something is put into the text, or cut out of it, where YAML's own parser says that it belongs.
What comes out is read again: if it does not say exactly what was meant, nothing is written.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmswitch.errors import LlmswitchError, ProfileError
from llmswitch.paths import Home, ProfileRef, data_folder, locked, write_private
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.schema import ROLES, Profile
from llmswitch.profile.yaml_lines import LOADER, read_document

_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_COMMA = re.compile(r"(?:\s|#[^\r\n]*)*,")
_BY_HAND = "take it out by hand"
_REST = re.compile(r"[ \t]*(?:#[^\r\n]*)?")


@dataclass
class _Node:
    """A piece of YAML and where it stands: from `start` to just behind its last character."""

    start: int
    end: int
    text: str | None = None  # of a scalar
    flow: bool = False
    items: list[tuple[_Node, _Node]] = field(default_factory=list)  # of a mapping
    is_map: bool = False


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
                f"{name} is named by {users}", f"edit {shown} there first, then remove it"
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
            f"{ref.name} is a ready-made profile, which is not edited",
            f"llmswitch init --from {ref.typed}    (makes one of your own)",
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
                f"{shown} was left as it is, because it would have mistakes:\n{error.message}",
                f"llmswitch validate {ref.typed}",
            ) from error
        mark = raw[: len(raw) - len(text.encode())]  # a byte order mark stays
        file = ref.file.resolve()  # a link stays a link
        mode = stat.S_IMODE(file.stat().st_mode)
        if not mode & stat.S_IWUSR:  # a rename would not ask
            raise LlmswitchError(
                f"{shown} is read-only, so it was left as it is",
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
    by_hand = f"write it by hand, below `models:`:  {written}"
    wanted = _data(text, by_hand)
    wanted["models"] = {**(wanted.get("models") or {}), name: value}
    return _checked(_put(text, written, by_hand), wanted, by_hand)


def entry(name: str, value: Any) -> str:
    """A model as it is written into a profile, on one line."""
    flow = yaml.safe_dump(
        {name: value},
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=2**31,
    )
    return flow.strip()[1:-1]


def _put(text: str, entry: str, by_hand: str) -> str:
    eol = "\r\n" if "\r\n" in text else "\n"
    root = _tree(text, by_hand)
    if root is None or (not root.items and not root.flow):  # nothing but comments
        joint = "" if not text or _BREAK.search(text, len(text) - 1) else eol
        return f"{text}{joint}models:{eol}  {entry}{eol}"
    column = _column(text, root.items[0][0].start) if root.items else 0
    models = next((pair for pair in root.items if pair[0].text == "models"), None)
    if models is None:
        part = f"models: {{{entry}}}" if root.flow else f"models:{eol}{' ' * (column + 2)}{entry}"
        return _into(text, root, part, eol)
    key, value = models
    if value.is_map:
        return _into(text, value, entry, eol)
    if value.text == "" and value.start == value.end and not root.flow:  # `models:` and nothing
        return _line_after(text, key.end, " " * (column + 2) + entry, eol)
    raise LlmswitchError("`models:` holds no mapping that can be edited", by_hand)


def _into(text: str, mapping: _Node, entry: str, eol: str) -> str:
    """The text with an entry at the end of a mapping."""
    if not mapping.flow:
        column = _column(text, mapping.items[0][0].start)
        return _line_after(text, mapping.end, " " * column + entry, eol)
    if mapping.items:
        at = _end(mapping.items[-1])
        return f"{text[:at]}, {entry}{text[at:]}"
    at = text.index("{", mapping.start) + 1
    return text[:at] + entry + text[at:]


def _line_after(text: str, at: int, line: str, eol: str) -> str:
    """The text with a line below the one that a piece ends on."""
    if at and _BREAK.fullmatch(text[at - 1]):  # a block scalar ends with its line
        return text[:at] + line + eol + text[at:]
    end = _BREAK.search(text, at)
    if end is None:
        return text + eol + line
    return text[: end.end()] + line + eol + text[end.end() :]


def without_model(text: str, name: str) -> str:
    """The text of a profile without a model: its lines, or its part of one line, are cut out."""
    root = _tree(text, _BY_HAND)
    pairs = root.items if root else []
    models = next((value for key, value in pairs if key.text == "models"), _Node(0, 0))
    places = [index for index, (key, _) in enumerate(models.items) if key.text == name]
    by_hand = _BY_HAND
    if places:
        before = text[: models.items[places[0]][0].start]
        by_hand += f", on line {len(_BREAK.findall(before)) + 1}"
    wanted = _data(text, by_hand)
    del wanted["models"][name]
    if len(places) != 1:
        raise LlmswitchError(f"{name} does not stand below `models:` itself", by_hand)
    cut = _cut_flow if models.flow else _cut_lines
    return _checked(cut(text, models, places[0], by_hand), wanted, by_hand)


def _cut_lines(text: str, models: _Node, index: int, by_hand: str) -> str:
    start, end = models.items[index][0].start, _end(models.items[index])
    begin = start - _column(text, start)
    if text[begin:start].strip(" "):
        raise LlmswitchError("it does not stand on lines of its own", by_hand)
    if not _BREAK.fullmatch(text[end - 1]):
        rest = _REST.match(text, end)
        assert rest is not None  # noqa: S101 - it matches nothing at all, too
        end = rest.end()
        if following := _BREAK.match(text, end):
            end = following.end()
        elif end < len(text):
            raise LlmswitchError("something else stands on its last line", by_hand)
    return text[:begin] + text[end:]


def _cut_flow(text: str, models: _Node, index: int, _by_hand: str) -> str:
    start, end = models.items[index][0].start, _end(models.items[index])
    before = _end(models.items[index - 1]) if index else start
    if index and re.fullmatch(r", *", text[before:start]):
        return text[:before] + text[end:]
    if comma := _COMMA.match(text, end):
        # A comment between the two stays.
        kept = text[end : comma.end() - 1]
        end = comma.end()
        if not kept.strip():
            kept = ""
        begin = start - _column(text, start)
        following = _BREAK.match(text, end)
        if not kept and following and not text[begin:start].strip(" "):
            return text[:begin] + text[following.end() :]
        while not kept and text[end : end + 1] == " ":
            end += 1
        return text[:start] + kept + text[end:]
    return text[:start] + text[end:]


def _data(text: str, by_hand: str) -> dict[str, Any]:
    """What a text says, as data that can be changed."""
    doc = read_document(text)
    if doc.problems:
        line, said = doc.problems[0]
        raise LlmswitchError(f"the profile has a mistake on line {line}: {said}", by_hand)
    if not isinstance(doc.data, dict | None):
        raise LlmswitchError("the profile is no mapping", by_hand)
    return deepcopy(doc.data) if doc.data else {}


def _checked(new: str, wanted: dict[str, Any], by_hand: str) -> str:
    doc = read_document(new)
    same = not doc.problems and doc.data == wanted
    if not same or list(doc.data["models"]) != list(wanted["models"]):
        raise LlmswitchError("the profile is written such that it cannot be edited safely", by_hand)
    return new


def _tree(text: str, by_hand: str) -> _Node | None:
    """The root of a text; None where it has no content. Aliases are not followed."""
    try:
        events = iter(yaml.parse(text, Loader=LOADER))
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                return _node(event, events, text)
    except yaml.YAMLError as error:
        raise LlmswitchError("the profile is not YAML", by_hand) from error
    return None


def _node(event: Any, events: Iterator[Any], text: str) -> _Node:
    node = _Node(event.start_mark.index, event.end_mark.index)
    if isinstance(event, yaml.ScalarEvent):
        node.text = event.value
        if event.style in ("|", ">"):  # the mark stands on the next line, perhaps within it
            last = list(_BREAK.finditer(text, node.start, node.end))
            node.end = last[-1].end() if last and node.end < len(text) else node.end
    elif isinstance(event, yaml.CollectionStartEvent):
        node.is_map = isinstance(event, yaml.MappingStartEvent)
        node.flow = bool(event.flow_style)
        while not isinstance(part := next(events), yaml.CollectionEndEvent):
            child = _node(part, events, text)
            value = _node(next(events), events, text) if node.is_map else child
            node.items.append((child, value))
        if not node.flow:
            node.end = max(map(_end, node.items))
        elif part.end_mark:
            node.end = part.end_mark.index
    return node


def _end(pair: tuple[_Node, _Node]) -> int:
    return max(pair[0].end, pair[1].end)


def _column(text: str, at: int) -> int:
    """How far a place is from the beginning of its line."""
    begin = 0
    for found in _BREAK.finditer(text, 0, at):
        begin = found.end()
    return at - begin
