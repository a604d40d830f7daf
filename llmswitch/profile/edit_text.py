"""The text of a profile with one model more or one less, and every other byte as the user wrote it.

Something is put into the text, or cut out of it, where YAML's own parser says that it belongs.
What comes out is read again: if it does not say exactly what was meant, the edit is refused with
the line to write by hand.
"""

from __future__ import annotations

import re
from collections import deque
from copy import deepcopy
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import Resolver

from llmswitch.errors import LlmswitchError
from llmswitch.profile.yaml_lines import LOADER, read_document

Pair = tuple[yaml.Node, yaml.Node]  # of a mapping

_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_BY_HAND = "remove it yourself"
_REST = re.compile(r"[ \t]*(?:#[^\r\n]*)?")


class _Tree(Composer, Resolver):
    """Nodes as they stand in the text: an alias is a node of its own."""

    def __init__(self, text: str) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        self.events = deque(yaml.parse(text, Loader=LOADER))

    def check_event(self, *kinds: Any) -> bool:
        return isinstance(self.events[0], kinds)

    def peek_event(self) -> Any:
        return self.events[0]

    def get_event(self) -> Any:
        return self.events.popleft()

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            return yaml.ScalarNode("alias", None, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


def with_model(text: str, name: str, value: Any) -> str:
    """The text of a profile with one more model, the last; `value` is its short or long form."""
    written = entry(name, value)
    by_hand = f"add it yourself, below `models:`:  {written}"
    wanted = _data(text, by_hand)
    wanted["models"] = {**(wanted.get("models") or {}), name: value}
    return _checked(_put(text, written, by_hand), wanted, by_hand)


def entry(name: str, value: Any) -> str:
    """A model as it is written into a profile, on one line."""
    flow = yaml.safe_dump(
        {name: value}, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**31
    )
    return flow.strip()[1:-1]


def without_model(text: str, name: str) -> str:
    """The text of a profile without a model: its lines, or its part of one line, are cut out."""
    root = _tree(text, _BY_HAND)
    models = _models(root)[1] if root else None
    pairs = models.value if isinstance(models, yaml.MappingNode) else []
    places = [index for index, (key, _) in enumerate(pairs) if key.value == name]
    by_hand = _BY_HAND
    if places:
        by_hand += f", on line {pairs[places[0]][0].start_mark.line + 1}"
    wanted = _data(text, by_hand)
    del wanted["models"][name]
    if not isinstance(models, yaml.MappingNode) or len(places) != 1:
        raise LlmswitchError(f"{name} is not written below `models:` itself", by_hand)
    cut = _cut_flow if models.flow_style else _cut_lines
    return _checked(cut(text, pairs, places[0], by_hand), wanted, by_hand)


def _put(text: str, entry: str, by_hand: str) -> str:
    eol = "\r\n" if "\r\n" in text else "\n"
    root = _tree(text, by_hand)
    if root is None:  # nothing but comments
        joint = "" if not text or _BREAK.search(text, len(text) - 1) else eol
        return f"{text}{joint}models:{eol}  {entry}{eol}"
    key, models = _models(root)
    if isinstance(models, yaml.MappingNode):
        return _into(text, models, entry, eol)
    indent = " " * (root.start_mark.column + 2)
    if key is None:
        part = f"models: {{{entry}}}" if root.flow_style else f"models:{eol}{indent}{entry}"
        return _into(text, root, part, eol)
    if models and models.start_mark.index == models.end_mark.index and not root.flow_style:
        return _line_after(text, key.end_mark.index, indent + entry, eol)  # `models:` and nothing
    raise LlmswitchError("`models:` is not a mapping that can be edited", by_hand)


def _into(text: str, mapping: yaml.MappingNode, entry: str, eol: str) -> str:
    """The text with an entry at the end of a mapping."""
    if not mapping.flow_style:
        indent = " " * mapping.value[0][0].start_mark.column
        return _line_after(text, _end(mapping, text), indent + entry, eol)
    if mapping.value:
        at = _end(mapping.value[-1][1], text)
        return f"{text[:at]}, {entry}{text[at:]}"
    at = text.index("{", mapping.start_mark.index) + 1
    return text[:at] + entry + text[at:]


def _line_after(text: str, at: int, line: str, eol: str) -> str:
    """The text with a line below the one that a piece ends on."""
    if at and _BREAK.fullmatch(text[at - 1]):  # a block scalar ends with its line
        return text[:at] + line + eol + text[at:]
    end = _BREAK.search(text, at)
    if end is None:
        return text + eol + line
    return text[: end.end()] + line + eol + text[end.end() :]


def _cut_lines(text: str, pairs: list[Pair], index: int, by_hand: str) -> str:
    mark, end = pairs[index][0].start_mark, _end(pairs[index][1], text)
    begin = mark.index - mark.column
    if text[begin : mark.index].strip(" "):
        raise LlmswitchError("something else stands on its first line", by_hand)
    if not _BREAK.fullmatch(text[end - 1]):
        rest = _REST.match(text, end)
        end = rest.end() if rest else end
        if following := _BREAK.match(text, end):
            end = following.end()
        elif end < len(text):
            raise LlmswitchError("something else stands on its last line", by_hand)
    return text[:begin] + text[end:]


def _cut_flow(text: str, pairs: list[Pair], index: int, by_hand: str) -> str:
    """With the comma before it, or behind it where it is the first."""
    start, end = pairs[index][0].start_mark.index, _end(pairs[index][1], text)
    if index:
        start = _end(pairs[index - 1][1], text)
    elif len(pairs) > 1:
        end = pairs[1][0].start_mark.index
    if "#" in text[start:end]:
        raise LlmswitchError("a comment may belong to it or to its neighbor", by_hand)
    return text[:start] + text[end:]


def _data(text: str, by_hand: str) -> dict[str, Any]:
    """What a text says, as data that can be changed."""
    doc = read_document(text)
    if doc.problems:
        line, said = doc.problems[0]
        raise LlmswitchError(f"the profile has an error on line {line}: {said}", by_hand)
    if not isinstance(doc.data, dict | None):
        raise LlmswitchError("the profile is not a mapping", by_hand)
    return deepcopy(doc.data) if doc.data else {}


def _checked(new: str, wanted: dict[str, Any], by_hand: str) -> str:
    doc = read_document(new)
    same = not doc.problems and doc.data == wanted
    if not same or list(doc.data["models"]) != list(wanted["models"]):
        raise LlmswitchError("the profile is written in a way that is not safe to edit", by_hand)
    return new


def _tree(text: str, by_hand: str) -> yaml.MappingNode | None:
    """The root of a text; None where it has no content."""
    try:
        root = _Tree(text).get_single_node()
    except yaml.YAMLError as error:
        raise LlmswitchError("the profile is not YAML", by_hand) from error
    return root if isinstance(root, yaml.MappingNode) else None


def _models(root: yaml.MappingNode) -> Pair | tuple[None, None]:
    return next((pair for pair in root.value if pair[0].value == "models"), (None, None))


def _end(node: yaml.Node, text: str) -> int:
    """Just behind the last character of what stands in a text: a block ends with its last part, and
    a block scalar with its last line.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last, text)
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") and end < len(text):
        begin = node.start_mark.index
        end = max((found.end() for found in _BREAK.finditer(text, begin, end)), default=end)
    return end
