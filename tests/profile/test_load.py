"""The profile: every mistake in whole sentences, short and long forms, roles, providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.providers import Provider, catalogue_data
from llmswitch.profile.schema import ROLES, Gateway, Key, Model, Price, Profile
from tests.conftest import User

OK = "models: {a: zai/glm-4.7, b: zai/glm-4.6}\n"
PROVIDERS = ", ".join(catalogue_data())
NAME_RULE = "is not a name that Claude Code can send: use letters, digits and . _ : / @ + -"
KEPT = "is a name that Claude Code keeps for itself; choose another"
KEY_RULE = "must be the NAME of an environment variable, such as ZAI_API_KEY, never the key itself"
SECRET = "sk-ant-api03-Pasted0Where1A2Name3Belongs"


def mistakes(text: str) -> list[str]:
    """What is wrong with a profile called p.yaml, line by line."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "p.yaml")
    assert caught.value.hint == "edit p.yaml, then: llmswitch validate p.yaml"
    return caught.value.message.splitlines()


def model(fields: str) -> str:
    """A profile with one model that has these fields beside `model`."""
    return f"models:\n  a:\n    model: zai/glm-4.7\n    {fields}\n"


def provider(fields: str) -> str:
    """A profile with these fields for the provider `mine`."""
    return f"{OK}providers:\n  mine: {{{fields}}}\n"


# ------------------------------------------------------------------ one mistake, one sentence

