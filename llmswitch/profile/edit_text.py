"""The text of a profile with one model more or one less, and every other byte as the user wrote it.

Each place where the change may belong is tried, the likeliest first, and read again: the first text
that says exactly what was meant is taken. Where there is none, the edit is refused with the line to
write by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import yaml

from llmswitch.errors import LlmswitchError
from llmswitch.profile.yaml_lines import Document, read_document

_BREAKS = "\r\n\x85\u2028\u2029"  # of lines, for YAML
_LINE = re.compile(rf"[^{_BREAKS}]*(?:\r\n|[{_BREAKS}])|[^{_BREAKS}]+$")
_PARTS = 40  # of a flow mapping, within which a model ends


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
