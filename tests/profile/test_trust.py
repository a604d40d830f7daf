"""What a profile of somebody else's does is told before it is used: where each key goes, and what
of `litellm:` runs code or sends data elsewhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmswitch.profile import trust
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.profile.providers import Provider, catalogue_data
from llmswitch.profile.rules import TEST_HOST
from tests.conftest import CHECKOUT, User
from tests.manual import BLOCKS
from tests.terminal import Terminal


def told(text: str) -> list[str]:
    """The lines of a profile."""
    return trust.lines(trust.look(parse_profile(text, "p.yaml", {TEST_HOST: "127.0.0.1:9"})))


def of(providers: str, models: str = "{a: zai/glm-4.7}") -> list[str]:
    """Those of a profile with these providers."""
    return told(f"models: {models}\nproviders: {{{providers}}}\n")


def engine(part: str) -> list[str]:
    """Those of a profile with this part of `litellm:`."""
    return told(f"models: {{a: zai/glm-4.7}}\nlitellm: {{{part}}}\n")


# ------------------------------------------------------------------ what is quiet


@pytest.mark.parametrize(
    "file", sorted((CHECKOUT / "profiles").glob("*.yaml")), ids=lambda f: f.stem
)
def test_nothing_is_told_of_a_ready_made_profile(file: Path) -> None:
    """They send keys to hosts of the catalogue alone."""
    assert trust.look(load_profile(file)) == trust.Trust((), ())


@pytest.mark.parametrize("name", catalogue_data())
def test_nothing_is_told_of_a_provider_as_the_catalogue_has_it(name: str) -> None:
    """Whatever its dialect, by its own key or a second one of that name."""
    key = Provider(**catalogue_data()[name]).key
    more = f", b: {{model: {name}/y, keys: [{key}, {key}_2]}}" if key else ""
    assert told(f"models: {{a: {name}/x{more}}}\n") == []


@pytest.mark.parametrize("name", ["several keys", "fallbacks", "a subscription"])
def test_nothing_is_told_of_what_the_manual_shows(name: str) -> None:
    """Of the catalogue's providers."""
    assert told(BLOCKS[name]) == []


@pytest.mark.parametrize(
    "providers",
    [
        "zai: {label: Mine}",
        "zai: {base_url: 'HTTPS://API.Z.AI:443/other/path'}",
        "ollama: {base_url: 'http://127.0.0.1:11434'}",
        "own: {dialect: chat, base_url: 'http://localhost:1234/v1', key: null}",
        "own: {dialect: chat, base_url: 'http://[::1]:1234/v1', key: null}",
    ],
)
def test_the_same_host_otherwise_written_and_this_machine_without_a_key_are_quiet(
    providers: str,
) -> None:
    """Neither sends anything to anybody new."""
    assert of(providers, "{a: zai/x, b: ollama/y, c: zai/z}") == []


@pytest.mark.parametrize(
    "part",
    [
        "litellm_settings: {request_timeout: 600, drop_params: true, cache: true}",
        "router_settings: {num_retries: 2, routing_strategy: simple-shuffle, timeout: 5}",
        "router_settings: {fallbacks: [{a: [b.c]}], model_group_alias: {b.c: a}}",
        "general_settings: {max_parallel_requests: 5}",
        (
            "model_list: [{model_name: c, litellm_params: {model: openai/x, rpm: 3, api_key: "
            "os.environ/OPENAI_API_KEY}}]"
        ),
        (
            "model_list: [{model_name: c, litellm_params: {model: hosted_vllm/x, api_key: none, "
            "api_base: 'http://localhost:8000/v1'}, model_info: {mode: chat}}]"
        ),
        (
            "model_list: [{model_name: c, litellm_params: {model: openai/x, api_base: "
            "'https://api.x.ai/v1', api_key: os.environ/XAI_API_KEY}}]"
        ),
    ],
)
def test_harmless_settings_of_litellm_are_quiet(part: str) -> None:
    """What neither runs code nor sends data anywhere, and deployments at the catalogue's hosts."""
    assert engine(part) == []


