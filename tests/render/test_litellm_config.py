"""From a menu to the text of the generated files: exact, parsed back, and never injected into.

The golden files in tests/golden/ hold everything that is generated for each ready-made profile.
After a change that is meant, write them anew and read the difference:

    REWRITE_GOLDEN=1 python -m pytest tests/render/test_litellm_config.py && git diff tests/golden
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmswitch import __version__
from llmswitch.health import url_of
from llmswitch.paths import Home, data_folder, find_profile
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.schema import Profile
from llmswitch.render.claude_settings import MENU_SUPPORTS, make_settings
from llmswitch.render.litellm_config import (
    engine_config,
    named_in_engine,
    named_variables,
    render_gunicorn_conf,
    render_litellm_config,
)
from llmswitch.render.menu import make_menu
from llmswitch.render.plan import render
from tests.conftest import CHECKOUT

CALLBACKS = ["llmswitch.engine.hooks.hooks", "llmswitch.engine.recorder.ledger"]
GOLDEN = CHECKOUT / "tests" / "golden"
PROFILES = sorted(file.stem for file in data_folder("profiles").glob("*.yaml"))
VALUES = {
    "ANTHROPIC_API_KEY": "sk-ant-GOLD1",
    "ZAI_API_KEY": "GOLD2",
    "OPENROUTER_API_KEY": "GOLD3",
}
ZAI = "https://api.z.ai/api/anthropic"


def profile(text: str) -> Profile:
    """A profile that must be valid."""
    return parse_profile(text, "p.yaml")


def all_keys(found: Profile) -> set[str]:
    """The names of every key that a profile can use."""
    return {name for model in found.models.values() for name in found.keys_of(model)}


def config(text: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """litellm_config.yaml of a profile, as LiteLLM reads it; with all keys set, or with these."""
    found = profile(text)
    menu = make_menu(found, set(all_keys(found) if keys is None else keys))
    loaded: dict[str, Any] = yaml.safe_load(render_litellm_config(found, menu, "p"))
    return loaded


def deployments(text: str, keys: Iterable[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The name and the litellm_params of each deployment."""
    listed = config(text, keys)["model_list"]
    return [(item["model_name"], item["litellm_params"]) for item in listed]


# ------------------------------------------------------------------ golden files


def generated(name: str) -> dict[str, str]:
    """Everything that is generated for a ready-made profile, with all its keys set."""
    ref = find_profile(Home(Path("/nowhere"), Path("/nowhere")), name, {})
    rendered = render(ref, VALUES)
    url = url_of(rendered.profile.gateway.host, rendered.profile.gateway.port)
    files = {"litellm_config.yaml": rendered.config, "gunicorn.conf.py": rendered.conf}
    for support in MENU_SUPPORTS:
        text = json.dumps(make_settings(rendered.menu, support, url), indent=2, ensure_ascii=False)
        files[f"claude-settings.{support}.json"] = text + "\n"
    return {
        file: text.replace(f"llmswitch {__version__} ", "llmswitch VERSION ")
        for file, text in files.items()
    }


@pytest.mark.parametrize("name", PROFILES)
def test_each_ready_made_profile_renders_to_its_golden_files(name: str) -> None:
    """Byte for byte; and the same again when both are read."""
    files = generated(name)
    folder = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN") == "1":
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
    assert sorted(file.name for file in folder.iterdir()) == sorted(files)
    for file, text in files.items():
        golden = (folder / file).read_text(encoding="utf-8")
        assert text == golden, f"{name}/{file}: if this is meant, see the top of this file"
        if not file.endswith(".py"):
            assert yaml.safe_load(text) == yaml.safe_load(golden)


def test_the_golden_files_are_those_of_the_profiles_that_there_are() -> None:
    """A profile that is added or taken away is noticed."""
    assert sorted(folder.name for folder in GOLDEN.iterdir()) == PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_a_ready_made_profile_is_valid_and_served_as_a_whole(name: str) -> None:
    """With its keys set every model of it is in the menu, in the order of the file."""
    found = load_profile(data_folder("profiles") / f"{name}.yaml")
    menu = make_menu(found, all_keys(found))
    assert [row.name for row in menu.served] == list(found.models)
    listed = yaml.safe_load((GOLDEN / name / "litellm_config.yaml").read_text(encoding="utf-8"))
    assert [item["model_name"] for item in listed["model_list"]] == list(found.models)


