"""The harness itself: the fake provider, the terminal, the real clients."""

# ruff: noqa: RUF001  Claude Code's screens have that angle.

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests import clients
from tests.terminal import MenuRow, Terminal, input_text, menu_rows, type_command
from tests.upstream import Behaviour, FakeUpstream, Json, Request, Tool, Usage

ROOT = Path(__file__).parent.parent
BASH = Tool("Bash", {"command": "echo tool-ran-$((4700+11))", "description": "x"})
RAN = "tool-ran-4711"  # only a shell makes it out of the command
SCHEMA: Json = {"type": "object", "properties": {"command": {"type": "string"}}}


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """A running fake provider that is called zai."""
    with FakeUpstream("zai", ["glm-4.7", "glm-4.5"]) as running:
        yield running


# ------------------------------------------------------------------ the fake provider


@dataclass(frozen=True)
class Said:
    """What a client of any dialect understood: text, or a tool call as (id, name, input)."""

    text: str
    call: tuple[str, str, Json] | None
    usage: Usage


def post(upstream: FakeUpstream, body: Json, timeout: float = 5) -> httpx.Response:
    """One message over the Anthropic dialect."""
    defaults = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{upstream.url}/v1/messages", json=defaults | body, timeout=timeout)


def ask_messages(upstream: FakeUpstream, turns: list[Json], *, stream: bool) -> Said:
    """Anthropic Messages, read by Anthropic's own client."""
    messages: list[Any] = [{"role": "user", "content": "go"}]
    for turn in turns:
        use = {"type": "tool_use", "id": turn["id"], "name": turn["name"], "input": turn["input"]}
        told = [{"type": "text", "text": turn["result"]}]
        result = {"type": "tool_result", "tool_use_id": turn["id"], "content": told}
        reminder = {"type": "text", "text": "a reminder"}
        messages += [
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, reminder]},
        ]
    asked: Any = {"model": "m", "max_tokens": 9, "messages": messages}
    asked["tools"] = [{"name": "Bash", "input_schema": SCHEMA}]
    done: Any
    with anthropic.Anthropic(base_url=upstream.url, auth_token="k", max_retries=0) as client:
        if stream:
            with client.messages.stream(**asked) as events:
                done = events.get_final_message()
        else:
            done = client.messages.create(**asked)
    counted = done.usage
    read, written = counted.cache_read_input_tokens, counted.cache_creation_input_tokens
    usage = Usage(counted.input_tokens, counted.output_tokens, read, written)
    (block,) = done.content
    if block.type == "text":
        assert done.stop_reason == "end_turn"
        return Said(block.text, None, usage)
    assert (block.type, done.stop_reason) == ("tool_use", "tool_use")
    return Said("", (block.id, block.name, block.input), usage)


def ask_chat(upstream: FakeUpstream, turns: list[Json], *, stream: bool) -> Said:
    """Chat Completions, read by OpenAI's own client."""
    messages: list[Any] = [{"role": "user", "content": "go"}]
    for turn in turns:
        function = {"name": turn["name"], "arguments": json.dumps(turn["input"])}
        call = {"id": turn["id"], "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": turn["id"], "content": turn["result"]},
        ]
    tools: list[Any] = [{"type": "function", "function": {"name": "Bash", "parameters": SCHEMA}}]
    with openai.OpenAI(base_url=upstream.url, api_key="k", max_retries=0) as client:
        if stream:
            options: Any = {"include_usage": True}
            with client.chat.completions.stream(
                model="m", messages=messages, tools=tools, stream_options=options
            ) as events:
                done: Any = events.get_final_completion()
        else:
            done = client.chat.completions.create(model="m", messages=messages, tools=tools)
    choice = done.choices[0]
    cached = done.usage.prompt_tokens_details.cached_tokens
    usage = Usage(done.usage.prompt_tokens - cached, done.usage.completion_tokens, cached)
    if not choice.message.tool_calls:
        assert choice.finish_reason == "stop"
        return Said(choice.message.content, None, usage)
    assert choice.finish_reason == "tool_calls"
    (made,) = choice.message.tool_calls
    return Said("", (made.id, made.function.name, json.loads(made.function.arguments)), usage)


