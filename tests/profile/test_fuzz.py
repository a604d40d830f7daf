"""Any bytes as a profile, and hostile text in every place of one: refused in sentences, or what is
generated says what the profile says, and nothing else.

`make test` tries the same few examples each time; `make soak` looks for new ones, and so does

    LLMSWITCH_FUZZ=5000 .venv/bin/pytest --no-cov --timeout 0 tests/profile/test_fuzz.py
"""

from __future__ import annotations

import ast
import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from llmswitch.claude.environment import FORMATS
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.manager import service_of
from llmswitch.gateway.service import wanted_text
from llmswitch.paths import Home, ProfileRef, data_folder
from llmswitch.profile.load import load_profile
from llmswitch.profile.providers import api_base
from llmswitch.profile.schema import Profile
from llmswitch.render.claude_settings import MENU_SUPPORTS, make_settings
from llmswitch.render.litellm_config import (
    engine_config,
    render_gunicorn_conf,
    render_litellm_config,
    render_unit,
)
from llmswitch.render.menu import Menu, make_menu
from llmswitch.render.templates import render
from tests.clients import unavailable
from tests.conftest import CHECKOUT
from tests.soak import size

Made = TypeVar("Made")
_WANTED = os.environ.get("LLMSWITCH_FUZZ")
FUZZ = settings(
    max_examples=int(_WANTED or 40),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not _WANTED,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # to explain takes minutes
    database=None,
)
FEW = settings(FUZZ, max_examples=max(1, FUZZ.max_examples // 3))  # each starts a program
PROFILES = sorted(file.stem for file in data_folder("profiles").glob("*.yaml"))
META = st.text(st.sampled_from("ab1 \t\n\r'\"`$(){}[]<>|&;:,#!*?~%@^=+-_./\\\x00\x1b\x85\u2028é🚀"))
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,12}", fullmatch=True)
PRINTABLE = META.map(lambda text: "".join(c for c in text if c.isprintable())).filter(len)
SHELL = META.map(lambda text: text.replace("\x00", "")).filter(len)
KEY = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e15, 1e15) | META,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(META, inner, max_size=3),
    max_leaves=8,
)
# What YAML can be made of, and what has been used against its readers.
PIECES = st.sampled_from(
    [
        *("models", "providers", "roles", "litellm", "a", "model", "zai/x", "label", "keys"),
        *(": ", ":", "\n", "\n  ", "\n    ", "\n\t", "- ", "? ", ", ", "{", "}", "[", "]", " #"),
        *("&a ", "*a", "*b", "<<: *a", "<<: [*a, *a]", "&a {a: *a}", "!", "!!", "!!str ", "!!int "),
        *("!!python/object/apply:os.system [touch pwned]", "!!python/name:os.system", "!!set "),
        *(
            "!!binary aGk=",
            "!!timestamp x",
            "!!bool ",
            "!<x> ",
            "=",
            "0o17",
            "017",
            "0x_",
            "1:30:00",
        ),
        *("yes", "~", "-.inf", "1e999", "2026-01-01", "'", '"', "|", ">-", "\\", "'a\nb'"),
        *("%YAML 1.1\n", "%TAG ! !x\n", "---\n", "...\n", "\ufeff", "\x00", "\x85", "\u2028"),
        *("\r", "\r\n", "\ud800", r'"\ud800"', r'"\0"', r'"\x1b[2J"', "🚀", "\xa0", "x" * 300),
    ]
)


def all_keys(found: Profile) -> set[str]:
    """Every variable of a profile."""
    return set(found.key_names)


def read(content: bytes, folder: Path) -> Profile | None:
    """What a file of these bytes is: a profile, or None where it is refused as it should be."""
    file = folder / "p.yaml"
    file.write_bytes(content)
    try:
        return load_profile(file, "p.yaml")
    except LlmswitchError as error:
        refusal = error
    lines = refusal.message.split("\n")
    assert all(re.match(r"p\.yaml(:[1-9]\d*:)? \S", line) for line in lines), lines
    assert refusal.hint
    assert all(text.isprintable() for text in (*lines, refusal.hint)), refusal.message
    return None


def check(content: str | bytes, folder: Path) -> bool:
    """Whether this is a profile; if so, every file of it must say what it was made from."""
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    found = read(data, folder)
    if found is None:
        return False
    menu = make_menu(found, all_keys(found))
    check_engine(found, menu)
    check_gunicorn(render_gunicorn_conf(found, "p"), found)
    for support in MENU_SUPPORTS:
        made = make_settings(menu, support, "http://127.0.0.1:4000")
        assert json.loads(json.dumps(made)) == made
        values = {name: value for name, value in made["env"].items() if value}
        assert all(value.isprintable() for value in values.values())
        check_forms(values)
    return True


