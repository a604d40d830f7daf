"""What a gateway is made of, computed from a profile and an environment; nothing is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from llmswitch.errors import LlmswitchError
from llmswitch.paths import LOOPBACK, Home, ProfileRef
from llmswitch.render.plan import (
    Plan,
    RenderedFiles,
    environment,
    render,
    secrets_inside,
    shown_path,
)

TEXT = """\
models:
  a: zai/x
  b: {model: anthropic/y, keys: [K1, K2]}
  c: cloud/z
providers:
  cloud: {dialect: litellm, prefix: bedrock, env: [AWS_REGION, AWS_PROFILE]}
"""
ENVIRON = {
    "ZAI_API_KEY": " zai-1 ",
    "K2": "k-2",
    "AWS_REGION": "eu-central-1",
    "PATH": "/usr/bin",
    "HOME": "/h",
    "ANTHROPIC_API_KEY": "sk-stray",
    "ANTHROPIC_BASE_URL": "http://stray",
    "ANTHROPIC_AUTH_TOKEN": "stray",
    "DATABASE_URL": "stray",
    "OPENAI_BASE_URL": "http://stray",
    "HTTPS_PROXY": "http://proxy:3128",
    "NO_PROXY": "intranet",
}


@pytest.fixture
def ref(tmp_path: Path) -> ProfileRef:
    """A profile on disk, called work."""
    return make_ref(tmp_path, TEXT)


def make_ref(folder: Path, text: str) -> ProfileRef:
    """A profile of this text, called work."""
    file = folder / "work.yaml"
    file.write_text(text)
    return ProfileRef("work", file, "work")


def names(rendered: RenderedFiles) -> list[str]:
    """The models that LiteLLM is configured with."""
    return [item["model_name"] for item in yaml.safe_load(rendered.config)["model_list"]]


def test_the_rendered_files_hold_the_keys_of_what_is_served_and_no_others(ref: ProfileRef) -> None:
    """White space around a pasted key is no part of it; a key that is not set is not there."""
    rendered = render(ref, ENVIRON)
    assert names(rendered) == ["a", "b", "c"]
    assert rendered.keys == {"ZAI_API_KEY": "zai-1", "K2": "k-2"}
    assert rendered.named == {"AWS_REGION": "eu-central-1"}
    assert rendered.profile_sha256 == hashlib.sha256(ref.file.read_bytes()).hexdigest()


def test_rendering_writes_nothing(ref: ProfileRef, tmp_path: Path) -> None:
    """`render` and the check before a start leave no trace."""
    render(ref, ENVIRON)
    assert [entry.name for entry in tmp_path.iterdir()] == ["work.yaml"]


def test_keys_that_a_running_gateway_holds_count_as_set(ref: ProfileRef) -> None:
    """`up` from a shell without the keys takes no model away."""
    rendered = render(ref, {}, held=["ZAI_API_KEY", "K1"])
    assert names(rendered) == ["a", "b", "c"]
    assert rendered.keys == {}
    assert names(render(ref, {})) == ["c"]


def test_the_same_profile_and_keys_have_the_same_digest(ref: ProfileRef, tmp_path: Path) -> None:
    """It tells when a running gateway must be reloaded: for another model, not for a comment."""
    first = render(ref, ENVIRON)
    assert render(ref, {**ENVIRON, "K2": "another"}).config_sha256 == first.config_sha256
    assert render(ref, {**ENVIRON, "K1": "one more"}).config_sha256 != first.config_sha256
    comment = make_ref(tmp_path, f"# new\n{TEXT}")
    assert render(comment, ENVIRON).config_sha256 == first.config_sha256
    assert render(comment, ENVIRON).profile_sha256 != first.profile_sha256
    port = make_ref(tmp_path, f"{TEXT}gateway: {{port: 4001}}\n")
    assert render(port, ENVIRON).config_sha256 != first.config_sha256


def test_a_variable_that_litellms_part_names_must_be_set(tmp_path: Path) -> None:
    """LiteLLM would take os.environ/X for X unset in silence; one that is held counts as set."""
    ref = make_ref(
        tmp_path, "models: {a: ollama/x}\nlitellm: {router_settings: {y: os.environ/REDIS}}\n"
    )
    for environ in ({}, {"REDIS": " "}):
        with pytest.raises(LlmswitchError) as caught:
            render(ref, environ)
        assert caught.value.message == (
            "REDIS is not set, and the `litellm:` part of the profile needs it"
        )
        assert caught.value.hint == "export REDIS=...    (or take os.environ/REDIS out)"
    assert render(ref, {"REDIS": "x"}).named == {"REDIS": "x"}
    assert render(ref, {}, held=["REDIS"]).named == {}


def test_no_usable_model_is_an_error(tmp_path: Path) -> None:
    """Nothing is started that could serve nothing."""
    with pytest.raises(LlmswitchError) as caught:
        render(make_ref(tmp_path, "models: {a: zai/x}\n"), {})
    assert caught.value.message == (
        "no model of the profile can be used: a: ZAI_API_KEY is not set"
    )


def test_the_gateways_environment_is_built_from_nothing(ref: ProfileRef, tmp_path: Path) -> None:
    """Keys under our names, the cloud's variables under theirs, nobody's URL, token or database."""
    plan = Plan(render(ref, ENVIRON), Home(tmp_path, tmp_path / "state"), "sk-gateway")
    inside = environment(plan, ENVIRON)
    assert secrets_inside(plan) == {
        "LLMSWITCH_KEY_ZAI_API_KEY": "zai-1",
        "LLMSWITCH_KEY_K2": "k-2",
        "AWS_REGION": "eu-central-1",
        "LLMSWITCH_GATEWAY_KEY": "sk-gateway",
    }
    assert inside.items() >= secrets_inside(plan).items()
    assert inside["CONFIG_FILE_PATH"] == str(plan.run / "litellm_config.yaml")
    assert inside["LLMSWITCH_LEDGER"] == str(tmp_path / "state" / "ledger" / f"{ref.id}.db")
    assert inside["LLMSWITCH_CLIENTS"] == str(tmp_path / "state" / "clients.json")
    assert inside["LITELLM_MODE"] == "PRODUCTION"
    assert inside["HTTPS_PROXY"] == "http://proxy:3128"
    assert inside["NO_PROXY"] == inside["no_proxy"] == f"intranet,{LOOPBACK}"
    assert not {name for name in inside if name.startswith(("ANTHROPIC", "OPENAI", "DATABASE"))}
    assert not [value for value in inside.values() if "stray" in value]


def test_a_path_is_shown_as_short_as_a_person_would_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below this folder, below the home folder, else in full."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown_path(tmp_path / "here" / "a" / "p.yaml") == "a/p.yaml"
    assert shown_path(tmp_path / "home" / "p.yaml") == "~/p.yaml"
    assert shown_path(tmp_path / "else" / "p.yaml") == str(tmp_path / "else" / "p.yaml")
