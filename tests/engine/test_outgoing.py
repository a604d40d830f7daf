"""What an upstream could make of a key that it is given: lead it elsewhere, or have it logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmswitch.profile.rules import TEST_HOST
from tests.engine.gate import COUNT, ROUTES, body
from tests.gateways import CLIENT, wait_for, worker_pids
from tests.ledgers import House
from tests.misbehaving import MB, MisbehavingUpstream, Wire, right, says

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

KEYS = {
    "AN_KEY": "sk-ant-api03-own",
    "ZAI_API_KEY": "own-key-of-zai",
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
CUT_BY = 90_000_000  # bytes: 64 MB, and what the system holds between the two
LOGIN = "sk-ant-oat01-of-mine"
Way = tuple[str, str, bool]


@pytest.fixture(scope="module")
def upstream() -> Iterator[MisbehavingUpstream]:
    """The upstream of all models."""
    with MisbehavingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def led(stage: House, upstream: MisbehavingUpstream) -> House:
    """A gateway whose providers are all at one address."""
    host = {TEST_HOST: upstream.url.removeprefix("http://")}
    return stage.bring(PROFILE, {**KEYS, **host}, url=upstream.url)


def everywhere(house: House) -> Iterator[tuple[Way, bool]]:
    """Ask each model on each route of the gate, streamed or not: which way, and whether something
    was answered that is no error.
    """
    login = {"x-litellm-api-key": house.gateway.key, "authorization": f"Bearer {LOGIN}"}
    for model in MODELS:
        for path in ROUTES:
            for stream in (False, True) if path != COUNT else (False,):
                sent = body(path, model, **({"stream": True} if stream else {}))
                answer = house.gateway.send("POST", path, headers={**CLIENT, **login}, json=sent)
                failed = '"error"' in answer.text.replace('"error":null', "")
                yield (model, path, stream), answer.status_code == 200 and not failed


def test_no_redirect_is_followed(led: House, upstream: MisbehavingUpstream) -> None:
    """Neither the key nor the prompt goes where an upstream leads, be it the same host or another,
    whatever its dialect and whatever route asks it; the client is told that the upstream failed.
    """
    with MisbehavingUpstream() as thief:
        thief.fault = right
        another = f"http://localhost:{thief.port}"
        ways = [(301, another), (307, another), (308, another), (307, f"{upstream.url}/elsewhere")]
        for status, to in ways:
            asked: list[str] = []

            async def lead(wire: Wire, to: str = to, status: int = status) -> None:
                asked.append(wire.path)  # noqa: B023 - of this round
                headers = {"location": to + wire.path}
                await says(b"", status=f"{status} Elsewhere", headers=headers)(wire)

            upstream.fault = lead
            # An estimate of tokens needs no upstream.
            answered = [way for way, is_answer in everywhere(led) if is_answer]
            assert [way for way in answered if way[1] != COUNT] == []
            assert len(asked) >= len(MODELS) * 6
            assert [path for path in asked if "/elsewhere" in path] == []
        assert thief.answered == 0


def test_a_key_that_an_upstream_repeats_is_not_in_the_log(
    led: House, upstream: MisbehavingUpstream
) -> None:
    """An error of an upstream may quote the key that it was sent; the log does not have the key,
    whatever the dialect and whatever route asked, also where it logs all that it can.
    """
    assert led.user.run("restart", "-v").returncode == 0
    quoted = " ".join([*KEYS.values(), led.gateway.key, LOGIN])
    for status in (400, 401, 500):
        upstream.fault = says(f"said {status} to {quoted}".encode(), status=f"{status} No")
        assert [way for way, is_answer in everywhere(led) if is_answer and way[1] != COUNT] == []
    assert "said 500 to" in led.log
    assert [key for key in (*KEYS.values(), led.gateway.key) if key in led.log] == []
    assert led.user.run("restart").returncode == 0


@pytest.mark.soak
def test_an_answer_without_end_is_cut(led: House, upstream: MisbehavingUpstream) -> None:
    """Whatever its dialect and whatever route asked for it; the worker's memory has an end too."""
    sizes: list[int] = []

    async def endless(wire: Wire) -> None:
        sent = 0
        with suppress(OSError):
            await wire.head(kind="text/event-stream" if wire.stream else "application/json")
            await wire.send(b"data: {" if wire.stream else b'{"id": "')
            while sent < 4 * CUT_BY:
                await wire.send(b"x" * MB)
                sent += MB
        sizes.append(sent)

    upstream.fault = endless
    wait_for(lambda: len(worker_pids(led.user)) == 1)  # the one before may still leave
    (worker,) = worker_pids(led.user)
    assert [way for way, is_answer in everywhere(led) if is_answer and way[1] != COUNT] == []
    assert worker_pids(led.user) == {worker}
    assert len(sizes) >= len(MODELS) * 6
    assert max(sizes) < CUT_BY
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert peak
    assert int(peak[1]) < 1_500_000, "kB"
