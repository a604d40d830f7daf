"""What the real Claude Code sends reaches LiteLLM through the gate whole."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmswitch.render.claude_settings import plain_name
from tests import clients
from tests.claude.test_client_sessions import PROVIDERS
from tests.engine import mcp_server
from tests.engine.gate_scene import Scene, open_scene
from tests.pass_through import Passed
from tests.seat import Seat, ask, leave, switch, take_seat
from tests.terminal import type_command
from tests.upstream import Behaviour, Request, Tool

pytestmark = pytest.mark.timeout(900)

both = pytest.mark.parametrize(
    "client",
    [clients.newest, pytest.param(clients.oldest, marks=pytest.mark.soak)],
    ids=["newest", "oldest"],
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
AGENT = {
    "description": "look",
    "prompt": "task",
    "subagent_type": "general-purpose",
    "run_in_background": False,
}

ON_THE_LIST = (
    "accept",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "content-type",
    "user-agent",
    "x-app",
)
ON_THE_LIST_TOO = ("x-claude-code-", "x-stainless-")
LEFT_OUT = {"accept-encoding", "authorization", "connection", "content-length", "host"}
"""Of the connection between client and gateway, and the gateway's own key."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway with a model of each of three dialects, seen from both sides."""
    yield from open_scene(tmp_path_factory.mktemp("gate"))


def sit_down(scene: Scene, client: Path, root: Path) -> Seat:
    """A seat with that client, a picture and an MCP server of the project's own."""
    seat = take_seat(scene.mission, scene.claude(client, root / "bin"), root)
    (seat.project / "picture.png").write_bytes(picture())
    server = {"command": sys.executable, "args": [mcp_server.__file__]}
    (seat.project / "mcp.json").write_text(json.dumps({"mcpServers": {"own": server}}))
    scene.begin()
    return seat


def picture() -> bytes:
    """A PNG of one red dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    dot = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return b"\x89PNG\r\n\x1a\n" + head + dot + chunk(b"IEND", b"")


def run(scene: Scene, seat: Seat, dialect: str, tool: Tool | None, *arguments: str) -> str:
    """What a session without a terminal says, whose model thinks and then calls that tool."""
    name, where, model = PROVIDERS[dialect]
    upstream = next(one for one in scene.mission.upstreams if one.name == where)
    upstream.behave(Behaviour(tool=tool, thinking="hm"), model)
    try:
        allowed = "Agent,Read,ToolSearch,WebSearch,mcp__own"
        told = ("--model", name, "--mcp-config", "mcp.json", "--allowedTools", allowed)
        done = seat.run(*told, *arguments, "-p", "do it, with @picture.png")
    finally:
        upstream.behave(Behaviour(), model)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_all_passed(scene: Scene) -> None:
    """All that the client has asked was answered, and its messages reached LiteLLM as they were."""
    refused = [(one.path, one.status, one.error) for one in scene.requests if one.status != 200]
    assert refused == []
    assert [line for line in scene.log.splitlines() if "is not passed on" in line] == []
    data, headers = [saw["data"] for saw in scene.saw], [saw["headers"] for saw in scene.saw]
    assert len(scene.messages) == len(data)
    for asked in scene.messages:
        take(as_passed(asked.body), data)
        take(listed(asked), headers)


def as_passed(body: dict[str, Any]) -> dict[str, Any]:
    """A body as it is to reach LiteLLM: the model by its name in the profile, and of the metadata
    the `user_id` alone.
    """
    user = {"user_id": body["metadata"]["user_id"]}
    return {**body, "model": plain_name(body["model"]), "metadata": user}


def listed(asked: Passed) -> dict[str, str]:
    """The headers that are to arrive; every other of the client's is known here."""
    sent = dict(asked.headers)
    kept = {name for name in sent if name in ON_THE_LIST or name.startswith(ON_THE_LIST_TOO)}
    assert {*sent} - kept <= LEFT_OUT
    return {name: sent[name] for name in kept}


def take(sent: dict[str, Any], arrived: list[dict[str, Any]]) -> None:
    """Take out of what arrived one that has all that was sent, as it was sent."""

    def changed(one: dict[str, Any]) -> list[str]:
        return [name for name in sent if name not in one or one[name] != sent[name]]

    nearest = min(arrived, key=lambda one: len(changed(one)))
    assert changed(nearest) == []
    arrived.remove(nearest)


