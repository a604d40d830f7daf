"""Which routes exist behind the gate, asked for as an attacker would."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from itertools import chain, product
from typing import Self

import psutil
import pytest

from tests.engine.forms import error_body
from tests.gateways import KEYS, STRAYS, secrets_in, worker_pids
from tests.imported_engine import look
from tests.ledgers import House

pytestmark = pytest.mark.timeout(300)

NO_KEY = "llmswitch: no key was sent; the gateway's key is in llmswitch's file gateway.key"
NO_MODEL = "llmswitch: model: the name of a model is required"
HEALTH = ("/health/liveliness", "/health/liveness", "/health/readiness")
POSTED = (
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/chat/completions",
    "/v1/responses",
)
LISTED = {
    *(("POST", path) for path in POSTED),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("GET", "/llmswitch/state"),
    *(("GET", path) for path in HEALTH),
    ("HEAD", "/"),
    ("HEAD", "/api/hello"),
}
"""All that there is, written down once more."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW")

LIST_ROUTES = """
import json
from litellm.proxy.proxy_server import app

def walk(router, above=""):
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from walk(inner, above)
            continue
        kind = type(route).__name__
        yield kind, sorted(getattr(route, "methods", None) or ["GET"]), above + route.path
        if kind == "Mount" and getattr(route.app, "routes", None):
            yield from walk(route.app, above + route.path)

print(json.dumps([*walk(app)]))
"""


@pytest.fixture(scope="module")
def routes() -> list[tuple[str, list[str], str]]:
    """Kind, methods and path of each route that a LiteLLM has which is not behind our gate."""
    listed = look(LIST_ROUTES, LITELLM_DISABLE_LAZY_ROUTES="True")
    return [(kind, methods, re.sub(r"{[^}]*}", "x", path)) for kind, methods, path in listed]


@pytest.fixture(scope="module")
def keys(shared: House) -> dict[str, str]:
    """The gateway's own key, and a client's."""
    return {"gateway": shared.gateway.key, "client": shared.client_key}


@pytest.fixture(autouse=True)
def nothing_is_touched(lab: House) -> Iterator[None]:
    """No upstream is asked, no port opened, no file made or removed, by any request in here."""
    lab.clear()
    before = traces(lab)
    yield
    assert traces(lab) == before
    assert lab.received == {}


