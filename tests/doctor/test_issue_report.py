"""`llmswitch doctor --report`: what a person posts in public helps, and holds nothing secret."""

from __future__ import annotations

import json
import platform
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest

from llmswitch.doctor.checks import examine
from llmswitch.doctor.context import Context
from llmswitch.doctor.issue_report import markdown
from llmswitch.paths import find_home
from llmswitch.redact import HIDDEN, redact
from tests.conftest import User, free_port
from tests.doctor.faults import NOW

# Twenty-six kinds of secret: a key of every provider that a user expects, in its own form, and what
# else people have in their environment, their configuration and their logs. All made up.
SECRETS = {
    "ANTHROPIC_API_KEY": "sk-ant-api03-Zq7aaaaaaaa",
    "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-Zq7bbbbbbbb",
    "ZAI_API_KEY": "0123456789abcdef0123456789abcdef.Zq7cccccc",
    "OPENROUTER_API_KEY": "sk-or-v1-Zq7dddddddd",
    "DEEPSEEK_API_KEY": "sk-Zq7eeeeeeee",
    "MOONSHOT_API_KEY": "sk-Zq7ffffffff",
    "MINIMAX_API_KEY": "eyJhbGciOi.Zq7g.Zq7gggggg",
    "DASHSCOPE_API_KEY": "sk-Zq7hhhhhhhh",
    "OPENAI_API_KEY": "sk-proj-Zq7iiiiiiii",
    "GEMINI_API_KEY": "AIzaZq7jjjjjjjjjjj",
    "XAI_API_KEY": "xai-Zq7kkkkkkkk",
    "MISTRAL_API_KEY": "Zq7lllllllllllllllllllllllllllll",
    "GROQ_API_KEY": "gsk_Zq7mmmmmmmm",
    "CEREBRAS_API_KEY": "csk-Zq7nnnnnnnn",
    "FIREWORKS_API_KEY": "fw_Zq7oooooooo",
    "TOGETHERAI_API_KEY": "tgp_v1_Zq7pppppppp",
    "AWS_ACCESS_KEY_ID": "AKIAZQ7QQQQQQQQQQ",
    "AWS_SECRET_ACCESS_KEY": "Zq7r/rrrr+rrrrrrrrrr",
    "GITHUB_TOKEN": "ghp_Zq7ssssssss",
    "HF_TOKEN": "hf_Zq7tttttttt",
    "DATABASE_PASSWORD": "Zq7uuuu",
    "MY_SECRET": "Zq7vvvv",
    "SESSION_COOKIE": "Zq7wwww",
    "BASIC_AUTH": "Zq7xOnhb2Jq",
    "GOOGLE_CREDENTIALS": "ya29.Zq7yyyyyyyy",
    "NPM_CONFIG__AUTH": "Zq7zzzz",
}
PROFILE = """models:
  m: {{model: mine/m, keys: [ZAI_API_KEY], context: 200000, price: {{input: 1, output: 2}}}}
providers:
  mine: {{dialect: chat, base_url: "http://127.0.0.1:9/v1", key: null}}
gateway: {{port: {port}}}
litellm:
  litellm_settings:
    cache_params:
      password: Zq7inprofile1
      redis_url: "redis://user:Zq7inprofile2@127.0.0.1/0"
    extra:
      headers: ["Authorization: Bearer Zq7inprofile3", "x-api-key: Zq7inprofile4"]
      note: sk-ant-api03-Zq7inprofile5
      webhook: "https://127.0.0.1/hook?token=Zq7inprofile6&x=1"
"""
LINES = """\
POST https://user:Zq7url@host/v1 HTTP/1.1
GET /v1/models?api_key=Zq7query&limit=5
Authorization: Basic Zq7basic
headers: [(b'authorization', b'Bearer Zq7tuple'), (b'x-api-key', b'Zq7tuple'), (b'x-app', b'cli')]
{"x-api-key": "Zq7json", "cookie": "a=Zq7cookie; b=Zq7cookie", "max_tokens": 32000}
Set-Cookie: session=Zq7setcookie; Path=/
password=Zq7password secret: Zq7secret
-----BEGIN PRIVATE KEY-----
Zq7pem
-----END PRIVATE KEY-----
"""


@pytest.fixture
def poster(user: User) -> User:
    """Someone with every kind of secret in the environment, the profile and the log, and another
    of the same kind in the log only, where only its form tells what it is.
    """
    user.keys = {**SECRETS, "USER": "quentina", "LOGNAME": "quentina"}
    user.write_profile(PROFILE.format(port=free_port()))
    run = user.run_folder()
    run.mkdir(parents=True)
    forms = [secret.replace("Zq7", "Zq8").replace("ZQ7", "ZQ8") for secret in SECRETS.values()]
    named = [
        f"{name}={secret} {name.lower()}: '{secret}'"
        for name, secret in zip(SECRETS, forms, strict=True)
    ]
    lines = [
        *SECRETS.values(),
        *named,
        *LINES.splitlines(),
        f"File {user.home}/x.py, user quentina on {platform.node()}",
        "ValueError: this helps",
    ]
    (run / "gateway.log").write_text("\n".join(lines))
    return user


def report(user: User) -> str:
    """What a user would post."""
    context = Context(user.env, find_home(user.env), None, user.root / "bin", NOW)
    return markdown(context, examine(context))