def test_no_golden_file_and_no_ready_made_profile_holds_a_key() -> None:
    """Keys come from the environment; files name their variables."""
    files = [*GOLDEN.rglob("*.*"), *data_folder("profiles").iterdir()]
    assert len(files) >= 5 * len(PROFILES)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not [value for value in VALUES.values() if value in text], file
        assert "sk-" not in text, file


# ------------------------------------------------------------------ deployments

DIALECTS = {
    "anthropic": (
        "{dialect: anthropic, base_url: 'https://api.anthropic.com/v1/', key: K}",
        {
            "model": "anthropic/x/y",
            "api_base": "https://api.anthropic.com",
            "api_key": "os.environ/LLMSWITCH_KEY_K",
        },
        {"llmswitch_counts_tokens": True},
    ),
    "messages": (
        "{dialect: messages, base_url: 'https://h/anthropic/v1', key: K}",
        {
            "model": "openai/x/y",
            "api_base": "https://h/anthropic",
            "api_key": "os.environ/LLMSWITCH_KEY_K",
        },
        {"supported_endpoints": ["/v1/messages"]},
    ),
    "chat": (
        "{dialect: chat, base_url: 'https://h/v1/', key: K}",
        {
            "model": "hosted_vllm/x/y",
            "api_base": "https://h/v1",
            "use_chat_completions_api": True,
            "api_key": "os.environ/LLMSWITCH_KEY_K",
        },
        {},
    ),
    "responses": (
        "{dialect: responses, base_url: 'https://h/v1', key: K}",
        {
            "model": "openai/x/y",
            "api_base": "https://h/v1",
            "api_key": "os.environ/LLMSWITCH_KEY_K",
        },
        {"mode": "responses"},
    ),
    "litellm": (
        "{dialect: litellm, prefix: vertex_ai, env: [GOOGLE_APPLICATION_CREDENTIALS]}",
        {"model": "vertex_ai/x/y"},
        {},
    ),
    "litellm with a key and a host": (
        "{dialect: litellm, prefix: gemini, base_url: 'https://h/', key: K}",
        {
            "model": "gemini/x/y",
            "api_base": "https://h",
            "api_key": "os.environ/LLMSWITCH_KEY_K",
        },
        {},
    ),
    "litellm by the provider's own name": ("{dialect: litellm}", {"model": "mine/x/y"}, {}),
}


@pytest.mark.parametrize(("spec", "params", "info"), DIALECTS.values(), ids=DIALECTS)
def test_each_dialect_has_its_deployment(
    spec: str, params: dict[str, Any], info: dict[str, Any]
) -> None:
    """LiteLLM's prefix, the base in the form that it wants, the key by the name it has inside."""
    assert config(f"models: {{m: mine/x/y}}\nproviders: {{mine: {spec}}}\n")["model_list"] == [
        {
            "model_name": "m",
            "litellm_params": params,
            "model_info": {
                "display_name": "m (y) · mine · context unknown · price unknown",
                "llmswitch_provider": "mine",
                "llmswitch_label": "mine",
                **({"llmswitch_key": "K"} if "api_key" in params else {}),
                **info,
            },
        }
    ]


@pytest.mark.parametrize("dialect", ["anthropic", "messages", "chat", "responses"])
def test_a_host_without_a_key_is_given_none_outright(dialect: str) -> None:
    """Left to itself LiteLLM would look for a key that is meant for another host."""
    text = f"models: {{m: mine/x}}\nproviders: {{mine: {{dialect: {dialect}, base_url: 'http://h'}}}}\n"
    [(_, params)] = deployments(text)
    assert params["api_key"] == "none"


def test_several_keys_are_several_deployments_that_differ_in_the_key_alone() -> None:
    """LiteLLM balances over the deployments of one name; a try that fails goes to the next key."""
    text = "models: {m: {model: zai/glm-4.7, keys: [K1, K2, K3]}, lone: zai/glm-4.6}\n"
    params = {"model": "openai/glm-4.7", "api_base": ZAI, "num_retries": 1}
    expected = [
        ("m", params | {"api_key": f"os.environ/LLMSWITCH_KEY_{key}"}) for key in ("K1", "K3")
    ]
    assert deployments(text, {"K1", "K3"}) == expected
    assert config(text, {"K1", "K3"})["router_settings"] == {
        "num_retries": 0,
        "disable_cooldowns": True,
        "fallbacks": [],
    }
    first, second, lone = config(text, {"K1", "K3", "ZAI_API_KEY"})["model_list"]
    assert (first["model_info"]["llmswitch_key"], second["model_info"]["llmswitch_key"]) == (
        "K1",
        "K3",
    )
    assert "num_retries" not in lone["litellm_params"]


