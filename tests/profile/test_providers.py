"""The catalogue of providers, and the base URL in the form that LiteLLM wants."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.labels import label_of, proper_label
from llmswitch.profile.load import parse_profile
from llmswitch.profile.prices import look_up
from llmswitch.profile.providers import (
    Dialect,
    KnownModel,
    Provider,
    api_base,
    catalogue_data,
    known_model,
)
from llmswitch.profile.schema import Model
from llmswitch.profile.yaml_lines import read_document
from llmswitch.render.advice import notes

LOCAL = ("ollama", "lm-studio", "llama.cpp", "vllm")
CLOUDS = ("bedrock", "vertex_ai", "azure_ai")
DIALECTS = {
    "anthropic": "anthropic",
    **dict.fromkeys(
        ("zai", "zhipu", "deepseek", "moonshot", "kimi-code", "minimax", "dashscope", "openrouter",
         "fireworks", "ollama-cloud", *LOCAL), "messages"
    ),
    "openai": "responses",
    **dict.fromkeys(("xai", "mistral", "groq", "cerebras", "together"), "chat"),
    **dict.fromkeys(("gemini", *CLOUDS, "demo"), "litellm"),
}  # fmt: skip


def test_the_catalogue_has_the_providers_of_this_version() -> None:
    """Each with its dialect, the Anthropic-compatible one where there is one; each line is valid,
    none stands twice.
    """
    text = (files("llmswitch.profile") / "providers.yaml").read_text(encoding="utf-8")
    assert read_document(text).problems == []
    assert {name: data["dialect"] for name, data in catalogue_data().items()} == DIALECTS
    for data in catalogue_data().values():
        Provider.model_validate(data)


def test_the_catalogue_says_where_it_was_read_and_where_to_get_a_key() -> None:
    """A user can check every entry, and open the page of the key that is missing."""
    for name, data in catalogue_data().items():
        assert data["label"]
        assert data["source"]
        assert data["read"] == "2026-11"
        assert bool(data["key"]) == ("key_page" in data), name
        assert data.get("unverified", ["key_page"]) == ["key_page"]


def test_what_is_unverified_is_said_of_a_profile_that_uses_it() -> None:
    """Unless the profile says it better; and the page of a key, where a key is missing."""
    said = (
        "kimi-code has an unverified key_page, https://www.kimi.com/code/console; correct it "
        "under `providers:`"
    )
    profile = parse_profile("models: {kimi: kimi-code/kimi-for-coding}", "p")
    assert said in notes(profile, [])
    assert said not in notes(profile, ["KIMI_API_KEY"])
    better = "models: {kimi: kimi-code/x}\nproviders: {kimi-code: {key_page: 'https://k.example'}}"
    assert not [note for note in notes(parse_profile(better, "p"), []) if "unverified" in note]


# What LiteLLM's map does not have; nothing is invented for it.
UNKNOWN = {
    "anthropic/claude-fable-5-2",
    "kimi-code/kimi-for-coding",
    "minimax/MiniMax-M2.7",
    "demo/parrot",
    "demo/butler",
}
# Models of others under names of their own: the window at OpenRouter, and at their maker.
ELSEWHERE = {
    "deepseek/deepseek-v4.1-flash": ("deepseek", "deepseek-flash"),
    "google/gemini-3.8-flash": ("gemini", "gemini-3.8-flash"),
    "z-ai/glm-4.7": ("zai", "glm-4.7"),
}


def test_windows_and_prices_of_known_models_are_those_of_litellms_map() -> None:
    """Each known model is in the map under the provider's prefix, or unknown; Zhipu and OpenRouter
    have the windows of the same models at their makers, and prices that nobody knows.
    """
    unknown = set()
    windows: dict[str, dict[str, int | None]] = {}
    for name, data in catalogue_data().items():
        provider = Provider.model_validate(data)
        for one in provider.models:
            known = look_up(Model(model=f"{name}/{one.id}"), provider)
            windows.setdefault(name, {})[one.id] = known.context
            if known.context is None:
                unknown.add(f"{name}/{one.id}")
            unpriced = known.context is None or name in ("zhipu", "openrouter")
            assert (known.price is None) == unpriced, one
    assert unknown == UNKNOWN
    assert windows["zhipu"] == windows["zai"]
    makers = {one: windows[name][theirs] for one, (name, theirs) in ELSEWHERE.items()}
    assert windows["openrouter"] == makers


def test_every_known_model_has_a_label_in_one_form() -> None:
    """The family as its maker writes it, then words that begin with a capital or a digit; and one
    model has one label, whoever serves it.
    """
    words = r"( ([A-Z0-9][\w.]*|for))*"
    family = rf"(GLM|GPT|MiniMax)-[A-Z0-9][\w.]*{words}|Qwen[\d.]+{words}|[A-Z][A-Za-z]+{words}"
    found: set[str | None] = set()
    for name, data in catalogue_data().items():
        provider = Provider.model_validate(data)
        for one in provider.models:
            label = proper_label(provider, one.id)
            assert re.fullmatch(family, label or ""), f"{name}/{one.id}: {label}"
            found.add(label)
    assert len({str(label).lower() for label in found}) == len(found)


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("glm-5.3", "GLM-5.3"),
        ("GLM-4.5-Air", "GLM-4.5 Air"),
        ("claude-opus-5-5", "Claude Opus 5.5"),
        ("MiniMax-M2.7", "MiniMax-M2.7"),
        ("kimi-k2.7-code", "Kimi K2.7 Code"),
        ("kimi-for-coding", "Kimi for Coding"),
        ("qwen-3.8-27b", "Qwen3.8 27B"),
        ("openai/gpt-oss-120b", "GPT-OSS 120B"),
        ("mistral-large-4-0", "Mistral Large 4.0"),
        ("accounts/fireworks/models/glm-5p3-flash", "GLM-5.3 Flash"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5"),
        ("claude-sonnet-4@20250514", "Claude Sonnet 4"),
        ("claude-3-5-haiku-20241022", "Claude 3.5 Haiku"),
        ("qwen3-coder:30b", "Qwen3 Coder 30B"),
        ("llama3.1:latest", "Llama 3.1"),
        ("deepseek/deepseek-v4-flash:free", "DeepSeek V4 Flash Free"),
        ("glm", "GLM"),
        ("glmx-1", None),
        ("my-glm-4.7", None),
        ("", None),
        (f"glm-{'x' * 100}", f"GLM-X{'x' * 55}"),
    ],
)
def test_the_label_of_an_id(model: str, label: str | None) -> None:
    """Without vendor, cloud, date and `:latest`; what is of no known family has none."""
    assert label_of(model) == label


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("{id: x, retires: soon}", "is 'soon', but must be a date such as 2027-01-22"),
        (
            "{id: x, retires: 2027-02-30}",
            "is '2027-02-30', but must be a date that exists, such as 2027-01-22",
        ),
    ],
)
def test_the_day_of_a_retirement_is_a_date(known: str, said: str) -> None:
    """Also in a profile's own list of a provider's models."""
    text = f"{{models: {{a: zai/x}}, providers: {{zai: {{models: [{known}]}}}}}}"
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "p")
    assert caught.value.message == f"p:1: providers.zai.models[0].retires {said}"


def test_what_retires_names_a_known_model_to_write_instead() -> None:
    """One of the same provider, which does not retire itself."""
    for name, data in catalogue_data().items():
        provider = Provider.model_validate(data)
        for one in provider.models:
            assert bool(one.instead) <= bool(one.retires), f"{name}/{one.id}"
            if one.instead:
                other = known_model(provider, one.instead)
                assert other is not None, f"{name}/{one.id}"
                assert other.retires is None, f"{name}/{one.id}"


def test_an_id_is_known_in_capitals_and_without_its_date() -> None:
    """An id with another date is another model."""
    zai = Provider.model_validate(catalogue_data()["zai"])
    anthropic = Provider.model_validate(catalogue_data()["anthropic"])
    assert known_model(zai, "GLM-4.5-Air") == KnownModel(id="glm-4.5-air")
    for model in ("claude-opus-4-5-20251101", "claude-opus-4-5"):
        known = known_model(anthropic, model)
        assert known is not None
        assert known.id == "claude-opus-4-5-20251101"
    assert known_model(anthropic, "claude-opus-4-5-20260101") is None


def test_only_anthropic_speaks_the_dialect_that_carries_its_credentials() -> None:
    """LiteLLM sends Anthropic's keys to every `anthropic/` deployment, so there is one host."""
    dialects = {name: data["dialect"] for name, data in catalogue_data().items()}
    assert [name for name, dialect in dialects.items() if dialect == "anthropic"] == ["anthropic"]
    assert catalogue_data()["anthropic"]["base_url"] == "https://api.anthropic.com"


