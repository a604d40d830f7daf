"""What an upstream could make of a key that it is given: lead it elsewhere, or have it logged."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from llmswitch.profile.rules import TEST_HOST
from tests.conftest import User, free_port
from tests.gateways import CLIENT, NO_WAY_OUT, STRAYS, Gateway, worker_pids
from tests.upstream import Behaviour, FakeUpstream

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("outgoing"), pytest.mark.timeout(600)]

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
ANSWER = "I am "  # as the fake upstream begins
CUT_BY = 90_000_000  # bytes: 64 MB, and what the system holds between the two
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
    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Lead elsewhere."""
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.received.append(self.path)
        self.send_response(self.status)
        self.send_header("location", self.to + self.path)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as the library wants it


class Endless(Thief):
    """Answers everything with more than anybody wants."""

    sent: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        """Begin as an answer of any dialect may, and go on until the other side has left."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        streamed = b'"stream": true' in body or b'"stream":true' in body or "stream" in self.path
        self.send_response(200)
        kind = "text/event-stream" if streamed else "application/json"
        self.send_header("content-type", kind)
        self.end_headers()
        piece = b"x" * 1_000_000
        sent = 0
        with suppress(OSError):
            self.wfile.write(b"data: {" if streamed else b'{"id": "')
            while sent < 4 * CUT_BY:
                self.wfile.write(piece)
                sent += len(piece)
        self.sent.append(sent)
        self.close_connection = True

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


def everywhere(gateway: Gateway, models: list[str]) -> Iterator[tuple[tuple[str, str, bool], int]]:
    """Ask each model on each route of the gate, streamed or not: which way, and the status of its
    answer; 0 for an answer that says nothing, and for a stream that ends in an error.
    """
    said_hi = [{"role": "user", "content": "hi"}]
    for model in models:
        for path, body in (
            ("/v1/messages", {"messages": said_hi, "max_tokens": 10}),
            ("/v1/messages/count_tokens", {"messages": said_hi}),
            ("/v1/chat/completions", {"messages": said_hi, "max_tokens": 10}),
            ("/v1/responses", {"input": "hi"}),
        ):
            for stream in (False, True) if "count" not in path else (False,):
                sent = {**body, "model": model, **({"stream": True} if stream else {})}
                headers = {**CLIENT, **with_login(gateway)}
                answer = gateway.send("POST", path, headers=headers, json=sent)
                failed = stream and ('"error"' in answer.text or "failed" in answer.text)
                said = ANSWER in answer.text or '"input_tokens"' in answer.text
                yield (model, path, stream), 0 if failed or not said else answer.status_code


def test_no_redirect_is_followed(user: User) -> None:
    """Neither the key nor the prompt goes where an upstream leads, be it the same host or another,
    whatever its dialect and whatever route asks it; the client is told that the upstream failed.
    """
    with serving(Thief) as thief, serving(Leading) as leading:
        gateway = start(user, f"http://127.0.0.1:{leading}")
        for Leading.to in (f"http://localhost:{thief}", f"http://127.0.0.1:{leading}/elsewhere"):
            for Leading.status in (301, 302, 307, 308):
                Leading.received.clear()
                answers = dict(everywhere(gateway, MODELS))
                assert Thief.received == []
                assert [one for one in Leading.received if "/elsewhere" in one] == []
                counted = [way for way in answers if "count" in way[1]]
                # An estimate needs no upstream.
                assert {answers[way] for way in counted} <= {0, OK}
                assert {answers[way] for way in answers if way not in counted} == {0}
        user.run("down")


def test_an_answer_without_end_is_cut(user: User) -> None:
    """Whatever its dialect and whatever route asked for it; the worker's memory has an end too."""
    with serving(Endless) as endless:
        gateway = start(user, f"http://127.0.0.1:{endless}")
        (worker,) = worker_pids(user)
        answers = dict(everywhere(gateway, MODELS))
        assert worker_pids(user) == {worker}
        assert {status for (_, path, _), status in answers.items() if "count" not in path} == {0}
        assert len(Endless.sent) >= len(MODELS) * 6
        assert max(Endless.sent) < CUT_BY
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
        assert peak
        assert int(peak[1]) < 1_500_000, "kB"
        user.run("down")


def test_a_key_that_an_upstream_repeats_is_not_in_the_log(user: User) -> None:
    """An error of an upstream may quote the key that it was sent; the log does not have the key,
    whatever the dialect and whatever route asked.
    """
    with FakeUpstream("it") as upstream:
        gateway = start(user, upstream.url)
        quoted = " ".join([*KEYS.values(), gateway.key, LOGIN])
        for status in (400, 401, 500):
            upstream.behave(Behaviour(status=status, error=f"said {status} to {quoted}"))
            assert all(answer != OK for (_, path, _), answer in everywhere(gateway, MODELS[:-1])
                       if "count" not in path)  # fmt: skip
        log = (user.run_folder() / "gateway.log").read_text()
        assert "said 500 to" in log
        assert [key for key in (*KEYS.values(), gateway.key) if key in log] == []
        user.run("down")
