"""`litellm:` reaches everything of LiteLLM, but what leaks a credential or opens the gateway."""

from __future__ import annotations

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.load import parse_profile

OURS = "is set by llmswitch; take it out"
KEY_RULE = "must be os.environ/NAME, never the key itself"
NAMES_THE_HOST = "would let a request name the host that receives your key; take it out"
TO_ANTHROPIC = (
    "must be https://api.anthropic.com: LiteLLM would send Anthropic's credentials there; "
    "use a provider with `dialect: messages`"
)
MISDIRECTS = "would send a key, or your Claude login, where it does not belong; take it out"
NO_MODEL = "which is no model here"


def refused(part: str) -> list[str]:
    """The mistakes of a profile with two models and this, in flow style, under `litellm:`."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(f"models: {{a: zai/x, b: zai/y}}\nlitellm: {part}\n", "p")
    return [line.removeprefix("p:2: litellm.") for line in caught.value.message.splitlines()]


def deployment(params: str) -> str:
    """A deployment of the user's own with these litellm_params."""
    return f"{{model_list: [{{model_name: c, litellm_params: {{{params}}}}}]}}"


REFUSED = {
    "a key of the gateway": (
        "{general_settings: {master_key: os.environ/MY}}",
        f"general_settings.master_key {OURS}",
    ),
    "no key of the gateway": (
        "{general_settings: {master_key: null}}",
        f"general_settings.master_key {OURS}",
    ),
    "another check of keys": (
        "{general_settings: {custom_auth: my.module.check}}",
        f"general_settings.custom_auth {OURS}",
    ),
    "no check of keys": (
        "{general_settings: {custom_auth: null}}",
        f"general_settings.custom_auth {OURS}",
    ),
    "a check of keys switched off": (
        "{general_settings: {custom_auth: false}}",
        f"general_settings.custom_auth {OURS}",
    ),
    "general settings wiped out": (
        "{general_settings: null}",
        "general_settings must be a mapping",
    ),
    "general settings as a list": ("{general_settings: []}", "general_settings must be a mapping"),
    "LiteLLM's settings wiped out": (
        "{litellm_settings: null}",
        "litellm_settings must be a mapping",
    ),
    "the router's settings as text": (
        "{router_settings: x}",
        "router_settings must be a mapping",
    ),
    "another host for every key": (
        "{router_settings: {default_litellm_params: {api_base: http://h}}}",
        f"router_settings.default_litellm_params.api_base {MISDIRECTS}",
    ),
    "one key for every host": (
        "{router_settings: {default_litellm_params: {api_key: os.environ/K, timeout: 3}}}",
        f"router_settings.default_litellm_params.api_key {MISDIRECTS}",
    ),
    "a set of both by its name": (
        "{router_settings: {default_litellm_params: {litellm_credential_name: x}}}",
        f"router_settings.default_litellm_params.litellm_credential_name {MISDIRECTS}",
    ),
    "another host for a fallback": (
        "{router_settings: {fallbacks: [{a: [{model: b, api_base: http://h}]}]}}",
        f"router_settings.fallbacks sets api_base, which {MISDIRECTS}",
    ),
    "another key for a fallback": (
        "{litellm_settings: {fallbacks: [{a: [{model: b, api_key: os.environ/K}]}]}}",
        f"litellm_settings.fallbacks sets api_key, which {MISDIRECTS}",
    ),
    "another vendor for a fallback": (
        "{router_settings: {context_window_fallbacks: [{a: [b, {model: b, headers: {}}]}]}}",
        f"router_settings.context_window_fallbacks sets headers, which {MISDIRECTS}",
    ),
    "clients' keys to providers": (
        "{general_settings: {forward_llm_provider_auth_headers: true}}",
        (
            "general_settings.forward_llm_provider_auth_headers "
            "would send a client's key to every provider; take it out"
        ),
    ),
    "clients' headers to providers": (
        "{general_settings: {forward_client_headers_to_llm_api: true}}",
        (
            "general_settings.forward_client_headers_to_llm_api "
            "would send a client's headers, keys among them, to every provider; take it out"
        ),
    ),
    "clients' headers to one provider": (
        "{litellm_settings: {model_group_settings: {forward_client_headers_to_llm_api: [a]}}}",
        (
            "litellm_settings.model_group_settings.forward_client_headers_to_llm_api "
            "would send a client's headers to the provider; take it out"
        ),
    ),
    "routes past the key": (
        "{general_settings: {pass_through_endpoints: [{path: /x, target: 'http://h'}]}}",
        (
            "general_settings.pass_through_endpoints "
            "would answer without the gateway's key; add a provider under `providers:` instead"
        ),
    ),
    "hosts named by clients": (
        "{general_settings: {allow_client_side_credentials: true}}",
        f"general_settings.allow_client_side_credentials {NAMES_THE_HOST}",
    ),
    "hosts named by clients of one model": (
        deployment("model: openai/x, configurable_clientside_auth_params: [api_base]"),
        "model_list[0].litellm_params.configurable_clientside_auth_params " + NAMES_THE_HOST,
    ),
    "open routes": (
        "{general_settings: {public_routes: ['/*']}}",
        (
            "general_settings.public_routes "
            "would open the gateway to anyone on this machine; take it out"
        ),
    ),
    "variables": (
        "{environment_variables: {ANTHROPIC_BASE_URL: 'http://h'}}",
        (
            "environment_variables "
            "would set variables that redirect LiteLLM's requests; use `providers:` instead"
        ),
    ),
    "another file": (
        "{include: [more.yaml]}",
        "include would bring in a file that is not checked; write its lines here",
    ),
    "callbacks wiped out": (
        "{litellm_settings: {callbacks: null}}",
        "litellm_settings.callbacks must be a list of names",
    ),
    "no list of models": ("{model_list: null}", "model_list must be a list"),
    "a deployment that is text": (
        "{model_list: [c]}",
        "model_list[0] needs a model_name and litellm_params",
    ),
    "a deployment without a name": (
        "{model_list: [{litellm_params: {model: openai/x}}]}",
        "model_list[0] needs a model_name and litellm_params",
    ),
    "a deployment under a name of models": (
        "{model_list: [{model_name: b, litellm_params: {model: openai/x}}]}",
        "model_list[0] has the name of a model of `models:`: 'b'",
    ),
    "a key in clear": (
        deployment("model: openai/x, api_key: abcdef"),
        f"model_list[0].litellm_params.api_key {KEY_RULE}",
    ),
    "a cloud's key in clear": (
        deployment("model: bedrock/x, aws_secret_access_key: abcdef"),
        f"model_list[0].litellm_params.aws_secret_access_key {KEY_RULE}",
    ),
    "a token in clear": (
        deployment("model: azure/x, azure_ad_token: abcdef"),
        f"model_list[0].litellm_params.azure_ad_token {KEY_RULE}",
    ),
    "no provider": (
        deployment("model: glm-4.7"),
        (
            "model_list[0].litellm_params.model "
            "must be provider/model; LiteLLM guesses the provider of others, or drops it"
        ),
    ),
    "no model": (
        deployment("api_base: 'http://h'"),
        (
            "model_list[0].litellm_params.model "
            "must be provider/model; LiteLLM guesses the provider of others, or drops it"
        ),
    ),
    "anthropic/ at another host": (
        deployment("model: anthropic/x, api_base: 'https://evil.example'"),
        f"model_list[0].litellm_params.api_base {TO_ANTHROPIC}",
    ),
    "anthropic/ without its host": (
        deployment("model: anthropic/x"),
        f"model_list[0].litellm_params.api_base {TO_ANTHROPIC}",
    ),
    "anthropic/ with a second host": (
        deployment(
            "model: anthropic/x, api_base: 'https://api.anthropic.com', base_url: 'http://h'"
        ),
        f"model_list[0].litellm_params.api_base {TO_ANTHROPIC}",
    ),
    "a host of one's own without a key": (
        deployment("model: openai/x, api_base: 'http://h'"),
        (
            "model_list[0].litellm_params.api_key is missing, "
            "and LiteLLM would send OPENAI_API_KEY there; write os.environ/NAME, or none"
        ),
    ),
    "Anthropic by another field": (
        deployment("model: my/x, custom_llm_provider: anthropic, api_base: 'http://h'"),
        f"model_list[0].litellm_params.api_base {TO_ANTHROPIC}",
    ),
    "a fallback of no model": (
        "{router_settings: {fallbacks: [{x: [a]}]}}",
        f"router_settings.fallbacks names 'x', {NO_MODEL}",
    ),
    "a fallback to no model": (
        "{litellm_settings: {context_window_fallbacks: [{a: [b, x]}]}}",
        f"litellm_settings.context_window_fallbacks names 'x', {NO_MODEL}",
    ),
    "a fallback of every model to none": (
        "{router_settings: {default_fallbacks: [x]}}",
        f"router_settings.default_fallbacks names 'x', {NO_MODEL}",
    ),
    "a fallback with parameters to no model": (
        "{router_settings: {fallbacks: [{a: [{model: x, temperature: 0}]}]}}",
        f"router_settings.fallbacks names 'x', {NO_MODEL}",
    ),
    "fallbacks in a mapping": (
        "{router_settings: {fallbacks: {a: [b]}}}",
        "router_settings.fallbacks must be a list of {model: [models]}",
    ),
    "two fallbacks in one item": (
        "{router_settings: {fallbacks: [{a: [b], b: [a]}]}}",
        "router_settings.fallbacks must be a list of {model: [models]}",
    ),
    "a fallback to text": (
        "{router_settings: {content_policy_fallbacks: [{a: b}]}}",
        "router_settings.content_policy_fallbacks must be a list of {model: [models]}",
    ),
    "a default fallback that is text": (
        "{litellm_settings: {default_fallbacks: a}}",
        "litellm_settings.default_fallbacks must be a list of models",
    ),
}