# ------------------------------------------------------------------ where keys go


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://evil.example/api", "evil.example"),
        ("https://EVIL.example", "evil.example"),
        ("https://api.z.ai.evil.example", "api.z.ai.evil.example"),
        ("https://api.z.ai.", "api.z.ai."),
        ("https://api.z.ai:8443", "api.z.ai:8443"),
        ("http://api.z.ai", "http://api.z.ai"),
        ("https://xn--api-7ed.z.ai", "xn--api-7ed.z.ai"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://[::1]:4000", "http://[::1]:4000"),
        ("https://api.anthropic.com", "api.anthropic.com"),
    ],
)
def test_a_key_that_goes_to_another_host(url: str, host: str) -> None:
    """Also to another vendor's, to a port, without TLS, and to this machine, where anybody may
    listen.
    """
    assert of(f"zai: {{base_url: '{url}'}}") == [
        f"ZAI_API_KEY -> {host} (provider zai; the catalogue has api.z.ai)"
    ]


@pytest.mark.parametrize(
    ("providers", "models", "lines"),
    [
        (
            "zai: {models_url: 'https://evil.example/m', key_url: 'https://evil.example:1/k'}",
            "{a: zai/x}",
            [
                "ZAI_API_KEY -> evil.example (provider zai; the catalogue has api.z.ai)",
                "ZAI_API_KEY -> evil.example:1 (provider zai; the catalogue has api.z.ai)",
            ],
        ),
        (
            "own: {dialect: chat, base_url: 'https://own.example/v1', key: OPENAI_API_KEY}",
            "{a: own/x, b: {model: own/y, keys: [SECOND]}}",
            [
                "OPENAI_API_KEY -> own.example (provider own is not in the catalogue)",
                "SECOND -> own.example (provider own is not in the catalogue)",
            ],
        ),
        (
            "own: {dialect: chat, base_url: 'https://own.example/v1', key: null}",
            "{a: own/x}",
            ["what you ask -> own.example (provider own is not in the catalogue)"],
        ),
        (
            "max: {dialect: anthropic, base_url: 'https://api.anthropic.com', key: WORK}",
            "{a: max/x}",
            ["WORK -> api.anthropic.com (provider max is not in the catalogue)"],
        ),
        (
            "own: {dialect: litellm, prefix: xai, key: OWN, env: [AWS_PROFILE]}",
            "{a: own/x}",
            [
                "OWN -> LiteLLM's own host for xai (provider own is not in the catalogue)",
                "AWS_PROFILE -> LiteLLM's own host for xai (provider own is not in the catalogue)",
            ],
        ),
        (
            "mistral: {dialect: litellm, prefix: xai}",
            "{a: mistral/x}",
            [
                (
                    "MISTRAL_API_KEY -> LiteLLM's own host for xai (provider mistral; the "
                    "catalogue has api.mistral.ai)"
                )
            ],
        ),
        (
            "bedrock: {env: [AWS_PROFILE, GITHUB_TOKEN]}",
            "{a: bedrock/x}",
            [
                (
                    "GITHUB_TOKEN -> LiteLLM's own host for bedrock (provider bedrock; its "
                    "variables are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION_NAME)"
                )
            ],
        ),
        (
            "",
            "{a: {model: zai/x, keys: [ZAI_API_KEY, ANTHROPIC_API_KEY]}}",
            ["ANTHROPIC_API_KEY -> api.z.ai (provider zai; its variables are ZAI_API_KEY)"],
        ),
        (
            "anthropic: {auth: subscription, base_url: 'http://127.0.0.1:9'}",
            "{a: anthropic/x}",
            [
                (
                    "your Claude login -> http://127.0.0.1:9 (provider anthropic; the catalogue "
                    "has api.anthropic.com)"
                )
            ],
        ),
    ],
)
def test_other_ways_of_a_key(providers: str, models: str, lines: list[str]) -> None:
    """Addresses beside the base URL, a provider of the profile's own, one that LiteLLM finds by
    itself, another vendor's variable, and the Claude login.
    """
    assert of(providers, models) == lines


