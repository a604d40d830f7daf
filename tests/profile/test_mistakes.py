"""Every mistake of a profile in a whole sentence with its line, all at once, and no key shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from llmswitch.profile.yaml_lines import read_document
from tests.command import run_here
from tests.conftest import User

OK = "models: {a: zai/glm-4.7, b: zai/glm-4.6}\n"
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


def engine(part: str) -> str:
    """A profile with this under `litellm:`."""
    return f"{OK}litellm: {part}\n"


def deployment(params: str) -> str:
    """A profile with a deployment of the user's own that has these litellm_params."""
    return engine(f"{{model_list: [{{model_name: c, litellm_params: {{{params}}}}}]}}")


FORMS = {"OK": lambda text: OK + text, "A": model, "P": provider, "L": engine, "D": deployment}
LINES = [
    line
    for line in Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8").split("\n")
    if line and not line.startswith("# ")
]
MISTAKES = list(zip(LINES[::2], LINES[1::2], strict=True))


@pytest.mark.parametrize(("written", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_one_sentence_with_its_line(written: str, message: str) -> None:
    """file:line: what is there, what must be there, and the nearest right name; and the cure."""
    form, mark, text = written.replace("⏎", "\n").partition("> ")
    if form == "Y":
        assert [f"{line}: {said}" for line, said in read_document(text).problems] == [message]
    else:
        made = FORMS[form](text) if mark and form in FORMS else written.replace("⏎", "\n")
        if message == "-":
            parse_profile(made, "p.yaml")
        else:
            assert mistakes(made) == [f"p.yaml:{message}"]


@pytest.mark.parametrize("opened", ["[", "{a: ", "- ", "? "])
def test_a_file_that_is_nested_without_end(opened: str) -> None:
    """It is a mistake like any other; libyaml's recursion would end the process without a word."""
    assert mistakes(opened * 60_000) == ["p.yaml:1: the YAML is nested deeper than 100 levels"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: {a: qwertyuiop/x}\n",
            "models.a.model has an unknown provider 'qwertyuiop'; there are: "
            + ", ".join(catalogue_data()),
        ),
        (
            f"models: {{{'a' * 101}: zai/x}}\n",
            (
                f"models.{'a' * 101} is not a name that Claude Code can send: "
                "use letters, digits and . _ : / @ + -"
            ),
        ),
        (
            f"models: {{a: {{model: zai/x, label: {'x' * 61}}}}}\n",
            f"models.a.label is '{'x' * 59}..., but must have at most 60 characters",
        ),
        (
            f"models: {{a: {{model: zai/x, context: {'9' * 5000}}}}}\n",
            "models.a.context cannot be read as int; put it in quotes if it is text",
        ),
    ],
)
def test_a_long_mistake_too(text: str, message: str) -> None:
    """Long values are cut, long lists are not."""
    assert f"p.yaml:1: {message}" in mistakes(text)


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
    "3: models.glm-4.7.model has an unknown provider 'zia'; did you mean `zai`?",
    "6: models.glm-4.5.contxt is not a field; did you mean `context`?",
    f"7: models.glm-4.5.keys[0] {KEY_RULE}",
    (
        "8: models.glm-4.5.fallbacks[0] is 'sonnet', which is not a model of this profile; "
        "there are: opus, glm-4.7, glm-4.5, Opus"
    ),
    "9: models.glm-4.5.price.input is 'cheap', but must be a number",
    "10: models.glm-4.5.budget.per is missing",
    "11: models.Opus differs from `opus` only in case; choose another name",
    "12: roles.default is 'glm-4', which is not a model of this profile; did you mean `glm-4.7`?",
    (
        "12: roles.opus is 'glm-4.7', but Claude Code takes the name of the model `opus` "
        "for the role; rename that model or give it the role"
    ),
    "14: providers.my-vllm needs a base_url, because its dialect is chat",
    "15: gateway.idle_timeout is 'soon', but must be a whole number",
    "15: gateway.port is 99999, but must be less than or equal to 65535",
    "16: litellm.general_settings.master_key is set by llmswitch; remove it",
]


def test_all_mistakes_of_a_file_come_at_once_in_the_order_of_the_file() -> None:
    """A dozen mistakes of every kind give a dozen sentences, none hides another."""
    assert mistakes(TWELVE) == [f"p.yaml:{message}" for message in TWELVE_MESSAGES]


def test_a_doubled_key_does_not_hide_the_other_mistakes() -> None:
    """What YAML lets pass is complained about beside what the profile forbids."""
    assert mistakes("models:\n  a: zai/x\n  a: zai/y\n  b: nope\n") == [
        "p.yaml:3: duplicate key models.a",
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


def test_no_command_shows_a_pasted_key(user: User) -> None:
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
    shown = user.root / "llmswitch" / "profiles" / "work.yaml"
    for command in ("validate", "render", "up", "status"):
        done = run_here(user, command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines() == [
            f"{shown}:2: models.a.keys[0] {KEY_RULE}",
            (
                f"{shown}:4: providers.mine.base_url must be a plain URL, "
                "without user, password, space, `?` or `#`"
            ),
            f"{shown}:4: providers.mine.key {KEY_RULE}",
            f"{shown}:5: litellm.general_settings.master_key is set by llmswitch; remove it",
            f"-> edit {shown}, then: llmswitch validate {shown}",
        ]


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
    part = "litellm.model_list[0]"
    assert [line.split(" ")[0] for line in mistakes(text)] == [
        "p.yaml:4:", "p.yaml:5:", "p.yaml:7:", "p.yaml:8:", "p.yaml:10:"
    ]  # fmt: skip
    assert [line.split(" ")[1] for line in mistakes(text)] == [
        "litellm.general_settings.master_key",
        "litellm.general_settings.public_routes",
        part,
        f"{part}.litellm_params.api_base",
        f"{part}.litellm_params.api_key",
    ]
