"""The profile: its file, short and long forms, roles, providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.providers import Provider
from llmswitch.profile.schema import ROLES, Gateway, Key, Model, Price, Profile

# ------------------------------------------------------------------ files


def test_a_profile_is_read_with_a_byte_order_mark_and_with_crlf(tmp_path: Path) -> None:
    """Editors on Windows write both; lines are counted right."""
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xef\xbb\xbfmodels:\r\n  a: zai/glm-4.7\r\n")
    assert load_profile(file).models == {"a": Model(model="zai/glm-4.7")}
    file.write_bytes(b"\xef\xbb\xbfmodels:\r\n  a: zai/glm-4.7\r\nx: 1\r\n")
    with pytest.raises(ProfileError, match=r"^p:3: x is not a field"):
        load_profile(file, "p")


def test_a_file_that_is_not_utf8_is_refused_with_the_place(tmp_path: Path) -> None:
    """UTF-16 and Latin-1 are named, not guessed."""
    file = tmp_path / "p.yaml"
    for content, place in (("models".encode("utf-16"), 0), (b"models: {a: \xe4}", 12)):
        file.write_bytes(content)
        with pytest.raises(ProfileError) as caught:
            load_profile(file, "p.yaml")
        assert caught.value.message == f"p.yaml is not UTF-8 text (byte {place})"
        assert caught.value.hint == "save it as UTF-8"


def test_what_is_no_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A folder, and a file that is not there."""
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "x", "No such file or directory"),
    ):
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert caught.value.message == f"{path} cannot be read: {reason}"
        assert caught.value.hint == "check the path"


# ------------------------------------------------------------------ what a valid profile says


def profile(text: str) -> Profile:
    """A profile that must be valid."""
    return parse_profile(text, "p.yaml")


def test_the_short_form_is_the_long_form_with_nothing_but_a_model() -> None:
    """`name: provider/model` says the same as a mapping with `model:` alone."""
    assert profile("models: {a: zai/glm-4.7}\n") == profile("models: {a: {model: zai/glm-4.7}}\n")


def test_the_long_form_keeps_every_field() -> None:
    """All that the design lists for a model, in the types that the rest relies on."""
    text = """\
models:
  glm-4.5:
    model: zai/GLM-4.5-Air
    label: GLM-4.5 Air (Z.ai)
    keys: [ZAI_API_KEY, ZAI_API_KEY_2]
    fallbacks: [other]
    context: 128_000
    price: {input: 0.2, output: 1, cache_read: 0.03}
    behaves_as: claude-sonnet-4-5
    drop: [context_management]
  other: anthropic/claude-opus-4-5-20251101
"""
    loaded = profile(text)
    assert loaded.models["glm-4.5"] == Model(
        model="zai/GLM-4.5-Air",
        label="GLM-4.5 Air (Z.ai)",
        keys=[Key(name="ZAI_API_KEY"), Key(name="ZAI_API_KEY_2")],
        fallbacks=["other"],
        context=128000,
        price=Price(input=0.2, output=1.0, cache_read=0.03, cache_write=None),
        behaves_as="claude-sonnet-4-5",
        drop=["context_management"],
    )
    assert loaded.keys_of(loaded.models["glm-4.5"]) == ["ZAI_API_KEY", "ZAI_API_KEY_2"]
    assert loaded.keys_of(loaded.models["other"]) == ["ANTHROPIC_API_KEY"]
    assert loaded.gateway == Gateway(host="127.0.0.1", port=4000)


def test_a_model_id_may_hold_slashes_and_colons() -> None:
    """Only the first `/` parts the provider from what the provider calls its model."""
    loaded = profile("models: {a: openrouter/google/gemini-3-pro:free, b: 'ollama/qwen3:30b'}\n")
    assert [(one.provider, one.id) for one in loaded.models.values()] == [
        ("openrouter", "google/gemini-3-pro:free"),
        ("ollama", "qwen3:30b"),
    ]


def test_unicode_labels_are_kept() -> None:
    """A label is for people: any printable letters, sixty of them."""
    label = "模型 Ünï 🚀 " + "x" * 50
    assert (
        profile(f"models: {{a: {{model: zai/x, label: '{label}'}}}}\n").models["a"].label == label
    )