@pytest.mark.parametrize(
    ("cache", "lines"),
    [
        ("{type: local}", []),
        ("{type: redis, host: localhost}", []),
        ("{type: redis, host: 127.0.0.1, key: PW}", ["PW -> 127.0.0.1:6379 (the cache)"]),
        (
            "{type: redis, host: r.example, port: 7, key: PW}",
            [
                "PW -> r.example:7 (the cache)",
                "what your models answer -> r.example:7 (the cache)",
            ],
        ),
    ],
)
def test_where_a_cache_is(cache: str, lines: list[str]) -> None:
    """It is given its password, and every answer."""
    assert told(f"models: {{a: zai/x}}\ncache: {cache}\n") == lines


# ------------------------------------------------------------------ litellm:

ENGINE = {
    "litellm_settings: {callbacks: [mine.hook, langfuse]}": [
        "litellm.litellm_settings.callbacks runs code: mine.hook",
        "litellm.litellm_settings.callbacks sends data elsewhere: langfuse",
    ],
    "litellm_settings: {success_callback: [s3], failure_callback: otel}": [
        "litellm.litellm_settings.success_callback sends data elsewhere: s3",
        "litellm.litellm_settings.failure_callback sends data elsewhere: otel",
    ],
    "litellm_settings: {custom_provider_map: [{provider: x, custom_handler: x.y}]}": [
        "litellm.litellm_settings.custom_provider_map runs code: x.y"
    ],
    "litellm_settings: {post_call_rules: x.y}": [
        "litellm.litellm_settings.post_call_rules runs code: x.y"
    ],
    "litellm_settings: {cache_params: {host: r.example, password: os.environ/PW}}": [
        "PW -> r.example (litellm.litellm_settings.cache_params)",
        "litellm.litellm_settings.cache_params sends data elsewhere: r.example",
    ],
    "litellm_settings: {ssl_verify: false}": [
        "litellm.litellm_settings.ssl_verify is not known to be harmless"
    ],
    "litellm_settings: {request_timeout: os.environ/X}": [
        "X -> LiteLLM (litellm.litellm_settings.request_timeout)",
        "litellm.litellm_settings.request_timeout is not known to be harmless",
    ],
    "general_settings: {custom_key_generate: x.y, custom_sso: z.w}": [
        "litellm.general_settings.custom_key_generate runs code: x.y",
        "litellm.general_settings.custom_sso runs code: z.w",
    ],
    "general_settings: {database_url: 'postgresql://u:secret@db.example:5/x'}": [
        "litellm.general_settings.database_url sends data elsewhere: postgresql://db.example:5"
    ],
    "general_settings: {database_url: os.environ/DB}": [
        "DB -> LiteLLM (litellm.general_settings.database_url)",
        "litellm.general_settings.database_url sends data elsewhere: the host that DB names",
    ],
    "general_settings: {alerting: [slack], alert_to_webhook_url: {x: 'https://h.example/s3'}}": [
        "litellm.general_settings.alerting sends data elsewhere: slack",
        "litellm.general_settings.alert_to_webhook_url sends data elsewhere: h.example",
    ],
    "general_settings: {key_management_system: aws_secret_manager}": [
        "litellm.general_settings.key_management_system sends data elsewhere"
    ],
    "router_settings: {redis_host: r.example, redis_password: os.environ/PW}": [
        "PW -> LiteLLM (litellm.router_settings.redis_password)",
        "litellm.router_settings.redis_host sends data elsewhere: r.example",
        "litellm.router_settings.redis_password sends data elsewhere",
    ],
    "guardrails: [{guardrail_name: x, litellm_params: {guardrail: x.y, mode: pre_call}}]": [
        "litellm.guardrails runs code: x.y"
    ],
    "mcp_servers: {x: {command: sh, args: [-c]}}": ["litellm.mcp_servers runs code"],
    "credential_list: [{credential_values: {k: os.environ/K, api_base: 'https://c.example'}}]": [
        "K -> c.example (litellm.credential_list)",
        "litellm.credential_list sends data elsewhere: c.example",
    ],
    "what_comes_next: 1": ["litellm.what_comes_next is not known to be harmless"],
    "litellm_params: 1": ["litellm.litellm_params is not known to be harmless"],
}  # fmt: skip