def test_keys_share_the_load_as_the_profile_says() -> None:
    """By weight, or in an order; a timeout counts for each try."""
    text = """\
models:
  m: {model: zai/x, timeout: 20, keys: [{name: K1, weight: 9}, {name: K2, order: 2}, K3]}
"""
    shares = [
        {name: params[name] for name in ("weight", "order", "timeout") if name in params}
        for _, params in deployments(text, {"K1", "K2", "K3"})
    ]
    assert shares == [{"weight": 9, "timeout": 20}, {"order": 2, "timeout": 20}, {"timeout": 20}]


def test_budgets_and_what_is_cached_are_told_to_our_callbacks() -> None:
    """In a part of our own; nothing is cached unless the profile says so."""
    text = """\
models:
  a: {model: ollama/x, budget: {usd: 5, per: day}, context_fallbacks: [b]}
  b: ollama/y
clients: [ci]
budgets: [{usd: 50, per: month}, {usd: 1.5, per: week, provider: ollama, client: ci}]
"""
    loaded = config(text)
    menu = loaded["llmswitch"].pop("menu")
    assert [row["name"] for row in menu] == ["a", "b"]
    assert loaded["llmswitch"] == {
        "pass": {},
        "budgets": [
            {"usd": 5.0, "per": "day", "model": "a"},
            {"usd": 50.0, "per": "month"},
            {"usd": 1.5, "per": "week", "client": "ci", "provider": "ollama"},
        ],
        "cached": [],
        "idle_timeout": 600,
    }
    assert loaded["router_settings"]["context_window_fallbacks"] == [{"a": ["b"]}]
    assert "cache" not in loaded["litellm_settings"]
    everything = config(text + "cache: {type: local}\n")
    assert everything["llmswitch"]["cached"] is None
    assert everything["litellm_settings"]["cache_params"] == {
        "type": "local",
        "mode": "default_off",
        "ttl": 300,
    }
    redis = config(
        text + "cache: {type: redis, host: 127.0.0.1, key: REDIS, ttl: 9, models: [b]}\n"
    )
    assert redis["llmswitch"]["cached"] == ["b"]
    assert redis["litellm_settings"]["cache_params"] == {
        "type": "redis",
        "mode": "default_off",
        "ttl": 9,
        "host": "127.0.0.1",
        "port": 6379,
        "namespace": "llmswitch",
        "socket_timeout": 1,
        "socket_connect_timeout": 1,
        "password": "os.environ/LLMSWITCH_KEY_REDIS",
    }


def test_price_and_context_are_written_exactly_per_token() -> None:
    """LiteLLM counts in USD per token; a price that nobody knows is not written, least of all 0."""
    text = """\
models:
  a:
    model: ollama/x
    label: A
    context: 64000
    price: {input: 0.07, output: 1.1, cache_read: 0, cache_write: 3.3}
  b: ollama/y
"""
    first, second = (item["model_info"] for item in config(text)["model_list"])
    assert first == {
        "display_name": "A · Ollama · 64k · $0.07/$1.10 per Mtok",
        "supported_endpoints": ["/v1/messages"],
        "max_input_tokens": 64000,
        "input_cost_per_token": 7e-08,
        "output_cost_per_token": 1.1e-06,
        "cache_read_input_token_cost": 0.0,
        "cache_creation_input_token_cost": 3.3e-06,
        "llmswitch_provider": "ollama",
        "llmswitch_label": "Ollama",
    }
    assert second == {
        "display_name": "b (y) · Ollama · context unknown · price unknown",
        "supported_endpoints": ["/v1/messages"],
        "llmswitch_provider": "ollama",
        "llmswitch_label": "Ollama",
    }


def test_a_cached_token_of_unknown_price_costs_what_any_other_does() -> None:
    """LiteLLM would take it for free."""
    text = "models: {a: {model: ollama/x, price: {input: 2, output: 3}}}\n"
    info = config(text)["model_list"][0]["model_info"]
    assert info["cache_read_input_token_cost"] == info["cache_creation_input_token_cost"] == 2e-06


