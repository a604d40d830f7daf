"""How a client is told what models cost: only one that can be told, and at no cost to the user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmswitch.claude import managed_settings, session
from tests.conftest import Mission, start_mission
from tests.fake_claude import install
from tests.ready_made import ROWS, WIRE_IDS
from tests.shell import Shell, take_shell

pytestmark = [pytest.mark.xdist_group("session-prices"), pytest.mark.timeout(300)]

HOSTED = "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST"
PRICES = {
    **{
        wire: {
            "input": row.price.input,
            "output": row.price.output,
            "cacheRead": row.price.cache_read,
            "cacheWrite": row.price.cache_write,
        }
        for wire, row in zip(WIRE_IDS, ROWS.values(), strict=False)
        if row.price
    },
    "glm-4.7": {"input": 0.6, "output": 2.2, "cacheRead": 0.11, "cacheWrite": 0.0},
    "glm-4.5": {"input": 0.2, "output": 1.1, "cacheRead": 0.2, "cacheWrite": 0.2},
}


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """The mission, running; nobody knows the price of its model qwen."""
    for each in start_mission(tmp_path_factory.mktemp("mission")):
        done = each.user.run("up")
        assert done.returncode == 0, done.stderr
        yield each


@pytest.fixture
def shell(mission: Mission, tmp_path: Path) -> Shell:
    """A shell whose gateway runs."""
    return take_shell(mission, tmp_path)


def write(file: Path, settings: object) -> None:
    """A settings file of the user's or the project's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


def test_known_prices_are_told_and_nothing_is_said_of_others(shell: Shell) -> None:
    """USD per million tokens by the id that the client calls a model by; a token whose price in the
    provider's cache is not known costs what any other does. No argument holds a key.
    """
    assert shell.run("-p", "x").returncode == 0
    assert shell.seen.prices == PRICES
    assert shell.seen.given == [b"-p", b"x"]
    assert "modelPricing" not in shell.seen.settings  # not believed there
    assert not [each for each in shell.seen.argv if shell.user.gateway_key().encode() in each]


def test_what_the_settings_say_is_exported_too(shell: Shell) -> None:
    """Such a client believes no settings file where it comes to addresses and models, so it finds
    them in its environment: the user's own, but for what makes it go elsewhere.
    """
    own = {"HTTPS_PROXY": "http://proxy.example", "AWS_PROFILE": "dev", "OWN": "kept"}
    hijack = {
        "ANTHROPIC_BASE_URL": "http://elsewhere.example",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_UNIX_SOCKET": "/x",
        "ANTHROPIC_API_KEY": "theirs",
    }
    write(shell.folder / "home" / ".claude" / "settings.json", {"env": {**own, **hijack}})
    assert shell.run("-p", "--settings", '{"env": {"AWS_PROFILE": "this one"}}').returncode == 0
    seen = shell.seen
    assert seen.env[HOSTED] == "1"
    assert seen.settings["env"].items() <= seen.env.items()
    assert {name: seen.env[name] for name in own} == {**own, "AWS_PROFILE": "this one"}
    assert not hijack.items() & seen.env.items()


@pytest.mark.parametrize(
    "given",
    [["--managed-settings", "{}"], ["--managed-settings={}"], ["--setting-sources", "user"]],
)
def test_who_says_what_is_believed_is_left_alone(shell: Shell, given: list[str]) -> None:
    """With policies or sources of their own the user's client works as without prices."""
    assert shell.run("-p", *given).returncode == 0
    assert (shell.seen.prices, shell.seen.env.get(HOSTED)) == (None, None)
    assert shell.seen.argv[3:] == [b"-p", *(each.encode() for each in given)]


@pytest.mark.parametrize("name", ["settings.json", "settings.local.json"])
def test_variables_of_a_project_are_worth_more_than_prices(shell: Shell, name: str) -> None:
    """A client that is told prices would ignore some of them."""
    file = shell.folder / ".claude" / name
    write(file, {"env": {"AWS_PROFILE": "dev"}})
    assert shell.run("-p").returncode == 0
    assert (shell.seen.prices, shell.seen.env.get(HOSTED)) == (None, None)
    write(file, {"env": {}, "permissions": {}})
    assert shell.run("-p").returncode == 0
    assert shell.seen.prices == PRICES


@pytest.mark.parametrize("given", [[], ["--bg", "x"], ["agents"]])
def test_a_session_that_can_go_to_the_background_is_told_prices_on_demand(
    shell: Shell, given: list[str]
) -> None:
    """There the client would forget the gateway's key; only who asks for prices takes that."""
    assert shell.run(*given).returncode == 0
    assert (shell.seen.prices, shell.seen.env.get(HOSTED)) == (None, None)
    assert shell.run(*given, env={"LLMSWITCH_CLIENT_PRICES": "1"}).returncode == 0
    assert shell.seen.prices == PRICES


def test_an_older_client_is_told_nothing(shell: Shell) -> None:
    """What it does not know it would refuse."""
    for version in ("2.1.197 (Claude Code)", "2.1.242 (Claude Code)", "2.1.329 (Claude Code)"):
        install(shell.claude, version)
        assert shell.run("-p").returncode == 0
        assert (shell.seen.prices, shell.seen.env.get(HOSTED)) == (None, None)


def test_where_an_organization_has_its_say_no_price_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices go the way of an organization's settings, and must not push these aside."""
    monkeypatch.chdir(tmp_path)

    def can() -> bool:
        return session._can_be_hosted(["-p", "x"], tmp_path / "settings.json", {})

    monkeypatch.setattr(managed_settings, "FOLDERS", (tmp_path / "policy",))
    assert can()
    (tmp_path / "policy").mkdir()
    assert not can()
