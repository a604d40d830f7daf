"""The notes of `validate`: what a user should know of a profile that is valid."""

from __future__ import annotations

from llmswitch.profile.load import parse_profile
from llmswitch.render.advice import notes
from tests.ready_made import OPUS

FULL = "context: 200000, price: {input: 1, output: 2}"


def advice(text: str, *keys: str) -> list[str]:
    """The notes for a profile, given the names of the keys that are set."""
    return notes(parse_profile(text, "p.yaml"), keys)


def test_a_complete_profile_needs_no_notes() -> None:
    """Everything known, everything set: nothing to say."""
    assert advice(f"models: {{opus: {OPUS.model.model}}}\n", "ANTHROPIC_API_KEY") == []


def test_models_without_keys_are_named_with_the_variable() -> None:
    """Left out, or served with fewer keys than the profile names."""
    text = f"""\
models:
  a: {{model: zai/x, {FULL}}}
  b: {{model: zai/y, keys: [K1, K2], {FULL}}}
  c: {{model: zai/z, keys: [K3, K4], {FULL}}}
"""
    assert advice(text, "K1") == [
        "a is left out of the menu: ZAI_API_KEY is not set",
        "b works without K2, which is not set",
        "c is left out of the menu: K3 and K4 are not set",
    ]


def test_a_fallback_that_is_left_out_is_named() -> None:
    """Once, for whatever failure it is; but not that of a model which is left out itself."""
    text = f"""\
models:
  a: {{model: ollama/x, fallbacks: [b, d], context_fallbacks: [c, b], {FULL}}}
  b: {{model: zai/y, fallbacks: [c], {FULL}}}
  c: {{model: zai/z, keys: [K], {FULL}}}
  d: {{model: ollama/y, {FULL}}}
"""
    assert advice(text) == [
        "b is left out of the menu: ZAI_API_KEY is not set",
        "c is left out of the menu: K is not set",
        "a cannot fall back to b, which is left out",
        "a cannot fall back to c, which is left out",
    ]


def test_what_nobody_knows_is_said_with_the_cure() -> None:
    """An unknown price is no price of 0; an unknown window is taken for 200k."""
    assert advice("models: {a: ollama/x}\n") == [
        "a has no known price; write `price: {input: ..., output: ...}`",
        "a has no known context window, so 200k is assumed; write `context:`",
    ]


def test_that_cached_answers_hold_tool_calls_is_pointed_out() -> None:
    """With the models and the time that the profile gives."""
    text = f"models: {{a: {{model: ollama/x, {FULL}}}, b: {{model: ollama/y, {FULL}}}}}\n"
    again = "also a tool call, which Claude Code then runs again"
    assert advice(text + "cache: {type: local}\n") == [
        f"answers are given again to the same request for 300 s: {again}"
    ]
    assert advice(text + "cache: {type: local, ttl: 60, models: [a, b]}\n") == [
        f"answers of a and b are given again to the same request for 60 s: {again}"
    ]


def test_a_gateway_beyond_this_machine_is_pointed_out() -> None:
    """Every address but the loopback ones."""
    text = f"models: {{a: {{model: ollama/x, {FULL}}}}}\ngateway: {{host: '%s'}}\n"
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        assert advice(text % host) == []
    for host in ("0.0.0.0", "::", "192.168.1.5", "127-box.example"):
        assert advice(text % host) == [
            f"the gateway listens on {host}: anyone who reaches it with its key can use your keys"
        ]


def test_the_model_that_limits_the_sessions_window_is_named() -> None:
    """Claude Code can be told 200k or 1M for one model; less holds for every session."""
    price = "price: {input: 1, output: 2}"
    text = f"""\
models:
  a: {{model: ollama/x, context: 160000, {price}}}
  b: {{model: ollama/y, context: 128000, {price}}}
  c: {{model: ollama/z, context: 64000, {price}}}
"""
    assert advice(text) == [
        (
            "b has a window of 128k, the smallest of the menu, "
            "so Claude Code compacts every session at that"
        ),
        (
            "c has a window of 64k; Claude Code is told, "
            "but it takes 20k to 30k for its own tools before the first word"
        ),
    ]


def test_without_any_usable_model_the_notes_end_with_that() -> None:
    """The profile is valid; `up` would not start."""
    assert advice(f"models: {{a: {{model: zai/x, {FULL}}}}}\n") == [
        "a is left out of the menu: ZAI_API_KEY is not set",
        "no model of the profile can be used",
    ]