def check_engine(found: Profile, menu: Menu) -> None:
    """LiteLLM reads what the profile says."""
    loaded = yaml.safe_load(render_litellm_config(found, menu, "p"))
    assert loaded == engine_config(found, menu)
    wanted = [(row, key) for row in menu.served for key in row.keys or [None]]
    for item, (row, key) in zip(loaded["model_list"][: len(wanted)], wanted, strict=True):
        assert item["model_name"] == row.name
        assert item["litellm_params"]["model"].endswith(f"/{row.model.id}")
        assert item["litellm_params"].get("api_base") == api_base(row.provider)
        if key:
            assert item["litellm_params"]["api_key"] == f"os.environ/LLMSWITCH_KEY_{key}"
        assert item["model_info"]["display_name"] == f"{row.label} · {row.description}"


def check_gunicorn(text: str, found: Profile) -> None:
    """Imports of ours and plain values, and nothing that does anything."""
    values = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.ImportFrom):
            assert statement.module == "llmswitch.engine.master"
            continue
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        values[target.id] = ast.literal_eval(statement.value)
    assert values["bind"] == [found.gateway.address]
    assert values["proc_name"] == "llmswitch-p"


def check_forms(values: Mapping[str, str]) -> None:
    """What reads each form of `env` gets these values."""
    listed = json.loads("\n".join(FORMATS["vscode"](values)))["claudeCode.environmentVariables"]
    assert {item["name"]: item["value"] for item in listed} == values
    assert json.loads("\n".join(FORMATS["json"](values))) == values
    assert dict(line.split("=", 1) for line in FORMATS["docker"](values)) == values
    workflow = yaml.safe_load("\n".join(FORMATS["github-actions"](values)))["env"]
    assert {name: workflow[name] for name in values} == values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("fuzz")


# ------------------------------------------------------------------ any text


@FUZZ
@given(
    st.binary(max_size=200)
    | st.text().map(lambda text: text.encode("utf-16"))
    | (st.text() | META | st.lists(PIECES, max_size=25).map("".join)).map(
        lambda text: text.encode(errors="surrogatepass")
    )
)
def test_any_bytes_are_refused_with_sentences_or_are_a_profile(
    folder: Path, content: bytes
) -> None:
    """Anchors, tags, merges, odd numbers, odd ends of lines: nothing that a file can hold ends in a
    traceback; alone, behind a valid profile and before one.
    """
    valid = b"models:\n  a: zai/x\n"
    for data in (content, valid + content, content + b"\n" + valid):
        check(data, folder)
    assert not (Path.cwd() / "pwned").exists()


@FUZZ
@given(st.data())
def test_a_damaged_profile_is_refused_with_sentences_or_still_is_one(
    folder: Path, data: st.DataObject
) -> None:
    """Letters and lines lost, doubled and added in the ready-made profiles."""
    name = data.draw(st.sampled_from(PROFILES))
    text = (data_folder("profiles") / f"{name}.yaml").read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 6)))
        if data.draw(st.booleans()):  # whole lines
            start = text.rfind("\n", 0, start) + 1
            end = text.find("\n", end) + 1 or len(text)
        text = text[:start] + data.draw(META | st.just(text[start:end] * 2)) + text[end:]
    check(text, folder)


# ------------------------------------------------------------------ hostile values

