"""Reading YAML so that every later complaint can name the line.

PyYAML alone forgets where a value stood and lets the second of two equal keys win in silence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]

_MAX_NODES = 20_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        loader = _LOADER(text)
        try:
            root = loader.get_single_node()
            walk = _Walk(loader)
            data = walk.value(root, ()) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return Document(None, {}, [Problem(line, f"is not YAML: {error.problem or error.context}")])
    except yaml.YAMLError as error:
        return Document(None, {}, [Problem(1, f"is not YAML: {str(error).splitlines()[0]}")])
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Document(None, {}, [Problem(1, f"is not YAML that can be read: {reason}")])
    return Document(data, walk.lines, walk.problems)


class _Walk:
    """Turns nodes into plain data; notes lines, doubled keys and keys that are not text."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.seen = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.seen += 1
        if self.seen > _MAX_NODES:  # aliases of aliases can stand for billions of values
            raise ValueError(f"more than {_MAX_NODES} values")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or a mapping stands where a name belongs", key.start_mark
                )
            if key.value in written:
                self.problems.append(
                    Problem(
                        key.start_mark.line + 1, f"{dotted((*path, key.value))} stands here twice"
                    )
                )
            written.add(key.value)
        self.loader.flatten_mapping(node)  # `<<: *base`
        result: dict[str, Any] = {}
        for key, item in node.value:
            name = (
                self.loader.construct_object(key) if key.tag != "tag:yaml.org,2002:null" else None
            )
            if not isinstance(name, str):
                self.problems.append(
                    Problem(
                        key.start_mark.line + 1,
                        f"{dotted((*path, key.value))} is not text; write it in quotes",
                    )
                )
                name = str(key.value)
            self.lines[(*path, name)] = key.start_mark.line + 1
            result[name] = self.value(item, (*path, name))
        return result


def dotted(path: Path) -> str:
    """A path as people write it: `models.glm-4.5.keys[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
