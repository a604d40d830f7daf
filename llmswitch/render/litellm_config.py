"""From a menu to the text of every generated file. No disk, no clock, no environment.

What is rendered is parsed back before it is returned: a value that would not survive the way into
the file is an error here, not in the engine.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from llmswitch.profile.litellm_rules import ENVIRON, FALLBACKS, fallback_name
from llmswitch.profile.schema import Profile
from llmswitch.profile.secrets import inside_name
from llmswitch.render.deployments import deployments_of, menu_row
from llmswitch.render.menu import Menu
from llmswitch.render.templates import as_unit_word, render
from llmswitch.run_files import EXIT_SECONDS, GRACEFUL_SECONDS

GATEWAY_KEY = "LLMSWITCH_GATEWAY_KEY"
DEMO_PREFIX = "llmswitch-demo"
_CALLBACKS = ("llmswitch.engine.hooks.hooks", "llmswitch.engine.recorder.ledger")
_ADDED_TO = ("model_list", "callbacks", "custom_provider_map")


def engine_config(profile: Profile, menu: Menu) -> dict[str, Any]:
    """LiteLLM's configuration as data: ours, then the profile's `litellm:` part merged over it.

    Mappings are merged; lists of the profile replace ours, but those of _ADDED_TO.
    """
    config: dict[str, Any] = {
        "model_list": [item for row in menu.served for item in deployments_of(profile, row)],
        "litellm_settings": _litellm_settings(profile, menu),
        "general_settings": {
            "master_key": ENVIRON + GATEWAY_KEY,
            "custom_auth": "llmswitch.engine.gate.authenticate",
            # Else it asks every provider for its models, with your key, every five minutes.
            "disable_model_info_refresh": True,
        },
        "router_settings": _router_settings(menu),
        "llmswitch": _own_settings(profile, menu),
    }
    merged = _merge(config, profile.litellm)
    served = {row.name for row in menu.served}
    left_out = [row.name for row in menu.rows if row.name not in served]
    for section in ("litellm_settings", "router_settings"):
        for field in FALLBACKS:
            if rules := merged[section].get(field):
                merged[section][field] = _without(rules, left_out)
    return merged


def _litellm_settings(profile: Profile, menu: Menu) -> dict[str, Any]:
    settings = {
        "callbacks": [*_CALLBACKS],
        # Else it adds advice on its own settings to the provider's words.
        "expose_router_debug_in_errors": False,
        # Else a client's `no-log` keeps its requests out of the ledger and the budgets.
        "global_disable_no_log_param": True,
        **_cache(profile),
    }
    if any(row.provider.prefix == DEMO_PREFIX for row in menu.served):
        handler = {"provider": DEMO_PREFIX, "custom_handler": "llmswitch.engine.demo_models.demo"}
        settings["custom_provider_map"] = [handler]
    return settings


def _router_settings(menu: Menu) -> dict[str, Any]:
    models = [(row.name, row.model) for row in menu.served]
    settings = {
        # Claude Code retries by itself, ten times. Here a try goes to another key or nowhere.
        "num_retries": 0,
        # A model whose deployments are all cooled down answers 429 and hides the real error.
        # llmswitch.engine.key_rotation lets a key rest that has failed.
        "disable_cooldowns": True,
        "fallbacks": [{name: model.fallbacks} for name, model in models if model.fallbacks],
    }
    if rules := [{name: one.context_fallbacks} for name, one in models if one.context_fallbacks]:
        settings["context_window_fallbacks"] = rules
    return settings


def _own_settings(profile: Profile, menu: Menu) -> dict[str, Any]:
    """Read by llmswitch.engine.request."""
    logins = [row.name for row in menu.served if row.needs_login]
    return {
        "budgets": [budget.data() for budget in profile.all_budgets],
        "cached": profile.cache.models if profile.cache else [],
        "idle_timeout": profile.gateway.idle_timeout,
        "menu": [menu_row(row) for row in menu.served],
        "pass": {row.name: row.model.extensions for row in menu.served if row.model.extensions},
        # Served with the client's own login; see llmswitch.engine.subscription.
        **({"logins": logins} if logins else {}),
    }


def _cache(profile: Profile) -> dict[str, Any]:
    """Nothing unless the profile asks for it. A request is cached where our callback says so."""
    cache = profile.cache
    if cache is None:
        return {}
    params: dict[str, Any] = {"type": cache.type, "mode": "default_off", "ttl": cache.ttl}
    if cache.type == "redis":
        params |= {"host": cache.host, "port": cache.port or 6379}
        params["namespace"] = "llmswitch"
        # So long each call waits for a Redis that hangs; then LiteLLM leaves it alone for a minute.
        params |= {"socket_timeout": 1, "socket_connect_timeout": 1}
    if cache.key:
        params["password"] = ENVIRON + inside_name(cache.key)
    return {"cache": True, "cache_params": params}


def _without(rules: list[Any], left_out: Sequence[str]) -> list[Any]:
    """Fallbacks without the models that are left out: LiteLLM takes such a name in silence, and
    then answers with an error about it that hides the real one.
    """
    kept = []
    for rule in rules:
        if isinstance(rule, dict):
            [(name, targets)] = rule.items()
            targets = [to for to in targets if fallback_name(to) not in left_out]
            if targets and name not in left_out:
                kept.append({name: targets})
        elif rule not in left_out:
            kept.append(rule)
    return kept


def _merge(ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(ours)
    for key, value in theirs.items():
        mine = merged.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            merged[key] = _merge(mine, value)
        elif key in _ADDED_TO and isinstance(mine, list):
            merged[key] = mine + (value if isinstance(value, list) else [value])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def render_litellm_config(profile: Profile, menu: Menu, name: str) -> str:
    """litellm_config.yaml for a profile called `name`."""
    config = engine_config(profile, menu)
    sections = {key: value for key, value in config.items() if key != "model_list"}
    text = render(
        "litellm_config.yaml.j2",
        profile=name,
        deployments=config["model_list"],
        sections=sections,
    )
    parsed = yaml.safe_load(text)
    if parsed != json.loads(json.dumps(config)):
        raise AssertionError("litellm_config.yaml does not say what it was made from")
    return text


def render_gunicorn_conf(profile: Profile, name: str) -> str:
    """gunicorn.conf.py for a profile called `name`."""
    text = render(
        "gunicorn.conf.py.j2",
        profile=name,
        bind=profile.gateway.address,
        proc_name=f"llmswitch-{name}",
        graceful_seconds=GRACEFUL_SECONDS,
    )
    compile(text, "gunicorn.conf.py", "exec")
    return text


def render_unit(name: str, command: Sequence[str], exports: Mapping[str, str], state: str) -> str:
    """The systemd unit of the gateway of profile `name`. `command` starts it, `exports` is the
    environment that it needs, `state` the folder that it writes to.
    """
    as_unit_word(state)  # it stands in a comment too
    return render(
        "llmswitch.service.j2",
        profile=name,
        command=command,
        exports=exports,
        state=state,
        stop_seconds=EXIT_SECONDS,
    )


def render_agent(name: str, command: Sequence[str], exports: Mapping[str, str], log: str) -> str:
    """The launchd agent `name`; `log` is the file that takes the gateway's output."""
    return render(
        "llmswitch.plist.j2",
        name=name,
        command=command,
        exports=exports,
        log=log,
        stop_seconds=EXIT_SECONDS,
    )


def named_variables(profile: Profile, menu: Menu) -> set[str]:
    """The variables, beside the keys of `models:`, that the engine reads under their own names:
    the `env` of the providers in use, and those that `litellm:` names.
    """
    return {name for row in menu.served for name in row.provider.env} | named_in_engine(profile)


def named_in_engine(profile: Profile) -> set[str]:
    """Every NAME that the `litellm:` part of a profile refers to as os.environ/NAME."""
    text = json.dumps(profile.litellm, ensure_ascii=False, default=str)
    return set(re.findall(rf'"{re.escape(ENVIRON)}([^"]*)"', text))