def traces(lab: House) -> tuple[set[str], set[int]]:
    """The files of the installation, and the ports that its processes listen on."""
    files = {str(path) for path in lab.user.root.rglob("*") if "ledger" not in path.name}
    pids = {lab.user.gateway_state("work")["pid"], *worker_pids(lab.user)}
    listening = {
        connection.laddr.port
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    return files, listening


class Client:
    """One connection that is kept, and sends a target as it is given."""

    def __init__(self, lab: House, key: str | None) -> None:
        self._connection = HTTPConnection("127.0.0.1", lab.port, timeout=60)
        self._headers = {} if key is None else {"x-api-key": key}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(
        self, method: str, target: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and body of one answer."""
        body = b"{}" if method in {"POST", "PUT", "PATCH"} else None
        for attempt in (1, 2):  # the gateway may close a connection that was idle
            try:
                self._connection.request(method, target, body, {**self._headers, **(headers or {})})
                answer = self._connection.getresponse()
                return answer.status, answer.read().decode()
            except (HTTPException, OSError):
                self._connection.close()
                if attempt == 2:
                    raise
        raise AssertionError


def not_there(method: str, path: str) -> tuple[int, str]:
    """The answer for a route that does not exist."""
    said = f"llmswitch: there is no {method} {path[:100]!r} here"
    body = "" if method == "HEAD" else json.dumps(error_body(path, 404, said))
    return 404, body


def closed(method: str, path: str) -> tuple[int, str]:
    """The answer for who has no key."""
    body = "" if method == "HEAD" else json.dumps(error_body(path, 401, NO_KEY))
    return 401, body


def asked(
    routes: list[tuple[str, list[str], str]], methods: Iterable[str] = ()
) -> set[tuple[str, str]]:
    """Each path with the methods that it has, and with these."""
    own = {(method, path) for _, methods, path in routes for method in methods}
    paths = {path for _, path in own | LISTED}
    return own | LISTED | {*product(methods, paths)}


def test_nothing_but_the_list_answers(
    lab: House, keys: dict[str, str], routes: list[tuple[str, list[str], str]]
) -> None:
    """Of all routes of LiteLLM, lazy ones, mounts and WebSockets included, no other than the listed
    answers to any method: 404 in the form of its API, for the gateway's key and a client's alike.
    """
    assert len(routes) > 600
    assert {"APIWebSocketRoute", "Mount"} <= {kind for kind, _, _ in routes}
    for name, key in keys.items():
        others = ("GET", "HEAD", "OPTIONS", "POST", "TRACE") if name == "client" else ()
        with Client(lab, key) as client:
            wrong = {
                (method, path): answer
                for method, path in asked(routes, others)
                if (method, path) not in LISTED
                and (answer := client.send(method, path)) != not_there(method, path)
            }
        assert wrong == {}


def test_without_a_key_nothing_answers_but_the_probes(
    lab: House, routes: list[tuple[str, list[str], str]]
) -> None:
    """Who has no key gets 401 for whatever exists and what does not, but for the health probes and
    what Claude Code sends ahead, which tell nothing.
    """
    with Client(lab, None) as client:
        answered = {
            (method, path): answer
            for method, path in asked(routes)
            if (answer := client.send(method, path)) != closed(method, path)
        }
    healthy = {("GET", path): (200, '{"status": "healthy"}') for path in HEALTH}
    assert answered == healthy | {("HEAD", "/"): (200, ""), ("HEAD", "/api/hello"): (200, "")}


def test_what_is_listed_answers(lab: House, keys: dict[str, str]) -> None:
    """The list, for both kinds of key: the four routes of the APIs ask for a model, the others
    answer, and none shows a key.
    """
    secrets = [*KEYS.values(), *STRAYS.values(), *keys.values()]
    for key in keys.values():
        with Client(lab, key) as client:
            answers = {(method, path): client.send(method, path) for method, path in LISTED}
        for path in POSTED:
            assert answers["POST", path] == (400, json.dumps(error_body(path, 400, NO_MODEL)))
        assert answers["GET", "/v1/models/x"][0] == 404
        assert "the profile has no model 'x'" in answers["GET", "/v1/models/x"][1]
        others = {asked for asked, (status, _) in answers.items() if status == 200}
        assert others == LISTED - {("GET", "/v1/models/x")} - {("POST", path) for path in POSTED}
        assert secrets_in(" ".join(text for _, text in answers.values()), *secrets) == []


def disguised(path: str) -> Iterator[str]:
    """Other spellings of a path, by which proxies and servers have been fooled."""
    head, _, tail = path.rpartition("/")
    yield from (f"/{path}", f"{path}/", f"{path}//", f"{head}//{tail}", f"/.{path}", f"{path}/.")
    yield from (
        f"{head}/x/../{tail}",
        f"/health/..{path}",
        f"{path}/../{tail}",
        f"/v1/messages/..{path}",
    )
    yield from (f"{head}/%2e/{tail}", f"/x/%2e%2e{path}", f"{head}%2f{tail}", f"{head}%2F{tail}")
    yield from (f"{path}%00", f"{path}%20", f"{path}%0d%0ax:y", f"{path};x", f"{path};.json")
    yield from (f"{path}%3fx=1", f"{path}%23", f"{head}%5c{tail}", f"{head}\\{tail}", path.upper())
    yield from (f"{head}/{tail.title()}", f"{head}/%{ord(tail[0]):x}{tail[1:]}", f"{path}.json")
    yield from (f"http://127.0.0.1{path}", f"https://api.anthropic.com{path}", f"//x.test{path}")
    yield from (path[1:], f"*{path}", f"{path}*", f"{head}/%25{ord(tail[0]):x}{tail[1:]}")


SOUGHT = (
    *sorted(path for _, path in LISTED if len(path) > 1 and path != "/v1/models/x"),
    "/cache/settings/test",
    "/get/config/callbacks",
    "/health",
    "/key/generate",
    "/model/info",
    "/openai/v1/files",
    "/settings",
    "/ui/login",
    "/v1/messages/batches",
)


def test_no_spelling_of_a_path_opens_another(lab: House, keys: dict[str, str]) -> None:
    """Slashes, dots, percent signs, case, parameters and whole URLs as a target: a route has one
    spelling. What stands behind /v1/models/ is a name, and there is no such model.
    """
    wrong = []
    for key in (*keys.values(), None):
        with Client(lab, key) as client:
            for method, path in product(("GET", "POST"), SOUGHT):
                for target in disguised(path):
                    answer = client.send(method, target)
                    if not is_refused(method, target, key, answer):
                        wrong.append((method, target, answer))
    assert wrong == []


def is_refused(method: str, target: str, key: str | None, answer: tuple[int, str]) -> bool:
    """Whether a request for a route that does not exist was answered as it should be."""
    if key is None:
        return answer == closed(method, target)
    if re.match("/v1/models/.", target) and method == "GET":
        return answer[0] == 404 and "the profile has no model" in answer[1]
    return answer == not_there(method, target)


@pytest.mark.parametrize("method", METHODS)
def test_methods(lab: House, keys: dict[str, str], method: str) -> None:
    """Any method but its own is 404 on a listed path too; OPTIONS and TRACE tell nothing."""
    for key in keys.values():
        with Client(lab, key) as client:
            for path in dict.fromkeys(path for _, path in LISTED):
                if (method, path) not in LISTED:
                    assert client.send(method, path) == not_there(method, path)


HEADERS = {
    "x-original-url": "/settings",
    "x-rewrite-url": "/settings",
    "x-forwarded-prefix": "/settings",
    "x-forwarded-path": "/settings",
    "x-http-method-override": "GET",
    "x-forwarded-for": "127.0.0.1",
    "forwarded": "for=127.0.0.1;host=localhost",
    "referer": "/ui/",
    "cookie": "token=sk-1234",
}


def test_headers_do_not_lead_to_another_route(lab: House, keys: dict[str, str]) -> None:
    """What a server behind a proxy may heed changes no route, and is no key."""
    for key, said in ((keys["client"], not_there), (None, closed)):
        with Client(lab, key) as client:
            assert client.send("POST", "/settings", HEADERS) == said("POST", "/settings")


def raw(lab: House, request: bytes) -> bytes:
    """What comes back for some bytes until the gateway closes, or has answered."""
    with socket.create_connection(("127.0.0.1", lab.port), 30) as connection:
        connection.sendall(request)
        return connection.recv(65_536)


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/messages/../../settings HTTP/1.1",
        "GET /settings HTTP/1.0",
        "GET http://127.0.0.1/settings HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT 127.0.0.1:80 HTTP/1.1",
        "GET settings HTTP/1.1",
        "GET ?/v1/models HTTP/1.1",
        "GET #/v1/models HTTP/1.1",
    ],
)
def test_targets_that_no_client_sends(lab: House, keys: dict[str, str], line: str) -> None:
    """A target that a library would put straight first: 404 with a key, 401 without."""
    for header, status in ((f"x-api-key: {keys['client']}\r\n", b"404"), ("", b"401")):
        got = raw(lab, f"{line}\r\nHost: x\r\n{header}\r\n".encode())
        assert got.split()[1] == status, got


@pytest.mark.parametrize(
    "line",
    ["GET /v1/\xff HTTP/1.1", "GET /a b HTTP/1.1", "GET  HTTP/1.1", "\x16\x03\x01", "GET /\0"],
)
def test_what_is_no_http(lab: House, line: str) -> None:
    """Bytes that are no request are 400, and one line in the log."""
    got = raw(lab, f"{line}\r\nHost: x\r\n\r\n".encode("latin-1"))
    assert got.split()[1] == b"400", got
    assert "Traceback" not in lab.log


def test_websockets_are_closed(
    lab: House, keys: dict[str, str], routes: list[tuple[str, list[str], str]]
) -> None:
    """No WebSocket is opened, on none of LiteLLM's paths for them nor on ours, whatever the key."""
    sockets = {path for kind, _, path in routes if kind == "APIWebSocketRoute"}
    assert sockets
    headers = (*(f"x-api-key: {key}\r\n" for key in keys.values()), "x-api-key: wrong\r\n", "")
    for path in sorted(chain(sockets, POSTED, ["/", "/v1/models", *HEALTH])):
        for header in headers:
            got = raw(
                lab,
                f"GET {path}?model=chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{header}\r\n".encode(),
            )
            assert got.split()[1] == b"403", (path, got)
