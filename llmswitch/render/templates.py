"""The templates of generated files, and how a value is written into each kind of file."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

import jinja2
import yaml

from llmswitch import __version__
from llmswitch.errors import LlmswitchError
from llmswitch.generated import MARK
from llmswitch.paths import data_folder


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_folder("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML here; each value goes through a filter that quotes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = _flow_yaml
    environment.filters["py"] = repr
    environment.filters["unit"] = as_unit_word
    environment.filters["xml"] = lambda value: escape(_one_line(value))
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    return environment


class _OneLine(yaml.SafeDumper):
    """Writes text that holds an end of a line with an escape in its place."""


_OneLine.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def _flow_yaml(value: Any) -> str:
    """A value as YAML on one line. JSON would not do: YAML reads its 6e-07 as text."""
    text: str = yaml.dump(
        value,
        Dumper=_OneLine,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=2**31,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def render(template: str, **values: Any) -> str:
    """A template with these values, and the mark of generated files."""
    return _templates().get_template(template).render(mark=MARK, version=__version__, **values)


def as_unit_word(value: Any) -> str:
    """A value as one word of a systemd unit, where `%` would name something of systemd's."""
    text = _one_line(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _one_line(value: Any) -> str:
    text = str(value)
    if not text.isprintable():
        said = f"{text!r} cannot stand in the file of a service"
        raise LlmswitchError(said, "rename that folder")
    return text
