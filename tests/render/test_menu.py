"""The menu: rows, what stands beside them, who is left out, and who serves each role."""

from __future__ import annotations

import pytest

from llmswitch.errors import LlmswitchError
from llmswitch.profile.load import parse_profile
from llmswitch.profile.schema import Price, Profile
from llmswitch.render.menu import Menu, format_context, format_price, make_menu, make_rows, row_data

BOTH = {"ANTHROPIC_API_KEY", "ZAI_API_KEY"}
MISSION = """\
models:
  opus: anthropic/claude-opus-4-5-20251101
  sonnet: anthropic/claude-sonnet-4-5-20250929
  glm-4.7: zai/glm-4.7
  glm-4.5:
    model: zai/GLM-4.5-Air
    label: Small GLM
roles: {default: glm-4.7, haiku: glm-4.5, subagent: sonnet}
"""


def profile(text: str) -> Profile:
    """A profile that must be valid."""
    return parse_profile(text, "p.yaml")


def labels(menu: Menu) -> list[tuple[str, str, str]]:
    """What the menu shows of each model that can be served."""
    return [(row.name, row.label, row.description) for row in menu.served]


def test_a_row_shows_label_provider_context_and_price() -> None:
    """A label is the user's own, else how the model is called."""
    assert labels(make_menu(profile(MISSION), BOTH)) == [
        ("opus", "Claude Opus 4.5", "Anthropic · 200k · $5/$25 per Mtok"),
        ("sonnet", "Claude Sonnet 4.5", "Anthropic · 200k · $3/$15 per Mtok"),
        ("glm-4.7", "GLM-4.7", "Z.ai · 200k · $0.60/$2.20 per Mtok"),
        ("glm-4.5", "Small GLM", "Z.ai · 128k · $0.20/$1.10 per Mtok"),
    ]


def test_a_label_stands_for_one_model() -> None:
    """Two models that are called the same, and one whose label is that of another, have the name
    and the id instead; the user's own labels stay as they are.
    """
    text = """\
models:
  glm: zai/glm-4.7
  work: {model: zai/glm-4.7, keys: [ZAI_API_KEY]}
  air: zai/glm-4.5-air
  mine: {model: zai/glm-5.3, label: GLM-4.5 Air}
"""
    assert [row.label for row in make_rows(profile(text), BOTH)] == [
        "glm (glm-4.7)",
        "work (glm-4.7)",
        "air (glm-4.5-air)",
        "GLM-4.5 Air",
    ]


def test_a_model_of_no_known_family_is_called_by_its_name_and_its_id() -> None:
    """Where the id says more than the name."""
    text = "models: {a: ollama/Big-Model, big-model: ollama/Big-Model, p: demo/parrot}\n"
    labels = [row.label for row in make_rows(profile(text), ())]
    assert labels == ["a (Big-Model)", "big-model", "Parrot"]


def test_a_provider_of_the_users_own_is_called_by_its_label_or_its_name() -> None:
    """And what nobody knows of its models is said to be unknown."""
    text = """\
models: {a: one/org/Big-Model, Big-Model: two/org/big-model}
providers:
  one: {dialect: chat, base_url: "http://h/v1", label: My server}
  two: {dialect: chat, base_url: "http://h/v1"}
"""
    assert labels(make_menu(profile(text), ())) == [
        ("a", "a (Big-Model)", "My server · context unknown · price unknown"),
        ("Big-Model", "Big-Model", "two · context unknown · price unknown"),
    ]


def test_a_model_without_its_key_is_left_out_and_says_which() -> None:
    """The others stay; the row keeps the reason for `status`."""
    menu = make_menu(profile(MISSION), {"ZAI_API_KEY"})
    assert [row.name for row in menu.rows] == ["opus", "sonnet", "glm-4.7", "glm-4.5"]
    assert [row.name for row in menu.served] == ["glm-4.7", "glm-4.5"]
    assert [row.reason for row in menu.rows] == [
        "ANTHROPIC_API_KEY is not set",
        "ANTHROPIC_API_KEY is not set",
        None,
        None,
    ]


def test_one_of_several_keys_is_enough() -> None:
    """The row knows which are there; with none of them it names them all."""
    text = "models: {a: {model: zai/x, keys: [K1, K2]}, b: zai/y}\n"
    row = make_menu(profile(text), {"K2"}).rows[0]
    assert (row.keys, row.missing, row.reason) == (("K2",), ("K1",), None)
    row = make_menu(profile(text), BOTH).rows[0]
    assert (row.keys, row.missing, row.reason) == ((), ("K1", "K2"), "K1 and K2 are not set")


