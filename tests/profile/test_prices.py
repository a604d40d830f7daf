"""What is known of a model's price and context: from the profile, from LiteLLM's map, or not."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llmswitch.profile import prices
from llmswitch.profile.prices import Known, look_up
from llmswitch.profile.providers import Provider, catalogue_data
from llmswitch.profile.schema import Model, Price
from tests.conftest import User

ZAI = Provider(dialect="messages", base_url="https://h", prices="zai/")
UNMAPPED = Provider(dialect="chat", base_url="https://h")


def test_a_model_of_the_map_has_its_price_and_context() -> None:
    """Names as the user writes them: the provider's prefix is added, case does not matter."""
    expected = Known(200_000, Price(input=0.6, output=2.2, cache_read=0.11, cache_write=0.0))
    assert look_up(Model(model="zai/glm-4.7"), ZAI) == expected
    assert look_up(Model(model="zai/GLM-4.7"), ZAI) == expected


def test_anthropics_models_are_in_the_map_without_a_prefix() -> None:
    """The mission's profile shows real prices for Claude models."""
    anthropic = Provider.model_validate(catalogue_data()["anthropic"])
    known = look_up(Model(model="anthropic/claude-opus-4-5-20251101"), anthropic)
    price = Price(input=5.0, output=25.0, cache_read=0.5, cache_write=6.25)
    hour = (("cache_creation_input_token_cost_above_1hr", 1e-05),)
    assert known == Known(200_000, price, hour)


def test_what_the_profile_says_wins_each_for_itself() -> None:
    """A price of the profile does not hide the map's context, nor the other way round."""
    price = Price(input=1, output=2)
    assert look_up(Model(model="zai/glm-4.7", price=price), ZAI) == Known(200_000, price)
    known = look_up(Model(model="zai/glm-4.7", context=64_000), ZAI)
    assert (known.context, known.price and known.price.input) == (64_000, 0.6)
    both = Model(model="zai/glm-4.7", context=64_000, price=price)
    assert look_up(both, ZAI) == Known(64_000, price)


@pytest.mark.parametrize("provider", [ZAI, UNMAPPED], ids=["not in the map", "no map"])
def test_what_nobody_knows_is_unknown_and_never_nothing(provider: Provider) -> None:
    """A price of 0 would be a promise."""
    assert look_up(Model(model="zai/glm-99-unheard-of"), provider) == Known(None, None)


def test_a_model_is_not_looked_up_under_another_providers_name() -> None:
    """Someone's own server that serves `glm-4.7` does not have Z.ai's prices."""
    assert look_up(Model(model="mine/glm-4.7"), UNMAPPED) == Known(None, None)


NOTHING = Known(None, None)
INPUT, OUTPUT = "input_cost_per_token", "output_cost_per_token"
HALVES: list[tuple[dict[str, Any], Known]] = [
    ({INPUT: 1e-6}, NOTHING),
    ({OUTPUT: 1e-6}, NOTHING),
    ({INPUT: None, OUTPUT: 1e-6}, NOTHING),
    ({INPUT: "1e-6", OUTPUT: 1e-6}, NOTHING),
    ({INPUT: 0, OUTPUT: 0.0}, Known(None, Price(input=0, output=0))),
    ({INPUT: 7e-8, OUTPUT: 2.19e-6}, Known(None, Price(input=0.07, output=2.19))),
    ({"max_input_tokens": "128k"}, NOTHING),
    ({"max_input_tokens": 0}, NOTHING),
    ({"max_input_tokens": 8192, "max_tokens": 4096}, Known(8192, None)),
    ({"max_tokens": 4096}, NOTHING),
]


def test_half_an_entry_of_the_map_gives_no_half_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both prices or none; a context only where the map gives one in tokens."""
    for entry, known in HALVES:
        monkeypatch.setattr(prices, "price_map", lambda entry=entry: {"zai/x": entry})
        assert look_up(Model(model="zai/x"), ZAI) == known


def test_without_the_map_everything_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A LiteLLM that has no map, or a damaged one, costs the menu its prices and nothing more."""

    class Spec:
        origin = str(tmp_path / "litellm" / "__init__.py")

    folder = tmp_path / "litellm"
    folder.mkdir()
    for spec, content in ((None, None), (Spec, None), (Spec, "{damaged")):
        if content is not None:
            (folder / "model_prices_and_context_window_backup.json").write_text(content)
        monkeypatch.setattr(prices, "find_spec", lambda _name, spec=spec: spec)
        prices.price_map.cache_clear()
        assert look_up(Model(model="zai/glm-4.7"), ZAI) == Known(None, None)
    monkeypatch.undo()
    prices.price_map.cache_clear()
    assert look_up(Model(model="zai/glm-4.7"), ZAI).context == 200_000


def test_the_map_is_the_file_that_the_engine_itself_reads() -> None:
    """LITELLM_LOCAL_MODEL_COST_MAP makes the engine read this very file."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    assert prices.price_map() == json.loads(file.read_text(encoding="utf-8"))


WATCHED = """
import sys
from llmswitch.cli.app import main
for command in sys.argv[1:]:
    sys.argv = ["llmswitch", *command.split()]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (command, stop.code)
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
COMMANDS = ("--version", "init --no-start", "validate", "render", "status", "usage", "down")


def test_no_command_imports_litellm(user: User) -> None:
    """Importing the engine costs 2.4 s of CPU; only the gateway's own process pays that."""
    user.write_profile("models: {a: zai/glm-4.7}\n")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *COMMANDS],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.splitlines()[-1].split(",")
    assert "llmswitch" in loaded
    assert {"litellm", "gunicorn", "uvicorn", "fastapi", "openai"}.isdisjoint(loaded)