FULL = """\
models:
  opus: anthropic/claude-opus-4-5-20251101
  a:
    model: mine/x
    label: A
    keys: [K1, {name: K2, weight: 2, order: 1}]
    fallbacks: [opus]
    context_fallbacks: [opus]
    timeout: 60
    context: 128000
    price: {input: 1, output: 2.5, cache_read: 0.1, cache_write: 3}
    budget: {usd: 5, per: day}
    behaves_as: claude-sonnet-4-5
    drop: [context_management]
roles: {default: a, haiku: a, subagent: opus}
providers:
  mine: {label: M, dialect: chat, base_url: "http://h/v1", key: K, models: [x], wrapper: claude-m}
  cloud: {dialect: litellm, prefix: bedrock, env: [AWS_REGION], prices: bedrock/}
gateway: {host: 127.0.0.1, port: 4000, idle_timeout: 600}
cache: {type: redis, host: localhost, port: 6379, key: REDIS, models: [a]}
budgets: [{usd: 50, per: month, client: laptop}, {usd: 1, per: week, provider: mine}]
clients: [laptop, ci]
litellm:
  router_settings: {fallbacks: [{a: [opus]}], model_group_alias: {x: a}, default_fallbacks: [a]}
  litellm_settings: {callbacks: [x], model_group_settings: {y: 1}}
  model_list:
  - model_name: c
    litellm_params: {model: openai/x, api_key: os.environ/K, custom_llm_provider: openai}
"""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in plain data as (what holds it, its key there)."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, Any]] = []
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@FUZZ
@given(st.data())
def test_any_value_in_any_place_is_refused_with_sentences_or_is_a_profile(
    folder: Path, data: st.DataObject
) -> None:
    """A number for a list, a list for a mapping, a field too many: never a traceback."""
    content = yaml.safe_load(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(content)))
        wrong = data.draw(JSON | st.sampled_from(["a", "zai/x", 5, "os.environ/K", []]))
        holder[
            data.draw(META) if isinstance(holder, dict) and data.draw(st.booleans()) else key
        ] = wrong
    check(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), folder)


@FUZZ
@given(st.data())
def test_hostile_text_in_any_place_of_text_injects_nothing(
    folder: Path, data: st.DataObject
) -> None:
    """Each text of a profile replaced or lengthened, names of models and providers too."""
    content = yaml.safe_load(FULL)
    texts = [place for place in places(content) if isinstance(place[0][place[1]], str)]
    for _ in range(data.draw(st.integers(1, 4))):
        holder, key = data.draw(st.sampled_from(texts))
        hostile = data.draw(PRINTABLE | SHELL)
        holder[key] = data.draw(st.sampled_from(["{}", "{}" + hostile, hostile + "{}", hostile])
                                ).replace("{}", holder[key])  # fmt: skip
    check(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), folder)


def test_the_profile_that_is_changed_there_is_valid(folder: Path) -> None:
    """So every refusal is that of the change."""
    assert check(FULL, folder)


@FUZZ
@given(
    st.dictionaries(NAME, PRINTABLE, min_size=1, max_size=4),
    PRINTABLE,
    KEY,
    st.text(st.sampled_from("abc/$'\"`;|&(){}[]<>*~!%:,=+-"), max_size=20),
    st.dictionaries(META, JSON, max_size=3),
)
def test_no_name_label_url_or_setting_injects_into_a_generated_file(
    folder: Path,
    names: dict[str, str],
    label: str,
    key: str,
    path: str,
    engine: dict[str, Any],
) -> None:
    """Text full of YAML's and the shell's own characters arrives as that very text."""
    url = f"http://127.0.0.1:8000/{path}"
    data = {
        "models": {
            name: {"model": f"mine/x{upstream}", "label": f"{label[:50]}.", "keys": [key]}
            for name, upstream in names.items()
        },
        "providers": {"mine": {"dialect": "chat", "base_url": url, "label": label}},
        "litellm": {f"x{name}": value for name, value in engine.items()},
    }
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    lowered = {name.lower() for name in names}
    assume(len(lowered) == len(names))
    assume(not lowered & {"default", "inherit", "opusplan", "best"})
    assert check(text, folder)
    found = read(text.encode(), folder)
    assert found is not None
    loaded = yaml.safe_load(render_litellm_config(found, make_menu(found, {key}), "p"))
    for item, (name, upstream) in zip(loaded["model_list"], names.items(), strict=True):
        assert item["model_name"] == name
        assert item["litellm_params"] == {
            "model": f"hosted_vllm/x{upstream}",
            "api_base": url.rstrip("/"),
            "use_chat_completions_api": True,
            "api_key": f"os.environ/LLMSWITCH_KEY_{key}",
        }
        assert item["model_info"]["display_name"].startswith(f"{label[:50]}. · {label} · ")
    assert {name: value for name, value in loaded.items() if name[:1] == "x"} == found.litellm


# ------------------------------------------------------------------ shells and service managers

PRINTS = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]


