"""What a body, a query and headers can do behind the gate, tried as an attacker would: against the
gate alone, whose whole output is compared, and against a gateway where LiteLLM or the wire matters.
"""

from __future__ import annotations

import json
import re
import socket
from typing import Any
from urllib.parse import quote

import pytest

from tests.engine.forms import error_body
from tests.engine.gate import CHAT, COUNT, MESSAGES, RESPONSES, ROUTES, Gate, body
from tests.gateways import CLIENT, CLIENT_SECRETS, DIALECTS
from tests.imported_engine import look
from tests.ledgers import House
from tests.upstream import FakeUpstream, Json, Request

pytestmark = pytest.mark.timeout(300)

ACCOUNT = "the gateway gives no access to what a provider keeps in its owner's account"
NO_MCP = "the gateway has no MCP servers of its own"
NO_ADVISOR = "the gateway asks no second model for an answer"

# Every parameter that LiteLLM has types for, and what of these each API has too.
LIST_FIELDS = """
import inspect, json
import litellm
from litellm.proxy import _types
from litellm.types import router
from litellm.types.utils import all_litellm_params
from llmswitch.engine.routes import POSTED
from llmswitch.engine.shapes import kinds
names = set(all_litellm_params)
for one in (
    router.GenericLiteLLMParams, router.CredentialLiteLLMParams, router.LiteLLM_Params,
    router.CustomPricingLiteLLMParams, _types.ProxyChatCompletionRequest,
):
    names |= set(one.model_fields)
for function in (litellm.completion, litellm.responses, litellm.anthropic_messages):
    names |= set(inspect.signature(function).parameters)
names |= set(inspect.signature(litellm.Router.__init__).parameters)
print(json.dumps({"names": sorted(names), **{r: sorted(kinds(r)) for r in POSTED}}))
"""
# What is in no type of LiteLLM, but is read somewhere in its source.
UNTYPED = {
    "caching_groups", "custom_tokenizer", "dynamic_params", "extra_body", "extra_headers",
    "extra_query", "headers", "ignore_cost", "litellm_call_id", "litellm_metadata", "kwargs",
    "litellm_session_id", "litellm_trace_id", "mcp_tool_permissions", "mock_delay", "mock_timeout",
    "mock_testing_fallbacks", "no-log", "no-cache", "num_retries", "policies", "prompt_id",
    "prompt_variables", "prompt_version", "provider_specific_header", "proxy_server_request",
    "request_timeout", "router_settings_override", "secret_fields", "tags", "user_api_key",
    "user_config", "vector_store_ids", "_skip_mcp_handler", "__proto__", "litellm_params", "data",
}  # fmt: skip
VALUES: tuple[Any, ...] = (
    "os.environ/MINE_KEY",
    "OS.ENVIRON/MINE_KEY",
    " os.environ/MINE_KEY",
    {"api_key": "os.environ/MINE_KEY", "api_base": "http://127.0.0.1:9", "model": "keyless"},
    [{"chat": [{"model": "keyless", "custom_llm_provider": "mistral"}]}, "keyless"],
    "http://127.0.0.1:9/os.environ/MINE_KEY",
    True,
    0,
)


QUERY = (
    "model=keyless&custom_llm_provider=mistral&api_base=http://127.0.0.1:9&api_key=os.environ/X"
    "&api-version=1&user_config=x&litellm_metadata=x&stream=true&key=x&beta=true&beta=x&limit=1"
    "&timeout=1&mock_response=x&%62ase_url=x&;model=keyless&model[]=keyless&=x&&&"
)


