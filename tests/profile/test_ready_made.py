"""The ready-made profiles are of today: their models are the catalogue's.

A new model is written into the catalogue, before the older ones of its family; this puts it into
the profiles, and what is generated from them into the golden files:

    REWRITE_GOLDEN=1 python -m pytest tests/profile/test_ready_made.py
    REWRITE_GOLDEN=1 python -m pytest tests/render/test_litellm_config.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmswitch.doctor import checks
from llmswitch.doctor.context import Context
from llmswitch.paths import find_home
from llmswitch.profile.labels import proper_label
from llmswitch.profile.load import load_profile
from llmswitch.profile.providers import Provider, catalogue_data, known_model
from llmswitch.render.menu import make_rows
from tests.ready_made import FOLDER

PROFILES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
CLAUDE_AND_GLM = ["opus", "sonnet", "glm", "glm-4.7", "glm-4.5"]
NAMES = {
    "claude-glm": CLAUDE_AND_GLM,
    "claude-max": CLAUDE_AND_GLM,
    "demo": ["parrot", "butler"],
    "local": ["qwen-coder", "gpt-oss"],
    "openrouter": ["deepseek", "gemini"],
}


def todays(provider: Provider, name: str) -> str | None:
    """The id that a name of a ready-made profile stands for: the first whose id holds it."""
    return next((one.id for one in provider.models if name in one.id.lower()), None)


@pytest.mark.parametrize("name", PROFILES)
def test_each_model_is_the_catalogues_first_of_that_name(name: str) -> None:
    """So the catalogue is the one place to change (see above). What runs on this machine is the
    user's own choice, of which the catalogue knows nothing.
    """
    file = FOLDER / f"{name}.yaml"
    models = load_profile(file).models
    wanted = {}
    for called, model in models.items():
        provider = Provider.model_validate(catalogue_data()[model.provider])
        first = todays(provider, called)
        same = first is None or first.lower() == model.id.lower()
        wanted[called] = model.model if same else f"{model.provider}/{first}"
        assert first or not provider.models, f"the catalogue has no {called} of {model.provider}"
    if os.environ.get("REWRITE_GOLDEN") == "1":
        text = file.read_text(encoding="utf-8")
        for called, model in models.items():
            text = text.replace(f"{called}: {model.model}\n", f"{called}: {wanted[called]}\n")
        file.write_text(text, encoding="utf-8")
        models = load_profile(file).models
    assert {called: model.model for called, model in models.items()} == wanted, (
        "see the top of this file"
    )


@pytest.mark.parametrize("name", PROFILES)
def test_each_keeps_its_names_and_every_model_has_a_proper_label(name: str) -> None:
    """Whichever models stand behind them: the names are what people type."""
    rows = make_rows(load_profile(FOLDER / f"{name}.yaml"), ())
    assert [row.name for row in rows] == NAMES[name]
    for row in rows:
        assert row.label == proper_label(row.provider, row.model.id)


@pytest.mark.parametrize("name", PROFILES)
def test_none_has_a_model_that_is_to_be_retired(name: str) -> None:
    """Nor one that was: whatever day it is."""
    profile = load_profile(FOLDER / f"{name}.yaml")
    for model in profile.models.values():
        known = known_model(profile.provider_of(model), model.id)
        assert known is None or known.retires is None, model.model


@pytest.mark.parametrize("name", PROFILES)
def test_the_doctor_has_nothing_against_any(name: str, tmp_path: Path) -> None:
    """With its keys set: no warning and no error of what a profile is about."""
    keys = {"ANTHROPIC_API_KEY": "sk-ant-api03-x", "ZAI_API_KEY": "zai-x"}
    keys["OPENROUTER_API_KEY"] = "sk-or-x"
    environ = {"HOME": str(tmp_path), **keys}
    context = Context(environ, find_home(environ), name, tmp_path, 1_796_000_000.0)
    found = {row.name: row for row in checks.examine(context)}
    about = {"profile", "advice", "prices", "variables", "trust", "retirement", *keys} & set(found)
    assert {"profile", "advice", "prices", "variables"} <= about
    assert not [found[row] for row in about if found[row].level not in ("ok", "info")]