@pytest.mark.parametrize(
    ("text", "serving"),
    [
        ("models: {x: zai/x, y: zai/y}\n", "x x x x x x"),
        ("models: {x: zai/x, y: zai/y}\nroles: {default: y}\n", "y y y y y y"),
        ("models: {x: zai/x, opus: zai/y, haiku: zai/z}\n", "x opus x haiku x x"),
        (
            "models: {x: zai/x, sonnet: zai/y}\nroles: {default: sonnet, haiku: x, subagent: x}\n",
            "sonnet sonnet sonnet x sonnet x",
        ),
        ("models: {x: zai/x, y: zai/y}\nroles: {opus: y, fable: null}\n", "x y x x x x"),
    ],
    ids=["none given", "only default", "by name", "some given", "null is not given"],
)
def test_a_role_goes_to_what_is_written_then_to_its_namesake_then_to_the_default(
    text: str, serving: str
) -> None:
    """Every request that Claude Code makes by itself has a model: at worst the first one."""
    loaded = profile(text)
    assert [loaded.role(name) for name in ROLES] == serving.split()


def test_a_provider_of_the_catalogue_needs_no_mention() -> None:
    """The profile carries exactly the providers that its models name."""
    loaded = profile("models: {a: zai/x, b: ollama/y}\n")
    assert list(loaded.providers) == ["zai", "ollama"]
    assert loaded.provider_of(loaded.models["a"]).base_url == "https://api.z.ai/api/anthropic"
    assert loaded.keys_of(loaded.models["b"]) == []


def test_a_provider_of_the_catalogue_can_be_overridden_line_by_line() -> None:
    """What the profile does not say stays as in the catalogue, and other profiles see nothing."""
    text = (
        "models: {a: zai/x}\nproviders: {zai: {base_url: 'https://proxy.example/zai/', key: MY}}\n"
    )
    changed = profile(text).providers["zai"]
    plain = profile("models: {a: zai/x}\n").providers["zai"]
    assert changed == Provider(
        **{**plain.model_dump(), "base_url": "https://proxy.example/zai", "key": "MY"}
    )
    assert plain.key == "ZAI_API_KEY"


OWN = {
    "anthropic": (
        "dialect: anthropic, base_url: 'https://a.example', key: MINE",
        Provider(dialect="anthropic", base_url="https://a.example", key="MINE"),
    ),
    "messages": (
        "dialect: messages, base_url: 'https://m.example/anthropic/v1/', key: MINE, label: M",
        Provider(
            dialect="messages", base_url="https://m.example/anthropic/v1", key="MINE", label="M"
        ),
    ),
    "chat": (
        "dialect: chat, base_url: 'http://127.0.0.1:8000/v1', key: null",
        Provider(dialect="chat", base_url="http://127.0.0.1:8000/v1", key=None),
    ),
    "responses": (
        "dialect: responses, base_url: 'http://[::1]:8000/v1'",
        Provider(dialect="responses", base_url="http://[::1]:8000/v1"),
    ),
    "litellm": (
        "dialect: litellm, prefix: vertex_ai, env: [GOOGLE_APPLICATION_CREDENTIALS]",
        Provider(dialect="litellm", prefix="vertex_ai", env=["GOOGLE_APPLICATION_CREDENTIALS"]),
    ),
}


@pytest.mark.parametrize(("fields", "expected"), OWN.values(), ids=OWN)
def test_a_provider_of_the_users_own_can_speak_each_dialect(
    fields: str, expected: Provider
) -> None:
    """Five dialects, one line each."""
    loaded = profile(f"models: {{a: mine/x}}\nproviders: {{mine: {{{fields}}}}}\n")
    assert loaded.providers == {"mine": expected}


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:4000"), ("::1", "[::1]:4000"), ("localhost", "localhost:4000")],
)
def test_the_address_of_the_gateway_is_written_as_people_do(host: str, address: str) -> None:
    """IPv6 in brackets, else host:port."""
    assert (
        profile(f"models: {{a: zai/x}}\ngateway: {{host: '{host}'}}\n").gateway.address == address
    )


def test_anchors_and_merge_keys_may_be_used_inside_models() -> None:
    """What several models share can be written once."""
    text = """\
models:
  a: &shared
    model: zai/glm-4.7
    context: 128000
    price: {input: 1, output: 2}
  b:
    <<: *shared
    model: zai/glm-4.6
    label: B
"""
    loaded = profile(text)
    assert loaded.models["b"] == Model(
        model="zai/glm-4.6", context=128000, price=Price(input=1, output=2), label="B"
    )