def run_shell(shell: str, lines: list[str], folder: Path) -> dict[str, str]:
    """The variables after these lines, in a real shell."""
    done = subprocess.run(
        [shell, "-c", "\n".join([*lines, shlex.join(PRINTS)])],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert not list(folder.rglob("pwned"))
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("shell", ["sh", "fish"])
@FEW
@given(st.dictionaries(KEY.map("V_{}".format), PRINTABLE | SHELL, min_size=1, max_size=8))
@example({"V": "'\\'; touch pwned; $(touch pwned) `touch pwned` \\"})
def test_a_shell_gets_each_value_of_env_as_it_is(
    shell: str, folder: Path, values: dict[str, str]
) -> None:
    """Whatever stands in it, nothing of it is run."""
    if shutil.which(shell) is None:
        unavailable(f"needs {shell}")
    found = run_shell(shell, FORMATS[shell](values), folder)
    assert {name: found[name] for name in values} == values


FAKE = f"""#!{sys.executable}
import json, os, sys
json.dump([sys.argv[1:], dict(os.environ)], sys.stdout)
"""


@FEW
@given(SHELL, SHELL, SHELL)
def test_no_path_or_profile_injects_into_the_wrapper(
    tmp_path_factory: pytest.TempPathFactory, python: str, home: str, argument: str
) -> None:
    """A real sh reads the wrapper, and sees each value as one word."""
    folder = tmp_path_factory.mktemp("wrapper")
    interpreter = folder / ("p" + python.replace("/", "-"))
    interpreter.write_text(FAKE, encoding="utf-8")
    interpreter.chmod(0o755)
    text = render(
        "claude-multi.sh.j2",
        what="the profile work",
        module="llmswitch.claude.session",
        arguments=[argument],
        install_option="",
        uninstall_name="",
        python=str(interpreter),
        exports={"LLMSWITCH_HOME": home},
    )
    done = subprocess.run(
        ["sh", "-c", text, "claude-multi", argument],
        env={"PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    argv, environ = json.loads(done.stdout)
    assert argv == ["-E", "-P", "-m", "llmswitch.claude.session", argument, argument]
    assert environ["LLMSWITCH_HOME"] == home
    assert [file.name for file in folder.iterdir()] == [interpreter.name]


def unless_unprintable(make: Callable[[], Made], texts: Iterable[str]) -> Made | None:
    """What is made of these texts; None where it is refused, because one cannot be shown."""
    printable = all(text.isprintable() for text in texts)
    try:
        made = make()
    except LlmswitchError as refusal:
        error = refusal
    else:
        assert printable
        return made
    assert not printable
    assert error.message.isprintable()
    return None


@FUZZ
@given(SHELL, st.lists(SHELL, min_size=1, max_size=3), st.dictionaries(KEY, SHELL, max_size=3))
def test_nothing_injects_into_a_unit_of_systemd(
    state: str, command: list[str], exports: dict[str, str]
) -> None:
    """Each value is one word of its own line, or what cannot stand there is refused."""
    text = unless_unprintable(
        lambda: render_unit("work", command, exports, state),
        [state, *command, *exports.values()],
    )
    if text is None:
        return
    lines = [line.partition("=") for line in text.split("\n") if line[:1] != "#"]

    def words(directive: str) -> list[list[str]]:
        found = [value for name, _, value in lines if name == directive]
        return [shlex.split(value.removeprefix(":").replace("%%", "%")) for value in found]

    assert words("ExecStart") == [command]
    assert words("Environment") == [[f"{name}={value}"] for name, value in exports.items()]
    assert [value for name, _, value in lines if name == "NoNewPrivileges"] == ["yes"]
    assert f"\n# files: {state}\n" in text


@FUZZ
@given(SHELL, st.dictionaries(st.sampled_from(["LLMSWITCH_HOME", "XDG_STATE_HOME"]), SHELL))
@example("\x1b", {})
@example("\r", {"LLMSWITCH_HOME": "\r"})
def test_nothing_injects_into_an_agent_of_launchd(path: str, environ: dict[str, str]) -> None:
    """The same of the property list."""
    home = Home(Path("/c"), Path("/s") / path.strip("/"))
    ref = ProfileRef("work", Path("/p") / path.strip("/"), "work@1")
    values = {name: "/" + value for name, value in environ.items()}
    text = unless_unprintable(
        lambda: wanted_text(service_of(ref, home, {"HOME": "/h", **values}, "darwin"), ref),
        [path, *environ.values()],
    )
    if text is None:
        return
    agent = plistlib.loads(text.encode())
    assert agent["ProgramArguments"][-2:] == ["--profile", str(ref.file)]
    carried = {
        name: value for name, value in agent["EnvironmentVariables"].items() if name in values
    }
    assert carried == {name: str(Path(value).absolute()) for name, value in values.items()}
    assert agent["StandardErrorPath"].startswith(str(home.state))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_new_examples_too() -> None:
    """Thousands of each, other ones each time."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-cov",
            "--timeout=0",
            "-m",
            "not soak",
            __file__,
        ],
        env={**os.environ, "LLMSWITCH_FUZZ": str(size(2000, 200))},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