def ask_responses(upstream: FakeUpstream, turns: list[Json], *, stream: bool) -> Said:
    """Responses, read by OpenAI's own client."""
    items: list[Any] = [{"role": "user", "content": "go"}]
    for turn in turns:
        call = {"call_id": turn["id"], "name": turn["name"], "arguments": json.dumps(turn["input"])}
        items += [
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": turn["id"], "output": turn["result"]},
        ]
    tools: list[Any] = [{"type": "function", "name": "Bash", "parameters": SCHEMA, "strict": False}]
    with openai.OpenAI(base_url=upstream.url, api_key="k", max_retries=0) as client:
        if stream:
            with client.responses.stream(model="m", input=items, tools=tools) as events:
                done: Any = events.get_final_response()
        else:
            done = client.responses.create(model="m", input=items, tools=tools)
    assert done.status == "completed"
    cached = done.usage.input_tokens_details.cached_tokens
    usage = Usage(done.usage.input_tokens - cached, done.usage.output_tokens, cached)
    (item,) = done.output
    if item.type == "message":
        return Said(done.output_text, None, usage)
    return Said("", (item.call_id, item.name, json.loads(item.arguments)), usage)


Ask = Callable[..., Said]
every_dialect = pytest.mark.parametrize("ask", [ask_messages, ask_chat, ask_responses])
streamed_or_not = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@every_dialect
@streamed_or_not
def test_reply_and_usage(upstream: FakeUpstream, ask: Ask, stream: bool) -> None:
    """A real parser reads the reply, which names model and upstream, and the tokens set."""
    usage = Usage(input=7, output=3, cache_read=20)
    upstream.behave(Behaviour(usage=usage))
    assert ask(upstream, [], stream=stream) == Said("I am m at zai", None, usage)


@every_dialect
@streamed_or_not
def test_tool_round_trip(upstream: FakeUpstream, ask: Ask, stream: bool) -> None:
    """The tool is called once, its result is quoted, and only an offered tool is called."""
    upstream.behave(Behaviour(tool=BASH))
    call = ask(upstream, [], stream=stream).call
    assert call is not None
    assert call[1:] == (BASH.name, BASH.input)
    turn = {"id": call[0], "name": call[1], "input": call[2], "result": "42"}
    said = ask(upstream, [turn], stream=stream)
    assert (said.text, said.call) == ("I am m at zai and the tool said: 42", None)
    upstream.behave(Behaviour(tool=Tool("Read", {})))
    assert ask(upstream, [], stream=stream).call is None


def test_records_requests(upstream: FakeUpstream) -> None:
    """Method, path, query, headers in lower case and body are kept; `of` and `clear` work."""
    headers = [("X-Api-Key", "a"), ("x-api-key", "b")]
    httpx.post(f"{upstream.url}/p/v1/messages?beta=true", json={"model": "m"}, headers=headers)
    httpx.head(upstream.url)
    (request,) = upstream.of("/v1/messages")
    assert request == Request(
        "POST", "/p/v1/messages", "beta=true", request.headers, {"model": "m"}
    )
    assert request.headers["x-api-key"] == "a, b"
    assert [(r.method, r.body) for r in upstream.requests] == [
        ("POST", {"model": "m"}),
        ("HEAD", None),
    ]
    upstream.clear()
    assert not upstream.requests


def test_other_routes(upstream: FakeUpstream) -> None:
    """Models in both shapes, token counts; badly joined base URLs are not found."""
    url = f"{upstream.url}/any/prefix/v1"
    openai_shape = httpx.get(f"{url}/models").json()
    anthropic = httpx.get(f"{url}/models", headers={"anthropic-version": "2023-06-01"}).json()
    for shape in (openai_shape, anthropic):
        assert [row["id"] for row in shape["data"]] == ["glm-4.7", "glm-4.5"]
    assert (openai_shape["object"], anthropic["last_id"]) == ("list", "glm-4.5")
    upstream.behave(Behaviour(usage=Usage(input=11)))
    assert httpx.post(f"{url}/messages/count_tokens", json={"model": "m"}).json() == {
        "input_tokens": 11
    }
    for path in ("//v1/messages", "/v1/v1/messages", "/v1/nothing"):
        assert httpx.post(upstream.url + path, json={"model": "m"}).status_code == 404


def test_probe_and_classifier_get_plain_answers(upstream: FakeUpstream) -> None:
    """Claude Code's probe of a model gets words, its auto mode a verdict; neither gets a tool."""
    upstream.behave(Behaviour(tool=BASH))
    tools = [{"name": "Bash", "input_schema": SCHEMA}]
    probe = post(upstream, {"tools": tools, "max_tokens": 1}).json()
    verdict = post(upstream, {"tools": tools, "stop_sequences": ["</block>"]}).json()
    assert [answer["content"][0]["text"] for answer in (probe, verdict)] == [
        "I am m at zai",
        "<block>no",
    ]