def test_a_provider_without_a_key_needs_none() -> None:
    """Ollama's models are served whatever is set."""
    menu = make_menu(profile("models: {a: ollama/x}\n"), ())
    assert [(row.name, row.keys, row.missing) for row in menu.served] == [("a", (), ())]


def test_no_usable_model_is_an_error_that_names_each_and_the_cure() -> None:
    """A gateway with nothing behind it is not started."""
    text = "models: {a: zai/x, b: anthropic/y, c: {model: zai/z, keys: [K1, K2]}}\n"
    with pytest.raises(LlmswitchError) as caught:
        make_menu(profile(text), {"OTHER"})
    assert caught.value.message == (
        "no model of the profile can be used: a: ZAI_API_KEY is not set; "
        "b: ANTHROPIC_API_KEY is not set; c: K1 and K2 are not set"
    )
    assert caught.value.hint == "set one of them and try again: export ANTHROPIC_API_KEY=..."


@pytest.mark.parametrize(
    ("keys", "roles"),
    [
        (BOTH, "glm-4.7 opus sonnet glm-4.5 glm-4.7 sonnet"),
        ({"ZAI_API_KEY"}, "glm-4.7 glm-4.7 glm-4.7 glm-4.5 glm-4.7 glm-4.7"),
        ({"ANTHROPIC_API_KEY"}, "opus opus sonnet opus opus sonnet"),
    ],
    ids=["both keys", "without Anthropic's", "without the default's"],
)
def test_every_role_is_served_by_a_model_that_can(keys: set[str], roles: str) -> None:
    """A role whose model is left out goes to the default, the default to the first that can."""
    menu = make_menu(profile(MISSION), keys)
    names = ("default", "opus", "sonnet", "haiku", "fable", "subagent")
    assert menu.roles == dict(zip(names, roles.split(), strict=True))


def test_subagents_inherit_unless_the_profile_says_otherwise() -> None:
    """Without the role, Claude Code's own rule holds: the session's model."""
    assert "subagent" not in make_menu(profile("models: {a: ollama/x}\n"), ()).roles


def test_a_row_as_data_is_what_status_shows() -> None:
    """The contract of `status --json`: names of keys, never values."""
    rows = make_rows(profile("models: {a: {model: zai/glm-4.7, keys: [K1, K2]}}\n"), {"K2"})
    assert [row_data(row) for row in rows] == [
        {
            "name": "a",
            "model": "zai/glm-4.7",
            "provider": "zai",
            "label": "GLM-4.7",
            "description": "Z.ai · 200k · $0.60/$2.20 per Mtok",
            "available": True,
            "reason": None,
            "keys": ["K2", "K1"],
            "missing": ["K1"],
            "retires": None,
            "instead": None,
        }
    ]


def test_a_row_says_when_its_model_retires_and_what_to_write_then() -> None:
    """As the catalogue has it, or the profile's own list of the provider's models."""
    text = """\
models: {opus: anthropic/claude-opus-4-5, old: mine/old, older: mine/older, new: mine/new}
providers:
  mine:
    dialect: chat
    base_url: http://h
    models: [{id: old, retires: 2027-03-01, instead: new}, {id: older, retires: 2027-02-01}, new]
"""
    opus, *rows = [row_data(row) for row in make_rows(profile(text), ())]
    assert opus["retires"] == "2027-01-22"
    assert [(row["retires"], row["instead"]) for row in rows] == [
        ("2027-03-01", "mine/new"),
        ("2027-02-01", None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (None, "context unknown"),
        (1000, "1k"),
        (131_072, "131k"),
        (200_000, "200k"),
        (999_999, "999k"),
        (1_000_000, "1M"),
        (1_048_576, "1M"),
        (1_500_000, "1.5M"),
        (10_000_000, "10M"),
    ],
)
def test_a_context_is_shown_in_thousands_or_millions(tokens: int | None, shown: str) -> None:
    """Rounded so that nobody reads more than there is, up to a million."""
    assert format_context(tokens) == shown


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        (None, "price unknown"),
        (Price(input=0, output=0), "free"),
        (Price(input=0, output=1), "$0/$1 per Mtok"),
        (Price(input=0.6, output=2.2), "$0.60/$2.20 per Mtok"),
        (Price(input=0.075, output=0.3), "$0.075/$0.30 per Mtok"),
        (Price(input=15, output=75), "$15/$75 per Mtok"),
    ],
)
def test_a_price_is_shown_in_dollars_and_an_unknown_one_never_as_nothing(
    price: Price | None, shown: str
) -> None:
    """Cents in two places, fractions of a cent as they are."""
    assert format_price(price) == shown
