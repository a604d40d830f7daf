"""What the tests of the gateway share: requests as clients send them, a profile with a provider of
every dialect, and eyes on processes.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil

from tests.conftest import User
from tests.upstream import FakeUpstream, Json

# Keys of the shell that no provider of the profile has asked for, and addresses of someone else.
STRAYS = {
    "ANTHROPIC_API_KEY": "stray-anthropic",
    "ANTHROPIC_AUTH_TOKEN": "stray-token",
    "OPENAI_API_KEY": "stray-openai",
    "XAI_API_KEY": "stray-xai",
    "HOSTED_VLLM_API_KEY": "stray-vllm",
    "LITELLM_MASTER_KEY": "stray-master",
    "LITELLM_API_KEY": "stray-litellm",
    "AWS_SECRET_ACCESS_KEY": "stray-aws",
    "CLAUDE_CODE_OAUTH_TOKEN": "stray-oauth",
}
# Nothing may leave this machine, and what stays on it must not need a proxy.
NO_WAY_OUT = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
# What a client may carry beside the gateway's key.
CLIENT_SECRETS = {
    "subscription": "sk-ant-oat01-subscription-of-the-client",
    "api key": "sk-ant-api03-key-of-the-client",
    "cookie": "cookie-of-the-client",
    "proxy": "proxy-password-of-the-client",
    "azure": "azure-key-of-the-client",
    "google": "google-key-of-the-client",
    "custom": "custom-token-of-the-client",
}
# What Claude Code says of itself. LiteLLM goes by the user agent: for others it refuses parameters
# that a provider does not have, for Claude Code it drops them.
CLIENT = {
    "user-agent": "claude-cli/2.1.332 (external, cli)",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    "x-app": "cli",
}
AUTHENTICATION = {
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "ocp-apim-subscription-key",
    "cookie",
    "proxy-authorization",
}


# A shell that runs the tests in its background has them ignore Ctrl-C, and what they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A connection for each request, and no certificates: loading them takes longer than an answer.
_CLIENT = httpx.Client(
    trust_env=False,
    timeout=60,
    verify=False,  # noqa: S501 - plain HTTP on loopback
    limits=httpx.Limits(max_keepalive_connections=0),
)


@dataclass(frozen=True)
class Reply:
    """An answer of the gateway to one message."""

    status: int
    text: str
    """The body as it came."""
    events: tuple[Json, ...]
    """The payloads of a stream."""
    headers: Mapping[str, str]

    @property
    def json(self) -> Json:
        """The body of an answer that is not streamed."""
        loaded: Json = json.loads(self.text)
        return loaded

    @property
    def error(self) -> Json:
        """The `error` of a refusal in Anthropic's form."""
        assert self.json["type"] == "error"
        found: Json = self.json["error"]
        return found

    @property
    def said(self) -> str:
        """The text of the message, streamed or not."""
        assert self.status == 200, self.text
        if self.events:
            deltas = [e["delta"] for e in self.events if e["type"] == "content_block_delta"]
            return "".join(delta.get("text", "") for delta in deltas)
        return "".join(block.get("text", "") for block in self.json["content"])