@pytest.mark.parametrize("part", ENGINE)
def test_what_litellm_is_told_to_do(part: str) -> None:
    """All that is not on the list is named, by what it does as far as that can be seen; no value of
    it is, but names of code, of integrations and of hosts.
    """
    assert engine(part) == ENGINE[part]


@pytest.mark.parametrize(
    ("params", "lines"),
    [
        (
            "{model: openai/x, api_key: os.environ/OPENAI_API_KEY, api_base: 'https://e.example'}",
            ["OPENAI_API_KEY -> e.example (litellm.model_list[0])"],
        ),
        (
            (
                "{model: openai/x, api_key: os.environ/OPENAI_API_KEY, "
                "api_base: 'https://api.openai.com@e.example/v1'}"
            ),
            ["OPENAI_API_KEY -> e.example (litellm.model_list[0])"],
        ),
        (
            "{model: openai/x, api_key: os.environ/K, base_url: os.environ/WHERE}",
            ["K -> the host that WHERE names (litellm.model_list[0])"],
        ),
        (
            "{model: openai/x, api_key: os.environ/XAI_API_KEY}",
            ["XAI_API_KEY -> LiteLLM's own host for openai (litellm.model_list[0])"],
        ),
        (
            "{model: openai/x, custom_llm_provider: groq, api_key: os.environ/OPENAI_API_KEY}",
            ["OPENAI_API_KEY -> LiteLLM's own host for groq (litellm.model_list[0])"],
        ),
        (
            "{model: hosted_vllm/x, api_base: 'http://e.example', api_key: none}",
            ["what you ask -> http://e.example (litellm.model_list[0])"],
        ),
        (
            "{model: bedrock/x, aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY}",
            [
                (
                    "AWS_SECRET_ACCESS_KEY -> LiteLLM "
                    "(litellm.model_list[0].litellm_params.aws_secret_access_key)"
                ),
                "litellm.model_list[0].litellm_params.aws_secret_access_key sends data elsewhere",
            ],
        ),
        (
            "{model: openai/x, extra_headers: {x: y}}",
            ["litellm.model_list[0].litellm_params.extra_headers is not known to be harmless"],
        ),
    ],
)
def test_a_model_of_litellms_own_list(params: str, lines: list[str]) -> None:
    """Its key is the catalogue's for that host, or it is told; so is every parameter that is not on
    the list. What stands before an `@` is no host.
    """
    assert engine(f"model_list: [{{model_name: c, litellm_params: {params}}}]") == lines


def test_what_is_told_is_one_line_each() -> None:
    """A profile cannot move the cursor, or write a line of its own."""
    (line,) = engine('"x\\n\\e[2K": 1')
    assert line == "litellm.x??[2K is not known to be harmless"


# ------------------------------------------------------------------ the commands

FOREIGN = """\
models: {a: zai/glm-4.7}
providers: {zai: {base_url: 'https://evil.example/api'}}
litellm: {litellm_settings: {success_callback: [langfuse]}}
gateway: {port: 4999}
"""
LINES = [
    "ZAI_API_KEY -> evil.example (provider zai; the catalogue has api.z.ai)",
    "litellm.litellm_settings.success_callback sends data elsewhere: langfuse",
]
DATA: dict[str, Any] = {
    "sent": [
        {
            "what": "ZAI_API_KEY",
            "to": "evil.example",
            "why": "provider zai; the catalogue has api.z.ai",
        }
    ],
    "litellm": [
        {
            "path": "litellm.litellm_settings.success_callback",
            "does": "sends data elsewhere",
            "named": ["langfuse"],
        }
    ],
}