@pytest.mark.parametrize("provider", ["zai", "anthropic", "mine"])
def test_fields_that_a_provider_refuses_are_dropped_on_the_way(provider: str) -> None:
    """In every deployment of the model, whatever its dialect; other models keep them."""
    text = f"""\
models:
  a: {{model: {provider}/x, keys: [K1, K2], drop: [context_management, metadata]}}
  b: {{model: {provider}/x, keys: [K1]}}
providers: {{mine: {{dialect: chat, base_url: "http://h/v1"}}}}
"""
    dropped = [
        params.get("additional_drop_params") for _, params in deployments(text, {"K1", "K2"})
    ]
    assert dropped == [["context_management", "metadata"]] * 2 + [None]


def test_fallbacks_to_models_that_are_left_out_are_dropped() -> None:
    """Those of `fallbacks:` and those of `litellm:`, whole rules where nothing is left of them."""
    text = """\
models:
  a: {model: ollama/x, fallbacks: [gone, b]}
  b: {model: ollama/y, fallbacks: [gone]}
  gone: {model: zai/z, fallbacks: [a]}
litellm:
  router_settings:
    context_window_fallbacks: [{a: [gone, b]}, {b: [gone]}, {gone: [a]}]
    default_fallbacks: [gone, a]
  litellm_settings:
    content_policy_fallbacks: [{a: [{model: b, temperature: 0}, gone]}]
"""
    loaded = config(text, ())
    assert loaded["router_settings"]["fallbacks"] == [{"a": ["b"]}]
    assert loaded["router_settings"]["context_window_fallbacks"] == [{"a": ["b"]}]
    assert loaded["router_settings"]["default_fallbacks"] == ["a"]
    assert loaded["litellm_settings"]["content_policy_fallbacks"] == [
        {"a": [{"model": "b", "temperature": 0}]}
    ]
    complete = config(text, {"ZAI_API_KEY"})
    assert complete["router_settings"]["fallbacks"] == [
        {"a": ["gone", "b"]},
        {"b": ["gone"]},
        {"gone": ["a"]},
    ]


def test_the_gateway_is_locked_and_asks_nobody_for_models() -> None:
    """The key by name only, our own check of it, our own answer to unknown names."""
    loaded = config("models: {a: ollama/x}\n")
    assert loaded["general_settings"] == {
        "master_key": "os.environ/LLMSWITCH_GATEWAY_KEY",
        "custom_auth": "llmswitch.engine.gate.authenticate",
        "disable_model_info_refresh": True,
    }
    assert loaded["litellm_settings"] == {
        "callbacks": CALLBACKS,
        "expose_router_debug_in_errors": False,
        "global_disable_no_log_param": True,
    }
    assert sorted(loaded) == [
        "general_settings",
        "litellm_settings",
        "llmswitch",
        "model_list",
        "router_settings",
    ]


def test_the_demos_provider_is_named_only_where_it_is_used() -> None:
    """LiteLLM loads the module that serves the offline models."""
    handler = {
        "provider": "llmswitch-demo",
        "custom_handler": "llmswitch.engine.demo_models.demo",
    }
    loaded = config("models: {a: demo/parrot}\n")
    assert loaded["litellm_settings"]["custom_provider_map"] == [handler]
    assert loaded["model_list"][0]["litellm_params"] == {"model": "llmswitch-demo/parrot"}
    assert "custom_provider_map" not in config("models: {a: ollama/x}\n")["litellm_settings"]


def test_the_profiles_own_part_is_merged_last() -> None:
    """Mappings are merged, lists replaced, but those that ours must stay in are added to."""
    text = """\
models: {a: demo/parrot, b: {model: demo/butler, fallbacks: [a]}}
litellm:
  router_settings: {num_retries: 7, fallbacks: [{a: [b]}], routing_strategy: simple-shuffle}
  litellm_settings:
    callbacks: prometheus
    custom_provider_map: [{provider: own, custom_handler: own.module.handler}]
    cache: true
    cache_params: {type: local}
  general_settings: {max_parallel_requests: 5}
  model_list:
  - model_name: c
    litellm_params: {model: openai/gpt-5, api_key: os.environ/OPENAI_API_KEY}
    model_id: mine
  callback_settings: {otel: {"message\\nlogging": "a: b\\n# c"}}
"""
    loaded = config(text)
    assert loaded["router_settings"] == {
        "num_retries": 7,
        "disable_cooldowns": True,
        "fallbacks": [{"a": ["b"]}],
        "routing_strategy": "simple-shuffle",
    }
    assert loaded["litellm_settings"] == {
        "callbacks": [*CALLBACKS, "prometheus"],
        "expose_router_debug_in_errors": False,
        "global_disable_no_log_param": True,
        "custom_provider_map": [
            {"provider": "llmswitch-demo", "custom_handler": "llmswitch.engine.demo_models.demo"},
            {"provider": "own", "custom_handler": "own.module.handler"},
        ],
        "cache": True,
        "cache_params": {"type": "local"},
    }
    assert loaded["general_settings"]["max_parallel_requests"] == 5
    assert loaded["general_settings"]["custom_auth"] == "llmswitch.engine.gate.authenticate"
    assert [item["model_name"] for item in loaded["model_list"]] == ["a", "b", "c"]
    assert loaded["model_list"][2] == {
        "model_name": "c",
        "litellm_params": {"model": "openai/gpt-5", "api_key": "os.environ/OPENAI_API_KEY"},
        "model_id": "mine",
    }
    assert loaded["callback_settings"] == {"otel": {"message\nlogging": "a: b\n# c"}}


