"""What README.md and docs/ name is there: links, commands, options, fields, files, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from llmswitch.cli.app import app
from llmswitch.paths import find_home
from llmswitch.profile.providers import Provider
from llmswitch.profile.schema import ROLES, Cache, Gateway, Model, Profile
from tests.conftest import CHECKOUT, User, free_port
from tests.manual import PAGES, page

GROUP = typer.main.get_command(app)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
OF_ALL = {"-p", "-h", "--help"}  # said once, at the top of the page of commands
NOT_A_COMMAND = "wrote"  # `... has not been edited by hand`, in the output of the doctor
INSIDE = {  # variables by which the parts of llmswitch speak to each other, and its tests to it
    "LLMSWITCH_CLIENTS",
    "LLMSWITCH_GATEWAY_KEY",
    "LLMSWITCH_KEY",
    "LLMSWITCH_LEDGER",
    "LLMSWITCH_TEST_LOGIN_HOST",
    "LLMSWITCH_VERBOSE",
    "LLMSWITCH_COMPLETE",
}


def _commands() -> dict[str, set[str]]:
    """The options of each command by its words: `models add`. A group that does nothing by itself
    has none.
    """
    assert isinstance(GROUP, TyperGroup)
    found: dict[str, set[str]] = {}
    for name, command in GROUP.commands.items():
        subcommands = command.commands if isinstance(command, TyperGroup) else {}
        both = {name: command} | {f"{name} {sub}": one for sub, one in subcommands.items()}
        for words, one in both.items():
            if not one.hidden:
                shown = [par for par in one.params if not getattr(par, "hidden", False)]
                found[words] = {
                    opt for par in shown for opt in par.opts if opt.startswith("-")
                } - OF_ALL
    return found


COMMANDS = _commands()
GROUPS = {words.split()[0] for words in COMMANDS if " " in words}
ON_PAGE = sorted(COMMANDS.keys() - GROUPS | {"models", "usage"})  # which do something alone too


def first_cells(text: str) -> list[str]:
    """What is code in the first column of the tables of a text."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(.*?)`", row)]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next."""
    lines = text.partition(f"\n{heading}\n")[2].splitlines()
    assert lines, f"no {heading}"
    return "\n".join(takewhile(lambda line: not line.startswith("#"), lines))


# ---------------------------------------------------------------- README.md


def test_the_readme_is_a_first_page() -> None:
    """150 lines at most."""
    assert len(page("README.md").splitlines()) <= 150


def anchors(text: str) -> set[str]:
    """The names by which GitHub and the site link to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"\s", "-", title) for title in plain}


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Each to a file, and to a heading of it. Those of docs/ are held by `make docs`."""
    links = re.findall(r"\]\((?!https://)([^)#]+)#?([^)]*)\)", page("README.md"))
    assert links
    for file, anchor in links:
        text = (CHECKOUT / file).read_text(encoding="utf-8")
        assert not anchor or anchor in anchors(text), f"{file}#{anchor}"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_the_pictures_of_a_page_are_there(file: Path) -> None:
    """`make docs` does not look for them."""
    for target in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).is_file(), target


def test_every_page_is_in_the_menu_of_the_site() -> None:
    """In `nav:` of mkdocs.yml, and nothing else."""
    nav = (CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    docs = CHECKOUT / "docs"
    pages = sorted(file.relative_to(docs).as_posix() for file in docs.rglob("*.md"))
    assert sorted(re.findall(r": (\S+\.md)$", nav, re.MULTILINE)) == pages


# ---------------------------------------------------------------- commands


def named() -> Iterator[tuple[str, str]]:
    """Each command that a page names in code, with its page; `llmswitch` is left out."""
    for file in PAGES:
        for code in CODE.findall(file.read_text(encoding="utf-8")):
            inside = code.strip("`")
            for text in re.findall(r"\bllmswitch ([a-z][a-z-]*(?: [^\n`]*)?)", inside):
                yield file.name, text
            first, space, _ = inside.partition(" ")
            if space and first in COMMANDS and "\n" not in inside:
                yield file.name, inside


def test_every_command_that_is_named_exists() -> None:
    """With the options that stand behind it."""
    wrong = set()
    for file, text in named():
        words = re.match(r"([a-z-]+)(?: ([a-z][a-z-]*))?", text)
        assert words
        command = words[1]
        if f"{command} {words[2]}" in COMMANDS:
            command = f"{command} {words[2]}"
        elif command in GROUPS and words[2]:
            wrong.add((file, text))
        if command == NOT_A_COMMAND:
            continue
        # An option belongs to this command as long as no other one begins.
        options = set(OPTION.findall(re.split(r"  |[;#(]", text)[0])) - OF_ALL
        if command not in COMMANDS or options - COMMANDS[command]:
            wrong.add((file, text))
    assert wrong == set()


@pytest.mark.parametrize("words", ON_PAGE)
def test_the_page_of_commands_has_every_option(words: str) -> None:
    """Each command with just its options."""
    text = section(page("reference/commands.md"), f"### llmswitch {words}")
    code = " ".join(re.findall(r"`([^`]*)`", text)).replace("claude -p", "")
    assert set(OPTION.findall(code)) - OF_ALL == COMMANDS[words]


def test_the_page_of_commands_has_no_other() -> None:
    """What is gone from the program is gone from the page."""
    headings = re.findall(r"^### llmswitch (.*)$", page("reference/commands.md"), re.MULTILINE)
    assert sorted(headings) == ON_PAGE


# ---------------------------------------------------------------- the profile


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("Top level", Profile.model_fields),
        ("models", {field.alias or name: field for name, field in Model.model_fields.items()}),
        ("providers", Provider.model_fields),
        ("gateway", Gateway.model_fields),
        ("cache", Cache.model_fields),
    ],
)
def test_the_page_of_the_profile_has_every_field(
    heading: str, fields: Mapping[str, object]
) -> None:
    """And no other."""
    listed = first_cells(section(page("reference/profile.md"), f"## {heading}"))
    assert sorted(listed) == sorted(fields)


def test_every_role_is_told() -> None:
    """What each of them serves."""
    listed = first_cells(section(page("how-to/models.md"), "## Say which model does what"))
    assert set(listed) == set(ROLES)


def test_every_ready_made_profile_is_told() -> None:
    """By its name."""
    listed = first_cells(section(page("how-to/models.md"), "## Start from a ready-made profile"))
    assert sorted(listed) == sorted(file.stem for file in (CHECKOUT / "profiles").glob("*.yaml"))


# ---------------------------------------------------------------- files and variables


def test_the_page_of_files_has_every_file() -> None:
    """Each that the program knows, where it is without a variable."""
    home = find_home({"HOME": "~"})
    files = [*home.own_files[:2], home.gateway_key, home.client_keys, home.known_models]
    listed = first_cells(page("reference/files.md"))
    assert {str(file) for file in files} <= set(listed)
    folders = (home.state / name for name in ("ledger", "run", "direct", "sessions"))
    assert not [str(one) for one in folders if not any(x.startswith(f"{one}/") for x in listed)]


def test_the_page_of_variables_has_every_variable() -> None:
    """Each that is a user's to set, and none that is not read."""
    sources = (file.read_text("utf-8") for file in (CHECKOUT / "llmswitch").rglob("*.py"))
    read = {name for text in sources for name in re.findall(r"LLMSWITCH_[A-Z_]*[A-Z]", text)}
    listed = first_cells(page("reference/environment.md"))
    assert {name for name in listed if name.startswith("LLMSWITCH_")} == read - INSIDE