@pytest.mark.parametrize(("part", "message"), REFUSED.values(), ids=REFUSED)
def test_what_leaks_opens_or_breaks_is_refused_with_the_reason(part: str, message: str) -> None:
    """Each rule is one sentence: the path, and why."""
    assert refused(part) == [message]


ALLOWED = {
    "what LiteLLM forwards, switched off": (
        "{general_settings: {forward_client_headers_to_llm_api: false, public_routes: null}}"
    ),
    "any setting that is not ours": "{general_settings: {max_parallel_requests: 5}, x: {y: [1]}}",
    "a callback more": "{litellm_settings: {callbacks: prometheus}}",
    "a deployment with its key": deployment("model: openai/x, api_key: os.environ/OPENAI_API_KEY"),
    "a deployment without a key": deployment("model: ollama_chat/x, api_base: 'http://h'"),
    "a deployment that says so": deployment("model: openai/x, api_base: 'http://h', api_key: none"),
    "anthropic/ at its host": deployment(
        "model: anthropic/x, api_base: 'https://api.anthropic.com', api_key: os.environ/A"
    ),
    "limits that only sound like keys": deployment("model: openai/x, max_tokens: 5, rpm: 3"),
    "fallbacks between models": (
        "{router_settings: {fallbacks: [{a: [b]}, {'*': [a]}], default_fallbacks: [b]}}"
    ),
    "fallbacks to a deployment of the user's": (
        "{model_list: [{model_name: c, litellm_params: {model: openai/x}}], "
        "router_settings: {fallbacks: [{a: [c]}, {c: [{model: a, temperature: 0}]}]}}"
    ),
    "fallbacks to what a wildcard serves": (
        "{model_list: [{model_name: 'gpt-*', litellm_params: {model: openai/*}}], "
        "router_settings: {fallbacks: [{a: [gpt-5]}]}}"
    ),
    "fallbacks of an alias": (
        "{router_settings: {model_group_alias: {fast: a}, fallbacks: [{fast: [b]}]}}"
    ),
    "nothing": "{}",
}


@pytest.mark.parametrize("part", ALLOWED.values(), ids=ALLOWED)
def test_everything_else_of_litellm_is_in_reach(part: str) -> None:
    """No rule stands in the way of what is neither a leak nor a mistake."""
    parse_profile(f"models: {{a: zai/x, b: zai/y}}\nlitellm: {part}\n", "p")


def test_all_refusals_come_at_once_each_on_its_line() -> None:
    """The lines are those of the fields, in files written out in full."""
    text = """\
models: {a: zai/x}
litellm:
  general_settings:
    master_key: sk-1
    public_routes: [/x]
  model_list:
  - model_name: a
    litellm_params:
      model: anthropic/x
      api_key: sk-2
"""
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "p")
    assert caught.value.message.splitlines() == [
        f"p:4: litellm.general_settings.master_key {OURS}",
        (
            "p:5: litellm.general_settings.public_routes "
            "would open the gateway to anyone on this machine; take it out"
        ),
        "p:7: litellm.model_list[0] has the name of a model of `models:`: 'a'",
        f"p:8: litellm.model_list[0].litellm_params.api_base {TO_ANTHROPIC}",
        f"p:10: litellm.model_list[0].litellm_params.api_key {KEY_RULE}",
    ]
