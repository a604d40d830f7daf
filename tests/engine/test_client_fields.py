"""What a client can say of its own request: nothing that LiteLLM would take for its own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from llmswitch.ledger import Try
from tests.engine.test_ledger import count, settled
from tests.gateways import KEYS, Gateway, Lab, open_lab, wait_for
from tests.upstream import Behaviour, FakeUpstream, Usage

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("client-fields"),
    pytest.mark.timeout(300),
]

DIALECTS = ("anthropic", "messages", "chat", "responses", "litellm")
ROUTES = ("/v1/messages", "/v1/chat/completions")
FIELDS: dict[str, Any] = {
    "custom_llm_provider": "llamafile",
    "deployment_id": "dear-model",
    "azure": True,
    "extra_body": {"model": "dear"},
    "headers": {"authorization": "Bearer evil", "x-api-key": "evil"},
    "extra_headers": {"authorization": "Bearer evil"},
    "api_key": "evil",
    "no-log": True,
    "no_log": True,
    "num_retries": 6,
    "max_retries": 6,
    "timeout": 0.001,
    "mock_response": "mocked",
    "litellm_session_id": "evil",
    "aws_access_key_id": "evil",
    "vertex_project": "evil",
    "fallbacks": ["keyless"],
    "organization": "evil",
    "input_cost_per_token": 0,
    "output_cost_per_token": 0,
    "api_base": "http://127.0.0.1:9",
    "base_url": "http://127.0.0.1:9",
    "model_list": [],
    "user_config": {},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gateway with a provider of every dialect."""
    yield from open_lab(tmp_path_factory.mktemp("fields"))


def ledger_of(lab: Lab) -> Any:
    """Where the lab's ledger is."""
    return lab.user.state / "ledger" / "work.db"


def rows(lab: Lab, after: int) -> list[Try]:
    """The rows beyond the first `after`."""
    with closing(sqlite3.connect(ledger_of(lab))) as connection:
        columns = ", ".join(Try._fields)
        found = connection.execute(
            f"SELECT {columns} FROM tries ORDER BY id LIMIT -1 OFFSET {after}"  # noqa: S608
        )
        return [Try(*row) for row in found]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_field_of_a_body_leads_a_request_or_a_key_astray(
    lab: Lab, dialect: str, route: str
) -> None:
    """Whatever it carries, a request goes once to its own host with its own key and model, and has
    its row. One field after the other, then all of them.
    """
    name, key = lab.OF_MODEL[dialect]
    path, model = "", ""
    for extra in [{}, *({field: value} for field, value in FIELDS.items()), FIELDS]:
        lab.clear()
        before = count(ledger_of(lab))
        assert send(lab.gateway, route, dialect, extra) == 200, extra
        assert lab.received == {name: 1}, extra
        [request] = lab.of(dialect).requests
        asked = str((request.body or {})["model"])
        path, model = path or request.path, model or asked  # as without any of them
        assert (request.path, asked) == (path, model), extra
        assert key in (
            request.headers.get("authorization", "")[7:],
            request.headers.get("x-api-key"),
        ), extra
        assert "evil" not in json.dumps([request.headers, request.body]), extra
        wait_for(lambda before=before: count(ledger_of(lab)) > before)  # type: ignore[misc]
        [row] = rows(lab, before)
        assert (row.model, row.key, row.status, row.client) == (
            dialect,
            next(variable for variable, value in KEYS.items() if value == key),
            200,
            "gateway",
        )


def send(gateway: Gateway, route: str, model: str, extra: dict[str, Any], **headers: str) -> int:
    """One message with more fields and headers; its status."""
    body = {
        "model": model,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
        **extra,
    }
    carried = {"authorization": f"Bearer {gateway.key}", **headers}
    return gateway.send("POST", route, headers=carried, json=body).status_code


def test_a_key_goes_to_no_default_host_of_another_vendor(lab: Lab) -> None:
    """A provider that LiteLLM knows by a prefix has no base URL to hold it; a field that names
    another vendor would send its key there, to this machine's port of llamafile, say.
    """
    with FakeUpstream("llamafile", port=8080) as other:
        for route in ROUTES:
            send(lab.gateway, route, "litellm", {"custom_llm_provider": "llamafile"})
        assert other.requests == []


def test_no_header_of_litellms_own_has_an_effect(lab: Lab) -> None:
    """Retries, timeouts, ids and callbacks are the profile's."""
    lab.clear()
    lab.of("messages").behave(Behaviour(status=500))
    before = settled(ledger_of(lab))
    headers = {
        "x-litellm-num-retries": "6",
        "x-litellm-timeout": "0.001",
        "x-litellm-call-id": "same",
        "x-litellm-disable-callbacks": "llmswitch.engine.recorder.ledger",
    }
    for _ in range(2):
        assert send(lab.gateway, "/v1/messages", "messages", {}, **headers) == 500
    lab.of("messages").behave(Behaviour())
    assert len(lab.of("messages").requests) == 2
    wait_for(lambda: count(ledger_of(lab)) == before + 2)
    first, second = rows(lab, before)
    assert first.request != second.request
    assert {first.status, second.status} == {500}


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=10**30, output=5),
        Usage(input=5, output=-(10**30)),
        Usage(input=-5, output=5, cache_read=-5000, cache_write=-5000),
    ],
    ids=["more than there is", "less than nothing", "negative"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_figures_that_cannot_be_do_no_harm(lab: Lab, usage: Usage, stream: bool) -> None:
    """No upstream can end the ledger, or pay a budget back."""
    before = settled(ledger_of(lab))
    lab.of("messages").behave(Behaviour(usage=usage))
    lab.gateway.ask("messages", stream=stream)
    lab.of("messages").behave(Behaviour())
    assert lab.gateway.ask("messages").status == 200
    wait_for(lambda: count(ledger_of(lab)) == before + 2)
    time.sleep(0.2)
    for row in rows(lab, before):
        assert row.cost is None or row.cost >= 0
        assert min(row.input, row.output, row.cache_read, row.cache_write) >= 0
    said = lab.gateway.send("GET", "/llmswitch/state").json()["ledger"]
    assert said == {"trouble": None, "waiting": 0, "lost": 0}