MISTAKES: dict[str, tuple[str, str]] = {
    # the file as a whole
    "an empty file": ("", "1: holds no profile; it must start with `models:`"),
    "only comments": ("# todo\n\n", "1: holds no profile; it must start with `models:`"),
    "a list at the top": ("- a\n", "1: holds no profile; it must start with `models:`"),
    "text at the top": ("models\n", "1: holds no profile; it must start with `models:`"),
    "no models": ("gateway: {port: 1}\n", "1: models is missing"),
    "an unknown field": (
        f"{OK}modells: {{}}\n",
        "2: modells is not a field; did you mean `models`?",
    ),
    "a field like no other": (
        f"{OK}x: 1\n",
        (
            "2: x is not a field; there are: "
            "models, roles, providers, gateway, cache, budgets, clients, litellm"
        ),
    ),
    # known models of a provider
    "a known model that is no text": (
        provider("dialect: litellm, models: [x, 5]"),
        "3: providers.mine.models[1] is 5, but must be text",
    ),
    # models
    "models without any": ("models:\n", "1: models is empty, but must be a mapping"),
    "an empty mapping of models": ("models: {}\n", "1: models must not be empty"),
    "a list of models": (
        "models: [zai/glm-4.7]\n",
        "1: models is ['zai/glm-4.7'], but must be a mapping",
    ),
    "a model that is nothing": (
        "models:\n  a:\n",
        "2: models.a is empty, but must be provider/model, such as zai/glm-4.7",
    ),
    "a model that is a number": (
        "models:\n  a: 4.7\n",
        "2: models.a is 4.7, but must be provider/model, such as zai/glm-4.7",
    ),
    "a model without a provider": (
        "models:\n  a: glm-4.7\n",
        "2: models.a.model is 'glm-4.7', but must be provider/model, such as zai/glm-4.7",
    ),
    "a provider without a model": (
        "models: {a: zai/}\n",
        "1: models.a.model is 'zai/', but must be provider/model, such as zai/glm-4.7",
    ),
    "a provider with a blank model": (
        "models: {a: 'zai/ '}\n",
        "1: models.a.model is 'zai/ ', but must be provider/model, such as zai/glm-4.7",
    ),
    "an empty model": ("models: {a: ''}\n", "1: models.a.model must not be empty"),
    "a model of two lines": (
        'models: {a: "zai/a\\nb"}\n',
        "1: models.a.model is 'zai/a\\nb', but must be one line of printable text",
    ),
    "a model that is a list": (
        "models:\n  a:\n    model: [zai/x]\n",
        "3: models.a.model is ['zai/x'], but must be text",
    ),
    "a long form without its model": (
        "models:\n  a:\n    label: A\n",
        "2: models.a.model is missing",
    ),
    "an unknown provider": (
        "models: {a: zia/glm-4.7}\n",
        "1: models.a.model names no provider: 'zia'; did you mean `zai`?",
    ),
    "a provider like no other": (
        "models: {a: qwertyuiop/x}\n",
        f"1: models.a.model names no provider: 'qwertyuiop'; there are: {PROVIDERS}",
    ),
    "a misspelt field": (
        model("contxt: 5"),
        "4: models.a.contxt is not a field; did you mean `context`?",
    ),
    "a field in the wrong case": (
        model("Label: A"),
        "4: models.a.Label is not a field; did you mean `label`?",
    ),
    "a field that no model has": (
        model("zzz: A"),
        (
            "4: models.a.zzz is not a field; "
            "there are: model, label, keys, fallbacks, context_fallbacks, timeout, context, price, "
            "budget, behaves_as, drop, pass"
        ),
    ),
    # names
    "a name with a space": ("models: {a b: zai/x}\n", f"1: models.a b {NAME_RULE}"),
    "a name with a bracket": ('models: {"a[1m]": zai/x}\n', f"1: models.a[1m] {NAME_RULE}"),
    "an empty name": ('models: {"": zai/x}\n', f"1: models.'' {NAME_RULE}"),
    "a name of two lines": ('models: {"a\\nb": zai/x}\n', f"1: models.'a\\nb' {NAME_RULE}"),
    "a name of 101 letters": (
        f"models: {{{'a' * 101}: zai/x}}\n",
        f"1: models.{'a' * 101} {NAME_RULE}",
    ),
    "a name in another alphabet": ("models: {моя: zai/x}\n", f"1: models.моя {NAME_RULE}"),
    "the name default": ("models: {default: zai/x}\n", f"1: models.default {KEPT}"),
    "the name Best": ("models: {Best: zai/x}\n", f"1: models.Best {KEPT}"),
    "the name opusplan": ("models: {opusplan: zai/x}\n", f"1: models.opusplan {KEPT}"),
    "the name inherit": ("models: {inherit: zai/x}\n", f"1: models.inherit {KEPT}"),
    "LiteLLM's own form of names": (
        "models: {claude-router-676c6d: zai/x}\n",
        f"1: models.claude-router-676c6d {KEPT}",
    ),
    "two names that differ by case": (
        "models:\n  Glm: zai/x\n  glm: zai/y\n",
        "3: models.glm differs from `Glm` only by case; choose another name",
    ),
    # the fields of a model
    "an empty label": (model("label: ''"), "4: models.a.label must not be empty"),
    "a label of 61 letters": (
        model(f"label: {'x' * 61}"),
        f"4: models.a.label is '{'x' * 59}..., but must have at most 60 characters",
    ),
    "a label of two lines": (
        model('label: "a\\nb"'),
        "4: models.a.label is 'a\\nb', but must be one line of printable text",
    ),
    "a label with a terminal's escape": (
        model('label: "\\e[31mred"'),
        "4: models.a.label is '\\x1b[31mred', but must be one line of printable text",
    ),
    "a label that is a number": (model("label: 4"), "4: models.a.label is 4, but must be text"),
    "no keys": (model("keys: []"), "4: models.a.keys must not be empty"),
    "one key that is no list": (model("keys: ZAI_API_KEY"), "4: models.a.keys must be a list"),
    "a key's name in small letters": (model("keys: [zai_key]"), f"4: models.a.keys[0] {KEY_RULE}"),
    "a key's name that is a number": (model("keys: [A, 5]"), "4: models.a.keys[1] must be text"),
    "a fallback that is no list": (
        model("fallbacks: a"),
        "4: models.a.fallbacks is 'a', but must be a list",
    ),
    "a fallback to itself": (
        model("fallbacks: [a]"),
        "4: models.a.fallbacks[0] is 'a' itself; name another model",
    ),
    "an unknown fallback": (
        "models:\n  glm-4.7: zai/x\n  b:\n    model: zai/y\n    fallbacks:\n    - glm-4.6\n",
        "6: models.b.fallbacks[0] is 'glm-4.6', which is no model here; did you mean `glm-4.7`?",
    ),
    "a fallback that is nothing": (
        model("fallbacks: [~]"),
        "4: models.a.fallbacks[0] is empty, but must be text",
    ),
    "a context in words": (
        model("context: 200k"),
        "4: models.a.context is '200k', but must be a whole number",
    ),
    "half a context": (
        model("context: 1000.5"),
        "4: models.a.context is 1000.5, but must be a whole number",
    ),
    "a context that is a yes": (
        model("context: yes"),
        "4: models.a.context is True, but must be a whole number",
    ),
    "a tiny context": (
        model("context: 200"),
        "4: models.a.context is 200, but must be greater than or equal to 1000",
    ),
    "a huge context": (
        model("context: 100000001"),
        "4: models.a.context is 100000001, but must be less than or equal to 100000000",
    ),
    "a context that is a date": (
        model("context: 2026-01-01"),
        "4: models.a.context is '2026-01-01', but must be a whole number",
    ),
    "a price in one number": (model("price: 3"), "4: models.a.price is 3, but must be a mapping"),
    "half a price": (model("price: {input: 3}"), "4: models.a.price.output is missing"),
    "a price below nothing": (
        model("price: {input: -1, output: 1}"),
        "4: models.a.price.input is -1, but must be greater than or equal to 0",
    ),
    "a price in words": (
        model("price: {input: $3, output: 1}"),
        "4: models.a.price.input is '$3', but must be a number",
    ),
    "a misspelt price": (
        model("price: {input: 1, output: 1, cache-read: 1}"),
        "4: models.a.price.cache-read is not a field; did you mean `cache_read`?",
    ),
    "behaving as another vendor's model": (
        model("behaves_as: gpt-5"),
        (
            "4: models.a.behaves_as is 'gpt-5', "
            "but must be the id of a Claude model, such as claude-sonnet-4-5"
        ),
    ),
    "a field that no request has": (
        model("drop: [Context Management]"),
        (
            "4: models.a.drop[0] is 'Context Management', "
            "but must be the name of a request's field, such as context_management"
        ),
    ),
    "dropping what is asked": (
        model("drop: [messages]"),
        (
            "4: models.a.drop[0] is 'messages', "
            "but must leave out no field that every request needs; take it out"
        ),
    ),
    "dropping nothing": (model("drop: []"), "4: models.a.drop must not be empty"),
    # roles
    "roles that are nothing": (f"{OK}roles:\n", "2: roles is empty, but must be a mapping"),
    "roles in a list": (f"{OK}roles: [a]\n", "2: roles is ['a'], but must be a mapping"),
    "an unknown role": (
        f"{OK}roles: {{sonet: a}}\n",
        "2: roles.sonet is not a field; did you mean `sonnet`?",
    ),
    "a role like no other": (
        f"{OK}roles: {{planner: a}}\n",
        "2: roles.planner is not a field; there are: default, opus, sonnet, haiku, fable, subagent",
    ),
    "a role of no model": (
        f"{OK}roles: {{default: x}}\n",
        "2: roles.default is 'x', which is no model here; there are: a, b",
    ),
    "a role that is a number": (
        f"{OK}roles: {{haiku: 4}}\n",
        "2: roles.haiku is 4, but must be text",
    ),
    "a model named like a role that another has": (
        "models: {opus: zai/x, b: zai/y}\nroles: {opus: b}\n",
        (
            "2: roles.opus is 'b', but there is a model named `opus`, "
            "and Claude Code takes that name for the role; rename the model or give it the role"
        ),
    ),
    # providers
    "providers in a list": (
        f"{OK}providers: [zai]\n",
        "2: providers is ['zai'], but must be a mapping",
    ),
    "a provider of the user's without a dialect": (
        provider("base_url: http://h/v1"),
        "3: providers.mine.dialect is missing",
    ),
    "an unknown dialect": (
        provider("dialect: openai, base_url: http://h"),
        (
            "3: providers.mine.dialect is 'openai', but must be one of "
            "'anthropic', 'messages', 'chat', 'responses' or 'litellm'"
        ),
    ),
    "a dialect without a base URL": (
        provider("dialect: chat"),
        "3: providers.mine has the dialect chat and so needs a base_url",
    ),
    "a base URL without its scheme": (
        provider("dialect: chat, base_url: localhost/v1"),
        (
            "3: providers.mine.base_url is 'localhost/v1', "
            "but must be a URL that starts with http:// or https://"
        ),
    ),
    "a base URL of another scheme": (
        provider("dialect: chat, base_url: 'ftp://h'"),
        (
            "3: providers.mine.base_url is 'ftp://h', "
            "but must be a URL that starts with http:// or https://"
        ),
    ),
    "a base URL with a port that is none": (
        provider("dialect: chat, base_url: 'http://h:99999'"),
        (
            "3: providers.mine.base_url is 'http://h:99999', "
            "but is not a URL (Port out of range 0-65535)"
        ),
    ),
    "a base URL with half an address": (
        provider("dialect: chat, base_url: 'http://[::1'"),
        "3: providers.mine.base_url is 'http://[::1', but is not a URL (Invalid IPv6 URL)",
    ),
    "a base URL with a space": (
        provider("dialect: chat, base_url: 'http://h/a b'"),
        (
            "3: providers.mine.base_url is 'http://h/a b', "
            "but must be a plain URL: no user, password, space, `?` or `#` in it"
        ),
    ),
    "a prefix beside a base URL's dialect": (
        provider("dialect: chat, base_url: 'http://h', prefix: bedrock"),
        "3: providers.mine.prefix goes only with `dialect: litellm`",
    ),
    "a prefix that LiteLLM cannot have": (
        provider("dialect: litellm, prefix: 'Vertex AI/'"),
        (
            "3: providers.mine.prefix is 'Vertex AI/', "
            "but must be LiteLLM's own name of the provider, such as vertex_ai"
        ),
    ),
    "variables that are no list": (
        provider("dialect: litellm, env: AWS_REGION"),
        "3: providers.mine.env must be a list",
    ),
    "a label of a provider with an end of line": (
        provider('dialect: litellm, label: "a\\nb"'),
        "3: providers.mine.label is 'a\\nb', but must be one line of printable text",
    ),
    "a provider's name with a slash": (
        f"{OK}providers: {{a/b: {{dialect: litellm}}}}\n",
        "2: providers.a/b is not a name: use letters, digits and . _ -",
    ),
    "a provider's name of two lines": (
        f'{OK}providers: {{"a\\nb": {{dialect: litellm}}}}\n',
        "2: providers.'a\\nb' is not a name: use letters, digits and . _ -",
    ),
    "a misspelt field of a provider": (
        provider("dialect: chat, base_url: 'http://h', api_key: X"),
        "3: providers.mine.api_key is not a field; did you mean `key`?",
    ),
    # gateway
    "a gateway in one number": (
        f"{OK}gateway: 4000\n",
        "2: gateway is 4000, but must be a mapping",
    ),
    "port 0": (
        f"{OK}gateway: {{port: 0}}\n",
        "2: gateway.port is 0, but must be greater than or equal to 1",
    ),
    "a port too far": (
        f"{OK}gateway: {{port: 65536}}\n",
        "2: gateway.port is 65536, but must be less than or equal to 65535",
    ),
    "a port in quotes": (
        f"{OK}gateway: {{port: '4000'}}\n",
        "2: gateway.port is '4000', but must be a whole number",
    ),
    "a host with its port": (
        f"{OK}gateway: {{host: '127.0.0.1:4000'}}\n",
        (
            "2: gateway.host is '127.0.0.1:4000', "
            "but must be an address to listen on, such as 127.0.0.1"
        ),
    ),
    "an empty host": (
        f"{OK}gateway: {{host: ''}}\n",
        "2: gateway.host is empty, but must be an address to listen on, such as 127.0.0.1",
    ),
    "a host that is a URL": (
        f"{OK}gateway: {{host: 'http://h'}}\n",
        "2: gateway.host is 'http://h', but must be an address to listen on, such as 127.0.0.1",
    ),
    "a misspelt field of the gateway": (
        f"{OK}gateway: {{prot: 1}}\n",
        "2: gateway.prot is not a field; did you mean `port`?",
    ),
    # of later versions
    "a budget without a period": (
        model("budget: {usd: 5}"),
        "4: models.a.budget.per is missing",
    ),
    "a budget of nothing": (
        model("budget: {usd: 0, per: day}"),
        "4: models.a.budget.usd is 0, but must be greater than 0",
    ),
    "a budget for an unknown period": (
        f"{OK}budgets: [{{usd: 50, per: year}}]\n",
        "2: budgets[0].per is 'year', but must be one of 'day', 'week' or 'month'",
    ),
    "a budget of no model": (
        f"{OK}budgets: [{{usd: 50, per: month, model: sonet}}]\n",
        "2: budgets[0].model is 'sonet', which is no model here; there are: a, b",
    ),
    "a budget of a provider that no model has": (
        f"{OK}budgets: [{{usd: 50, per: month, provider: xai}}]\n",
        "2: budgets[0].provider is 'xai', which is no provider here; did you mean `zai`?",
    ),
    "a budget of no client": (
        f"{OK}clients: [laptop]\nbudgets: [{{usd: 50, per: month, client: laptob}}]\n",
        "3: budgets[0].client is 'laptob', which is no client here; did you mean `laptop`?",
    ),
    "two budgets of the same": (
        f"{OK}budgets: [{{usd: 50, per: month}}, {{usd: 60, per: month}}]\n",
        "2: budgets[1] is of the same as budgets[0]; take one of them out",
    ),
    "two budgets of a model": (
        model("budget: {usd: 5, per: day}") + "budgets: [{usd: 5, per: day, model: a}]\n",
        "5: budgets[0] is of the same as models.a.budget; take one of them out",
    ),
    "a cache of no kind": (
        f"{OK}cache: {{type: disk}}\n",
        "2: cache.type is 'disk', but must be one of 'local' or 'redis'",
    ),
    "a cache of no model": (
        f"{OK}cache: {{type: local, models: [opus]}}\n",
        "2: cache.models[0] is 'opus', which is no model here; there are: a, b",
    ),
    "a Redis nowhere": (
        f"{OK}cache: {{type: redis}}\n",
        "2: cache has the type redis and so needs a host",
    ),
    "an address of a local cache": (
        f"{OK}cache: {{type: local, port: 6379}}\n",
        "2: cache.port goes only with `type: redis`",
    ),
    "the password of Redis itself": (
        f"{OK}cache: {{type: redis, host: 127.0.0.1, key: hunter2}}\n",
        f"2: cache.key {KEY_RULE}",
    ),
    "a client of an odd name": (
        f"{OK}clients: [lap top]\n",
        "2: clients[0] is 'lap top', but must be a name of letters, digits and . _ -",
    ),
    "a client that is the gateway": (
        f"{OK}clients: [gateway]\n",
        "2: clients[0] is 'gateway', which is who has the gateway's own key",
    ),
    "a client twice": (
        f"{OK}clients: [ci, ci]\n",
        "2: clients[1] is 'ci', which is there already; take it out",
    ),
    "a weight of nothing": (
        model("keys: [A, {name: B, weight: 0}]"),
        "4: models.a.keys[1].weight must be greater than or equal to 1",
    ),
    "a key's value in its long form": (
        model("keys: [{name: sk-abc}]"),
        f"4: models.a.keys[0].name {KEY_RULE}",
    ),
    "a context fallback to itself": (
        model("context_fallbacks: [a]"),
        "4: models.a.context_fallbacks[0] is 'a' itself; name another model",
    ),
    "a timeout of nothing": (
        model("timeout: 0"),
        "4: models.a.timeout is 0, but must be greater than or equal to 1",
    ),
    "an idle timeout of less than nothing": (
        f"{OK}gateway: {{idle_timeout: -1}}\n",
        "2: gateway.idle_timeout is -1, but must be greater than or equal to 0",
    ),
    # YAML
    "a model twice": ("models:\n  a: zai/x\n  a: zai/y\n", "3: models.a stands here twice"),
    "a name that YAML takes for a number": (
        "models:\n  4.7: zai/x\n",
        "2: models.4.7 is not text; put it in quotes",
    ),
    "a tab": ("models:\n\ta: zai/x\n", "2: is not YAML: a tab stands where only spaces may"),
    "a model that YAML takes for a date": (
        "models: {a: 2026-01-01}\n",
        "1: models.a.model is '2026-01-01', but must be provider/model, such as zai/glm-4.7",
    ),
    "an alias of itself": (
        "models: &m {a: *m}\n",
        "1: is not YAML that can be read: nested too deeply",
    ),
    # litellm
    "LiteLLM's part in a list": (
        f"{OK}litellm: [x]\n",
        "2: litellm is ['x'], but must be a mapping",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(text: str, message: str) -> None:
    """file:line: what is there, what must be there, and the nearest right name; and the cure."""
    assert mistakes(text) == [f"p.yaml:{message}"]


TWELVE = """\
models:
  opus: anthropic/claude-opus-4-5-20251101
  glm-4.7: zia/glm-4.7
  glm-4.5:
    model: zai/GLM-4.5-Air
    contxt: 128000
    keys: [sk-not-a-name]
    fallbacks: [sonnet, opus]
    price: {input: cheap, output: 1.1}
    budget: {usd: 5}
  Opus: zai/glm-4.6
roles: {default: glm-4, opus: glm-4.7}
providers:
  my-vllm: {dialect: chat}
gateway: {port: 99999, idle_timeout: soon}
litellm: {general_settings: {master_key: sk-1234}}
"""
TWELVE_MESSAGES = [
    "3: models.glm-4.7.model names no provider: 'zia'; did you mean `zai`?",
    "6: models.glm-4.5.contxt is not a field; did you mean `context`?",
    f"7: models.glm-4.5.keys[0] {KEY_RULE}",
    (
        "8: models.glm-4.5.fallbacks[0] is 'sonnet', which is no model here; "
        "there are: opus, glm-4.7, glm-4.5, Opus"
    ),
    "9: models.glm-4.5.price.input is 'cheap', but must be a number",
    "10: models.glm-4.5.budget.per is missing",
    "11: models.Opus differs from `opus` only by case; choose another name",
    "12: roles.default is 'glm-4', which is no model here; did you mean `glm-4.7`?",
    (
        "12: roles.opus is 'glm-4.7', but there is a model named `opus`, "
        "and Claude Code takes that name for the role; rename the model or give it the role"
    ),
    "14: providers.my-vllm has the dialect chat and so needs a base_url",
    "15: gateway.idle_timeout is 'soon', but must be a whole number",
    "15: gateway.port is 99999, but must be less than or equal to 65535",
    "16: litellm.general_settings.master_key is set by llmswitch; take it out",
]


def test_all_mistakes_of_a_file_come_at_once_in_the_order_of_the_file() -> None:
    """A dozen mistakes of every kind give a dozen sentences, none hides another."""
    assert mistakes(TWELVE) == [f"p.yaml:{message}" for message in TWELVE_MESSAGES]


def test_a_doubled_key_does_not_hide_the_other_mistakes() -> None:
    """What YAML lets pass is complained about beside what the profile forbids."""
    assert mistakes("models:\n  a: zai/x\n  a: zai/y\n  b: nope\n") == [
        "p.yaml:3: models.a stands here twice",
        "p.yaml:4: models.b.model is 'nope', but must be provider/model, such as zai/glm-4.7",
    ]


# ------------------------------------------------------------------ a key in the wrong place

PASTED = {
    "in keys": model(f"keys: [{SECRET}]"),
    "for keys": model(f"keys: {SECRET}"),
    "in keys as a mapping": model(f"keys: {{{SECRET}: 1}}"),
    "in keys in a list": model(f"keys: [[{SECRET}]]"),
    "in key of a provider": provider(f"dialect: chat, base_url: 'http://h', key: {SECRET}"),
    "in key in a list": provider(f"dialect: chat, base_url: 'http://h', key: [{SECRET}]"),
    "under a field that is none": provider(
        f"dialect: chat, base_url: 'http://h', api_key: {SECRET}"
    ),
    "for a provider": f"{OK}providers: {{zai: {SECRET}}}\n",
    "in env": provider(f"dialect: litellm, env: [{SECRET}]"),
    "for env": provider(f"dialect: litellm, env: {SECRET}"),
    "as a password in a URL": provider(f"dialect: chat, base_url: 'https://me:{SECRET}@h/v1'"),
    "as a user in a URL": provider(f"dialect: chat, base_url: 'https://{SECRET}@h/v1'"),
    "in a query": provider(f"dialect: chat, base_url: 'https://h/v1?key={SECRET}'"),
    "in a fragment": provider(f"dialect: chat, base_url: 'https://h/v1#{SECRET}'"),
    "in a URL without a scheme": provider(f"dialect: chat, base_url: 'me:{SECRET}@h/v1'"),
    "in LiteLLM's part": (
        f"{OK}litellm: {{model_list: [{{model_name: c, "
        f"litellm_params: {{model: openai/x, api_key: {SECRET}}}}}]}}\n"
    ),
    "as the gateway's key": f"{OK}litellm: {{general_settings: {{master_key: {SECRET}}}}}\n",
    "under a field of the top": f"{OK}ZAI_API_KEY: {SECRET}\n",
    "under a field of a model": model(f"key: {SECRET}"),
}


@pytest.mark.parametrize("text", PASTED.values(), ids=PASTED)
def test_a_key_pasted_where_its_name_belongs_is_refused_and_never_shown(text: str) -> None:
    """People post error messages: no part of a key stands in them."""
    said = mistakes(text)
    assert len(said) == 1
    assert SECRET not in said[0]
    assert "Pasted" not in said[0]


@pytest.mark.parametrize("command", ["validate", "render", "up", "status"])
def test_no_command_shows_a_pasted_key(user: User, command: str) -> None:
    """Whatever reads the profile refuses it with the same sentences, on stderr, without the key."""
    user.write_profile(
        f"""\
models:
  a: {{model: mine/x, keys: [{SECRET}]}}
providers:
  mine: {{dialect: chat, base_url: "https://me:{SECRET}@h/v1", key: {SECRET}}}
litellm: {{general_settings: {{master_key: {SECRET}}}}}
"""
    )
    done = user.run(command)
    shown = user.root / "llmswitch" / "profiles" / "work.yaml"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"{shown}:2: models.a.keys[0] {KEY_RULE}",
        (
            f"{shown}:4: providers.mine.base_url must be a plain URL: "
            "no user, password, space, `?` or `#` in it"
        ),
        f"{shown}:4: providers.mine.key {KEY_RULE}",
        f"{shown}:5: litellm.general_settings.master_key is set by llmswitch; take it out",
        f"-> edit {shown}, then: llmswitch validate {shown}",
    ]


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
    assert profile(model(f"label: '{label}'")).models["a"].label == label


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
    assert profile(f"{OK}gateway: {{host: '{host}'}}\n").gateway.address == address


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
