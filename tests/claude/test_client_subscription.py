"""A Claude login beside other vendors' models in the real Claude Code."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from llmswitch.profile.rules import TEST_HOST
from tests import clients
from tests.clients import newest_and_oldest
from tests.conftest import Mission
from tests.gateways import AUTHENTICATION, secrets_in
from tests.internet import Internet
from tests.ready_made import GLM, OPUS, SONNET
from tests.seat import Seat, ask, bring, leave, open_menu, pick, switch, take_seat
from tests.terminal import INPUT_BOX, type_command
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.xdist_group("client-subscription"), pytest.mark.timeout(900)]

LOGIN = "sk-ant-oat01-login-of-the-user_ABCDEF-0123456789"
CHANGES = (
    ("anthropic: {base", "anthropic: {auth: subscription, base"),
    (f"opus: {OPUS.model.model}", f"opus: {{model: {OPUS.model.model}, fallbacks: [glm-4.7]}}"),
    ("label: GLM-4.5 Air", "label: GLM-4.5 Air\n    fallbacks: [sonnet]"),
)


@pytest.fixture
def subscribed(one_mission: Mission) -> Mission:
    """The mission with its Anthropic models paid by a login; the shell has no key for them."""
    host = {TEST_HOST: one_mission.anthropic.url.removeprefix("http://")}
    keys = {"ZAI_API_KEY": "zai-own", "MINE_KEY": "mine-own", **host}
    return bring(one_mission, *CHANGES, keys=keys)


@pytest.fixture
def seat(client: Callable[[], Path], subscribed: Mission, tmp_path: Path) -> Seat:
    """A seat with the client of the test, whose user is logged in."""
    taken = take_seat(subscribed, client(), tmp_path)
    log_in(taken)
    return taken


@pytest.fixture
def newest_seat(subscribed: Mission, tmp_path: Path) -> Seat:
    """A seat with the newest client, whose user is not logged in."""
    return take_seat(subscribed, clients.newest(), tmp_path)


def log_in(seat: Seat) -> None:
    """What `/login` of Claude Code leaves in the home folder."""
    login = {
        "accessToken": LOGIN,
        "refreshToken": "sk-ant-ort01-refresh-of-the-user",
        "expiresAt": int(time.time() + 30 * 86400) * 1000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    credentials(seat).write_text(json.dumps({"claudeAiOauth": login}))
    credentials(seat).chmod(0o600)


def credentials(seat: Seat) -> Path:
    """Where Claude Code keeps a login."""
    return seat.home / ".claude" / ".credentials.json"


def check(mission: Mission) -> None:
    """Every request that any upstream has received carries its own credential and no other."""
    own = {"anthropic": LOGIN, "zai": "zai-own", "mine": "mine-own"}
    known = {*own.values(), "sk-ant-ort01-refresh-of-the-user", mission.user.gateway_key()}
    for upstream in mission.upstreams:
        for request in upstream.requests:
            sent = {n: v for n, v in request.headers.items() if n in AUTHENTICATION}
            assert sent == {"authorization": f"Bearer {own[upstream.name]}"}
            whole = json.dumps([request.path, request.query, request.headers, request.body])
            assert not secrets_in(whole, *(known - {own[upstream.name]}))
            if upstream.name == "anthropic":
                assert "oauth-2025-04-20" in request.headers["anthropic-beta"]


def answered_by(done: subprocess.CompletedProcess[str], upstream: str) -> None:
    """It was answered, and by a model of this upstream."""
    assert (done.returncode, done.stdout.split()[-1:]) == (0, [upstream]), done


@newest_and_oldest
def test_a_b_a(seat: Seat, subscribed: Mission) -> None:
    """In one session from a model that the login pays to two other vendors' and back: each
    upstream receives its own credential, whatever is asked beside the conversation; and nothing
    of the user's but the login itself is there afterwards. The menu of 2.1.332 is the profile's,
    with the subscription in place of a price.
    """
    login = credentials(seat).read_bytes()
    with seat.open("--model", "opus") as terminal:
        terminal.wait_for(INPUT_BOX)
        if seat.claude == clients.newest():
            rows = open_menu(terminal)
            assert [(row.label, row.description) for row in rows[1:]] == [
                (OPUS.label, "Anthropic · 1M · Claude subscription"),
                (SONNET.label, "Anthropic · 1M · Claude subscription"),
                (GLM.label, GLM.description),
                ("GLM-4.7", "Z.ai · 200k · $0.60/$2.20 per Mtok"),
                ("GLM-4.5 Air", "Z.ai · 128k · $0.20/$1.10 per Mtok"),
                ("Qwen3", "My server · 200k · price unknown"),
            ]
            terminal.send("\x1b")
            terminal.wait_gone("Select model")
        asked = [ask(terminal, subscribed, "word-0")]
        for turn, name in enumerate(("glm-4.7", "qwen", "sonnet", "opus"), start=1):
            switch(terminal, name)
            asked.append(ask(terminal, subscribed, f"word-{turn}"))
        assert [(one.upstream, one.model) for one in asked] == [
            ("anthropic", OPUS.model.id),
            ("zai", "glm-4.7"),
            ("mine", "qwen3"),
            ("anthropic", SONNET.model.id),
            ("anthropic", OPUS.model.id),
        ]
        assert leave(terminal) == 0
    check(subscribed)
    assert credentials(seat).read_bytes() == login
    for file in subscribed.user.root.joinpath("llmswitch").rglob("*"):
        assert not file.is_file() or LOGIN.encode() not in file.read_bytes(), file


@pytest.mark.soak
def test_oldest_menu(subscribed: Mission, tmp_path: Path) -> None:
    """2.1.197 lists its own names once one is logged in, which is told before it starts; each row
    is served by the model of its role, and the others by their names.
    """
    seat = take_seat(subscribed, clients.oldest(), tmp_path)
    log_in(seat)
    with seat.open() as terminal:
        terminal.wait_for(
            "llmswitch: with a Claude login, Claude Code 2.1.197 lists its own names in /model"
        )
        labels = ["Default (recommended)", "Opus", "Sonnet", "Haiku", GLM.label, "glm-4.7"]
        assert [row.label for row in open_menu(terminal)] == labels
        terminal.send("\x1b")
        terminal.wait_gone("Select model")
        served = ("anthropic", "anthropic", "anthropic", "zai", "zai")
        for turn, (label, upstream) in enumerate(zip(labels, served, strict=False)):
            pick(terminal, label)
            assert ask(terminal, subscribed, f"word-{turn}").upstream == upstream, label
        assert leave(terminal) == 0
    check(subscribed)


@newest_and_oldest
def test_across_a_fallback(seat: Seat, subscribed: Mission) -> None:
    """From the subscription to another vendor, and from there to the subscription: each receives
    its own, also of the requests that fail.
    """
    opus, glm = OPUS.model.id, "GLM-4.5-Air"
    subscribed.anthropic.behave(Behaviour(status=500), opus)
    subscribed.zai.behave(Behaviour(status=500), glm)
    answered_by(seat.run("--model", "opus", "-p", "say"), "zai")
    answered_by(seat.run("--model", "glm-4.5", "-p", "say"), "anthropic")
    for up, model in ((subscribed.anthropic, opus), (subscribed.zai, glm)):
        assert model in {(request.body or {}).get("model") for request in up.requests}
    check(subscribed)


@newest_and_oldest
def test_other_credentials_do_not_get_in_its_way(
    client: Callable[[], Path], subscribed: Mission, tmp_path: Path
) -> None:
    """Keys and tokens that are exported or stand in the user's settings are not sent in place of
    the login; headers of the user's own stay beside the gateway's key.
    """
    own = {"ANTHROPIC_CUSTOM_HEADERS": "X-Team: blue\nAuthorization: Bearer sk-ant-oat01-wrong"}
    seat = take_seat(subscribed, client(), tmp_path, {"env": own})
    log_in(seat)
    seat.more = {"ANTHROPIC_API_KEY": "sk-ant-api03-stray", "ANTHROPIC_AUTH_TOKEN": "stray"}
    for model, upstream in (("opus", "anthropic"), ("glm-4.7", "zai")):
        answered_by(seat.run("--model", model, "-p", f"say-{model}"), upstream)
    check(subscribed)
    written = [file.read_text() for file in subscribed.user.run_folder().glob("settings/*")]
    key = subscribed.user.gateway_key()
    headers = f"X-Team: blue\nx-litellm-api-key: Bearer {key}"
    assert json.dumps(headers)[1:-1] in "".join(written)
    assert "oat01-wrong" not in "".join(written)


def test_a_token_of_setup_token_is_a_login(newest_seat: Seat, subscribed: Mission) -> None:
    """Without a saved login, CLAUDE_CODE_OAUTH_TOKEN pays, as it does without llmswitch; and `up`
    says nothing of a login then.
    """
    newest_seat.more = {"CLAUDE_CODE_OAUTH_TOKEN": LOGIN}
    answered_by(newest_seat.run("--model", "opus", "-p", "say"), "anthropic")
    check(subscribed)
    home = {"HOME": str(newest_seat.home)}
    assert "login" not in subscribed.user.run("up", env=home | newest_seat.more).stdout


def test_without_a_login(newest_seat: Seat, subscribed: Mission) -> None:
    """`up` says that there is none. Claude Code says itself that one is not logged in; nothing
    reaches Anthropic, and with `-p` nobody waits for minutes.
    """
    home = {"HOME": str(newest_seat.home)}
    assert subscribed.user.run("up", env=home).stdout.splitlines()[-1] == (
        "note: no Claude login was found, and a subscription pays for models of the profile    "
        "-> claude    (and in it: /login)"
    )
    done = newest_seat.run("--model", "opus", "-p", "say")
    assert done.returncode == 1
    assert "/login" in done.stdout + done.stderr
    assert subscribed.anthropic.requests == []
    log_in(newest_seat)
    assert "login" not in subscribed.user.run("up", env=home).stdout


HOSTS = ("api.anthropic.com", "platform.claude.com", "claude.ai", "downloads.claude.ai",
         "raw.githubusercontent.com")  # fmt: skip


@contextmanager
def receivers(
    folder: Path,
) -> Iterator[tuple[dict[str, str], dict[str, FakeUpstream]]]:
    """What a client must have exported to find these hosts on this machine, and what each gets."""
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(FakeUpstream(name)) for name in HOSTS}
        internet = stack.enter_context(Internet(hosts, folder))
        yield {**internet.env, "NODE_EXTRA_CA_CERTS": internet.env["SSL_CERT_FILE"]}, hosts


def check_hosts(mission: Mission, hosts: Mapping[str, FakeUpstream]) -> None:
    """The client has asked Anthropic, with its login, and nobody but the gateway has got a key."""
    asked = hosts["api.anthropic.com"].requests
    assert any(one.headers.get("authorization") == f"Bearer {LOGIN}" for one in asked)
    keys = (mission.user.gateway_key(), "zai-own", "mine-own")
    for name, host in hosts.items():
        for request in host.requests:
            whole = json.dumps([request.path, request.query, request.headers, request.body])
            assert not secrets_in(whole, *keys), (name, request.path)


@newest_and_oldest
@pytest.mark.parametrize("way", ["headless", "terminal", "editor"])
def test_no_key_of_ours_reaches_anthropic(
    way: str, seat: Seat, subscribed: Mission, tmp_path: Path
) -> None:
    """What the client asks Anthropic for itself, beside the conversation and at every start,
    carries its login and not the gateway's key, though that travels in a header of its own: behind
    the wrapper, and in an editor that has the variables of `env --format vscode`.
    """
    with receivers(tmp_path) as (exported, hosts):
        seat.more = exported
        if way == "headless":
            answered_by(seat.run("--model", "opus", "-p", "say"), "anthropic")
        elif way == "editor":
            (listed,) = json.loads(subscribed.user.run("env", "-f", "vscode").stdout).values()
            given = {one["name"]: one["value"] for one in listed}
            for model, upstream in (("opus", "anthropic"), ("glm-4.7", "zai")):
                answered_by(seat.run_plain(given, "--model", model, "-p", "say"), upstream)
        else:
            with seat.open("--model", "opus") as terminal:
                terminal.wait_for(INPUT_BOX)
                assert ask(terminal, subscribed, "word-one").upstream == "anthropic"
                type_command(terminal, "/usage")
                terminal.wait_idle(1)
                terminal.send("\x1b")
                assert leave(terminal) == 0
        check_hosts(subscribed, hosts)
    check(subscribed)


def test_live_checks_leave_it_to_the_client(newest_seat: Seat, subscribed: Mission) -> None:
    """Nothing is asked of a model that the login pays for, and it is no error; with `--client` the
    real client asks it by the token of `claude setup-token`.
    """
    path = f"{newest_seat.claude.parent}:{subscribed.user.env['PATH']}"
    live = ("doctor", "--live", "opus", "--yes")
    done = subscribed.user.run(*live)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        "opus, answer: your Claude login pays for it, which only Claude Code has; try:\n"
        "  claude-multi --model opus -p hi\n"
    )
    (found,) = subscribed.user.json(*live, "--client", env={"PATH": path})
    assert found["checks"][-1]["level"] == "skipped"
    assert subscribed.anthropic.requests == []
    given = {"PATH": path, "CLAUDE_CODE_OAUTH_TOKEN": LOGIN}
    subscribed.user.run(*live, "--client", env=given)
    assert subscribed.anthropic.requests
    check(subscribed)
