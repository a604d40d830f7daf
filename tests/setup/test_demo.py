"""`llmswitch try`, and the two offline models behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import client_env, make_home, newest, oldest
from tests.conftest import CHECKOUT, User, free_port, make_user
from tests.gateways import NO_WAY_OUT, Gateway, running_below, wait_for
from tests.seat import switch
from tests.terminal import Terminal, type_command

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]


@pytest.fixture
def stranger(tmp_path: Path) -> User:
    """Someone without any key, whose proxy is dead, and with an own folder for temporary files."""
    someone = make_user(tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    someone.keys = {**NO_WAY_OUT, "TMPDIR": str(temporary)}
    return someone


def nothing_left(user: User) -> bool:
    """No process and no file: neither temporary, nor in the home, nor where llmswitch keeps its."""
    below = [*(user.root / "tmp").iterdir(), *user.home.iterdir()]
    return not (below or running_below(user.root) or (user.root / "llmswitch").exists())


def test_try(stranger: User) -> None:
    """`try` starts a gateway, sends each of two models a message as Claude Code would, tells the
    answers, and leaves nothing: no key, no network, no file, no process. It
    needs nothing of the shell but a PATH and a home.
    """
    done = stranger.json("try", env={"LLMSWITCH_HOME": "", "LANG": ""})
    assert [row["name"] for row in done["models"]] == ["parrot", "butler"]
    assert done["answers"] == [
        {
            "model": "parrot",
            "label": "Parrot",
            "text": "You said: Hello from Claude Code",
        },
        {
            "model": "butler",
            "label": "Butler",
            "text": "Certainly. Hello from Claude Code has been noted, and both of us run without a"
            " network.",
        },
    ]
    assert nothing_left(stranger)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["told to end", "terminal closed"],
)
def test_interrupted(stranger: User, number: signal.Signals, code: int) -> None:
    """However it is ended before its end, `try` leaves nothing."""
    trying = stranger.begin("try")
    wait_for(lambda: len(running_below(stranger.root / "tmp")) >= 1)
    trying.send_signal(number)
    out, error = trying.communicate(timeout=60)
    assert (trying.returncode, out) == (code, "")
    assert "Traceback" not in error
    assert nothing_left(stranger)


def test_progress_on_a_terminal(stranger: User) -> None:
    """On a terminal one sees what takes so long; Ctrl-C there leaves nothing either."""
    command = [sys.executable, "-m", "llmswitch", "try"]
    with Terminal(command, {**stranger.unmeasured, "TERM": "xterm"}, stranger.home) as terminal:
        terminal.wait_for("(LiteLLM takes a few seconds) ... ", timeout=60)
        wait_for(lambda: running_below(stranger.root / "tmp"))
        terminal.interrupt()
        assert terminal.wait_exit(60) == 130
    assert nothing_left(stranger)


# ------------------------------------------------------------------ the models themselves


ENGINE = """
litellm:
  router_settings:
    model_group_alias: {polly: parrot, jeeves: {model: butler, hidden: true}}
  model_list:
  - model_name: any-*
    litellm_params: {model: llmswitch-demo/*}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the two demo models, one that does not exist, and LiteLLM's own ways to name
    a model.
    """
    user = make_user(tmp_path_factory.mktemp("demo"))
    user.keys = {}
    port = free_port()
    user.write_profile(
        "models: {parrot: demo/parrot, butler: demo/butler, odd: demo/odd}\n"
        f"gateway: {{port: {port}}}\n" + ENGINE
    )
    done = user.run("up")
    assert done.returncode == 0, done.stderr
    yield Gateway(f"http://127.0.0.1:{port}", user.gateway_key())
    user.run("down")
    user.stop_everything()


PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
HISTORY = [
    {"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
        ],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a-file"}],
    },
]


@pytest.mark.parametrize("stream", [False, True])
def test_the_parrot_repeats_the_last_thing_said(gateway: Gateway, stream: bool) -> None:
    """Braces and all, counting words for tokens; nothing, if nothing was said; and in a session
    that used tools, pictures and thinking with another model.
    """
    said = {"role": "user", "content": [{"type": "text", "text": "a {b} {} ü"}]}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "You said: x"}]
    answer = gateway.ask("parrot", stream=stream, messages=[*messages, said])
    assert answer.said == "You said: a {b} {} ü"
    usage = answer.events[-2]["usage"] if stream else answer.json["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (8, 6)
    empty = gateway.ask("parrot", stream=stream, messages=[{"role": "user", "content": " "}])
    assert empty.said == "You said:"
    tools = [{"name": "Bash", "input_schema": {"type": "object", "properties": {}}}]
    answer = gateway.ask("parrot", stream=stream, messages=HISTORY, tools=tools, system="s")
    assert answer.said == "You said: look"


@pytest.mark.parametrize("stream", [False, True])
def test_voice_that_does_not_exist(gateway: Gateway, stream: bool) -> None:
    """A third demo model is an error that names the two that there are."""
    answer = gateway.ask("odd", stream=stream)
    assert answer.status == 404
    assert "there is no demo model 'odd'; there are: parrot, butler" in answer.error["message"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("polly", "You said: hi"), ("jeeves", "Certainly. hi"), ("any-parrot", "You said: hi")],
    ids=["an alias", "a hidden alias", "a pattern"],
)
def test_names_of_litellm(gateway: Gateway, name: str, said: str) -> None:
    """What `litellm:` adds by an alias or a pattern is served: only other names are 404."""
    assert gateway.ask(name).said.startswith(said)
    assert gateway.ask(name, stream=True).said.startswith(said)
    answer = gateway.ask(name.upper())
    assert (answer.status, answer.error["message"]) == (
        404,
        (
            f"llmswitch: the profile has no model {name.upper()!r}; "
            "it has: parrot, butler, odd, any-*, polly"
        ),
    )


def test_openai_clients(gateway: Gateway) -> None:
    """The same models answer over Chat Completions."""
    body = {"model": "butler", "messages": [{"role": "user", "content": "tea"}]}
    answer = gateway.send("POST", "/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"].startswith("Certainly. tea has been noted")


@pytest.mark.timeout(900)  # the first run fetches the client
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(newest, id="newest"),
        pytest.param(oldest, id="oldest", marks=pytest.mark.soak),
    ],
)
def test_the_real_client_hears_what_was_typed(user: User, client: Callable[[], Path]) -> None:
    """Through `claude-multi` the parrot repeats what the person typed, and not the thousands of
    words that Claude Code puts beside it; nor does the butler after a switch in mid-session.
    """
    demo = (CHECKOUT / "profiles" / "demo.yaml").read_text()
    user.write_profile(f"{demo}gateway: {{port: {free_port()}}}\n")
    assert user.run("wrapper", "install", "--dir", str(user.root / "bin")).returncode == 0
    make_home(user.home, user.home)
    env = client_env(
        user.home, LLMSWITCH_HOME=user.env["LLMSWITCH_HOME"], LLMSWITCH_CLAUDE=str(client())
    )
    done = subprocess.run(
        [user.root / "bin" / "claude-multi", "-p", "hi there"],
        env=env,
        cwd=user.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("You said: hi there\n", 0), done.stderr
    with Terminal([str(user.root / "bin" / "claude-multi")], env, user.home) as terminal:
        type_command(terminal, "good morning")
        terminal.wait_for("You said: good morning")
        switch(terminal, "butler")
        type_command(terminal, "and you")
        # Beside it Claude Code says what `/model` has printed.
        terminal.wait_for("Certainly. and you has been noted")
    user.run("down")
