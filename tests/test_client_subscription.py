"""A Claude login beside other vendors' models in the real Claude Code, newest and oldest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission, start_mission
from tests.gateways import AUTHENTICATION, secrets_in
from tests.seat import Seat, ask, choose, leave, open_menu, switch, take_seat
from tests.terminal import INPUT_BOX

pytestmark = [pytest.mark.xdist_group("client-subscription"), pytest.mark.timeout(900)]

LOGIN = "sk-ant-oat01-login-of-the-user_ABCDEF-0123456789"
Fetch = Callable[[], Path]
both = pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])


@pytest.fixture(scope="module")
def subscribed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose Anthropic models are paid by a login; it has no key of Anthropic's."""
    for mission in start_mission(tmp_path_factory.mktemp("subscribed")):
        mission.user.keys = {"ZAI_API_KEY": "zai-own", "MINE_KEY": "mine-own"}
        file = mission.write()
        text = file.read_text()
        file.write_text(text.replace("anthropic: {base", "anthropic: {auth: subscription, base"))
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission
        mission.user.run("down")


def log_in(seat: Seat) -> None:
    """What `/login` of Claude Code leaves in the home folder."""
    login = {
        "accessToken": LOGIN,
        "refreshToken": "sk-ant-ort01-refresh-of-the-user",
        "expiresAt": int(time.time() + 30 * 86400) * 1000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    file = seat.home / ".claude" / ".credentials.json"
    file.write_text(json.dumps({"claudeAiOauth": login}))
    file.chmod(0o600)


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


@both
def test_a_b_a(client: Fetch, subscribed: Mission, tmp_path: Path) -> None:
    """In one session from a model that the login pays to two other vendors' and back: each
    upstream receives its own credential, whatever is asked beside the conversation.
    """
    seat = take_seat(subscribed, client(), tmp_path)
    log_in(seat)
    with seat.open("--model", "opus") as terminal:
        terminal.wait_for(INPUT_BOX)
        open_menu(terminal)
        print(terminal.text())
        choose(terminal, "\x1b")
        first = ask(terminal, subscribed, "word-one")
        assert (first.upstream, first.model) == ("anthropic", "claude-opus-4-5-20251101")
        switch(terminal, "glm-4.7")
        assert ask(terminal, subscribed, "word-two").upstream == "zai"
        switch(terminal, "qwen")
        assert ask(terminal, subscribed, "word-three").upstream == "mine"
        switch(terminal, "opus")
        back = ask(terminal, subscribed, "word-four")
        assert (back.upstream, back.model) == ("anthropic", "claude-opus-4-5-20251101")
        print(terminal.text())
        assert leave(terminal) == 0
    check(subscribed)