def assert_sent(scene: Scene, *signs: str) -> None:
    """The client has really sent what this is about."""
    sent = "\n".join(one.content.decode() for one in scene.requests)
    assert [sign for sign in signs if sign not in sent] == []


@pytest.mark.parametrize(
    "dialect",
    [one if one == "anthropic" else pytest.param(one, marks=pytest.mark.soak) for one in PROVIDERS],
)
def test_tools_of_every_kind(scene: Scene, dialect: str, tmp_path: Path) -> None:
    """On the newest client, with a model of each dialect: a picture in the prompt and one that a
    tool has read, an answer after a JSON schema, an agent, tools of an MCP server that are searched
    for, then called, and all of them at once beside a search of the web; thoughts are signed.
    """
    seat = sit_down(scene, clients.newest(), tmp_path)
    schema = ("--json-schema", json.dumps(SCHEMA))
    said = run(scene, seat, dialect, Tool("StructuredOutput", {"a": "☃"}), *schema)
    assert json.loads(said) == {"a": "☃"}
    picture_file = str(seat.project / "picture.png")
    run(scene, seat, dialect, Tool("Read", {"file_path": picture_file}))
    run(scene, seat, dialect, Tool("Agent", AGENT))
    run(scene, seat, dialect, Tool("ToolSearch", {"query": "select:mcp__own__tool_3"}))
    called = Tool("mcp__own__tool_3", {"x": "☃"})
    assert "tool_3 got ☃" in run(scene, seat, dialect, called, "--continue")
    seat.more["ENABLE_TOOL_SEARCH"] = "false"
    run(scene, seat, dialect, Tool("WebSearch", {"query": "new things"}))

    thinking = '"type":"adaptive"' if dialect == "anthropic" else '"type":"enabled"'
    assert_sent(scene, '"type":"image"', '"name":"StructuredOutput"', thinking)
    assert_sent(scene, '"defer_loading":true', '"type":"tool_reference"', '"mcp__own__tool_29"')
    assert_sent(scene, '"web_search_20250305"', '"tool_choice"', '"context_management"')
    assert dialect == "chat" or [one for one in scene.messages if b"signed-by-" in one.content]
    assert [one for one in scene.messages if "x-claude-code-agent-id" in dict(one.headers)]
    assert_all_passed(scene)


@both
def test_a_session_at_a_terminal(client: Callable[[], Path], scene: Scene, tmp_path: Path) -> None:
    """Questions to models of three dialects in one session, titles, the counting of /context, and
    /compact; and the client does not ask for the menu.
    """
    seat = sit_down(scene, client(), tmp_path)
    with seat.open("--mcp-config", "mcp.json") as terminal:
        ask(terminal, scene.mission, "please do a lot of work on the parser")
        for name, where, _ in PROVIDERS.values():
            switch(terminal, name)
            assert ask(terminal, scene.mission, f"word for {name}").upstream == where
        type_command(terminal, "/context")  # of opus, whose provider counts tokens
        terminal.wait_for("mcp__own__tool_9")
        type_command(terminal, "/compact")
        terminal.wait_for(re.compile("⎿ .*Compacted"))
        assert leave(terminal) == 0

    assert [one for one in scene.requests if one.path.endswith("/count_tokens")]
    assert_sent(scene, '"json_schema"', '"output_config"', '"context_management"')
    assert [one.query for one in scene.requests if one.path == "/v1/models"] == []
    assert_all_passed(scene)
    arrived = [without_model(one) for one in scene.mission.anthropic.of("/count_tokens")]
    for counted in (one for one in scene.requests if one.path.endswith("/count_tokens")):
        take(without_model(counted), arrived)


def without_model(request: Passed | Request) -> dict[str, Any]:
    """What a body says of everything else."""
    return {name: value for name, value in (request.body or {}).items() if name != "model"}


@both
def test_what_is_asked_only_to_connect(
    client: Callable[[], Path], scene: Scene, tmp_path: Path
) -> None:
    """What the client asks first, where it knows of no proxy, is answered and stands in no log."""
    seat = sit_down(scene, client(), tmp_path)
    seat.more = {"DISABLE_TELEMETRY": "1", "HTTP_PROXY": "", "HTTPS_PROXY": ""}
    assert seat.run("--model", "qwen", "-p", "word").stdout == "I am qwen3 at mine\n"
    probes = [(one.path, one.status) for one in scene.requests if one.method == "HEAD"]
    assert probes == [("/" if client is clients.oldest else "/api/hello", 200)]
    assert "HEAD" not in scene.log
    assert_all_passed(scene)
