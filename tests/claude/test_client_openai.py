"""Programs that speak to OpenAI's API, and Anthropic's SDK: with a model of every dialect each
calls a tool and prints what the model says of its result.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.clients import client_env, codex, opencode
from tests.dialects import DIALECTS, KEYS, MODELS, check, open_dialects, received
from tests.gateways import NO_WAY_OUT, STRAYS, secrets_in
from tests.ledgers import House
from tests.upstream import Behaviour, Json, Tool

pytestmark = [pytest.mark.xdist_group("client-openai"), pytest.mark.timeout(300)]


def some(*names: str) -> pytest.MarkDecorator:
    """A model of each dialect; those that are not named take their turn in `make soak`."""
    marks = {name: () if name in names else pytest.mark.soak for name in DIALECTS}
    return pytest.mark.parametrize("model", [pytest.param(n, marks=m) for n, m in marks.items()])


# What a user of these programs has in the shell: keys of other vendors.
OWN = {
    "OPENAI_API_KEY": "sk-proj-of-the-user",
    "ANTHROPIC_API_KEY": "sk-ant-api03-of-the-user",
    "ANTHROPIC_AUTH_TOKEN": "sk-ant-oat01-of-the-user",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway with a model of every dialect."""
    yield from open_dialects(tmp_path_factory.mktemp("clients"))


@pytest.fixture
def house(running: House) -> House:
    """The same, whose upstreams are healthy and have not been asked."""
    running.heal()
    return running


def calling(house: House, model: str, tool: Tool) -> None:
    """Have the model call that tool, if the client offers it."""
    house.upstreams[MODELS[model].upstream].behave(Behaviour(tool=tool))


def check_all(house: House, model: str, least: int = 2) -> None:
    """Its own upstream alone was asked, each time with its own credential alone; the ledger has a
    row of each request.
    """
    [(name, requests)] = received(house).items()
    assert name == MODELS[model].upstream
    assert len(requests) >= least
    others = {*KEYS.values(), *STRAYS.values(), *OWN.values(), house.gateway.key}
    others -= {KEYS.get(MODELS[model].variable or "")}
    for request in requests:
        check(request, model)
        whole = json.dumps([request.path, request.query, request.headers, request.body])
        assert not secrets_in(whole, *others)
    rows = house.rows(len(requests))
    assert {(row.model, row.provider, row.status) for row in rows} == {(model, name, 200)}


def run(command: list[Any], home: Path, house: House) -> str:
    """What a program prints that is run in a folder below `home`, with the gateway's key in a
    variable beside the user's own keys.
    """
    work = home / "work"
    work.mkdir()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=work,
        env=client_env(home, LLMSWITCH_KEY=house.gateway.key, **OWN),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "made").read_text() == "by the tool\n"
    return done.stdout


COMMAND = "echo by the tool > made; echo the tool was here"


@some("messages", "chat")
def test_codex(house: House, tmp_path: Path, model: str) -> None:
    """Codex, as the manual says it is set up, by /v1/responses."""
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text(f"""\
model = "{model}"
model_provider = "llmswitch"
[model_providers.llmswitch]
name = "llmswitch"
base_url = "{house.gateway.url}/v1"
env_key = "LLMSWITCH_KEY"
wire_api = "responses"
""")
    calling(house, model, Tool("exec_command", {"cmd": COMMAND}))
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    said = run([codex(), "exec", *options, "make a file"], tmp_path, house)
    expected = MODELS[model]
    assert f"I am {expected.id} at {expected.upstream} and the tool said: " in said
    assert "the tool was here" in said
    check_all(house, model)


@some("messages")
def test_opencode(house: House, tmp_path: Path, model: str) -> None:
    """opencode, by /v1/chat/completions."""
    folder = tmp_path / ".config" / "opencode"
    folder.mkdir(parents=True)
    options = {"baseURL": f"{house.gateway.url}/v1", "apiKey": "{env:LLMSWITCH_KEY}"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {model: {}}}
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "small_model": f"llmswitch/{model}",
        "provider": {"llmswitch": provider},
    }
    (folder / "opencode.json").write_text(json.dumps(settings))
    calling(house, model, Tool("bash", {"command": COMMAND, "description": "makes it"}))
    command = [opencode(), "run", "--model", f"llmswitch/{model}", "make a file"]
    said = run(command, tmp_path, house)
    expected = MODELS[model]
    assert f"I am {expected.id} at {expected.upstream} and the tool said: the tool was here" in said
    check_all(house, model)


SCHEMA: Json = {
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
}
BASH = Tool("Bash", {"command": "ls"})


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a user's program: keys of other vendors, and no way out."""
    for name in [name for name in os.environ if name.startswith(("OPENAI", "ANTHROPIC"))]:
        monkeypatch.delenv(name)
    for name, value in {**OWN, **NO_WAY_OUT, "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("shell")
@some("chat", "litellm")
def test_anthropic_sdk(house: House, model: str) -> None:
    """Anthropic's SDK, streamed, with a tool, by /v1/messages."""
    calling(house, model, BASH)
    tool: Any = {"name": "Bash", "description": "runs it", "input_schema": SCHEMA}
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    said = []
    with anthropic.Anthropic(base_url=house.gateway.url, api_key=house.gateway.key) as client:
        for _ in range(2):
            with client.messages.stream(
                model=model, max_tokens=100, messages=messages, tools=[tool]
            ) as stream:
                message = stream.get_final_message()
            said.append(message)
            content = [block.model_dump(exclude_none=True) for block in message.content]
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "a-file"}
                for block in message.content
                if block.type == "tool_use"
            ]
            messages += [
                {"role": "assistant", "content": content},
                {"role": "user", "content": results},
            ]
    [use] = [block for block in said[0].content if block.type == "tool_use"]
    assert (use.name, use.input) == (BASH.name, BASH.input)
    assert said[0].stop_reason == "tool_use"
    text = "".join(block.text for block in said[1].content if block.type == "text")
    assert text.endswith("and the tool said: a-file")
    check_all(house, model)