def test_nothing_secret_is_in_a_report(poster: User) -> None:
    """None of the secrets, of the home folder, of the user's name; and what helps is there."""
    said = poster.run("doctor", "--report")
    assert said.stderr == ""
    text = said.stdout
    lines = [line for line in text.splitlines() if "zq7" in line.lower() or "zq8" in line.lower()]
    assert lines == []
    assert str(poster.home) not in text
    assert "quentina" not in text
    assert f" {platform.node()}" not in text.partition("###")[2].partition("### The last")[2]
    for helps in (
        "| ok | versions | llmswitch ",
        "| ok | ZAI_API_KEY | is set in the environment |  |",
        "api_key: os.environ/LLMSWITCH_KEY_ZAI_API_KEY",
        "input_cost_per_token: 1.0e-06",
        "password: REDACTED",
        "redis://REDACTED@127.0.0.1/0",
        "GET /v1/models?api_key=REDACTED&limit=5",
        "(b'x-api-key', b'REDACTED'), (b'x-app', b'cli')]",
        '"max_tokens": 32000',
        "File ~/x.py, user USER on HOST",
        "ValueError: this helps",
    ):
        assert helps in text, helps


def test_a_report_without_a_profile(user: User) -> None:
    """What is not there is said, and the rest is told."""
    text = report(user)
    assert text.count("not there: there is no profile") == 2
    assert "| error | profile | no profile is chosen and no default is set |" in text


@pytest.mark.parametrize(
    "harmless",
    [
        "max_tokens: 32000, input_cost_per_token: 6.0e-07",
        "api_key: none",
        "ZAI_API_KEY is not set",
        "master_key: os.environ/LLMSWITCH_GATEWAY_KEY",
        "custom_auth: llmswitch.engine.gate.authenticate",
        "anthropic/claude-sonnet-4-5-20250929 at https://api.z.ai/api/anthropic",
        "/usr/lib/python3.11/site-packages/litellm/proxy/proxy_server.py:1234",
    ],
)
def test_what_helps_is_left(harmless: str) -> None:
    """Words that only look as if they were about a secret."""
    assert redact(harmless, [], Path("/home/someone"), {}) == harmless


def test_a_short_value_is_not_looked_for() -> None:
    """A variable that holds `on` must not take every `on` out of the text; a longer one goes."""
    text = redact("on and on: longer", ["on", "long", "longer"], Path("/h"), {})
    assert text == f"on and on: {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"{\"api_key\": \"hunter2\"}", r"{\"api_key\": \"REDACTED\"}"),
        ("api_key: |\n  hunter2\n  hunter3\nx: 1", "api_key: |\n  REDACTED\nx: 1"),
        ("api_key:\n  - hunter2", "api_key:\n  - REDACTED"),
        ('password: "hunter2 with spaces"', 'password: "REDACTED"'),
        ("slack_pwd: hunter2", "slack_pwd: REDACTED"),
        ("api_key%3Dhunter2 Bearer%20hunter2", "api_key%3DREDACTED Bearer%20REDACTED"),
        ("redis://:p@ss@host redis://user:pa/ss@host", "redis://REDACTED@host"),
        ("password: 12345, token: true-story", "password: REDACTED, token: REDACTED"),
        ("-----BEGIN X-----\\nhunter2\\n", "REDACTED"),
        ("/home/joe/y /home/joel joe_x %2Fhome%2Fjoe%2Fz", "~/y /home/joel USER_x ~%2Fz"),
    ],
)
def test_forms_of_secrets(text: str, left: str) -> None:
    """Escaped, encoded, quoted, as a block: the value goes, what is around it stays."""
    done = redact(text, [], Path("/home/joe"), {"joe": "USER"})
    assert done.startswith(left)
    assert "hunter" not in done
    assert "p@ss" not in done


def test_known_secrets_in_other_clothes() -> None:
    """A value that is known is found however it is written."""
    key = 'a"b c/d+e-secret'
    text = f"{quote(key, safe='')} {json.dumps(key)} {b64encode(key.encode()).decode()} {key!r}"
    done = redact(text, [key], Path("/h"), {})
    assert done == f"{HIDDEN} \"{HIDDEN}\" {HIDDEN} '{HIDDEN}'"
    assert redact("line-one-x and line-two-x", ["line-one-x\nline-two-x"], Path("/h"), {}) == (
        f"{HIDDEN} and {HIDDEN}"
    )


@pytest.mark.parametrize("word", ["token", "a+", "-----BEGIN A KEY-----", "authorization", "://"])
@pytest.mark.timeout(20)
def test_no_line_makes_it_slow(word: str) -> None:
    """A quarter of a megabyte of what the patterns look for takes a second, not minutes."""
    text = word * (250_000 // len(word))
    lines = "\n".join(text[start : start + 3900] for start in range(0, len(text), 3900))
    for one in (text, lines):
        redact(one, [], Path("/h"), {})


def test_what_a_broken_profile_and_addresses_tell(user: User) -> None:
    """Variables that a profile with mistakes names, and the password of a proxy, are taken out."""
    user.keys = {"WORK_ZAI": "abc9zz77q", "HTTPS_PROXY": "http://pu:ppw12345@127.0.0.1:9"}
    user.write_profile("models:\n  a: {model: zai/x, keys: [WORK_ZAI], contxt: 1}\n")
    run = user.run_folder()
    run.mkdir(parents=True)
    (run / "gateway.log").write_text("key abc9zz77q bad, ppw12345 bad\n")
    assert "key REDACTED bad, REDACTED bad" in report(user)
