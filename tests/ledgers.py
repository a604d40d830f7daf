"""A gateway in front of a fake upstream for each provider, which a test brings to the profile that
it needs, and eyes on its ledger. The tests of a worker share one (`stage` of tests/engine).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from llmswitch.ledger import Try, open_to_read
from llmswitch.profile.rules import TEST_HOST
from tests.conftest import free_port, make_user
from tests.gateways import DIALECTS, KEYS, NO_WAY_OUT, STRAYS, Lab, wait_for
from tests.upstream import FakeUpstream, Request

PATIENCE = 20.0  # seconds that a row may take to be written
CALM = 0.15  # seconds after which LiteLLM has told of every try
DEAD = "http://127.0.0.1:9"
# Where LiteLLM would send requests if it took these from the shell.
ADDRESSES = {
    "ANTHROPIC_BASE_URL": DEAD,
    "ANTHROPIC_API_BASE": DEAD,
    "OPENAI_BASE_URL": DEAD,
    "OPENAI_API_BASE": DEAD,
    "XAI_API_BASE": DEAD,
    "HOSTED_VLLM_API_BASE": DEAD,
}
PROVIDERS = """\
providers:
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  zai: {{base_url: "{zai}/api/anthropic", key: ZAI_KEY}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: OAI_KEY}}
  grok: {{dialect: litellm, prefix: xai, base_url: "{grok}/v1", key: GROK_KEY}}
gateway: {{port: {port}}}
"""
"""The end of a profile: a provider of each dialect."""
UPSTREAMS = dict(zip(DIALECTS, ("an", "zai", "mine", "oai", "grok"), strict=True))
"""The upstream of each dialect, in PROVIDERS."""
_MESSAGES, _CHAT, _RESPONSES = "/v1/messages", "/chat/completions", "/responses"
HAS = {
    "an": (_MESSAGES,),
    "max": (_MESSAGES,),
    "zai": (_MESSAGES,),
    "mine": (_CHAT,),
    "oai": (_RESPONSES,),
    "grok": (_CHAT, _RESPONSES),
    "lm": (_MESSAGES,),
    "local": (_CHAT,),
    "lr": (_RESPONSES,),
}
"""Each upstream, and the one path that its dialect promises: it answers 404 at any other."""


@dataclass
class House(Lab):
    """A gateway in front of fake upstreams, and its ledger."""

    seen: int = 0
    """The newest row of the ledger that a test has read."""
    settled: int = -1
    """How many requests the upstreams had got when the ledger was last complete."""
    log_before: int = 0
    """Bytes of the gateway's log from before this profile."""

    def bring(self, profile: str, keys: Mapping[str, str] | None = None, **more: object) -> Self:
        """Bring the gateway to a profile, in which `{port}` is its port and `{name}` the URL of an
        upstream, or one of `more`. Its shell has `keys` beside those of the lab.
        """
        urls = {name: upstream.url for name, upstream in self.upstreams.items()}
        login = {TEST_HOST: urls["max"].removeprefix("http://")}
        self.user.keys = {**STRAYS, **NO_WAY_OUT, **ADDRESSES, **login, **KEYS, **(keys or {})}
        self.user.write_profile(profile.format(**{"port": self.port, **urls, **more}))
        done = self.user.run("up")
        assert done.returncode == 0, done.stderr
        self.log_before = len(self._log.read_bytes())
        self.heal()
        return self

    @property
    def log(self) -> str:
        """What the gateway has logged since it was brought to this profile."""
        return self._log.read_bytes()[self.log_before :].decode(errors="replace")

    @property
    def _log(self) -> Path:
        return self.user.run_folder() / "gateway.log"

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        (file,) = self.user.state.rglob("*.db")
        return file

    @cached_property
    def client_key(self) -> str:
        """The key of a client."""
        key: str = self.user.json("client", "add", "laptop")["key"]
        return key

    def rows(self, number: int) -> list[Try]:
        """The rows since the last look: as many as these, and no more."""
        end = time.monotonic() + PATIENCE
        while len(self.since()) < number and time.monotonic() < end:
            time.sleep(0.02)
        self._calm()
        found = self.since()
        self.seen = max(found, default=self.seen)
        assert len(found) == number, found
        return [*found.values()]

    def since(self) -> dict[int, Try]:
        """The rows since the last look, by their ids."""
        if not [*self.user.state.rglob("*.db")]:  # the gateway has only just started
            return {}
        connection = open_to_read(self.ledger)
        if connection is None:  # just being made
            return {}
        with closing(connection):
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM tries WHERE id > ? ORDER BY id", (self.seen,))
            return {row["id"]: _try(row) for row in rows}

    def reset(self) -> None:
        """Every upstream is well and has received nothing."""
        for upstream in self.upstreams.values():
            upstream.clear()
            upstream.heal()

    def heal(self) -> None:
        """The same, and every row of the ledger is read."""
        self._calm()
        self.reset()
        self.seen = 0
        self.seen = max(self.since(), default=0)

    def _calm(self) -> None:
        """Wait until what the gateway has done is written."""
        asked = sum(upstream.asked for upstream in self.upstreams.values())
        if asked != self.settled:
            time.sleep(CALM)
            self.settled = asked
        wait_for(
            lambda: not self.gateway.send("GET", "/llmswitch/state").json()["ledger"]["waiting"]
        )

    def keys_received(self) -> dict[str, list[str]]:
        """The keys that came to each upstream, in order; those that got none left out."""
        return {
            name: [key_of(request) for request in upstream.requests]
            for name, upstream in self.upstreams.items()
            if upstream.requests
        }


def _try(row: sqlite3.Row) -> Try:
    values: dict[str, Any] = {name: row[name] for name in Try._fields}
    flags = ("streamed", "cache_hit", "estimated")
    return Try(**values | {name: bool(values[name]) for name in flags})


def key_of(request: Request) -> str:
    """The key that a request carries."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("x-api-key") or bearer


def open_house(root: Path) -> Iterator[House]:
    """A house whose upstreams run; its gateway starts with the first profile."""
    user = make_user(root)
    with ExitStack() as stack:
        upstreams = {
            name: stack.enter_context(FakeUpstream(name, dialects=has)) for name, has in HAS.items()
        }
        stack.callback(user.stop_everything)
        yield House(user, upstreams, free_port())