@dataclass(frozen=True)
class Gateway:
    """A running gateway, as a client sees it."""

    url: str
    key: str

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One request, with the key as Bearer unless `headers` say otherwise."""
        carried = {"authorization": f"Bearer {self.key}"} if headers is None else headers
        return _CLIENT.request(method, self.url + path, headers=carried, **more)

    def ask(
        self,
        model: str,
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Reply:
        """One message, as Claude Code sends it."""
        body = {
            "model": model,
            "max_tokens": 100,
            "stream": stream,
            "messages": [{"role": "user", "content": "hi"}],
            **more,
        }
        headers = self._headers(headers)
        response = self.send("POST", "/v1/messages?beta=true", headers=headers, json=body)
        streamed = stream and response.status_code == 200
        return Reply(
            response.status_code,
            response.text,
            tuple(events(response.text)) if streamed else (),
            response.headers,
        )

    @contextmanager
    def streaming(self, model: str) -> Iterator[Iterator[str]]:
        """The lines of a stream, whose client leaves when the block ends."""
        body = {"model": model, "max_tokens": 9, "stream": True}
        with httpx.stream(
            "POST",
            f"{self.url}/v1/messages",
            json={**body, "messages": [{"role": "user", "content": "hi"}]},
            headers={"x-api-key": self.key},
            trust_env=False,
            timeout=60,
        ) as response:
            assert response.status_code == 200
            yield response.iter_lines()

    def leave(self, model: str, deltas: int = 1) -> None:
        """Hang up in the middle of a stream, after so many parts of its text."""
        with self.streaming(model) as lines:
            for line in lines:
                deltas -= "text_delta" in line
                if not deltas:
                    return

    def count(self, model: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A question for the number of tokens."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        headers = self._headers(headers)
        return self.send("POST", "/v1/messages/count_tokens", headers=headers, json=body)

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {**CLIENT, **(headers or {"authorization": f"Bearer {self.key}"})}


def events(text: str) -> Iterator[Json]:
    """The payloads of a stream."""
    for line in text.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


DIALECTS = ("anthropic", "messages", "chat", "responses", "litellm")
MODELS = (*DIALECTS, "keyless", "keyless-messages", "keyless-responses")
"""The models of the lab: one for each dialect, called like it, and three that need no key."""

PROFILE = """
models:
  anthropic: an/claude-opus-4-5-20251101
  messages: zai/glm-4.7
  chat: mine/qwen3
  responses: oai/gpt-x
  litellm: grok/grok-4
  keyless: local/llama
  keyless-messages: lm/phi
  keyless-responses: lr/oss
  from-anthropic: {{model: an/first, fallbacks: [messages]}}
  from-messages: {{model: zai/first, fallbacks: [chat]}}
  from-chat: {{model: mine/first, fallbacks: [responses]}}
  from-responses: {{model: oai/first, fallbacks: [litellm]}}
  from-litellm: {{model: grok/first, fallbacks: [anthropic]}}
  from-keyless: {{model: local/first, fallbacks: [anthropic]}}
  to-keyless: {{model: an/second, fallbacks: [keyless-messages]}}
  left-out: {{model: mine/lost, keys: [NOT_SET]}}
providers:
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  zai: {{base_url: "{zai}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: OAI_KEY}}
  grok: {{dialect: litellm, prefix: xai, base_url: "{grok}/v1", key: GROK_KEY}}
  local: {{dialect: chat, base_url: "{local}/v1", key: null}}
  lm: {{dialect: messages, base_url: "{lm}", key: null}}
  lr: {{dialect: responses, base_url: "{lr}/v1", key: null}}
gateway: {{port: {port}}}
"""
KEYS = {
    "AN_KEY": "sk-ant-api03-own-anthropic",
    "ZAI_API_KEY": "own-zai",
    "MINE_KEY": "own-mine",
    "OAI_KEY": "own-oai",
    "GROK_KEY": "own-grok",
    "ZAI_KEY": "value-of-zai",
    "KEY_A": "value-a",
    "KEY_B": "value-b",
    "KEY_C": "value-c",
}
SERVED = [
    *MODELS,
    *(f"from-{name}" for name in (*DIALECTS, "keyless")),
    "to-keyless",
]


@dataclass
class Lab:
    """A gateway in front of one fake upstream for each provider of PROFILE."""

    user: User
    upstreams: dict[str, FakeUpstream]
    port: int

    OF_MODEL: ClassVar[dict[str, tuple[str, str | None]]] = {
        "anthropic": ("an", "sk-ant-api03-own-anthropic"),
        "messages": ("zai", "own-zai"),
        "chat": ("mine", "own-mine"),
        "responses": ("oai", "own-oai"),
        "litellm": ("grok", "own-grok"),
        "keyless": ("local", None),
        "keyless-messages": ("lm", None),
        "keyless-responses": ("lr", None),
    }
    """The upstream of a model and the key that belongs to it."""

    @property
    def gateway(self) -> Gateway:
        """The gateway, with its key."""
        return Gateway(f"http://127.0.0.1:{self.port}", self.user.gateway_key())

    def of(self, model: str) -> FakeUpstream:
        """The upstream that serves a model."""
        return self.upstreams[self.OF_MODEL[model][0]]

    def clear(self) -> None:
        """Forget what the upstreams have received."""
        for upstream in self.upstreams.values():
            upstream.clear()

    @property
    def received(self) -> dict[str, int]:
        """How many requests each upstream has received, those that got none left out."""
        return {n: len(u.requests) for n, u in self.upstreams.items() if u.requests}


def secrets_in(text: str, *known: str) -> list[str]:
    """Those of the known secrets that stand in a text."""
    return [secret for secret in known if secret in text]


def wait_for(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is true; the machine may be slow."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.05)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something takes; `pytest -rP` shows it. What the manual says is from here."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.2f} s")


def running_below(root: Path) -> list[str]:
    """The processes that work in a folder below `root`: what was left running there."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root) and process.status() != "zombie":
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except (psutil.Error, OSError):
            continue
    return found


def worker_pids(user: User, profile: str = "work") -> set[int]:
    """The workers behind a gateway, as the system shows them."""
    master = psutil.Process(user.gateway_state(profile)["pid"])
    return {child.pid for child in master.children()}