def test_merging_changes_neither_the_profile_nor_the_next_rendering() -> None:
    """The same profile renders to the same text, any number of times."""
    found = profile(
        "models: {a: ollama/x}\nlitellm: {x: {y: [1]}, litellm_settings: {callbacks: [p]}}\n"
    )
    menu = make_menu(found, ())
    texts = set()
    for _ in range(3):
        texts.add(render_litellm_config(found, menu, "p"))
        engine_config(found, menu)["x"]["y"].append(2)
    assert len(texts) == 1
    assert found.litellm == {"x": {"y": [1]}, "litellm_settings": {"callbacks": ["p"]}}


def test_the_variables_that_the_engine_reads_by_name_are_found_wherever_they_stand() -> None:
    """Those of `litellm:` at any depth, and the `env` of providers that are served."""
    found = profile(
        """\
models: {a: cloud/x, b: {model: other/y, keys: [K]}}
providers:
  cloud: {dialect: litellm, prefix: bedrock, env: [AWS_REGION, AWS_PROFILE]}
  other: {dialect: litellm, prefix: vertex_ai, env: [GOOGLE]}
litellm:
  router_settings: {redis_password: os.environ/REDIS, x: [{y: os.environ/DEEP}]}
  z: see os.environ/NOT_THIS
"""
    )
    assert named_in_engine(found) == {"REDIS", "DEEP"}
    left_out = make_menu(found, ())
    assert named_variables(found, left_out) == {"REDIS", "DEEP", "AWS_REGION", "AWS_PROFILE"}
    assert named_variables(found, make_menu(found, {"K"})) == {
        *("REDIS", "DEEP", "AWS_REGION", "AWS_PROFILE", "GOOGLE")
    }


# ------------------------------------------------------------------ gunicorn.conf.py


def test_gunicorn_listens_where_the_profile_says() -> None:
    """And is called after the profile, so that `ps` tells which gateway it is."""
    found = profile("models: {a: ollama/x}\ngateway: {host: '::1', port: 4321}\n")
    settings_of: dict[str, Any] = {}
    text = render_gunicorn_conf(found, "work")
    exec(compile(text, "gunicorn.conf.py", "exec"), settings_of)  # noqa: S102 - as gunicorn does
    assert settings_of["bind"] == ["[::1]:4321"]
    assert settings_of["proc_name"] == "llmswitch-work"
    assert settings_of["workers"] == 1
    assert settings_of["wsgi_app"] == "litellm.proxy.proxy_server:app"


def test_a_profile_file_of_any_name_gives_files_that_do_nothing_else(tmp_path: Path) -> None:
    """The profile's name stands in comments, which an end of a line would end."""
    file = tmp_path / "a\nimport os; os.mkdir('pwned')\n#$(mkdir pwned)\nx: y.yaml"
    file.write_text("models: {a: ollama/x}\n")
    rendered = render(find_profile(Home(tmp_path, tmp_path), str(file), {}), {})
    assert yaml.safe_load(rendered.config) == engine_config(rendered.profile, rendered.menu)
    exec(compile(rendered.conf, "c", "exec"), {})  # noqa: S102 - as gunicorn does
    assert not list(tmp_path.rglob("pwned"))


def test_a_rendering_that_does_not_survive_is_an_error_here_and_not_in_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is rendered is read back before it is returned."""
    found = profile("models: {a: ollama/x}\n")
    menu = make_menu(found, ())
    monkeypatch.setattr(
        "llmswitch.render.litellm_config.yaml.safe_load", lambda _text: {"model_list": []}
    )
    with pytest.raises(AssertionError, match="does not say what it was made from"):
        render_litellm_config(found, menu, "p")