@pytest.mark.parametrize(
    ("status", "kind", "exception"),
    [
        (429, "rate_limit_error", openai.RateLimitError),
        (529, "overloaded_error", openai.InternalServerError),
    ],
)
def test_errors(
    upstream: FakeUpstream, status: int, kind: str, exception: type[openai.APIError]
) -> None:
    """An error has its status and the shape of the dialect, for as many requests as asked for."""
    upstream.behave(Behaviour(status=status, error="no luck", times=3))
    response = post(upstream, {})
    assert response.status_code == status
    assert response.json() == {"type": "error", "error": {"type": kind, "message": "no luck"}}
    for ask in (ask_chat, ask_responses):
        with pytest.raises(exception, match="no luck"):
            ask(upstream, [], stream=False)
    assert post(upstream, {}).status_code == 200


@streamed_or_not
def test_dropped_connections(upstream: FakeUpstream, stream: bool) -> None:
    """The connection closes before the first byte, or after half of the answer."""
    upstream.behave(Behaviour(drop_before_first_byte=True))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        post(upstream, {"stream": stream})
    upstream.behave(Behaviour(drop_mid_stream=True, events=4))
    url = f"{upstream.url}/v1/messages"
    received: list[str] = []
    with httpx.stream("POST", url, json={"model": "m", "stream": stream}) as response:
        assert response.status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            received.extend(response.iter_text())
    assert received
    assert "".join(received).count("text_delta") == (2 if stream else 0)


