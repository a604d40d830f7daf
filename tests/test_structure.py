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
# From the ground up: a module imports only from layers below its own.
LAYERS = [
    ["errors", "columns"],
    [
        "profile.yaml_lines",
        "health",
        "cli.progress",
        "claude.arguments",
        "redact",
        "ledger",
        "budgets",
        "request_line",
    ],
    ["profile.litellm_rules", "engine_versions", "paths", "gateway.log_reason", "gateway.log"],
    [
        "profile.providers",
        "profile.secrets",
        "gateway.state",
        "render.claude_settings",
        "usage.summary",
        "gateway.lease",
    ],
    [
        "profile.schema",
        "profile.keys",
        "gateway.port_owner",
        "gateway.reload",
        "claude.saved_default",
        "claude.child",
        "claude.managed_settings",
        "claude.ensure",
    ],
    ["profile.rules", "claude.key_helper", "profile.subscription", "claude.login"],
    ["profile.load"],
    ["profile.prices", "usage.spent"],
    ["render.menu", "usage.clients", "profile.edit", "profile.model_lists"],
    ["profile.catalogue", "render.deployments"],
    [
        "render.litellm_config",
        "render.advice",
        "profile.trust",
        "usage.prune",
        "usage.what_if",
        "doctor.messages_api",
        "doctor.requests",
    ],
    ["render.plan", "claude.wrapper", "doctor.cures", "gateway.systemd"],
    ["gateway.process"],
    ["gateway.lost"],
    ["gateway.lifecycle", "doctor.probe", "claude.direct_menu", "setup.write"],
    ["gateway.service"],
    [
        "setup.demo",
        "gateway.key_renewal",
        "setup.uninstall",
        "claude.rendered_files",
        "gateway.status",
        "claude.session",
        "cli.text",
        "doctor.facts",
        "doctor.probe_client",
        "claude.environment",
        "claude.statusline",
    ],
    [
        "cli.text_status",
        "usage.tables",
        "cli.text_models",
        "cli.text_keys",
        "cli.text_service",
        "doctor.checks_engine",
        "doctor.checks_installation",
        "doctor.checks_profile",
        "doctor.checks_gateway",
        "claude.direct",
    ],
    ["doctor.checks_client"],
    ["doctor.checks", "usage.page", "setup.detect"],
    ["doctor.issue_report", "doctor.live", "cli.common", "setup.compose"],
    ["cli.text_init", "cli.ask"],
    ["cli.init_from"],
    [
        "cli.budget",
        "cli.clients",
        "cli.init",
        "cli.key",
        "cli.logs",
        "cli.models",
        "cli.usage",
        "cli.wrapper",
        "cli.service",
    ],
    ["cli.app"],
    ["__main__"],
]
# Loaded by the commands and inside LiteLLM; so standard library and nothing of ours.
SHARED = {"llmswitch.ledger", "llmswitch.budgets", "llmswitch.request_line", "llmswitch.redact"}
ENGINE = {"litellm", "fastapi", "starlette", "uvicorn", "gunicorn"}
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


def ours(name: str) -> list[Import]:
    """What a module imports of llmswitch when it runs, by names without `llmswitch.`."""
    return [
        found._replace(module=found.module.removeprefix("llmswitch."))
        for found in imports(SOURCES[name])
        if found.module.startswith("llmswitch.") and not found.for_types
    ]


def layer(name: str) -> int:
    """How high a module stands."""
    return next(height for height, names in enumerate(LAYERS) if name in names)


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


def test_every_module_has_its_layer() -> None:
    """A new module is given its place here, in the one line from the command to the errors."""
    assert sorted(name for names in LAYERS for name in names) == sorted(COMMAND_LINE)


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_imports_go_one_way(name: str) -> None:
    """Down, also those inside functions; so no two modules can ever import each other."""
    upward = [found.module for found in ours(name) if layer(found.module) >= layer(name)]
    assert upward == []


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_nothing_of_the_command_line_imports_the_engine_or_what_runs_inside_it(name: str) -> None:
    """LiteLLM costs 2.4 s of CPU; what runs inside it is named as text, in the configuration."""
    found = {item.module for item in imports(SOURCES[name])}
    assert {module for module in found if module.partition(".")[0] in ENGINE} == set()
    assert {module for module in found if module.startswith("llmswitch.engine.")} == set()


def test_the_inside_imports_the_engine_and_nothing_of_the_command_line() -> None:
    """They run inside LiteLLM, where a mistake of ours must stay small."""
    inside = [name for name in SOURCES if name.startswith("engine.")]
    found = {name: {item.module for item in imports(SOURCES[name])} for name in inside}
    assert any(module.startswith("litellm") for names in found.values() for module in names)
    for name, names in found.items():
        reached = {module for module in names if module.partition(".")[0] == "llmswitch"}
        outside = {module for module in reached if not module.startswith("llmswitch.engine.")}
        assert outside <= SHARED, name


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
        "render.claude_settings",
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
            "install_option", "address", "gateway.state", "stop_seconds"}  # fmt: skip
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
            assert quoting.strip() in {"yaml", "sh", "py", "unit"} or value.strip() in safe, value


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
