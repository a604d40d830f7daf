"""A Claude login reaches Anthropic's host and no other, whoever sends it, whatever is asked, and
whichever way a request falls back.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmswitch.errors import ProfileError
from llmswitch.profile.load import parse_profile
from llmswitch.profile.rules import TEST_HOST
from llmswitch.redact import redact
from llmswitch.render.menu import format_context
from tests.conftest import User
from tests.gateways import AUTHENTICATION, CLIENT_SECRETS, STRAYS, Reply, secrets_in
from tests.ledgers import House
from tests.ready_made import OPUS
from tests.upstream import Behaviour

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

LOGIN = "sk-ant-oat01-login-of-the-user_ABCDEF-0123456789"
OTHER_LOGIN = "sk-ant-oat01-login-of-somebody-else"
KINDS = ("subscription", "api", "messages", "chat")
"""The models of the lab; `api` is Anthropic too, at another host and paid with a key."""
PROVIDERS = {"subscription": "max", "api": "an", "messages": "zai", "chat": "mine"}
OWN = {"an": "sk-ant-api03-own-anthropic", "zai": "own-zai", "mine": "own-mine"}
PAIRS = list(itertools.permutations(KINDS, 2))
# A model of each kind, and one for each pair whose first try is made to fail.
_MODELS = [
    *(f"  {kind}: {PROVIDERS[kind]}/claude-opus-4-5-20251101" for kind in KINDS),
    *(f"  {a}-to-{b}: {{{{model: {PROVIDERS[a]}/first, fallbacks: [{b}]}}}}" for a, b in PAIRS),
]
PROFILE = (
    "models:\n"
    + "\n".join(_MODELS)
    + """
