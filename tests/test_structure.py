"""The shape of the code, read from its syntax: who imports whom, who prints, how long a file is."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "llmswitch"
# Loaded by the commands and inside LiteLLM; so standard library and nothing of ours.
SHARED = {
    "llmswitch.budgets",
    "llmswitch.ledger",
    "llmswitch.redact",
    "llmswitch.run_files",
}
WRITERS = {
    "cli.app": {"stdout", "stderr"},
    "cli.common": {"stdout"},
    "cli.ask": {"stdout"},
    "cli.init_from": {"stderr"},
    "cli.init": {"stderr"},
    "cli.logs": {"stdout", "stderr"},
    "claude.statusline": {"stdout"},
    "claude.session": {"stderr"},  # what goes wrong; the output of `claude -p` is not ours
    "claude.ensure": {"stderr"},  # where `up` is to talk
    "cli.progress": {"stderr"},
    "claude.key_helper": {"stdout", "stderr"},  # the key, for Claude Code alone
}
LONGEST = 400  # lines


class Import(NamedTuple):
    """One imported module. `late` is inside a function, `for_types` is never run."""

    module: str
    late: bool
    for_types: bool


def modules() -> dict[str, ast.Module]:
    """Every file of the package by its dotted name without `llmswitch.`."""
    return {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): ast.parse(file.read_bytes())
        for file in sorted(PACKAGE.rglob("*.py"))
    }


SOURCES = modules()
COMMAND_LINE = [
    name for name in SOURCES if not name.startswith("engine.") and not name.endswith("__init__")
]


def imports(tree: ast.AST, late: bool = False, for_types: bool = False) -> Iterator[Import]:
    """Every import below a node."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, late, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            inside = [f"{module}.{alias.name}" for alias in node.names]
            known = [name for name in inside if name.removeprefix("llmswitch.") in SOURCES]
            yield from (Import(name, late, for_types) for name in known or [module])
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imports(node, late, for_types=True)
        else:
            inner = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(node, inner, for_types)


def test_the_reader_of_imports_sees_every_form() -> None:
    """The rules below are only as good as this."""
    tree = ast.parse(
        "import a.b\nfrom llmswitch import redact, __version__\n"
        "from llmswitch.errors import LlmswitchError\n"
        "if TYPE_CHECKING:\n    from llmswitch.paths import Home\n"
        "def f():\n    with x:\n        import late\n"
        "try:\n    from c import d\nexcept ImportError:\n    pass\n"
    )
    assert list(imports(tree)) == [
        Import("a.b", late=False, for_types=False),
        Import("llmswitch.redact", late=False, for_types=False),
        Import("llmswitch.errors", late=False, for_types=False),
        Import("llmswitch.paths", late=False, for_types=True),
        Import("late", late=True, for_types=False),
        Import("c", late=False, for_types=False),
    ]


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_both_sides_load_is_standard_library(name: str) -> None:
    """What the commands and the engine share draws in neither side."""
    found = {
        module.partition(".")[0] for module in needed_at_start(name.removeprefix("llmswitch."))
    }
    assert found - set(sys.stdlib_module_names) == set()


def needed_at_start(name: str) -> set[str]:
    """Every module that is loaded when this one is, ours and others'."""
    waiting, found = [name], set()
    while waiting:
        for item in imports(SOURCES[waiting.pop()]):
            if not item.late and not item.for_types and item.module not in found:
                found.add(item.module)
                if item.module.removeprefix("llmswitch.") in SOURCES:
                    waiting.append(item.module.removeprefix("llmswitch."))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "claude.session",
        "claude.direct",
        "claude.key_helper",
        "paths",
        "claude.statusline",
    ],
)
def test_what_stands_before_the_clients_prompt_is_standard_library(name: str) -> None:
    """`claude-multi --version` may cost 60 ms; pydantic alone takes longer to import."""
    others = {module.partition(".")[0] for module in needed_at_start(name)} - {"llmswitch"}
    assert others - set(sys.stdlib_module_names) == set()
    assert "llmswitch.errors" in needed_at_start(name)


def test_the_command_line_loads_nothing_heavy_before_a_command_is_known() -> None:
    """Each command imports what it uses."""
    others = {module.partition(".")[0] for module in needed_at_start("cli.app")} - {"llmswitch"}
    assert others - set(sys.stdlib_module_names) == {"typer"}


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_only_ten_modules_write_to_the_terminal(name: str) -> None:
    """Functions return data; one place prints."""
    streams = {
        node.attr
        for node in ast.walk(SOURCES[name])
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
    }
    assert streams <= WRITERS.get(name, set())
    called = {
        ast.unparse(node.func) for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Call)
    }
    assert called.isdisjoint({"print", "typer.echo", "typer.secho", "input", "pprint"})


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_is_longer_than_one_can_read(name: str) -> None:
    """Four hundred lines."""
    file = PACKAGE / Path(*name.split(".")).with_suffix(".py")
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_reads_the_environment_but_those_that_begin(name: str) -> None:
    """Environment, clock and paths are arguments; the commands and LiteLLM's hooks hand them in.
    A profile is read in twenty places, and no one of them may forget what the rules ask for.
    """
    reads = [
        node.lineno
        for node in ast.walk(SOURCES[name])
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}
    ]
    beginning = {
        "cli.app",
        "cli.common",
        "cli.init",
        "cli.key",
        "cli.logs",
        "cli.service",
        "cli.wrapper",
        "claude.session",
        "claude.direct",
        "claude.key_helper",
        "profile.load",
        "claude.statusline",
    }
    if name not in beginning and not name.startswith("engine."):
        assert reads == []


TEMPLATES = sorted((PACKAGE.parent / "templates").glob("*.j2"))
PAGES = [template for template in TEMPLATES if template.name.endswith(".html.j2")]


def test_every_template_is_used_and_its_values_are_quoted() -> None:
    """Each `{{ value }}` has a filter that quotes, but our own mark and what has a safe form."""
    safe = {"mark", "version", "profile", "name", "uninstall_name", "of_what", "module",
            "install_option", "state", "stop_seconds"}  # fmt: skip
    filters = {"yaml", "sh", "py", "unit", "xml"}
    used = (PACKAGE / "render/litellm_config.py").read_text(encoding="utf-8")
    assert TEMPLATES
    for template in TEMPLATES:
        if template in PAGES:
            continue
        assert f'"{template.name}"' in used
        for part in template.read_text(encoding="utf-8").split("{{")[1:]:
            value, _, quoting = part.partition("}}")[0].partition("|")
            if '"- "' in value:  # the dash of a YAML list
                continue
            assert quoting.strip() in filters or value.strip() in safe, value


def test_every_page_is_used_and_escapes_its_values() -> None:
    """By Jinja itself, which no filter undoes; so a value in a tag must stand in quotes."""
    used = (PACKAGE / "usage/page.py").read_text(encoding="utf-8")
    assert "autoescape=True" in used
    assert "Markup" not in used
    assert PAGES
    for page in PAGES:
        assert f'"{page.name}"' in used
        for before, value in itertools.pairwise(page.read_text(encoding="utf-8").split("{{")):
            assert "|" not in value.partition("}}")[0]
            tag = before.rpartition("}}")[2].rpartition("<")[2]
            assert not tag.rstrip().endswith("="), tag