HEADERS = {
    **dict.fromkeys(
        (
            "x-litellm-model-id", "x-litellm-num-retries", "x-litellm-timeout",
            "x-litellm-stream-timeout", "x-litellm-tags", "x-litellm-enable-message-redaction",
            "x-litellm-end-user-id", "x-litellm-trace-id", "x-litellm-session-id",
            "x-litellm-spend-logs-metadata", "x-litellm-agent-id", "x-litellm-customer-id",
            "x-litellm-call-id", "x-mcp-auth", "x-mcp-servers", "litellm-metadata",
            "langfuse-trace-id", "baggage", "x-b3-traceid", "x-amzn-trace-id", "x-request-id",
            "x-aws-region", "aws-session-token", "openai-organization", "openai-project",
            "openai-beta", "anthropic-organization-id", "anthropic-workspace-id",
            "x-goog-user-project", "x-pass-anything", "x-pass-anthropic-beta", "helicone-auth",
            "te", "accept-language", "idempotency-key", "cache-control",
        ),
        "1",
    ),
    "x-litellm-disable-callbacks": "llmswitch.engine.recorder.ledger",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "x-forwarded-for": "1.2.3.4",
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https",
    "forwarded": "for=1.2.3.4",
    "host": "evil.test",
    "origin": "http://evil.test",
    "expect": "100-continue",
    "cookie": CLIENT_SECRETS["cookie"],
    "proxy-authorization": CLIENT_SECRETS["proxy"],
    "authorization": f"Bearer {CLIENT_SECRETS['subscription']}",
    "api-key": CLIENT_SECRETS["azure"],
    "x-goog-api-key": CLIENT_SECRETS["google"],
}  # fmt: skip


@pytest.fixture(scope="module")
def fields() -> dict[str, list[str]]:
    """LiteLLM's `names`, and the fields that pass on each route."""
    found: dict[str, list[str]] = look(LIST_FIELDS)
    return found


# ------------------------------------------------------------------ the log


def test_what_is_hostile_forges_no_line_of_the_log(lab: House) -> None:
    """Names of fields, models and paths, with line ends and colours in them, are in one line each
    at most, and a field's only where it looks like one; of a worker that has seen no others yet.
    """
    forged = "2026-01-01T00:00:00.000Z request method=POST path=/v1/messages status=200 model=chat"
    for tail in ("\n", "\r", "\u2028", "\x1b[2J", "\x85", "\0"):
        evil = f"x{tail}{forged}"
        sent = body(MESSAGES) | {evil: 1}
        assert lab.gateway.send("POST", MESSAGES, json=sent).status_code == 200
        assert lab.gateway.send("POST", MESSAGES, json=body(MESSAGES, evil)).status_code == 404
        assert lab.gateway.send("GET", "/v1/" + quote(evil)).status_code == 404
    written = lab.log
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028]", written)
    assert not [line for line in written.split("\n") if line.startswith(forged[:40])]
    assert written.count("(no name of a field)") == 1
    assert "Traceback" not in written


# ------------------------------------------------------------------ beside the fields of the API


@pytest.mark.parametrize("route", ROUTES)
def test_no_parameter_header_or_query_has_an_effect(
    gate: Gate, fields: dict[str, list[str]], route: str
) -> None:
    """With every parameter that LiteLLM has and the API has not, whatever its value, with headers
    of LiteLLM's own, of tracing and of forwarding, and with a query, byte for byte the same passes.
    """
    plain = gate.through(route, body(route))
    steering = ({*fields["names"]} | UNTYPED) - {*fields[route]}
    assert len(steering) > 250
    for value in VALUES:
        extra = dict.fromkeys(sorted(steering), value)
        assert gate.through(route, extra | body(route)) == plain, value
    assert gate.through(f"{route}?{QUERY}", body(route))._replace(query=b"") == plain
    loud = gate.through(route, body(route), **HEADERS)
    assert loud == plain._replace(login=CLIENT_SECRETS["subscription"].encode())


@pytest.mark.engine
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("model", DIALECTS)
def test_the_upstream_receives_the_same(
    lab: House, fields: dict[str, list[str]], route: str, model: str
) -> None:
    """Of all that at once, with LiteLLM behind the gate and the key of a client."""

    def received(path: str, sent: Json, headers: dict[str, str]) -> dict[str, list[Request]]:
        lab.clear()
        carried = {**CLIENT, **headers, "x-api-key": lab.client_key}
        answer = lab.gateway.send("POST", path, json=sent, headers=carried)
        assert answer.status_code == 200, answer.text
        return {name: [*one.requests] for name, one in lab.upstreams.items() if one.requests}

    plain = received(route, body(route, model), {})
    steering = ({*fields["names"]} | UNTYPED) - {*fields[route]}
    extra = dict.fromkeys(sorted(steering), VALUES[3])
    assert received(f"{route}?{QUERY}", extra | body(route, model), HEADERS) == plain