def test_no_two_providers_share_a_key() -> None:
    """A key belongs to one host."""
    keys = [data["key"] for data in catalogue_data().values() if data["key"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("dialect", "base_url", "expected"),
    [
        ("anthropic", "https://api.anthropic.com/", "https://api.anthropic.com"),
        ("anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("anthropic", "https://api.anthropic.com/v1//", "https://api.anthropic.com"),
        ("messages", "https://h/anthropic", "https://h/anthropic"),
        ("messages", "https://h/anthropic/v1/", "https://h/anthropic"),
        ("messages", "https://h/anthropicv1", "https://h/anthropicv1"),
        ("chat", "http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("responses", "https://h/v1", "https://h/v1"),
        ("litellm", "https://h/v1/", "https://h/v1"),
        ("litellm", None, None),  # LiteLLM knows the hosts of its own
    ],
)
def test_a_base_url_is_brought_into_the_form_that_litellm_wants(
    dialect: Dialect, base_url: str | None, expected: str | None
) -> None:
    """LiteLLM appends /v1/messages, so neither `/` nor `/v1` may stand there twice."""
    assert api_base(Provider(dialect=dialect, base_url=base_url)) == expected


def test_a_provider_cannot_be_changed_or_hold_more_than_it_has_fields() -> None:
    """What was validated stays as it was."""
    provider = Provider(dialect="chat", base_url="http://h")
    with pytest.raises(ValueError, match="frozen"):
        provider.key = "X"  # type: ignore[misc]
    with pytest.raises(ProfileError, match=r"^p:1: providers\.zai\.kee is not a field"):
        parse_profile("{models: {a: zai/x}, providers: {zai: {kee: X}}}", "p")
