"""The shape of the code, read from its syntax: who prints, who reads the environment, how long a
file is. That imports go one way, import-linter holds (pyproject.toml, `make lint`).
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import CHECKOUT

PACKAGE = CHECKOUT / "llmswitch"
SOURCES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts): ast.parse(file.read_bytes())
    for file in sorted(PACKAGE.rglob("*.py"))
}
COMMANDS = [name for name in SOURCES if not name.startswith("engine.")]
SHARED = ("budgets", "ledger", "redact", "run_files")  # with the engine
# What is loaded before the client's prompt: `claude-multi --version` may cost 60 ms, and pydantic
# alone takes longer to import.
BEFORE_THE_PROMPT = (
    *("claude.session", "claude.direct", "claude.key_helper", "claude.statusline"),
    "paths",
)
# Functions return data. Beside the commands print: the session, what goes wrong (the output of
# `claude -p` is not ours); where `up` is to talk; the status line; the key, for Claude Code alone.
PRINTING = (
    "cli.",
    "claude.statusline",
    "claude.session",
    "claude.run",
    "claude.ensure",
    "claude.key_helper",
)
# Environment, clock and paths are arguments; the commands and what Claude Code starts hand them in.
# A profile is read in twenty places, and no one of them may forget what the rules ask for.
READING = (*("cli.", "claude.session", "claude.direct", "claude.key_helper", "claude.statusline"),
           "profile.load", "engine.")  # fmt: skip
LONGEST = 400  # lines


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that are imported when a module is: not inside functions, nor for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            inside = [f"{child.module}.{alias.name}" for alias in child.names]
            ours = [name for name in inside if name.removeprefix("llmswitch.") in SOURCES]
            yield from ours or [child.module or ""]
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child)


def needed_at_start(name: str) -> set[str]:
    """Every module that is loaded when this one is, ours and others', as far as it is not of the
    standard library.
    """
    waiting, found = [name], set()
    while waiting:
        for module in imports(SOURCES[waiting.pop()]):
            if module not in found and module.partition(".")[0] not in sys.stdlib_module_names:
                found.add(module)
                own = module.removeprefix("llmswitch.")
                waiting += [own] if own in SOURCES else []
    return found


def test_the_reader_of_imports_sees_every_form() -> None:
    """The rules below are only as good as this."""
    tree = ast.parse(
        "import a.b\nfrom llmswitch import redact, __version__\n"
        "from llmswitch.errors import LlmswitchError\n"
        "if TYPE_CHECKING:\n    from llmswitch.paths import Home\n"
        "def f():\n    with x:\n        import late\n"
        "try:\n    from c import d\nexcept ImportError:\n    pass\n"
    )
    assert list(imports(tree)) == ["a.b", "llmswitch.redact", "llmswitch.errors", "c"]


@pytest.mark.parametrize("name", SHARED)
def test_what_both_sides_load_draws_in_neither(name: str) -> None:
    """What the commands and the engine share is standard library, and nothing of ours."""
    assert needed_at_start(name) == set()


@pytest.mark.parametrize("name", BEFORE_THE_PROMPT)
def test_what_stands_before_the_clients_prompt_is_standard_library(name: str) -> None:
    """And ours."""
    found = needed_at_start(name)
    assert {module.partition(".")[0] for module in found} == {"llmswitch"}
    assert "llmswitch.errors" in found


def test_the_command_line_loads_nothing_heavy_before_a_command_is_known() -> None:
    """Each command imports what it uses."""
    found = {module.partition(".")[0] for module in needed_at_start("cli.app")}
    assert found == {"llmswitch", "typer"}


def words(name: str, *kinds: type[ast.AST]) -> set[str]:
    """What stands in a module as nodes of these kinds; of a call, what is called."""
    found = (node for node in ast.walk(SOURCES[name]) if isinstance(node, kinds))
    return {ast.unparse(node.func if isinstance(node, ast.Call) else node) for node in found}


def test_few_modules_write_to_the_terminal() -> None:
    """Functions return data; one place prints."""
    streams = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
    writers = [name for name in COMMANDS if words(name, ast.Attribute) & streams]
    assert [
        one for one in writers if not one.startswith(PRINTING) or one.startswith("cli.text")
    ] == []
    others = {"print", "typer.echo", "typer.secho", "input", "pprint"}
    assert [name for name in COMMANDS if words(name, ast.Call) & others] == []


def test_few_modules_read_the_environment() -> None:
    """The others are given it."""
    readers = [name for name in SOURCES if words(name, ast.Attribute) & {"os.environ", "os.getenv"}]
    assert [name for name in readers if not name.startswith(READING)] == []


def test_no_file_is_longer_than_one_can_read() -> None:
    """Four hundred lines."""
    files = {file: len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {str(file): lines for file, lines in files.items() if lines > LONGEST} == {}


def test_the_files_that_contributing_names_are_there() -> None:
    """With the answer to where a newcomer finds what."""
    named = re.findall(r"`((?:llmswitch|tests|docs)/[\w./-]+\.\w+)`", page())
    assert len(named) > 15
    assert [name for name in named if not (CHECKOUT / name).exists()] == []
    assert len(page().splitlines()) <= 90


def page() -> str:
    """CONTRIBUTING.md."""
    return (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")


TEMPLATES = sorted((CHECKOUT / "templates").glob("*.j2"))
PAGES = [template for template in TEMPLATES if template.name.endswith(".html.j2")]


def test_every_template_is_used_and_its_values_are_quoted() -> None:
    """Each `{{ value }}` has a filter that quotes, but our own mark and what has a safe form."""
    safe = {"mark", "version", "profile", "name", "uninstall_name", "what", "module",
            "install_option", "state", "stop_seconds"}  # fmt: skip
    filters = {"yaml", "sh", "py", "unit", "xml"}
    used = "".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    assert TEMPLATES
    for template in [one for one in TEMPLATES if one not in PAGES]:
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
    for template in PAGES:
        assert f'"{template.name}"' in used
        text = template.read_text(encoding="utf-8")
        for before, value in itertools.pairwise(text.split("{{")):
            filters = re.findall(r"\|\s*(\w+)", value.partition("}}")[0])
            assert {*filters} <= {"length", "map", "max", "round", "size", "trim"}, (
                value
            )  # none undoes it
            tag = before.rpartition("}}")[2].rpartition("<")[2]
            assert not tag.rstrip().endswith("="), tag