def test_the_fields_that_pass_are_no_parameters_of_litellms_alone(
    fields: dict[str, list[str]],
) -> None:
    """What steers LiteLLM is in no API; a new version that has it so is to be looked at."""
    steering = re.compile(
        r"api_|base_url|litellm|mock|fallback|router|aws_|azure|vertex_|tags|guardrail|cost|"
        r"provider|credential|secret|retries|timeout|cache$|ttl|headers|extra_|template|deployment"
    )
    named = {route: [name for name in fields[route] if steering.search(name)] for route in ROUTES}
    assert named == {route: [] for route in ROUTES}
    assert "metadata" not in {*fields[CHAT], *fields[RESPONSES]}


def test_of_metadata_the_user_alone_passes(gate: Gate) -> None:
    """LiteLLM reads hosts, tags, guardrails and models from `metadata`."""
    named = {"user_id": "os.environ/MINE_KEY"}
    plain = gate.through(MESSAGES, body(MESSAGES, metadata=named))
    names = ("api_base", "model_group", "tags", "guardrails", "user_config", "spend_logs_metadata")
    for value in VALUES:
        more = {**dict.fromkeys(names, value), **named}
        assert gate.through(MESSAGES, body(MESSAGES, metadata=more)) == plain
    nobody = gate.through(MESSAGES, body(MESSAGES))
    users: tuple[Any, ...] = ({}, [], 1, None)
    for user in users:
        wrong = body(MESSAGES, metadata={"user_id": user, "tags": ["x"]})
        assert gate.through(MESSAGES, wrong) == nobody


# ------------------------------------------------------------------ bodies that are none

OK = json.dumps(body(MESSAGES)).encode()
NO_JSON = "the body is not valid JSON"
NO_OBJECT = "the body is not a JSON object"
TOO_DEEP = "the body is nested too deeply"


