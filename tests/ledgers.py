"""What the tests of the ledger share: a gateway for a profile of the test's own, and eyes on its
ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from llmswitch.ledger import Try, open_to_read
from tests.conftest import User, free_port, make_user
from tests.gateways import DIALECTS, NO_WAY_OUT, STRAYS, Gateway, wait_for
from tests.upstream import FakeUpstream, Request

PATIENCE = 20.0  # seconds that a row may take to be written
CALM = 0.15  # seconds after which LiteLLM has told of every try
PROVIDERS = """\
providers:
  an: {{dialect: anthropic, base_url: "{an}", key: AN_KEY}}
  zai: {{base_url: "{zai}/api/anthropic", key: ZAI_KEY}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_KEY}}
  oai: {{dialect: responses, base_url: "{oai}/v1", key: OAI_KEY}}
  grok: {{dialect: litellm, prefix: xai, base_url: "{grok}/v1", key: GROK_KEY}}
gateway: {{port: {port}}}
"""
"""The end of a profile for open_house: a provider of each dialect."""
UPSTREAMS = dict(zip(DIALECTS, ("an", "zai", "mine", "oai", "grok"), strict=True))
"""The upstream of each dialect, in PROVIDERS."""


@dataclass
class House:
    """A gateway in front of fake upstreams, and its ledger."""

    user: User
    upstreams: dict[str, FakeUpstream]
    port: int
    seen: int = 0
    """The newest row of the ledger that a test has read."""

    @property
    def gateway(self) -> Gateway:
        """The gateway, with its key."""
        return Gateway(f"http://127.0.0.1:{self.port}", self.user.gateway_key())

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        (file,) = self.user.state.rglob("*.db")
        return file

    def rows(self, number: int) -> list[Try]:
        """The rows since the last look: as many as these, and no more."""
        end = time.monotonic() + PATIENCE
        while len(self._since()) < number and time.monotonic() < end:
            time.sleep(0.02)
        self._calm()
        found = self._since()
        self.seen += len(found)
        assert len(found) == number, found
        return found

    def _since(self) -> list[Try]:
        if not [*self.user.state.rglob("*.db")]:  # the gateway has only just started
            return []
        connection = open_to_read(self.ledger)
        if connection is None:  # just being made
            return []
        with closing(connection):
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM tries WHERE id > ? ORDER BY id", (self.seen,))
            found = [Try(**{name: row[name] for name in Try._fields}) for row in rows]
        return [
            row._replace(
                streamed=bool(row.streamed),
                cache_hit=bool(row.cache_hit),
                estimated=bool(row.estimated),
            )
            for row in found
        ]

    def heal(self) -> None:
        """Every upstream is well and has received nothing; every row of the ledger is read."""
        for upstream in self.upstreams.values():
            upstream.clear()
            upstream.heal()
        self._calm()
        self.seen += len(self._since())

    def _calm(self) -> None:
        """Wait until what the gateway has done is written."""
        time.sleep(CALM)
        wait_for(
            lambda: not self.gateway.send("GET", "/llmswitch/state").json()["ledger"]["waiting"]
        )

    def received(self) -> dict[str, list[str]]:
        """The keys that came to each upstream, in order; those that got none left out."""
        return {
            name: [key_of(request) for request in upstream.requests]
            for name, upstream in self.upstreams.items()
            if upstream.requests
        }


def key_of(request: Request) -> str:
    """The key that a request carries."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("x-api-key") or bearer


def open_house(
    root: Path, names: Sequence[str], profile: str, keys: Mapping[str, str]
) -> Iterator[House]:
    """A gateway that runs with a profile, in which `{name}` is the URL of a fake upstream."""
    user = make_user(root)
    user.keys = {**STRAYS, **NO_WAY_OUT, **keys}
    with ExitStack() as stack:
        upstreams = {name: stack.enter_context(FakeUpstream(name)) for name in names}
        house = House(user, upstreams, free_port())
        urls = {name: upstream.url for name, upstream in upstreams.items()}
        user.write_profile(profile.format(port=house.port, **urls))
        try:
            done = user.run("up")
            assert done.returncode == 0, done.stderr
            yield house
            user.run("down")
        finally:
            user.stop_everything()