# ---------------------------------------------------------------- JSON


def _objects() -> dict[str, list[str]]:
    """The keys of each command's object, as the page of JSON has them."""
    rows = re.findall(r"^\| (`.*?) \| (`.*) \|$", page("reference/json.md"), re.MULTILINE)
    return {
        command: re.findall(r"`(.*?)`", keys)
        for commands, keys in rows
        for command in re.findall(r"`(.*?)`", commands)
    }


@pytest.fixture
def demo(user: User) -> Iterator[User]:
    """Someone with the demo's profile, on a port of its own."""
    file = user.root / "llmswitch/profiles/demo.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = (CHECKOUT / "profiles/demo.yaml").read_text(encoding="utf-8")
    file.write_text(f"{text}gateway: {{port: {free_port()}}}\n")
    yield user
    user.run("down")


@pytest.mark.timeout(600)
def test_the_page_of_json_has_the_keys_of_each_command(demo: User) -> None:
    """What each command prints, first `init`, last `down`."""
    objects = _objects()
    started, stopped = "init --json", "down --json"
    others = [command for command in objects if command not in {started, stopped}]
    for command in [started, *others, stopped]:
        more = ["--from", "demo"] if command == started else []
        done = demo.run(*command.split(), *more)
        keys = {}
        with suppress(json.JSONDecodeError):
            keys = json.loads(done.stdout)
        wanted = set(objects[command])
        if command.startswith("env"):  # its other variables are the profile's
            assert wanted <= keys.keys()
        else:
            assert keys.keys() == wanted, (command, done.stderr)
