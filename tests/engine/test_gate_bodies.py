"""What a body, a query and headers can do behind the gate, tried as an attacker would."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from llmswitch.ledger import reading
from tests.engine.forms import error_body
from tests.gateways import CLIENT, CLIENT_SECRETS, DIALECTS, Lab, open_lab, wait_for
from tests.upstream import FakeUpstream, Json, Request

pytestmark = [pytest.mark.xdist_group("gate bodies"), pytest.mark.timeout(300)]

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ROUTES = (MESSAGES, COUNT, CHAT, RESPONSES)
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
print("FIELDS" + json.dumps({"names": sorted(names), **{r: sorted(kinds(r)) for r in POSTED}}))
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running gateway with a provider of every dialect."""
    yield from open_lab(tmp_path_factory.mktemp("bodies"))


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[httpx.Client]:
    """A client with a key of its own, that keeps its connection."""
    key = lab.user.json("client", "add", "laptop")["key"]
    headers = {**CLIENT, "x-api-key": key}
    with httpx.Client(
        base_url=lab.gateway.url, headers=headers, trust_env=False, timeout=60
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def fields() -> dict[str, list[str]]:
    """LiteLLM's `names`, and the fields that pass on each route."""
    env = {"HOME": "/nonexistent", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", LIST_FIELDS], env=env, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout.partition("FIELDS")[2])
    return found


def body(route: str, model: str, **more: Any) -> Json:
    """A request that is answered."""
    if route == RESPONSES:
        return {"model": model, "input": "hi", **more}
    limit = {} if route == COUNT else {"max_tokens": 9}
    return {"model": model, **limit, "messages": [{"role": "user", "content": "hi"}], **more}


def log(lab: Lab) -> str:
    """The gateway's log."""
    return (lab.user.run_folder() / "gateway.log").read_text()


def reached(lab: Lab) -> dict[str, list[Request]]:
    """What each upstream has received."""
    return {name: [*one.requests] for name, one in lab.upstreams.items() if one.requests}


def sent_on(lab: Lab, client: httpx.Client, route: str, sent: Json, **more: Any) -> Any:
    """The status of an answer, and all that upstreams have received for it."""
    lab.clear()
    answer = client.post(route, json=sent, **more)
    return answer.status_code, reached(lab)


# ------------------------------------------------------------------ beside the fields of the API


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("model", DIALECTS)
def test_no_parameter_of_litellms_has_an_effect(
    lab: Lab, client: httpx.Client, fields: dict[str, list[str]], route: str, model: str
) -> None:
    """With every parameter that LiteLLM has, and that the API has not, the upstream receives byte
    for byte what it does without, whatever their values.
    """
    plain = sent_on(lab, client, route, body(route, model))
    steering = ({*fields["names"]} | UNTYPED) - {*fields[route]}
    assert len(steering) > 250
    for value in VALUES:
        extra = dict.fromkeys(sorted(steering), value)
        assert sent_on(lab, client, route, extra | body(route, model)) == plain, value


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


@pytest.mark.parametrize("model", DIALECTS)
def test_of_metadata_the_user_alone_passes(lab: Lab, client: httpx.Client, model: str) -> None:
    """LiteLLM reads hosts, tags, guardrails and models from `metadata`."""
    named = {"user_id": "os.environ/MINE_KEY"}
    plain = sent_on(lab, client, MESSAGES, body(MESSAGES, model, metadata=named))
    assert plain[0] == 200
    assert "own-mine" not in str([one.body for got in plain[1].values() for one in got])
    names = ("api_base", "model_group", "tags", "guardrails", "user_config", "spend_logs_metadata")
    for value in VALUES:
        more = {**named, **dict.fromkeys(names, value), "user_id": named["user_id"]}
        assert sent_on(lab, client, MESSAGES, body(MESSAGES, model, metadata=more)) == plain
    nobody = sent_on(lab, client, MESSAGES, body(MESSAGES, model))
    users: tuple[Any, ...] = ({}, [], 1, None)
    for user in users:
        wrong = body(MESSAGES, model, metadata={"user_id": user, "tags": ["x"]})
        assert sent_on(lab, client, MESSAGES, wrong) == nobody


QUERY = (
    "model=keyless&custom_llm_provider=mistral&api_base=http://127.0.0.1:9&api_key=os.environ/X"
    "&api-version=1&user_config=x&litellm_metadata=x&stream=true&key=x&beta=true&beta=x&limit=1"
    "&timeout=1&mock_response=x&%62ase_url=x&;model=keyless&model[]=keyless&=x&&&"
)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("model", DIALECTS)
def test_no_query_has_an_effect(lab: Lab, client: httpx.Client, route: str, model: str) -> None:
    """Not on the model, the host, or what is sent on."""
    plain = sent_on(lab, client, route, body(route, model))
    assert sent_on(lab, client, f"{route}?{QUERY}", body(route, model)) == plain


HEADERS = {
    "x-litellm-model-id": "x",
    "x-litellm-num-retries": "3",
    "x-litellm-timeout": "1",
    "x-litellm-stream-timeout": "1",
    "x-litellm-tags": "a,b",
    "x-litellm-disable-callbacks": "llmswitch",
    "x-litellm-enable-message-redaction": "true",
    "x-litellm-end-user-id": "someone",
    "x-litellm-trace-id": "x",
    "x-litellm-session-id": "x",
    "x-litellm-spend-logs-metadata": '{"a": 1}',
    "x-litellm-agent-id": "x",
    "x-litellm-customer-id": "x",
    "x-mcp-auth": "x",
    "x-mcp-servers": "x",
    "litellm-metadata": "x",
    "langfuse_trace_id": "x",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "baggage": "a=b",
    "x-b3-traceid": "0af7651916cd43dd8448eb211c80319c",
    "x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678",
    "x-forwarded-for": "1.2.3.4",
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https",
    "x-real-ip": "1.2.3.4",
    "forwarded": "for=1.2.3.4",
    "x-request-id": "x",
    "x-aws-region": "x",
    "aws-session-token": "x",
    "openai-organization": "org-evil",
    "openai-project": "proj-evil",
    "openai-beta": "assistants=v2",
    "anthropic-organization-id": "org-evil",
    "anthropic-workspace-id": "evil",
    "x-goog-user-project": "evil",
    "x-pass-anything": "x",
    "x-pass-anthropic-beta": "x",
    "helicone-auth": "x",
    "host": "evil.test",
    "origin": "http://evil.test",
    "referer": "http://evil.test",
    "te": "trailers",
    "expect": "100-continue",
    "accept-language": "x",
    "cookie": CLIENT_SECRETS["cookie"],
    "proxy-authorization": CLIENT_SECRETS["proxy"],
    "authorization": f"Bearer {CLIENT_SECRETS['subscription']}",
    "api-key": CLIENT_SECRETS["azure"],
    "x-goog-api-key": CLIENT_SECRETS["google"],
    "idempotency-key": "x",
    "cache-control": "no-cache",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("model", DIALECTS)
def test_no_header_has_an_effect(lab: Lab, client: httpx.Client, route: str, model: str) -> None:
    """Not LiteLLM's own, nor those that trace, forward, or say whose account it is."""
    plain = sent_on(lab, client, route, body(route, model))
    assert sent_on(lab, client, route, body(route, model), headers=HEADERS) == plain


# ------------------------------------------------------------------ bodies that are none

OK = json.dumps(body(MESSAGES, "chat")).encode()
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
def test_a_body_that_is_no_request(lab: Lab, client: httpx.Client, name: str) -> None:
    """It is 400 in the form of the API, asks no upstream, and one refusal in the ledger."""
    lab.clear()
    sent, said = BODIES[name]
    for route in ROUTES:
        mark = f"{name.replace(' ', '-')}-{ROUTES.index(route)}"
        headers = {"content-type": "application/json", "x-claude-code-session-id": mark}
        answer = client.post(route, content=sent, headers=headers)
        expected = error_body(route, 400, f"llmswitch: {said}")
        assert (answer.status_code, answer.json()) == (400, expected)
        assert statuses_of(lab, mark) == [400]
    assert "Traceback" not in log(lab)
    assert lab.received == {}


def statuses_of(lab: Lab, session: str) -> list[int]:
    """What the ledger says of the requests of a session, once it says anything."""

    def found() -> list[int]:
        with reading(lab.user.state / "ledger" / "work.db") as ledger:
            assert ledger is not None
            rows = ledger.execute("SELECT status FROM tries WHERE session = ?", (session,))
            return [status for (status,) in rows]

    wait_for(found)
    return found()


def test_a_name_that_stands_twice_has_one_meaning(lab: Lab, client: httpx.Client) -> None:
    """The last one counts, here and behind the gate; an escaped name is the name."""
    plain = sent_on(lab, client, MESSAGES, body(MESSAGES, "chat"))
    twice = OK.replace(b'"model": "chat"', b'"model": "keyless", "model": "chat"')
    escaped = OK.replace(b'"model"', b'"\\u006dodel"')
    hidden = OK[:-1] + b', "api\\u005fbase": "http://127.0.0.1:9", "tags": ["a"]}'
    for sent in (twice, escaped, hidden):
        lab.clear()
        assert client.post(MESSAGES, content=sent).status_code == 200
        assert (200, reached(lab)) == plain


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "x"],
)
def test_a_body_is_json_whatever_it_is_called(lab: Lab, client: httpx.Client, kind: str) -> None:
    """LiteLLM would read a form as a form."""
    plain = sent_on(lab, client, MESSAGES, body(MESSAGES, "chat"))
    lab.clear()
    answer = client.post(MESSAGES, content=OK, headers={"content-type": kind})
    assert (answer.status_code, reached(lab)) == plain


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x", "identity, gzip"])
def test_packed_bodies(lab: Lab, client: httpx.Client, coding: str) -> None:
    """A packed body is 400 and not unpacked."""
    lab.clear()
    answer = client.post(MESSAGES, content=OK, headers={"content-encoding": coding})
    said = "llmswitch: the body is packed (content-encoding); send it as it is"
    assert (answer.status_code, answer.json()) == (400, error_body(MESSAGES, 400, said))
    assert lab.received == {}


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
def test_a_length_that_lies(lab: Lab, client: httpx.Client, name: str) -> None:
    """What a server in front could take for something else is 400, and nothing is sent on."""
    lab.clear()
    key = client.headers["x-api-key"]
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n"
        connection.sendall((head + LIES[name]).encode())
        answer = connection.recv(65_536)
    assert answer.split()[1] == b"400", answer
    assert "Traceback" not in log(lab)
    assert lab.received == {}


def test_a_client_that_goes_on_after_a_refusal(lab: Lab) -> None:
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
    assert "Traceback" not in log(lab)


def whole(connection: socket.socket) -> bytes:
    """An answer to the end of its JSON."""
    got = b""
    while not got.endswith(b"}"):
        got += connection.recv(65_536)
    return got


# ------------------------------------------------------------------ fields of the wrong kind

SHAPES: tuple[tuple[str, Json, str], ...] = (
    (MESSAGES, {"messages": "hi"}, "messages: must be an array"),
    (MESSAGES, {"messages": []}, "messages: at least one message is required"),
    (MESSAGES, {"messages": [None]}, "messages[0]: must be an object"),
    (MESSAGES, {"messages": [{"content": "hi"}]}, "messages[0].role: must be a string"),
    (
        MESSAGES,
        {"messages": [{"role": "user", "content": 5}]},
        "messages[0].content: must be a string or an array",
    ),
    (
        MESSAGES,
        {"messages": [{"role": "user", "content": ["hi"]}]},
        "messages[0].content[0]: must be an object",
    ),
    (
        MESSAGES,
        {"messages": [{"role": "user", "content": [{}]}]},
        "messages[0].content[0].type: must be a string",
    ),
    (MESSAGES, {"stream": "yes"}, "stream: must be true or false"),
    (MESSAGES, {"max_tokens": "9"}, "max_tokens: must be a number"),
    (MESSAGES, {"thinking": True}, "thinking: must be an object"),
    (MESSAGES, {"system": 5}, "system: must be a string or an array"),
    (MESSAGES, {"system": [5]}, "system[0]: must be an object"),
    (MESSAGES, {"stop_sequences": 1}, "stop_sequences: must be an array"),
    (MESSAGES, {"tools": [1]}, "tools[0]: must be an object"),
    (MESSAGES, {"tool_choice": "auto"}, "tool_choice: must be an object"),
    (MESSAGES, {"context_management": []}, "context_management: must be an object"),
    (MESSAGES, {"metadata": "x"}, "metadata: must be an object"),
    (COUNT, {"messages": None}, "messages: at least one message is required"),
    (COUNT, {"system": [{}]}, "system[0].type: must be a string"),
    (CHAT, {"messages": {}}, "messages: must be an array"),
    (CHAT, {"tools": [{}]}, "tools[0].type: must be a string"),
    (CHAT, {"response_format": "json"}, "response_format: must be an object"),
    (CHAT, {"stop": 5}, "stop: must be a string or an array"),
    (CHAT, {"stream": 1}, "stream: must be true or false"),
    (CHAT, {"temperature": True}, "temperature: must be a number"),
    (RESPONSES, {"input": 5}, "input: must be a string or an array"),
    (RESPONSES, {"input": [5]}, "input[0]: must be an object"),
    (RESPONSES, {"tools": [{}]}, "tools[0].type: must be a string"),
)


@pytest.mark.parametrize(("route", "wrong", "said"), SHAPES, ids=map(str, range(len(SHAPES))))
def test_a_field_of_another_kind_than_its_api_says(
    lab: Lab, client: httpx.Client, route: str, wrong: Json, said: str
) -> None:
    """It is 400 and names the field; LiteLLM would answer 500 with words of Python's."""
    lab.clear()
    for model in DIALECTS:
        answer = client.post(route, json=body(route, model) | wrong)
        expected = error_body(route, 400, f"llmswitch: {said}")
        assert (answer.status_code, answer.json()) == (400, expected)
    assert lab.received == {}


# ------------------------------------------------------------------ from inside of allowed fields


def said_by(**part: Any) -> Json:
    """A message with one part."""
    return {"messages": [{"role": "user", "content": [part]}]}


def result(**part: Any) -> Json:
    """A part within the result of a tool."""
    return said_by(type="tool_result", tool_use_id="a", content=[part])


def mcp(**more: Any) -> Json:
    """A tool of another's server."""
    return {"type": "mcp", "server_label": "a", **more}


FILE = {"type": "file", "file_id": "file-1"}
SHELL = {"type": "container_reference", "container_id": "cntr_1"}
INSIDE: tuple[tuple[str, Json, str, str], ...] = (
    # LiteLLM's own MCP gateway, skills, and second model
    *(
        (route, {"tools": [{"name": "a", **mcp(server_url=url)}]}, "tools[0]", NO_MCP)
        for route in ROUTES
        for url in (
            "litellm_proxy",
            " LiteLLM_proxy/mcp/github",
            "litellm_proxy_x",
            "http://127.0.0.1:4000/mcp/github",
            "HTTPS://x.test/a/mcp/github\n",
        )
    ),
    (MESSAGES, {"mcp_servers": [{"url": "litellm_proxy/mcp/a"}]}, "mcp_servers[0]", NO_MCP),
    (
        RESPONSES,
        {"tools": [{"type": "namespace", "tools": [mcp(server_url="litellm_proxy")]}]},
        "tools[0]",
        NO_MCP,
    ),
    *(
        (MESSAGES, {"tools": [tool]}, "tools[0]", NO_ADVISOR)
        for tool in (
            {"type": "advisor_20260301", "name": "advisor", "model": "mistral/mistral-large"},
            {"type": "advisor_20270101", "name": "advisor", "model": "messages"},
        )
    ),
    *(
        (MESSAGES, {"container": container}, "container", ACCOUNT)
        for container in (
            {"id": "container_1"},
            {"skills": [{"type": "custom", "skill_id": "mine"}]},
            {"skills": [{"type": "anthropic", "skill_id": "litellm_skill_1"}]},
            {"skills": [{"type": "anthropic", "skill_id": 5}]},
            {"file_ids": ["file-1"]},
        )
    ),
    # files
    (MESSAGES, said_by(type="document", source=FILE), "messages[0]", ACCOUNT),
    (MESSAGES, said_by(type="container_upload", file_id="file-1"), "messages[0]", ACCOUNT),
    (MESSAGES, result(type="image", source=FILE), "messages[0]", ACCOUNT),
    (MESSAGES, {"system": [{"type": "document", "source": FILE}]}, "system[0]", ACCOUNT),
    (COUNT, said_by(type="document", source=FILE), "messages[0]", ACCOUNT),
    (CHAT, said_by(type="file", file={"file_id": "file-1"}), "messages[0]", ACCOUNT),
    *(
        (CHAT, said_by(type="image_url", image_url={"url": url}), "messages[0]", ACCOUNT)
        for url in (
            "file:///etc/passwd",
            "gs://bucket/private.png",
            "S3://bucket/private.png",
            "https://generativelanguage.googleapis.com/v1beta/files/abc",
        )
    ),
    (CHAT, said_by(type="image_url", image_url="gs://bucket/a.png"), "messages[0]", ACCOUNT),
    (
        MESSAGES,
        said_by(type="image", source={"type": "url", "url": "gs://bucket/a.png"}),
        "messages[0]",
        ACCOUNT,
    ),
    (
        CHAT,
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        "messages[0]",
        ACCOUNT,
    ),
    # tools of the provider's
    *(
        (RESPONSES, {"tools": [tool]}, "tools[0]", ACCOUNT)
        for tool in (
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
            {"type": "code_interpreter", "container": "cntr_1"},
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
            {"type": "image_generation", "input_image_mask": {"file_id": "file-1"}},
            {"type": "shell", "environment": SHELL},
            {
                "type": "shell",
                "environment": {
                    "type": "container_auto",
                    "skills": [{"type": "skill_reference", "skill_id": "skill_1"}],
                },
            },
        )
    ),
    (
        CHAT,
        {"tools": [{"type": "file_search", "file_search": {"vector_store_ids": ["vs_1"]}}]},
        "tools[0]",
        ACCOUNT,
    ),
    (CHAT, {"web_search_options": {"vector_store_ids": ["a"]}}, "web_search_options", ACCOUNT),
    # state of the Responses API
    *(
        (RESPONSES, {name: value}, name, ACCOUNT)
        for name, value in (
            ("background", True),
            ("background_options", {"x": 1}),
            ("conversation", "conv_1"),
            ("conversation", {"id": "conv_1"}),
            ("previous_response_id", "resp_1"),
            ("prompt", {"id": "pmpt_1"}),
        )
    ),
    *(
        (RESPONSES, {"input": [item]}, "input[0]", ACCOUNT)
        for item in (
            {"type": "item_reference", "id": "msg_1"},
            {"type": None, "id": "msg_1"},
            {"id": "msg_1"},
            {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
            {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": "gs://b/a.png"}]},
            {"role": "user", "content": [{"type": "input_file", "file_url": "file:///etc/passwd"}]},
            {"type": "computer_call_output", "call_id": "a", "output": {"file_id": "file-1"}},
            {"type": "function_call_output", "call_id": "a", "output": [{"file_id": "file-1"}]},
            {"type": "image_generation_call", "id": "ig_1"},
            {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1"},
            {"type": "shell_call", "call_id": "a", "environment": SHELL},
            {"type": "tool_search_output", "tools": [{"vector_store_ids": ["vs_1"]}]},
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize("model", ["anthropic", "chat"])
def test_allowed_fields_do_not_steer_from_inside(
    lab: Lab, client: httpx.Client, model: str
) -> None:
    """LiteLLM's own MCP gateway, skills and second model, and what a provider keeps for its account
    are 400 wherever they are named, and nothing is asked.
    """
    lab.clear()
    for route, more, where, why in INSIDE:
        answer = client.post(route, json=body(route, model) | more)
        expected = error_body(route, 400, f"llmswitch: {where}: {why}")
        assert (answer.status_code, answer.json()) == (400, expected), more
    assert lab.received == {}


def test_what_a_client_makes_up_itself_is_no_reference(lab: Lab, client: httpx.Client) -> None:
    """Tools of its own may have fields of any name, in their schemas and their calls; text may say
    anything.
    """
    names = ("file_id", "container_id", "vector_store_ids", "url", "server_url", "skill_id", "type")
    made_up = dict.fromkeys(names, "litellm_proxy advisor_ file:///x")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    call = {"type": "tool_use", "id": "a", "name": "files", "input": {**made_up, "deep": [made_up]}}
    sent = body(
        MESSAGES,
        "anthropic",
        tools=[{"name": "files", "input_schema": schema | {"default": made_up}}],
        messages=[
            {"role": "user", "content": "file_id: file-1, gs://bucket, litellm_proxy"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        ],
        container={"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]},
    )
    status, received = sent_on(lab, client, MESSAGES, sent)
    assert status == 200
    [request] = received["an"]
    assert request.body is not None
    assert (request.body["messages"][1]["content"], request.body["tools"]) == (
        [call],
        sent["tools"],
    )
    function = {"name": "files", "parameters": schema | {"default": made_up}}
    chat = body(CHAT, "chat", tools=[{"type": "function", "function": function}])
    assert sent_on(lab, client, CHAT, chat)[0] == 200


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


def test_the_gateway_fetches_nothing_that_a_client_names(client: httpx.Client) -> None:
    """Images and files by their address are for the provider to fetch: the gateway stands where
    private hosts are within reach.
    """
    with FakeUpstream("private") as private:
        for model in DIALECTS:
            for route, part in FETCHED:
                for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
                    address = f"http://{host}:{private.port}/x.png"
                    content = [json.loads(part.replace("URL", address))]
                    sent = body(route, model)
                    sent["input" if route == RESPONSES else "messages"] = [
                        {"role": "user", "content": content}
                    ]
                    client.post(route, json=sent)
        assert private.requests == []


# ------------------------------------------------------------------ names of models


def test_a_model_is_a_name_of_the_profile_and_nothing_else(lab: Lab, client: httpx.Client) -> None:
    """Ids of deployments, names of providers, wildcards, lists, and the forms that LiteLLM makes of
    a name are 404; the forms that Claude Code makes of one are the name that they hold.
    """
    answer = client.post(MESSAGES, json=body(MESSAGES, "chat"))
    deployment = answer.headers["x-litellm-model-id"]
    lab.clear()
    wrong = [
        deployment, "openai/gpt-4o", "hosted_vllm/qwen3", "qwen3", "zai/glm-4.7", "mine/qwen3", "*",
        "chat,messages", "chat ", " chat", "CHAT", "ch\u0430t", "chat\0", "chat\n", "chat/",
        "chat[2m]", "chat[1m][1m]", "claude-router-zz", "claude-router-" + b"gpt-4".hex(),
        "claude-router-" + b"claude-router-63686174".hex(), "claude-router-ff", "a2a/x",
        "litellm_proxy/chat", "bedrock/x", "langfuse/chat", "left-out", "../chat", "chat:x",
    ]  # fmt: skip
    for route in ROUTES:
        for name in wrong:
            answer = client.post(route, json=body(route, name))
            assert answer.status_code == 404, name
            assert f"has no model {name[:100]!r}" in answer.json()["error"]["message"]
        for value in (None, 5, ["chat"], {"chat": 1}, True, ""):
            answer = client.post(route, json=body(route, "chat") | {"model": value})
            said = "llmswitch: model: the name of a model is required"
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, said)
    assert lab.received == {}
    plain = sent_on(lab, client, MESSAGES, body(MESSAGES, "chat"))
    for name in ("chat[1m]", "claude-router-63686174", "claude-router-63686174[1m]"):
        assert sent_on(lab, client, MESSAGES, body(MESSAGES, name)) == plain


# ------------------------------------------------------------------ the log


def test_what_is_hostile_forges_no_line_of_the_log(lab: Lab, client: httpx.Client) -> None:
    """Names of fields, models and paths, with line ends and colours in them, are in one line each
    at most, and a field's only where it looks like one.
    """
    forged = "2026-01-01T00:00:00.000Z request method=POST path=/v1/messages status=200 model=chat"
    session = {"x-claude-code-session-id": "a forged=1"}
    tails = ("\n", "\r", "\u2028", "\x1b[2J", "\x85", "\0")
    for tail in tails:
        evil = f"x{tail}{forged}"
        sent = body(MESSAGES, "chat") | {evil: 1}
        assert client.post(MESSAGES, json=sent, headers=session).status_code == 200
        sent = body(MESSAGES, evil)
        assert client.post(MESSAGES, json=sent, headers=session).status_code == 404
        assert client.get("/v1/" + quote(evil), headers=session).status_code == 404
    wait_for(lambda: log(lab).count("(no name of a field)"))
    written = log(lab)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028]", written)
    assert not [line for line in written.split("\n") if line.startswith(forged[:40])]
    assert written.count("(no name of a field)") == 1
    assert "Traceback" not in written