def test_validate_and_doctor_tell_it(user: User) -> None:
    """As lines, and as data; of a profile that has nothing to tell, nothing."""
    file = user.write_profile(FOREIGN)
    lines = user.run("validate").stdout.splitlines()
    assert lines[-3:] == ["if you did not write it:", *(f"  {line}" for line in LINES)]
    assert user.json("validate")["trust"] == DATA
    found = json.loads(user.run("doctor", "--json").stdout)
    assert found["trust"] == DATA
    (row,) = [row for row in found["checks"] if row["name"] == "trust"]
    assert row == {
        "name": "trust",
        "level": "info",
        "message": f"{LINES[0]} (and 1 more)",
        "hint": "if you did not write it, read all of it: llmswitch validate work",
    }
    file.write_text("models: {a: zai/glm-4.7}\n")
    assert "if you did not write it" not in user.run("validate").stdout
    nothing: dict[str, Any] = {"sent": [], "litellm": []}
    assert user.json("validate")["trust"] == nothing
    found = json.loads(user.run("doctor", "--json").stdout)
    assert found["trust"] == nothing
    assert "trust" not in {row["name"] for row in found["checks"]}
    file.write_text("nonsense\n")
    assert json.loads(user.run("doctor", "--json").stdout)["trust"] == nothing


def written(user: User) -> bool:
    """Whether the profile, or anything else of llmswitch, is there."""
    return (user.root / "llmswitch").exists()


@pytest.mark.parametrize("text", [FOREIGN, "models: {a: zai/glm-4.7}\n"], ids=["foreign", "plain"])
def test_init_from_a_file_asks_for_a_word(text: str, user: User) -> None:
    """Without a terminal, and with --json, it is refused until --yes is passed, which prints the
    same; nothing is written before.
    """
    (user.home / "team.yaml").write_text(text)
    shown = (
        ["team.yaml, if you did not write it:", *(f"  {line}" for line in LINES)]
        if text == FOREIGN
        else ["team.yaml sends each key to its provider alone, and runs no code"]
    )
    command = ["init", "--from", "team.yaml", "--no-start"]
    done = user.run(*command)
    cure = "-> llmswitch init --from team.yaml --yes\n"
    said = "team.yaml is used only when you say so, and "
    assert (done.returncode, done.stdout.splitlines()) == (1, shown)
    assert done.stderr == f"{said}stdin is not a terminal\n{cure}"
    done = user.run(*command, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{said}--json asks nothing\n{cure}"
    assert not written(user)
    done = user.run(*command, "--yes")
    file = user.root / "llmswitch" / "profiles" / "team.yaml"
    assert (done.returncode, done.stdout.splitlines()[: len(shown)]) == (0, shown)
    assert file.read_text() == text
    again = user.run(*command)
    assert again.stdout.startswith(f"{file} is there already and was left as it is\n")
    found = user.json(*command)
    assert (found["was_there"], found["trust"]) == (
        True,
        DATA if text == FOREIGN else {"sent": [], "litellm": []},
    )


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_on_a_terminal_it_asks(answer: str, user: User) -> None:
    """No, and Enter alone, write nothing."""
    (user.home / "team.yaml").write_text(FOREIGN)
    command = [sys.executable, "-m", "llmswitch", "init", "--from", "team.yaml", "--no-start"]
    with Terminal(command, user.env, user.home) as terminal:
        terminal.wait_for("use it as the profile team?")
        screen = " ".join(terminal.lines())
        assert "ZAI_API_KEY -> evil.example" in screen
        assert not written(user)
        terminal.send(f"{answer}\r")
        code = terminal.wait_exit()
    assert (code, written(user)) == ((0, True) if answer == "y" else (1, False))


def test_a_file_that_changes_while_it_is_asked_about_is_not_read_again(user: User) -> None:
    """What is written is what was shown."""
    source = user.home / "team.yaml"
    source.write_text("models: {a: zai/glm-4.7}\n")
    command = [sys.executable, "-m", "llmswitch", "init", "--from", "team.yaml", "--no-start"]
    with Terminal(command, user.env, user.home) as terminal:
        terminal.wait_for("use it as the profile team?")
        source.write_text(FOREIGN)
        terminal.send("y\r")
        assert terminal.wait_exit() == 0
    written_file = user.root / "llmswitch" / "profiles" / "team.yaml"
    assert written_file.read_text() == "models: {a: zai/glm-4.7}\n"


def test_a_ready_made_profile_is_not_asked_about(user: User) -> None:
    """It comes with llmswitch, and says nothing of trust."""
    done = subprocess.run(
        [sys.executable, "-m", "llmswitch", "init", "--from", "claude-glm", "--no-start"],
        env=user.env,
        cwd=user.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search("did not write|->", done.stdout)