def nested(depth: int) -> bytes:
    """A body with arrays in arrays."""
    schema = b"[" * depth + b"]" * depth
    return OK[:-1] + b', "tools": [{"type": "a", "input_schema": {"x": ' + schema + b"}}]}"


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NO_JSON),
    "blank": (b" \n", NO_JSON),
    "half": (OK[:-1], NO_JSON),
    "two": (OK + OK, NO_JSON),
    "array": (b"[]", NO_OBJECT),
    "array of requests": (b"[" + OK + b"]", NO_OBJECT),
    "null": (b"null", NO_OBJECT),
    "true": (b"true", NO_OBJECT),
    "number": (b"1", NO_OBJECT),
    "string": (b'"x"', NO_OBJECT),
    "NaN": (OK[:-1] + b', "temperature": NaN}', NO_JSON),
    "Infinity": (OK[:-1] + b', "temperature": -Infinity}', NO_JSON),
    "infinite": (OK[:-1] + b', "temperature": 1e999}', NO_JSON),
    "digits": (OK[:-1] + b', "temperature": ' + b"9" * 5000 + b"}", NO_JSON),
    "byte order mark": (b"\xef\xbb\xbf" + OK, NO_JSON),
    "UTF-16": (OK.decode().encode("utf-16"), NO_JSON),
    "no UTF-8": (OK[:-1] + b', "system": "\xff"}', NO_JSON),
    "half a surrogate": (OK[:-1] + b', "system": "\\ud800"}', NO_JSON),
    "deep": (nested(300), TOO_DEEP),
    "deeper": (nested(2000), NO_JSON),
    "deepest": (nested(40_000), NO_JSON),
    "deep objects": (OK[:-1] + b', "a": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_001, NO_JSON),
    "form": (b"model=chat&max_tokens=9", NO_JSON),
    "multipart": (b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nchat\r\n', NO_JSON),
    "no model": (b"{}", "model: the name of a model is required"),
    "model twice": (OK[:-1] + b', "model": null}', "model: the name of a model is required"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request(gate: Gate, name: str) -> None:
    """It is 400 in the form of the API, and nothing passes."""
    before = len(gate.passed)
    sent, said = BODIES[name]
    for route in ROUTES:
        answer = gate.post(route, sent, content_type="application/json")
        expected = error_body(route, 400, f"llmswitch: {said}")
        assert (answer.status_code, answer.json()) == (400, expected)
    assert len(gate.passed) == before


def test_a_name_that_stands_twice_has_one_meaning(gate: Gate) -> None:
    """The last one counts, here and behind the gate; an escaped name is the name."""
    plain = gate.through(MESSAGES, body(MESSAGES))
    twice = OK.replace(b'"model": "chat"', b'"model": "anthropic", "model": "chat"')
    escaped = OK.replace(b'"model"', b'"\\u006dodel"')
    hidden = OK[:-1] + b', "api\\u005fbase": "http://127.0.0.1:9", "tags": ["a"]}'
    for sent in (twice, escaped, hidden):
        assert gate.through(MESSAGES, sent) == plain


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "x"],
)
def test_a_body_is_json_whatever_it_is_called(gate: Gate, kind: str) -> None:
    """LiteLLM would read a form as a form."""
    plain = gate.through(MESSAGES, body(MESSAGES))
    assert gate.through(MESSAGES, OK, content_type=kind) == plain


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x", "identity, gzip"])
def test_packed_bodies(gate: Gate, coding: str) -> None:
    """A packed body is 400 and not unpacked."""
    answer = gate.post(MESSAGES, OK, content_encoding=coding)
    said = "llmswitch: a compressed body is not supported; send it without content-encoding"
    assert (answer.status_code, answer.json()) == (400, error_body(MESSAGES, 400, said))


LIES = {
    "both lengths": "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two codings": "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "unknown coding": "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two lengths": "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "negative": "content-length: -5\r\n\r\n",
    "signed": "content-length: +5\r\n\r\nhello",
    "long length": f"content-length: {'9' * 5000}\r\n\r\n",
    "too short": "content-length: 10\r\n\r\n" + OK.decode(),
    "no size of a chunk": "transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "negative chunk": "transfer-encoding: chunked\r\n\r\n-5\r\nabc\r\n",
    "no colon": "garbage\r\n\r\n",
    "two hosts": "host: a\r\n\r\n",
    "blank before the colon": "content-length : 5\r\n\r\nhello",
    "no body": "\r\n",
}


@pytest.mark.parametrize("name", LIES)
def test_a_length_that_lies(lab: House, name: str) -> None:
    """What a server in front could take for something else is 400, and nothing is sent on."""
    lab.clear()
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {lab.gateway.key}\r\n"
        connection.sendall((head + LIES[name]).encode())
        answer = connection.recv(65_536)
    assert answer.split()[1] == b"400", answer
    assert "Traceback" not in lab.log
    assert lab.received == {}


def test_a_client_that_goes_on_after_a_refusal(lab: House) -> None:
    """Who sends megabytes without a key gets the refusal, and may send the next request on the same
    connection; garbage instead ends it, without a traceback in the log.
    """
    refused = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\n"
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        connection.sendall(refused + b"content-length: 3000000\r\n\r\n")
        assert whole(connection).split()[1] == b"401"
        for _ in range(30):
            connection.sendall(b"x" * 100_000)
        connection.sendall(b"GET /health/liveliness HTTP/1.1\r\nhost: x\r\n\r\n")
        assert whole(connection).split()[1] == b"200"
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        connection.sendall(refused + b"transfer-encoding: chunked\r\n\r\n")
        assert whole(connection).split()[1] == b"401"
        connection.sendall(b"no chunk\r\n")
        assert connection.recv(65_536) == b""
    assert "Traceback" not in lab.log


def whole(connection: socket.socket) -> bytes:
    """An answer to the end of its JSON."""
    got = b""
    while not got.endswith(b"}"):
        got += connection.recv(65_536)
    return got


# ------------------------------------------------------------------ fields of the wrong kind

SAID = '{"messages": [{"role": "user", "content": %s}]}'

SHAPES: tuple[tuple[str, str, str], ...] = (
    (MESSAGES, '{"messages": "hi"}', "messages: must be an array"),
    (MESSAGES, '{"messages": []}', "messages: at least one message is required"),
    (MESSAGES, '{"messages": [null]}', "messages[0]: must be an object"),
    (MESSAGES, '{"messages": [{"content": "hi"}]}', "messages[0].role: must be a string"),
    (MESSAGES, SAID % "5", "messages[0].content: must be a string or an array"),
    (MESSAGES, SAID % '["hi"]', "messages[0].content[0]: must be an object"),
    (MESSAGES, SAID % "[{}]", "messages[0].content[0].type: must be a string"),
    (MESSAGES, '{"stream": "yes"}', "stream: must be true or false"),
    (MESSAGES, '{"max_tokens": "9"}', "max_tokens: must be a number"),
    (MESSAGES, '{"thinking": true}', "thinking: must be an object"),
    (MESSAGES, '{"system": 5}', "system: must be a string or an array"),
    (MESSAGES, '{"system": [5]}', "system[0]: must be an object"),
    (MESSAGES, '{"stop_sequences": 1}', "stop_sequences: must be an array"),
    (MESSAGES, '{"tools": [1]}', "tools[0]: must be an object"),
    (MESSAGES, '{"tool_choice": "auto"}', "tool_choice: must be an object"),
    (MESSAGES, '{"context_management": []}', "context_management: must be an object"),
    (MESSAGES, '{"metadata": "x"}', "metadata: must be an object"),
    (COUNT, '{"messages": null}', "messages: at least one message is required"),
    (COUNT, '{"system": [{}]}', "system[0].type: must be a string"),
    (CHAT, '{"messages": {}}', "messages: must be an array"),
    (CHAT, '{"tools": [{}]}', "tools[0].type: must be a string"),
    (CHAT, '{"response_format": "json"}', "response_format: must be an object"),
    (CHAT, '{"stop": 5}', "stop: must be a string or an array"),
    (CHAT, '{"stream": 1}', "stream: must be true or false"),
    (CHAT, '{"temperature": true}', "temperature: must be a number"),
    (RESPONSES, '{"input": 5}', "input: must be a string or an array"),
    (RESPONSES, '{"input": [5]}', "input[0]: must be an object"),
    (RESPONSES, '{"tools": [{}]}', "tools[0].type: must be a string"),
)


@pytest.mark.parametrize(("route", "wrong", "said"), SHAPES, ids=map(str, range(len(SHAPES))))
def test_a_field_of_another_kind_than_its_api_says(
    gate: Gate, route: str, wrong: str, said: str
) -> None:
    """It is 400 and names the field; LiteLLM would answer 500 with words of Python's."""
    answer = gate.post(route, body(route) | json.loads(wrong))
    expected = error_body(route, 400, f"llmswitch: {said}")
    assert (answer.status_code, answer.json()) == (400, expected)


# ------------------------------------------------------------------ from inside of allowed fields


def tool(**fields: Any) -> str:
    """A body with one tool."""
    return json.dumps({"tools": [fields]})


PART = '{"messages": [{"role": "user", "content": [%s]}]}'
ITEM = '{"input": [%s]}'
TURN = '{"input": [{"role": "user", "content": [%s]}]}'
FILE = '{"type": "file", "file_id": "file-1"}'
ENVIRONMENT = {"type": "container_reference", "container_id": "cntr_1"}
SKILLS = {"type": "container_auto", "skills": [{"type": "skill_reference", "skill_id": "s_1"}]}
# By what in a body a client must not steer: in which field it stands, and why not.
INSIDE: dict[tuple[str, str, str], tuple[str, ...]] = {
    **{
        (route, "tools[0]", NO_MCP): tuple(
            tool(type="mcp", name="a", server_label="a", server_url=url)
            for url in (
                "litellm_proxy",
                " LiteLLM_proxy/mcp/github",
                "litellm_proxy_x",
                "http://127.0.0.1:4000/mcp/github",
                "HTTPS://x.test/a/mcp/github\n",
            )
        )
        for route in (CHAT, COUNT)
    },
    (RESPONSES, "tools[0]", NO_MCP): (
        tool(type="mcp", server_label="a", server_url="litellm_proxy"),
        tool(type="namespace", tools=[{"type": "mcp", "server_url": "litellm_proxy"}]),
    ),
    (MESSAGES, "mcp_servers[0]", NO_MCP): ('{"mcp_servers": [{"url": "litellm_proxy/mcp/a"}]}',),
    (MESSAGES, "tools[0]", NO_ADVISOR): (
        tool(type="advisor_20260301", name="advisor", model="mistral/mistral-large"),
        tool(type="advisor_20270101", name="advisor", model="messages"),
    ),
    (MESSAGES, "container", ACCOUNT): (
        '{"container": {"id": "container_1"}}',
        '{"container": {"skills": [{"type": "custom", "skill_id": "mine"}]}}',
        '{"container": {"skills": [{"type": "anthropic", "skill_id": "litellm_skill_1"}]}}',
        '{"container": {"skills": [{"type": "anthropic", "skill_id": 5}]}}',
        '{"container": {"file_ids": ["file-1"]}}',
    ),
    (MESSAGES, "messages[0]", ACCOUNT): (
        PART % f'{{"type": "document", "source": {FILE}}}',
        PART % '{"type": "container_upload", "file_id": "file-1"}',
        PART % f'{{"type": "tool_result", "content": [{{"type": "image", "source": {FILE}}}]}}',
        PART % '{"type": "image", "source": {"type": "url", "url": "gs://bucket/a.png"}}',
    ),
    (MESSAGES, "system[0]", ACCOUNT): (
        f'{{"system": [{{"type": "document", "source": {FILE}}}]}}',
    ),
    (COUNT, "messages[0]", ACCOUNT): (PART % f'{{"type": "document", "source": {FILE}}}',),
    (CHAT, "messages[0]", ACCOUNT): (
        PART % '{"type": "file", "file": {"file_id": "file-1"}}',
        PART % '{"type": "image_url", "image_url": "gs://bucket/a.png"}',
        '{"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}',
        *(
            PART % f'{{"type": "image_url", "image_url": {{"url": "{url}"}}}}'
            for url in (
                "file:///etc/passwd",
                "gs://bucket/private.png",
                "S3://bucket/private.png",
                "https://generativelanguage.googleapis.com/v1beta/files/abc",
            )
        ),
    ),
    (CHAT, "tools[0]", ACCOUNT): (
        tool(type="file_search", file_search={"vector_store_ids": ["vs_1"]}),
    ),
    (CHAT, "web_search_options", ACCOUNT): ('{"web_search_options": {"vector_store_ids": ["a"]}}',),
    (RESPONSES, "tools[0]", ACCOUNT): (
        tool(type="file_search", vector_store_ids=["vs_1"]),
        tool(type="code_interpreter", container="cntr_1"),
        tool(type="code_interpreter", container={"type": "auto", "file_ids": ["file-1"]}),
        tool(type="image_generation", input_image_mask={"file_id": "file-1"}),
        tool(type="shell", environment=ENVIRONMENT),
        tool(type="shell", environment=SKILLS),
    ),
    **{
        (RESPONSES, name, ACCOUNT): (f'{{"{name}": {value}}}',)
        for name, value in (
            ("background", "true"),
            ("background_options", '{"x": 1}'),
            ("conversation", '{"id": "conv_1"}'),
            ("previous_response_id", '"resp_1"'),
            ("prompt", '{"id": "pmpt_1"}'),
        )
    },
    (RESPONSES, "input[0]", ACCOUNT): (
        ITEM % '{"type": "item_reference", "id": "msg_1"}',
        ITEM % '{"type": null, "id": "msg_1"}',
        ITEM % '{"id": "msg_1"}',
        TURN % '{"type": "input_file", "file_id": "file-1"}',
        TURN % '{"type": "input_image", "file_id": "file-1"}',
        TURN % '{"type": "input_image", "image_url": "gs://b/a.png"}',
        TURN % '{"type": "input_file", "file_url": "file:///etc/passwd"}',
        ITEM % '{"type": "computer_call_output", "output": {"file_id": "file-1"}}',
        ITEM % '{"type": "function_call_output", "output": [{"file_id": "file-1"}]}',
        ITEM % '{"type": "image_generation_call", "id": "ig_1"}',
        ITEM % '{"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1"}',
        ITEM % '{"type": "shell_call", "environment": {"container_id": "cntr_1"}}',
        ITEM % '{"type": "tool_search_output", "tools": [{"vector_store_ids": ["vs_1"]}]}',
    ),
}


@pytest.mark.parametrize(("route", "where", "why"), INSIDE)
def test_allowed_fields_do_not_steer_from_inside(
    gate: Gate, route: str, where: str, why: str
) -> None:
    """LiteLLM's own MCP gateway, skills and second model, and what a provider keeps for its account
    are 400 wherever they are named, and nothing passes.
    """
    before = len(gate.passed)
    for more in INSIDE[route, where, why]:
        answer = gate.post(route, body(route) | json.loads(more))
        expected = error_body(route, 400, f"llmswitch: {where}: {why}")
        assert (answer.status_code, answer.json()) == (400, expected), more
    assert len(gate.passed) == before


def test_what_a_client_makes_up_itself_is_no_reference(gate: Gate) -> None:
    """Tools of its own may have fields of any name, in their schemas and their calls; text may say
    anything.
    """
    names = ("file_id", "container_id", "vector_store_ids", "url", "server_url", "skill_id", "type")
    made_up = dict.fromkeys(names, "litellm_proxy advisor_ file:///x")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    call = {"type": "tool_use", "id": "a", "name": "files", "input": {**made_up, "deep": [made_up]}}
    sent = body(
        MESSAGES,
        tools=[{"name": "files", "input_schema": schema | {"default": made_up}}],
        messages=[
            {"role": "user", "content": "file_id: file-1, gs://bucket, litellm_proxy"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        ],
        container={"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]},
    )
    assert json.loads(gate.through(MESSAGES, sent).body) == sent
    function = {"name": "files", "parameters": schema | {"default": made_up}}
    chat = body(CHAT, tools=[{"type": "function", "function": function}])
    assert json.loads(gate.through(CHAT, chat).body) == chat


FETCHED: tuple[tuple[str, str], ...] = (
    (MESSAGES, '{"type": "image", "source": {"type": "url", "url": "URL"}}'),
    (MESSAGES, '{"type": "document", "source": {"type": "url", "url": "URL"}}'),
    (COUNT, '{"type": "image", "source": {"type": "url", "url": "URL"}}'),
    (CHAT, '{"type": "image_url", "image_url": {"url": "URL", "detail": "high"}}'),
    (CHAT, '{"type": "image_url", "image_url": "URL"}'),
    (CHAT, '{"type": "file", "file": {"file_data": "URL"}}'),
    (CHAT, '{"type": "video_url", "video_url": {"url": "URL"}}'),
    (RESPONSES, '{"type": "input_image", "image_url": "URL"}'),
    (RESPONSES, '{"type": "input_file", "file_url": "URL"}'),
)


def test_the_gateway_fetches_nothing_that_a_client_names(lab: House) -> None:
    """Images and files by their address are for the provider to fetch: the gateway stands where
    private hosts are within reach.
    """
    with FakeUpstream("private") as private:
        for model in DIALECTS:
            for route, part in FETCHED:
                for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
                    address = f"http://{host}:{private.port}/x.png"
                    content = [json.loads(part.replace("URL", address))]
                    sent = body(route, model)
                    sent["input" if route == RESPONSES else "messages"] = [
                        {"role": "user", "content": content}
                    ]
                    lab.gateway.send("POST", route, json=sent)
        assert private.requests == []


# ------------------------------------------------------------------ names of models


def test_a_model_is_a_name_of_the_profile_and_nothing_else(gate: Gate) -> None:
    """Ids of deployments, names of providers, wildcards, lists, and the forms that LiteLLM makes of
    a name are 404; the forms that Claude Code makes of one are the name that they hold.
    """
    before = len(gate.passed)
    wrong = [
        "6f1e7d0c4b9a", "openai/gpt-4o", "hosted_vllm/qwen3", "qwen3", "zai/glm-4.7", "*",
        "chat,anthropic", "chat ", " chat", "CHAT", "ch\u0430t", "chat\0", "chat\n", "chat/",
        "chat*", "chat[2m]", "chat[1m][1m]", "claude-router-zz", "claude-router-" + b"gpt-4".hex(),
        "claude-router-" + b"claude-router-63686174".hex(), "claude-router-ff", "a2a/x",
        "litellm_proxy/chat", "bedrock/x", "langfuse/chat", "../chat", "chat:x",
    ]  # fmt: skip
    for route in ROUTES:
        for name in wrong:
            answer = gate.post(route, body(route, name))
            said = f"llmswitch: the profile has no model {name[:100]!r}; it has: "
            said += "anthropic, chat, penalized, of-litellm"
            assert (answer.status_code, answer.json()) == (404, error_body(route, 404, said))
        for value in (None, 5, ["chat"], {"chat": 1}, True, ""):
            answer = gate.post(route, body(route) | {"model": value})
            said = "llmswitch: model: the name of a model is required"
            assert (answer.status_code, answer.json()) == (400, error_body(route, 400, said))
    assert len(gate.passed) == before
    plain = gate.through(MESSAGES, body(MESSAGES))
    for name in ("chat[1m]", "claude-router-63686174", "claude-router-63686174[1m]"):
        assert gate.through(MESSAGES, body(MESSAGES, name)) == plain
