"""What an upstream could make of a key that it is given: lead it elsewhere, or have it logged."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

from llmswitch.subscription import TEST_HOST
from tests.conftest import User, free_port
from tests.gateways import NO_WAY_OUT, STRAYS, Gateway
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.xdist_group("outgoing"), pytest.mark.timeout(300)]

KEYS = {
    "AN_KEY": "sk-ant-api03-own",
    "ZAI_API_KEY": "own-zai-key",
    "MINE_KEY": "own-mine-key",
    "OAI_KEY": "own-oai-key",
    "XAI_API_KEY": "own-xai-key",
    "GEMINI_API_KEY": "own-gemini-key",
}
PROFILE = """
models:
  login: max/claude-opus-4-5-20251101
  anthropic: an/claude-opus-4-5-20251101
  zai: zai/glm-4.7
  chat: mine/qwen3
  responses: oai/gpt-5
  xai: xai/grok-4
  gemini: gemini/gemini-2.5-pro
providers:
  max: {{dialect: anthropic, base_url: "{url}", auth: subscription, prices: ""}}
  an: {{dialect: anthropic, base_url: "{url}", key: AN_KEY}}
  zai: {{base_url: "{url}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{url}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{url}/v1", key: OAI_KEY}}
  xai: {{base_url: "{url}/v1"}}
  gemini: {{base_url: "{url}"}}
gateway: {{port: {port}}}
"""
MODELS = ["login", "anthropic", "zai", "chat", "responses", "xai", "gemini"]
OK = 200
LOGIN = "sk-ant-oat01-of-mine"


class Thief(http.server.BaseHTTPRequestHandler):
    """Another host; whoever gets here has followed a redirect."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Note what came."""
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.received.append(f"{self.path} {dict(self.headers)}")
        self.send_response(500)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as the library wants it

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


class Leading(Thief):
    """Answers everything with a redirect."""

    status: ClassVar[int] = 307
    to: ClassVar[str] = ""

    def do_POST(self) -> None:
        """Lead elsewhere."""
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(self.status)
        self.send_header("location", self.to + self.path)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as the library wants it


@contextmanager
def serving(handler: type[Thief]) -> Iterator[int]:
    """A server on a free port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def start(user: User, url: str) -> Gateway:
    """A gateway whose providers are all at one address, and which logs all that it can."""
    port = free_port()
    user.keys = {**STRAYS, **NO_WAY_OUT, **KEYS, TEST_HOST: url.removeprefix("http://")}
    user.write_profile(PROFILE.format(url=url, port=port))
    done = user.run("up", "-v")
    assert done.returncode == 0, done.stderr
    return Gateway(f"http://127.0.0.1:{port}", user.gateway_key())


def with_login(gateway: Gateway) -> dict[str, str]:
    """The headers of Claude Code with a Claude login."""
    return {"x-litellm-api-key": f"Bearer {gateway.key}", "authorization": f"Bearer {LOGIN}"}


def test_no_redirect_is_followed(user: User) -> None:
    """Neither the key nor the prompt goes where an upstream leads, whatever its dialect; the client
    is told that the upstream failed.
    """
    with serving(Thief) as thief, serving(Leading) as leading:
        Leading.to = f"http://localhost:{thief}"
        gateway = start(user, f"http://127.0.0.1:{leading}")
        answers = {}
        for Leading.status in (301, 302, 307, 308):
            for model in MODELS:
                for stream in (False, True):
                    said = gateway.ask(model, stream=stream, headers=with_login(gateway))
                    empty = said.status == OK and not said.said
                    answers[Leading.status, model, stream] = 0 if empty else said.status
                gateway.count(model, with_login(gateway))
        assert Thief.received == []
        # LiteLLM takes one for an empty answer where Gemini is to stream.
        assert {status for (*_, model, stream), status in answers.items()
                if (model, stream) == ("gemini", True)} == {0}  # fmt: skip
        assert {status for (*_, model, stream), status in answers.items()
                if (model, stream) != ("gemini", True)} <= {500, 502}  # fmt: skip
        user.run("down")


def test_a_key_that_an_upstream_repeats_is_not_in_the_log(user: User) -> None:
    """An error of an upstream may quote the key that it was sent; the client sees the words, the
    log does not have the key.
    """
    with FakeUpstream("it") as upstream:
        gateway = start(user, upstream.url)
        quoted = " ".join([*KEYS.values(), gateway.key, LOGIN])
        for status in (400, 401, 500):
            upstream.behave(Behaviour(status=status, error=f"said {status} to {quoted}"))
            for model in MODELS[:-1]:
                gateway.ask(model, headers=with_login(gateway))
        log = (user.run_folder() / "gateway.log").read_text()
        assert "said 500 to" in log
        assert [key for key in (*KEYS.values(), gateway.key) if key in log] == []
        user.run("down")