providers:
  max: {{label: Anthropic, dialect: anthropic, base_url: "{max}", auth: subscription, prices: ""}}
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  zai: {{base_url: "{zai}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
clients: [laptop]
gateway: {{port: {port}}}
"""
)


def bringing(lab: House, who: str) -> dict[str, str]:
    """The headers of a client: with the gateway's key, a login, both, or everything."""
    key = {"x-litellm-api-key": f"Bearer {lab.user.gateway_key()}"}
    login = {"authorization": f"Bearer {LOGIN}"}
    beta = {"anthropic-beta": "claude-code-20250219,oauth-2025-04-20"}
    return (
        beta
        | {
            "both": key | login,
            "login only": login,
            "key only": {"authorization": f"Bearer {lab.user.gateway_key()}"},
            "everything": key
            | login
            | {
                "x-api-key": CLIENT_SECRETS["api key"],
                "api-key": CLIENT_SECRETS["azure"],
                "cookie": f"session={CLIENT_SECRETS['cookie']}",
                "proxy-authorization": f"Basic {CLIENT_SECRETS['proxy']}",
            },
        }[who]
    )


def check(lab: House, login: str | None = LOGIN) -> None:
    """Every upstream has received its own credential, once, and no other anywhere."""
    secrets = {LOGIN, OTHER_LOGIN, *OWN.values(), *STRAYS.values(), *CLIENT_SECRETS.values()}
    for name, upstream in lab.upstreams.items():
        own = login if name == "max" else OWN.get(name)
        for request in upstream.requests:
            sent = {n: v for n, v in request.headers.items() if n in AUTHENTICATION}
            assert sent in ({"authorization": f"Bearer {own}"}, {"x-api-key": own})
            whole = json.dumps([request.path, request.query, request.headers, request.body])
            assert not secrets_in(whole, *(secrets - {own}), lab.user.gateway_key())
            if name == "max":
                assert "x-api-key" not in sent
                assert "oauth-2025-04-20" in request.headers["anthropic-beta"].split(",")


def said(reply: Reply) -> str:
    """Which upstream answered."""
    return reply.said.rpartition(" at ")[2]


def refused(reply: Reply, model: str) -> None:
    """The refusal of a request that brings no login."""
    assert reply.status == 401
    assert reply.error["type"] == "authentication_error"
    assert (
        f"llmswitch: {model} is paid by a Claude subscription, and no Claude login came with the "
        "request; use claude-multi, and log in there with /login" in reply.error["message"]
    )
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("who", ["both", "everything", "key only", "login only"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_upstream_receives_its_own(lab: House, kind: str, who: str, stream: bool) -> None:
    """The login goes to the subscription's host and to no other, also not to one of the same
    dialect; without the gateway's key nobody gets in; without a login the model that needs one is
    refused before anything is sent, and the others are served.
    """
    headers = bringing(lab, who)
    reply = lab.gateway.ask(kind, stream=stream, headers=headers)
    counted = lab.gateway.count(kind, headers)
    if who == "login only":
        assert (reply.status, counted.status_code) == (401, 401)
        assert reply.error["message"] == "llmswitch: this is not the gateway's key, nor a client's"
        assert lab.received == {}
    elif who == "key only" and kind == "subscription":
        refused(reply, kind)
        assert lab.received == {}
    else:
        assert said(reply) == PROVIDERS[kind]
        assert counted.status_code == 200
        assert set(lab.received) == {PROVIDERS[kind]}
        check(lab)


@pytest.mark.parametrize("who", ["both", "key only"])
@pytest.mark.parametrize(("fault", "stream"), [(500, False), (401, True), (429, False)])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_across_a_fallback(
    lab: House, first: str, second: str, fault: int, stream: bool, who: str
) -> None:
    """From a subscription to another vendor and the other way, each of the two receives its own; a
    request without a login is served by the fallback, and Anthropic is not asked.
    """
    lab.upstreams[PROVIDERS[first]].behave(Behaviour(status=fault), "first")
    headers = bringing(lab, who)
    reply = lab.gateway.ask(f"{first}-to-{second}", stream=stream, headers=headers)
    if who == "key only" and second == "subscription":
        assert reply.status == fault, "the real failure is told"
        assert lab.received == {PROVIDERS[first]: 1}
    else:
        assert said(reply) == PROVIDERS[second]
        tried = {PROVIDERS[first], PROVIDERS[second]}
        assert set(lab.received) == tried - ({"max"} if who == "key only" else set())
    check(lab)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_other_routes(lab: House, kind: str, path: str) -> None:
    """The same holds for what speaks OpenAI's dialects to the gateway."""
    said_hi = [{"role": "user", "content": "hi"}]
    body = {"model": kind, "messages": said_hi, "input": "hi", "prompt": "hi", "max_tokens": 10}
    for who in ("both", "everything", "key only"):
        lab.gateway.send("POST", path, headers=bringing(lab, who), json=body)
    assert set(lab.received) <= {PROVIDERS[kind]}
    others = ("/v1/models", "/v1/files", "/v1/messages/batches", "/anthropic/v1/models")
    for other in others:
        lab.gateway.send("GET", other, headers=bringing(lab, "everything"))
    lab.gateway.send("POST", "/anthropic/v1/messages", headers=bringing(lab, "both"), json=body)
    check(lab)


def test_a_client_of_ones_own_brings_its_own_login(lab: House) -> None:
    """Who has a key of `client add` is served with the login that they bring, and without one not
    at all: nobody spends another's subscription.
    """
    key = lab.client_key
    theirs = {"x-litellm-api-key": f"Bearer {key}", "authorization": f"Bearer {OTHER_LOGIN}"}
    assert said(lab.gateway.ask("subscription", headers=theirs)) == "max"
    check(lab, OTHER_LOGIN)
    lab.clear()
    refused(
        lab.gateway.ask("subscription", headers={"authorization": f"Bearer {key}"}), "subscription"
    )
    assert lab.received == {}
    assert said(lab.gateway.ask("subscription", headers=bringing(lab, "both"))) == "max"
    check(lab)


@pytest.mark.parametrize(
    "sent",
    ["sk-ant-api03-no-login", "sk-ant-oat", "Basic sk-ant-oat01-x", "sk-ant-ort01-refresh"],
)
def test_only_a_login_is_a_login(lab: House, sent: str) -> None:
    """Whatever else stands in the header is no login and is sent nowhere."""
    headers = {"x-litellm-api-key": lab.user.gateway_key(), "authorization": f"Bearer {sent}"}
    refused(lab.gateway.ask("subscription", headers=headers), "subscription")
    assert lab.received == {}


def test_a_login_that_anthropic_refuses(lab: House) -> None:
    """The client sees Anthropic's own words, and no other credential is tried."""
    lab.upstreams["max"].behave(Behaviour(status=401, error="OAuth token has expired"))
    reply = lab.gateway.ask("subscription", headers=bringing(lab, "everything"))
    assert reply.status == 401
    assert "OAuth token has expired" in reply.error["message"]
    assert lab.received == {"max": 1}
    check(lab)


def test_nothing_is_paid_by_the_token_and_nothing_is_written_down(shared: House) -> None:
    """What a subscription answers costs 0 and is no unknown price; the login stands in no file of
    llmswitch, in no log and not on the screen.
    """
    lab = shared
    lab.heal()
    lab.gateway.ask("subscription", stream=True, headers=bringing(lab, "both"))
    (row,) = lab.rows(1)
    assert (row.model, row.cost, row.key) == ("subscription", 0.0, "Claude login")
    lab.upstreams["max"].behave(Behaviour(status=500), "first")
    lab.gateway.ask("subscription-to-chat", headers=bringing(lab, "both"))
    listed = next(row for row in lab.user.json("status")["models"] if row["name"] == "subscription")
    assert (listed["available"], listed["keys"]) == (True, [])
    assert listed["description"] == "Anthropic · 200k · Claude subscription"
    texts = [lab.user.run(*command).stdout for command in (["usage"], ["doctor", "--report"])]
    files = [file for file in (lab.user.root / "llmswitch").rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"gateway.log", "state.json", "litellm_config.yaml"}
    texts += [file.read_bytes().decode(errors="replace") for file in files]
    for text in texts:
        assert not secrets_in(text, LOGIN, OTHER_LOGIN)


def test_a_cached_answer_is_no_way_around_a_login(lab: House) -> None:
    """What a login has paid for is not given to who brings none, nor to who brings another,
    though the cache has it.
    """
    lab.bring(PROFILE + "cache: {{type: local}}\n")
    for _ in range(2):
        assert said(lab.gateway.ask("subscription", headers=bringing(lab, "both"))) == "max"
    refused(lab.gateway.ask("subscription", headers=bringing(lab, "key only")), "subscription")
    assert lab.received == {"max": 1}
    another = {**bringing(lab, "both"), "authorization": "Bearer sk-ant-oat01-invented"}
    assert said(lab.gateway.ask("subscription", headers=another)) == "max"
    assert lab.received == {"max": 2}


# ------------------------------------------------------------------ the profile and the commands

SUBSCRIBED = f"""
models: {{opus: {OPUS.model.model}, glm: zai/glm-4.7}}
providers: {{anthropic: {{auth: subscription}}}}
"""


ELSEWHERE = (
    "2: providers.anthropic.base_url must be https://api.anthropic.com: your Claude login is sent "
    "nowhere else"
)


REFUSED = {
    "zai: {auth: subscription}": (
        "2: providers.zai.auth is subscription, which works only with `dialect: anthropic`"
    ),
    **{
        f"anthropic: {{auth: subscription, base_url: '{url}'}}": ELSEWHERE
        for url in (
            "https://api.z.ai/api/anthropic",
            "http://api.anthropic.com",
            "https://api.anthropic.com.evil.example",
            "https://api.anthropic.com:4430",
        )
    },
    "anthropic: {auth: subscription, key: MY_KEY}": (
        "2: providers.anthropic.key cannot be combined with `auth: subscription`; remove one"
    ),
    "anthropic: {auth: login}": (
        "2: providers.anthropic.auth is 'login', but must be one of 'key' or 'subscription'"
    ),
}


def refusal(text: str, environ: Mapping[str, str] | None = None) -> str:
    """What is wrong with a profile."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "p.yaml", environ or {})
    return caught.value.message


@pytest.mark.parametrize("spec", REFUSED)
def test_a_login_goes_nowhere_else_by_profile(spec: str) -> None:
    """A profile that would send a login to another host, or a key beside it, is refused."""
    text = f"models: {{opus: anthropic/claude-opus-4-5, glm: zai/glm-4.7}}\nproviders: {{{spec}}}\n"
    assert refusal(text) == f"p.yaml:{REFUSED[spec]}"


def at(url: str) -> str:
    """A profile whose login goes to a URL."""
    spec = f"{{auth: subscription, base_url: '{url}'}}"
    return f"models: {{opus: anthropic/claude-opus-4-5}}\nproviders: {{anthropic: {spec}}}\n"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://api.anthropic.com:443", ""),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost:8080/v1", "localhost:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_a_server_of_this_machine_is_named_by_the_environment(url: str, named: str) -> None:
    """The very address, and none but one of this machine; the profile alone cannot. Anthropic's
    port may be written out.
    """
    environ = {TEST_HOST: named}
    assert parse_profile(at(url), "p.yaml", environ).providers["anthropic"].base_url == url
    others = ["", "1", "*", "127.0.0.1", "127.0.0.1:808", "127.0.0.1:80801", "localhost:8081"]
    for other in others if named else ():
        assert refusal(at(url), {TEST_HOST: other}) == f"p.yaml:{ELSEWHERE}"
    for host in ("evil.example:80", "evil.example", "127.0.0.2:80", "0.0.0.0:80"):
        assert refusal(at(f"http://{host}"), {TEST_HOST: host}) == f"p.yaml:{ELSEWHERE}"


@pytest.mark.parametrize("command", ["up", "wrapper", "init"])
def test_no_command_takes_it_from_the_profile(command: str, user: User) -> None:
    """Each command that reads a profile refuses it, and nothing is started or written."""
    file = user.write_profile(at("http://127.0.0.1:9"))
    line = f"{file}:{ELSEWHERE}\n"
    more = {"wrapper": ["install", "--direct", "anthropic"], "init": ["--from", str(file)]}
    done = user.run(command, *more.get(command, []))
    assert (done.returncode, done.stdout, done.stderr.startswith(line)) == (1, "", True)
    assert not user.run_folder().exists() or not list(user.run_folder().glob("*.yaml"))


def test_a_model_has_a_login_or_keys() -> None:
    """`keys:` of a model whose provider has a subscription is a contradiction."""
    text = (
        "models:\n  opus: {model: anthropic/claude-opus-4-5, keys: [ANTHROPIC_API_KEY]}\n"
        "providers: {anthropic: {auth: subscription}}\n"
    )
    assert refusal(text) == (
        "p.yaml:2: models.opus.keys cannot be combined with `auth: subscription` of anthropic; "
        "remove one"
    )


def test_no_command_asks_for_a_key(user: User) -> None:
    """`validate`, `doctor`, `key list`, `models` and `status` want no ANTHROPIC_API_KEY for a model
    that a login pays for, and have no complaint about its price.
    """
    user.keys = {"ZAI_API_KEY": "own"}
    user.write_profile(SUBSCRIBED)
    done = user.run("validate")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, []), done.stdout
    for command in (["doctor", "--all"], ["key", "list"], ["status"], ["render"]):
        assert "ANTHROPIC_API_KEY is" not in user.run(*command).stdout
    assert all(row["available"] for row in user.json("status")["models"])
    listed = user.run("models", "--provider", "anthropic", "--search", OPUS.model.id).stdout
    assert re.split(r" {2,}", listed.splitlines()[1]) == [
        OPUS.model.model,
        format_context(OPUS.context),
        "Claude subscription",
        "your Claude login",
        "opus",
    ]
    done = user.run("key", "check", "anthropic")
    assert done.returncode == 1
    assert done.stderr == (
        "anthropic uses your Claude login and needs no key\n"
        "-> claude    (and in it: /status, or /login)\n"
    )


def test_the_doctor_looks_for_a_login(user: User) -> None:
    """It says in one sentence that there is none, and what to do; and when there is one."""
    user.keys = {"ZAI_API_KEY": "own"}
    user.write_profile(SUBSCRIBED)

    def told() -> list[str]:
        rows = {
            row["name"]: row for row in json.loads(user.run("doctor", "--json").stdout)["checks"]
        }
        return [rows["login"][part] for part in ("level", "message", "hint")]

    lacking = [
        "warning",
        "no Claude login was found, and the subscription pays for opus",
        "claude    (and in it: /login)",
    ]
    assert told() == lacking
    (user.home / ".claude").mkdir()
    file = user.home / ".claude" / ".credentials.json"
    file.write_text('{"mcpOAuth": {"server": {"accessToken": "of another"}}}')
    assert told() == lacking
    file.write_text('{"claudeAiOauth": {"accessToken": "sk-ant-oat01-mine"}}')
    sent = "your Claude login pays for opus; it is sent to Anthropic alone"
    assert told() == ["ok", sent, None]
    user.write_profile("models: {glm: zai/glm-4.7}\n")
    rows = json.loads(user.run("doctor", "--json").stdout)["checks"]
    assert "login" not in {row["name"] for row in rows}


def test_variables_for_elsewhere_leave_such_models_out(user: User) -> None:
    """A shell, CI or container has no login: the gateway's key, no model that needs a login, and a
    word of what is left out. VS Code has one: the key goes beside it.
    """
    user.keys = {"ZAI_API_KEY": "own"}
    user.write_profile(SUBSCRIBED)
    done = user.run("env", "--format", "json")
    told = json.loads(done.stdout)
    key = user.gateway_key()
    assert told["ANTHROPIC_AUTH_TOKEN"] == key
    assert {told[name] for name in told if name.endswith("_MODEL")} == {"glm"}
    assert done.stderr == (
        "note: opus: left out; only Claude Code with your Claude login can use such a model\n"
    )
    done = user.run("env", "--format", "vscode")
    (listed,) = json.loads(done.stdout).values()
    told = {one["name"]: one["value"] for one in listed}
    assert done.stderr == ""
    assert told["ANTHROPIC_AUTH_TOKEN"] == ""
    assert told["ANTHROPIC_CUSTOM_HEADERS"] == f"x-litellm-api-key: Bearer {key}"
    assert told["ANTHROPIC_MODEL"] == "opus[1m]"
    program = user.root / "bin" / "code"
    program.write_text("#!/bin/sh\nexec env\n")
    program.chmod(0o755)
    seen = user.run("code", env={"CLAUDE_CODE_OAUTH_TOKEN": LOGIN}).stdout.splitlines()
    assert f"ANTHROPIC_CUSTOM_HEADERS=x-litellm-api-key: Bearer {key}" in seen
    assert {"ANTHROPIC_AUTH_TOKEN=", f"CLAUDE_CODE_OAUTH_TOKEN={LOGIN}"} <= set(seen)
    user.write_profile(SUBSCRIBED.replace(", glm: zai/glm-4.7", ""))
    done = user.run("env")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "every model of the profile needs your Claude login, which only Claude Code can send\n"
        "-> claude-multi    (or in VS Code: llmswitch code)\n"
    )


def test_a_report_hides_a_login() -> None:
    """Wherever it stands, for `doctor --report`."""
    for text in (f"Authorization: Bearer {LOGIN}", f"token={LOGIN}", f"odd {LOGIN} end"):
        assert "oat01" not in redact(text, (), Path("/home/x"), {})
