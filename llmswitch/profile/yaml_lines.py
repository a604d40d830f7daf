"""Reading YAML so that every later complaint can name the line.

PyYAML alone forgets where a value stood and lets the second of two equal keys win in silence.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# A date has no place in a profile: what YAML would make one of stays text.
_TEXT = ("str", "timestamp")
_NUMBERS = ("bool", "float", "int", "null")
_DEEPEST = 100  # levels; libyaml ends the process with a segmentation fault at some 25,000
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Problem(NamedTuple):
    """One mistake: the line it stands on (from 1) and what is wrong."""

    line: int
    text: str


class Document(NamedTuple):
    """A YAML text as plain data, the line of every path in it, and what is wrong with it."""

    data: Any
    lines: dict[Path, int]
    problems: list[Problem]

    def line_of(self, path: Path) -> int:
        """The line of a path, or of the nearest part of it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(text: str) -> Document:
    """Parse a YAML text; a text that is not YAML gives a document with one problem."""
    try:
        if line := _too_deep(text):
            return Document(
                None, {}, [Problem(line, f"the YAML is nested deeper than {_DEEPEST} levels")]
            )
        loader = LOADER(text)
        try:
            root = loader.get_single_node()
            walk = _Walk(loader)
            data = walk.value(root, ()) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        if mark and text[mark.index : mark.index + 1] == "\t":
            reason = "indent with spaces, not with a tab"
        return Document(None, {}, [Problem(line, f"invalid YAML: {reason}")])
    except yaml.YAMLError as error:
        return Document(None, {}, [Problem(1, f"invalid YAML: {str(error).splitlines()[0]}")])
    except RecursionError:
        return Document(None, {}, [Problem(1, "an alias contains itself")])
    return Document(data, walk.lines, walk.problems)


def _too_deep(text: str) -> int | None:
    """The line at which a text is nested too deep: of somebody else's file, anything may come."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return event.start_mark.line + 1 if event.start_mark else 1
    return None


class _Walk:
    """Turns nodes into plain data; notes lines, duplicate keys and what cannot be read."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.checked: set[yaml.MappingNode] = set()  # an alias leads to the same node again

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        kind, scalar = node.tag.removeprefix(_TAG), isinstance(node, yaml.ScalarNode)
        if scalar and kind in _TEXT:
            return node.value
        if scalar and kind in _NUMBERS:
            with contextlib.suppress(ValueError, KeyError, IndexError):  # `!!bool x`, 0x_
                return self.loader.construct_object(node)
        self.complain(node, path, f"cannot be read as {kind}; put it in quotes if it is text")
        return node.value if scalar else None

    def complain(self, node: yaml.Node, path: Path, text: str) -> None:
        where = dotted(path) or "the file"
        self.problems.append(Problem(node.start_mark.line + 1, f"{where} {text}"))

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text, not a list or a mapping", key.start_mark
                )
            if key.value in written and node not in self.checked:
                where = dotted((*path, key.value))
                self.problems.append(Problem(key.start_mark.line + 1, f"duplicate key {where}"))
            written.add(key.value)
        self.checked.add(node)
        self.loader.flatten_mapping(node)  # `<<: *base`
        result: dict[str, Any] = {}
        for key, item in node.value:
            name = str(key.value)
            if key.tag.removeprefix(_TAG) not in _TEXT:
                self.complain(key, (*path, name), "is not text; put it in quotes")
            self.lines[(*path, name)] = key.start_mark.line + 1
            result[name] = self.value(item, (*path, name))
        return result


def dotted(path: Path) -> str:
    """A path as people write it: `models.glm-4.5.keys[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part and part.isprintable() and part == part.strip()
            name = part if plain else repr(part)
            text += f".{name}" if text else name
    return text