def test_upstream_as_a_process() -> None:
    """`python -m tests.upstream` prints its URL, answers, and ends on SIGTERM."""
    command = [sys.executable, "-m", "tests.upstream", "--name", "far", "--events", "2"]
    command += ["--events-of", "long=3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            for model, said in (("m", "I am m at far 2"), ("long", "I am long at far 2 3")):
                reply = httpx.post(f"{url}/chat/completions", json={"model": model}).json()
                assert reply["choices"][0]["message"]["content"] == said
        finally:
            process.terminate()
        assert process.wait(10) in (0, -signal.SIGTERM)


# ------------------------------------------------------------------ the terminal

SHELL_ENV = {"PATH": os.environ["PATH"], "TERM": "xterm-256color"}


def shell(script: str, cwd: Path, rows: int = 10, columns: int = 40) -> Terminal:
    """A shell script in a small terminal."""
    return Terminal(["sh", "-c", script], SHELL_ENV, cwd, rows=rows, columns=columns)


def test_terminal_talks_to_a_program(tmp_path: Path) -> None:
    """What is typed arrives, what is printed is seen, size and exit code are right."""
    script = "stty size </dev/tty; pwd; printf 'name? '; read name; echo hello $name; exit 3"
    with shell(script, tmp_path, rows=12, columns=200) as terminal:
        terminal.wait_for("name?")
        assert terminal.exit_code is None
        terminal.send("ann")
        terminal.enter()
        assert terminal.wait_exit() == 3
        assert terminal.lines()[:4] == ["12 200", str(tmp_path), "name? ann", "hello ann"]
        assert terminal.wait_for(re.compile(r"^hello \w+$", re.MULTILINE)) == terminal.text()


def test_terminal_waits(tmp_path: Path) -> None:
    """It waits until text goes and until the screen rests; a failure shows the screen."""
    script = "printf busy; sleep 0.3; printf '\\033[2Jdone'; sleep 60"
    with shell(script, tmp_path) as terminal:
        terminal.wait_for("busy")
        assert terminal.wait_gone("busy").strip() == "done"
        assert terminal.wait_idle(0.2).strip() == "done"
        with pytest.raises(AssertionError, match=r"(?s)'never' did not appear.*screen:.*done"):
            terminal.wait_for("never", timeout=0.2)


def test_terminal_never_blocks_the_program(tmp_path: Path) -> None:
    """More than a terminal holds, which no test looks at, does not hold the program up."""
    with shell("yes | head -c 100000; echo end", tmp_path) as terminal:
        assert terminal.wait_exit() == 0
        assert terminal.lines()[-2] == "end"


def test_terminal_ends_its_program(tmp_path: Path) -> None:
    """Ctrl-C is a signal; leaving the block ends even a program that ignores the hang-up."""
    with shell("trap 'exit 5' INT; echo up; while :; do sleep 0.1; done", tmp_path) as terminal:
        terminal.wait_for("up")
        terminal.interrupt()
        assert terminal.wait_exit() == 5
    with shell("trap '' HUP TERM; echo up; while :; do sleep 0.1; done", tmp_path) as terminal:
        terminal.wait_for("up")
        pid = terminal.pid
    assert terminal.exit_code == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_terminal_draws_no_private_sequences(tmp_path: Path) -> None:
    """Sequences that pyte does not know leave no letters, also when they arrive in halves."""
    script = r"printf 'a\033[<u\033[>4mb\033['; sleep 0.2; printf '>0qc\033[?6n\n'"
    with shell(script, tmp_path) as terminal:
        terminal.wait_exit()
        assert terminal.text() == "abc"


def test_menu_rows() -> None:
    """Rows are read with label, description (also wrapped), cursor and check mark."""
    screen = """\
❯ /model
  1. not a row
────────────────────
  Select model

  ❯ 1.  Default (recommended)  Use the default model
    9.  GLM-4.7 ✔              Z.ai · 200k ·
                               $0.60/$2.20 per Mtok
  ↓ 10. vLLM
    ↓ 7 more

  ◐ Medium effort (default) ←/→ to adjust
"""
    assert menu_rows(screen) == [
        MenuRow(1, "Default (recommended)", "Use the default model", True, False),
        MenuRow(9, "GLM-4.7", "Z.ai · 200k · $0.60/$2.20 per Mtok", False, True),
        MenuRow(10, "vLLM", "", False, False),
    ]
    assert menu_rows("  1. no menu") == []


def test_input_text() -> None:
    """The input box is told from the transcript above it, and read over several lines."""
    rule = "─" * 20
    assert input_text(f"❯ old\n\n{rule}\n❯\xa0one two\n  three\n{rule}\n  hints") == "one two three"
    assert input_text(f"❯ old\n{rule}\n  Select model") is None


# ------------------------------------------------------------------ the real clients


@dataclass(frozen=True)
class Client:
    executable: Path
    project: Path
    env: dict[str, str]


@pytest.fixture(
    params=[
        pytest.param(clients.newest, id="newest"),
        pytest.param(clients.oldest, id="oldest", marks=pytest.mark.soak),
    ]
)
def client(request: pytest.FixtureRequest, tmp_path: Path, upstream: FakeUpstream) -> Client:
    """A real Claude Code that talks to the upstream directly."""
    project = tmp_path / "project"
    project.mkdir()
    home = clients.make_home(tmp_path / "home", project)
    env = clients.client_env(home, ANTHROPIC_BASE_URL=upstream.url, ANTHROPIC_AUTH_TOKEN="dummy")
    return Client(request.param(), project, env)


@pytest.mark.timeout(900)
def test_client_interactive(client: Client, upstream: FakeUpstream) -> None:
    """In a terminal it answers, runs a tool, shows its menu, and ends."""
    command = [str(client.executable), "--allowedTools", "Bash"]
    with Terminal(command, client.env, client.project) as terminal:
        type_command(terminal, "hello")
        terminal.wait_for("at zai")
        upstream.behave(Behaviour(tool=BASH))
        type_command(terminal, "use a tool")
        terminal.wait_for(f"the tool said: {RAN}")
        type_command(terminal, "/model")
        terminal.wait_for("Select model")
        rows = menu_rows(terminal.wait_idle(0.2))
        assert [row.number for row in rows] == [1, 2, 3, 4, 5]
        assert (rows[0].label, rows[0].selected) == ("Default (recommended)", True)
        terminal.send("\x1b")
        type_command(terminal, "/exit")
        assert terminal.wait_exit() == 0


@pytest.mark.parametrize("own", [{}, {"PIP_CERT": "/mine.pem", "UV_SYSTEM_CERTS": "false"}])
def test_make_takes_the_systems_authorities(tmp_path: Path, own: dict[str, str]) -> None:
    """From an environment of nothing but PATH and HOME: uv, pip and npm are told of the system's
    certificates, and what the user has set stays.
    """
    more = tmp_path / "show.mk"
    more.write_text("show:\n\t@env\n")
    done = subprocess.run(
        ["make", "-s", "-f", str(ROOT / "Makefile"), "-f", str(more), "show"],
        cwd=ROOT,
        env={"PATH": os.defpath, "HOME": str(tmp_path), **own},
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if Path(bundle).exists():
        wanted = {"UV_SYSTEM_CERTS": "true", "PIP_CERT": bundle, "NODE_EXTRA_CA_CERTS": bundle}
        assert {name: told.get(name) for name in wanted} == wanted | own
