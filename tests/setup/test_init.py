"""`llmswitch init`: from nothing to the real client, and what is there is only added to."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import LlmswitchError
from llmswitch.profile import edit
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from llmswitch.setup import compose
from tests import clients
from tests.conftest import CHECKOUT, User, free_port
from tests.internet import Internet, Strict
from tests.newcomer import KEY, MODELS, Newcomer, newcomer, plain
from tests.profile.test_edit import data_of, profiles
from tests.seat import files_below
from tests.terminal import INPUT_BOX, Terminal, type_command
from tests.upstream import FakeUpstream

pytestmark = [pytest.mark.xdist_group("init"), pytest.mark.timeout(600)]


@pytest.fixture
def someone(tmp_path: Path) -> Iterator[Newcomer]:
    """A newcomer."""
    with newcomer(tmp_path) as here:
        yield here


@pytest.fixture
def connected(someone: Newcomer, tmp_path: Path) -> Iterator[Newcomer]:
    """A newcomer to whom api.anthropic.com and api.z.ai answer."""
    with (
        Strict("anthropic", MODELS, [KEY]) as anthropic,
        Strict("zai", ["glm-5.3", "glm-4.7"], ["zai-key"]) as zai,
        Internet({"api.anthropic.com": anthropic, "api.z.ai": zai}, tmp_path) as internet,
    ):
        someone.more |= internet.env
        yield someone


NOTHING = """\
found:  no key, and no server of models on this machine
        Claude Code 2.1.332, ~/.local/bin/claude

paste a key of Anthropic, OpenAI, OpenRouter, Z.ai or another provider; it is not shown
(Enter alone lists the providers)
key:"""
CLAUDE = """\
Anthropic takes the key

       NAME        MODEL                                 CONTEXT  USD PER Mtok
 1  *  opus        anthropic/claude-opus-5-5             1M       $4/$20
 2  *  sonnet      anthropic/claude-sonnet-5-5           1M       $2/$10
 3  *  haiku       anthropic/claude-haiku-5-5            1M       $0.10/$0.50
 4     fable       anthropic/claude-fable-5-2            unknown  unknown
 5     opus-4.5    anthropic/claude-opus-4-5-20251101    200k     $5/$25
 6     sonnet-4.5  anthropic/claude-sonnet-4-5-20250929  200k     $3/$15

~/.config/llmswitch/profiles/main.yaml will be:

  # Written by `llmswitch init`, and yours from now on.
  models:
    opus: anthropic/claude-opus-5-5
    sonnet: anthropic/claude-sonnet-5-5
    haiku: anthropic/claude-haiku-5-5
  roles: {default: opus}

Enter writes it; numbers choose other models, the first one first
k takes another key; n leaves, and nothing is written
>"""
STARTED = """\
ANTHROPIC_API_KEY is kept in ~/.config/llmswitch/keys.json
wrote ~/.config/llmswitch/profiles/main.yaml
started on 127.0.0.1:PORT, pid PID
installed ~/.local/bin/claude-multi
llmswitch doctor: 24 checks, nothing is wrong
note: Anthropic alone needs no gateway    -> llmswitch wrapper install --direct anthropic

next:  claude-multi  Claude Code, with every model in /model"""


def without_port(text: str) -> str:
    """A profile as `init` composes it where the usual port is free."""
    return re.sub(r"^gateway: .*\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("client", [clients.newest, clients.oldest], ids=["newest", "oldest"])
def test_one_key_and_one_enter_lead_to_the_real_client(client: object, tmp_path: Path) -> None:
    """In a pseudo terminal and a clean home, in under a minute: the key is pasted, Enter is
    pressed, `claude-multi` opens the real client, and its first word reaches api.anthropic.com
    with that key. That host stands on this machine, behind a proxy and TLS of the test's own
    (HTTPS_PROXY, SSL_CERT_FILE); nothing of llmswitch is told another address.
    """
    fetched = client()  # type: ignore[operator]
    clock = time.monotonic
    with (
        newcomer(tmp_path, fetched) as here,
        Strict("anthropic", MODELS, [KEY]) as upstream,
        Internet({"api.anthropic.com": upstream}, tmp_path) as internet,
    ):
        here.more |= internet.env
        began = clock()
        with here.open("init") as terminal:
            first = NOTHING.replace(
                clients.NEWEST, clients.NEWEST if clients.NEWEST in str(fetched) else clients.OLDEST
            )
            assert terminal.wait_for("key:") == first
            terminal.send(f"{KEY}\r")
            screen = terminal.wait_for("k takes another key")
            assert plain(terminal.wait_idle(0.1)) == f"{first}\n{CLAUDE}"
            terminal.enter()
            assert terminal.wait_exit() == 0
            screen = plain(terminal.text())
        told = screen.removeprefix(f"{first}\n{CLAUDE}\n")
        assert KEY not in screen
        if fetched == clients.newest():
            assert told == STARTED
        else:
            assert told.startswith(STARTED.partition("llmswitch doctor")[0])
        clients.make_home(tmp_path / "x", here.home)
        (tmp_path / "x" / ".claude.json").rename(here.home / ".claude.json")  # no first questions
        with_multi = [str(here.home / ".local/bin/claude-multi")]
        with Terminal(with_multi, here.env, here.home, columns=120) as terminal:
            terminal.wait_for(INPUT_BOX)
            type_command(terminal, "good morning")
            terminal.wait_for("I am claude-opus-5-5 at anthropic")
        took = clock() - began
        print(f"from `llmswitch init` to the first answer: {took:.1f} s")
        assert took < 60
    asked = [request for request in upstream.of("/v1/messages") if request.body]
    assert {request.headers.get("x-api-key") for request in asked} == {KEY}
    assert any("good morning" in json.dumps(request.body) for request in asked)
    keys = here.home / ".config/llmswitch/keys.json"
    assert json.loads(keys.read_text()) == {"ANTHROPIC_API_KEY": KEY}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert KEY not in here.profile.read_text()


def test_a_key_that_is_refused_is_asked_for_again(connected: Newcomer) -> None:
    """Nothing of it is kept; Enter alone goes on without one."""
    with connected.open("init", "--no-start") as terminal:
        terminal.wait_for("key:")
        terminal.send("sk-ant-api03-of-yesterday\r")
        screen = terminal.wait_for("without\nkey:")
        assert screen == (
            f"{NOTHING}\nAnthropic refuses the key: api.anthropic.com answers 401; "
            "paste another, or Enter to go on without\nkey:"
        )
        terminal.send("your-key-here\r")
        terminal.wait_for(
            "a placeholder, not a key; paste another, or Enter to go on without\nkey:"
        )
        terminal.send(f"{KEY}\r")
        terminal.wait_for("Anthropic takes the key")
        terminal.wait_for("k takes another key")
        terminal.enter()
        assert terminal.wait_exit() == 0
    keys = connected.home / ".config/llmswitch/keys.json"
    assert json.loads(keys.read_text()) == {"ANTHROPIC_API_KEY": KEY}


def test_a_key_that_does_not_tell_its_provider_asks_whose_it_is(connected: Newcomer) -> None:
    """With piped answers, and what they lead to is shown as on a terminal, but for the key."""
    done = connected.run("init", "--no-start", stdin="zai-key\nnobody\nZ.ai\n5 glm-5.3\n\n")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("which provider?"))
    assert lines[at - 1].split()[:2] == ["18", "Ollama"]
    assert (
        plain("\n".join(lines[at:]))
        == f"""\
which provider? number or name:{" "}
that is no provider of the list: type its number, or its name
which provider? number or name: Z.ai
Z.ai takes the key

       NAME           MODEL              CONTEXT  USD PER Mtok
 1  *  glm-5.3        zai/glm-5.3        1M       $1.40/$4.40
 2  *  glm-4.7        zai/glm-4.7        200k     $0.60/$2.20
 3  *  glm-5.3-flash  zai/glm-5.3-flash  1M       $0.15/$0.50
 4     glm-5.2        zai/glm-5.2        1M       $1.40/$4.40
 5     glm-5.1        zai/glm-5.1        200k     $1.40/$4.40
 6     glm-4.5-air    zai/glm-4.5-air    128k     $0.20/$1.10

~/.config/llmswitch/profiles/main.yaml will be:

  # Written by `llmswitch init`, and yours from now on.
  models:
    glm-5.3: zai/glm-5.3
    glm-4.7: zai/glm-4.7
    glm-5.3-flash: zai/glm-5.3-flash
  roles: {{default: glm-5.3, haiku: glm-5.3-flash}}

Enter writes it; numbers choose other models, the first one first
k takes another key; n leaves, and nothing is written
> 5 glm-5.3

       NAME           MODEL              CONTEXT  USD PER Mtok
 1  *  glm-5.3        zai/glm-5.3        1M       $1.40/$4.40
 2     glm-4.7        zai/glm-4.7        200k     $0.60/$2.20
 3     glm-5.3-flash  zai/glm-5.3-flash  1M       $0.15/$0.50
 4     glm-5.2        zai/glm-5.2        1M       $1.40/$4.40
 5  *  glm-5.1        zai/glm-5.1        200k     $1.40/$4.40
 6     glm-4.5-air    zai/glm-4.5-air    128k     $0.20/$1.10

~/.config/llmswitch/profiles/main.yaml will be:

  # Written by `llmswitch init`, and yours from now on.
  models:
    glm-5.1: zai/glm-5.1
    glm-5.3: zai/glm-5.3
  roles: {{default: glm-5.1}}

Enter writes it; numbers choose other models, the first one first
k takes another key; n leaves, and nothing is written
>{" "}
ZAI_API_KEY is kept in ~/.config/llmswitch/keys.json
wrote {connected.profile}: edit it as you like
main is now the default profile

next:  llmswitch validate           what the profile needs
       llmswitch wrapper install    writes the command claude-multi
       claude-multi                 Claude Code, with every model in /model"""
    )
    assert without_port(connected.profile.read_text()) == (
        "# Written by `llmswitch init`, and yours from now on.\n"
        "models:\n  glm-5.1: zai/glm-5.1\n  glm-5.3: zai/glm-5.3\nroles: {default: glm-5.1}\n"
    )
    assert "zai-key" not in done.stdout
    assert "\x1b" not in done.stdout


def test_a_provider_that_cannot_be_asked_is_no_mistake(someone: Newcomer) -> None:
    """It says so, and goes on with the key."""
    done = someone.run("init", "--no-start", stdin=f"{KEY}\n\n")
    assert (done.returncode, done.stderr) == (0, "")
    said = "a key of Anthropic; it was not checked: Anthropic cannot be reached at "
    assert f"key: \n{said}api.anthropic.com\n" in done.stdout
    assert someone.profile.exists()


def test_a_wrong_answer_is_asked_again_and_k_takes_another_key(connected: Newcomer) -> None:
    """What was chosen stays in front of the user until Enter."""
    answers = f"{KEY}\n9\nk\nzai\nzai-key\nglm-4.7,opus haiku\nyes\n"
    done = connected.run("init", "--no-start", stdin=answers)
    assert (done.returncode, done.stderr) == (0, "")
    assert "> \nthat is no model of the list: type numbers of it, such as 2 1\n" in done.stdout
    assert (
        "key: \npaste the key of Z.ai, from https://z.ai/manage-apikey/apikey-list; "
        "it is not shown\nkey: \nZ.ai takes the key\n"
    ) in done.stdout
    assert without_port(connected.profile.read_text()) == (
        "# Written by `llmswitch init`, and yours from now on.\n"
        "models:\n  glm-4.7: zai/glm-4.7\n"
        "  opus: anthropic/claude-opus-5-5\n"
        "  haiku: anthropic/claude-haiku-5-5\n"
        "roles: {default: glm-4.7}\n"
    )
    kept = json.loads((connected.home / ".config/llmswitch/keys.json").read_text())
    assert kept == {"ANTHROPIC_API_KEY": KEY, "ZAI_API_KEY": "zai-key"}


def test_where_the_input_ends_the_rest_is_taken_as_with_yes(someone: Newcomer) -> None:
    """Without a key: a ready-made profile and claude-multi, and the keys that it needs."""
    done = someone.run("init")
    assert (done.returncode, done.stderr) == (0, "")
    ready_made = (CHECKOUT / "profiles" / "claude-glm.yaml").read_text()
    shown = "".join(f"  {line}\n" for line in ready_made.splitlines())
    assert (
        done.stdout
        == f"""\
{NOTHING} {""}

the input has ended: the rest is taken as with --yes

~/.config/llmswitch/profiles/claude-glm.yaml will be:

{shown}
wrote ~/.config/llmswitch/profiles/claude-glm.yaml
installed ~/.local/bin/claude-multi
the gateway was not started: no model has its key

next:  llmswitch key set ANTHROPIC_API_KEY  with a key from https://console.anthropic.com/settings/keys
       llmswitch key set ZAI_API_KEY        with a key from https://z.ai/manage-apikey/apikey-list
       claude-multi                         Claude Code, with every model in /model
"""
    )
    assert someone.profile.with_name("claude-glm.yaml").read_text() == ready_made
    again = someone.run("init", stdin=f"{KEY}\n", env={"ANTHROPIC_API_KEY": ""})
    assert again.returncode == 0, "and now with a key, for the profile that is there"
    profile = "~/.config/llmswitch/profiles/claude-glm.yaml"
    assert f"{profile} is your profile: 5 models, 5 left out for want of a key\n" in again.stdout
    told = plain(again.stdout.partition("ConnectError\n")[2])
    assert told.startswith("no key and no server is new since it was written\n\n      NAME  ")
    assert told.partition("k takes a key\n")[2].startswith(
        "> \nthe input has ended: the rest is taken as with --yes\n"
        "ANTHROPIC_API_KEY is kept in ~/.config/llmswitch/keys.json\n"
        f"{profile} is there already and was left as it is\n"
        "started on 127.0.0.1:PORT, pid PID\n"
        "glm is left out: ZAI_API_KEY is not set\n"
    )


def test_a_closed_input_is_one_that_has_ended(someone: Newcomer) -> None:
    """As some schedulers start their jobs."""
    command = f"'{sys.executable}' -m llmswitch init --no-start <&-"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=someone.env,
        cwd=someone.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nthe input has ended: the rest is taken as with --yes\n" in done.stdout


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_one_that_nobody_reads(closed: str, someone: Newcomer) -> None:
    """The command does its work, and no file of it takes the place of the output."""
    for command in ("init --no-start", "providers", "wrapper install"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"'{sys.executable}' -m llmswitch {command} {closed}"],
            env=someone.env,
            cwd=someone.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(
        parse_profile(someone.profile.with_name("claude-glm.yaml").read_text(), "it").models
    )
    wrapper = someone.home / ".local/bin/claude-multi"
    assert wrapper.read_text().startswith("#!/bin/sh\n# Generated by llmswitch ")


def test_yes_asks_nothing_and_takes_every_key_and_server_that_is_found(
    someone: Newcomer,
) -> None:
    """Those of the environment and of `key set`; a model server on this machine costs nothing. What
    reads a cloud's credentials is shown, and taken only where there is nothing else.
    """
    assert someone.run("key", "set", "zai", stdin="zai-key").returncode == 0
    cloud = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION_NAME"), "x")
    (someone.home / ".local/bin/claude").unlink()
    with FakeUpstream("lm-studio", ["qwen/qwen3-coder:30b", "m:latest"], port=1234):
        done = someone.run("init", "--yes", "--no-start", env={"OPENAI_API_KEY": "k", **cloud})
    assert (done.returncode, done.stderr) == (0, "")
    told = plain(done.stdout).partition("\nwrote")[0]
    assert (
        told
        == """\
found:  ZAI_API_KEY in ~/.config/llmswitch/keys.json (Z.ai)
        OPENAI_API_KEY in the environment (OpenAI)
        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and AWS_REGION_NAME in the environment (Bedrock)
        LM Studio on localhost:1234 with 2 models
note:   there is no `claude` on PATH    -> npm install -g @anthropic-ai/claude-code

       NAME             MODEL                                   CONTEXT  USD PER Mtok
 1  *  glm-5.3          zai/glm-5.3                             1M       $1.40/$4.40
 2  *  glm-5.3-flash    zai/glm-5.3-flash                       1M       $0.15/$0.50
 3  *  glm-5.2          zai/glm-5.2                             1M       $1.40/$4.40
 4     glm-5.1          zai/glm-5.1                             200k     $1.40/$4.40
 5     glm-4.7          zai/glm-4.7                             200k     $0.60/$2.20
 6     glm-4.5-air      zai/glm-4.5-air                         128k     $0.20/$1.10
 7  *  gpt-6.1-sol      openai/gpt-6.1-sol                      922k     $2/$10
 8  *  gpt-5.5-pro      openai/gpt-5.5-pro                      1.1M     $30/$180
 9  *  gpt-5.3-codex    openai/gpt-5.3-codex                    272k     $1.75/$14
10  *  qwen3-coder-30b  lm-studio/qwen/qwen3-coder:30b          unknown  free
11  *  m                lm-studio/m:latest                      unknown  free
12     opus             bedrock/us.anthropic.claude-opus-5-5    1M       $4.40/$22
13     sonnet           bedrock/us.anthropic.claude-sonnet-5-5  1M       $2.20/$11
14     haiku            bedrock/us.anthropic.claude-haiku-5-5   1M       $0.11/$0.55

~/.config/llmswitch/profiles/main.yaml will be:

  # Written by `llmswitch init`, and yours from now on.
  models:
    glm-5.3: zai/glm-5.3
    glm-5.3-flash: zai/glm-5.3-flash
    glm-5.2: zai/glm-5.2
    gpt-6.1-sol: openai/gpt-6.1-sol
    gpt-5.5-pro: openai/gpt-5.5-pro
    gpt-5.3-codex: openai/gpt-5.3-codex
    qwen3-coder-30b: {model: 'lm-studio/qwen/qwen3-coder:30b', price: {input: 0, output: 0}}
    m: {model: 'lm-studio/m:latest', price: {input: 0, output: 0}}
  roles: {default: glm-5.3, haiku: glm-5.3-flash}
"""
    )


def test_the_gateway_asks_the_server_on_this_machine(someone: Newcomer) -> None:
    """From `init --yes` to an answer of LM Studio, at the port where it always is."""
    with FakeUpstream("lm-studio", ["qwen/qwen3-coder:30b"], port=1234) as upstream:
        done = someone.run("init", "--yes", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert said | {"gateway": 0} == {
            "name": "main",
            "file": str(someone.profile),
            "was_there": False,
            "added": [],
            "gateway": 0,
            "wrapper": {
                "file": f"{someone.home}/.local/bin/claude-multi",
                "did": "installed",
                "on_path": True,
            },
            "doctor": "info",
        }
        assert said["gateway"]["did"] == "started"
        asked = someone.run("doctor", "--live", "--yes")
        assert upstream.of("/v1/messages"), asked.stdout


@pytest.mark.parametrize(
    ("key", "code"), [("\x03", 130), ("\x04", 1), ("n\r", 1)], ids=["Ctrl-C", "Ctrl-D", "n"]
)
def test_whoever_leaves_leaves_nothing_behind(key: str, code: int, connected: Newcomer) -> None:
    """At the last question, a good key given: no file is new, and one line says so."""
    before = files_below(connected.home)
    with connected.open("init") as terminal:
        terminal.wait_for("key:")
        terminal.send(f"{KEY}\r")
        terminal.wait_for("nothing is written")
        terminal.wait_idle(0.1)
        terminal.send(key)
        assert terminal.wait_exit() == code
        assert terminal.text().endswith("\nnothing was written")
    assert files_below(connected.home) == before


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 1)], ids=["Ctrl-C", "Ctrl-D"])
def test_so_it_is_at_the_first_question(key: str, code: int, someone: Newcomer) -> None:
    """Where the terminal shows nothing of what is typed; it does again afterwards."""
    with someone.open("init") as terminal:
        terminal.wait_for("key:")
        terminal.send(key)
        assert terminal.wait_exit() == code
        assert terminal.text() == f"{NOTHING}\nnothing was written"


def test_a_taken_port_is_not_written_down(someone: Newcomer) -> None:
    """The next free one is, and why."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another program has it: the same to us
            held.bind(("127.0.0.1", 4000))
            held.listen()
        done = someone.run("init", "--yes", "--no-start", env={"DEEPSEEK_API_KEY": "k"})
    assert done.returncode == 0, done.stderr
    port = re.search(
        r"^gateway: {port: (40\d\d)}    # 4000 is taken$", someone.profile.read_text(), re.MULTILINE
    )
    assert port
    assert port[1] != "4000"


def test_what_leads_a_plain_claude_astray_is_said_and_left(someone: Newcomer) -> None:
    """A settings.json that points elsewhere; and a wrapper that is there."""
    settings = someone.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}}')
    before = settings.read_bytes()
    assert someone.run("init", "--from", "claude-glm").returncode == 0
    done = someone.run("init", "--yes", "--no-start")
    assert done.stdout.startswith(
        "found:  no key, and no server of models on this machine\n"
        "        Claude Code 2.1.332, ~/.local/bin/claude\n"
        "        the wrapper ~/.local/bin/claude-multi\n"
        f"note:   ANTHROPIC_BASE_URL in {settings} redirects plain `claude` "
        "(not claude-multi); it is left as it is\n"
    )
    assert settings.read_bytes() == before


# ------------------------------------------------------------------ a Claude login

LOGIN = "sk-ant-oat01-login-of-a-newcomer"


def log_in(here: Newcomer) -> None:
    """As the client leaves a login behind."""
    login = {
        "accessToken": LOGIN,
        "refreshToken": "sk-ant-ort01-refresh",
        "expiresAt": int(time.time() + 86_400) * 1000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    file = here.home / ".claude" / ".credentials.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"claudeAiOauth": login}))
    file.chmod(0o600)


def test_a_claude_login_pays_where_there_is_no_key(connected: Newcomer) -> None:
    """Enter alone takes it, having said who decides whether it may; what the real client asks then
    reaches Anthropic with that login.
    """
    log_in(connected)
    with connected.open("init") as terminal:
        screen = terminal.wait_for("k takes another key")
        assert (
            plain(terminal.wait_idle(0.1))
            == """\
found:  a Claude login
        Claude Code 2.1.332, ~/.local/bin/claude

       NAME        MODEL                                 CONTEXT  USD PER Mtok
 1  *  opus        anthropic/claude-opus-5-5             1M       subscription
 2  *  sonnet      anthropic/claude-sonnet-5-5           1M       subscription
 3  *  haiku       anthropic/claude-haiku-5-5            1M       subscription
 4     fable       anthropic/claude-fable-5-2            unknown  subscription
 5     opus-4.5    anthropic/claude-opus-4-5-20251101    200k     subscription
 6     sonnet-4.5  anthropic/claude-sonnet-4-5-20250929  200k     subscription

~/.config/llmswitch/profiles/main.yaml will be:

  # Written by `llmswitch init`, and yours from now on.
  models:
    opus: anthropic/claude-opus-5-5
    sonnet: anthropic/claude-sonnet-5-5
    haiku: anthropic/claude-haiku-5-5
  roles: {default: opus}
  providers: {anthropic: {auth: subscription}}

your Claude login pays for Anthropic's models, and is sent to Anthropic alone; whether the
terms of your plan allow its use through a gateway is between you and Anthropic

Enter writes it; numbers choose other models, the first one first
k takes another key; n leaves, and nothing is written
>"""
        )
        terminal.enter()
        assert terminal.wait_exit() == 0
        screen = terminal.text()
    assert "llmswitch doctor: 24 checks, nothing is wrong\n\nnext:  claude-multi" in screen
    done = subprocess.run(
        [connected.home / ".local/bin/claude-multi", "-p", "good morning"],
        env=connected.env,
        cwd=connected.home,
        input="",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "I am claude-opus-5-5 at anthropic\n", done.stderr
    kept = files_below(connected.home / ".config")
    assert not any(LOGIN.encode() in content for content in kept.values())


def test_a_key_of_anthropic_comes_before_the_login(someone: Newcomer) -> None:
    """It was set for that; and a login beside other tokens of the client's is not one."""
    log_in(someone)
    done = someone.run("init", "--yes", "--no-start", env={"ANTHROPIC_API_KEY": KEY})
    assert done.returncode == 0, done.stderr
    assert "        a Claude login\n" in done.stdout
    assert "subscription" not in done.stdout
    assert "providers" not in someone.profile.read_text()
    file = someone.home / ".claude" / ".credentials.json"
    file.write_text('{"mcpOAuth": {}}')
    assert "login" not in someone.run("init", "--yes", "--no-start").stdout


def test_a_second_run_names_the_line_that_lets_a_login_pay(someone: Newcomer) -> None:
    """It adds models, no provider; where the line is there, the models of it."""
    file = someone.write_profile("models: {a: zai/glm-4.7}\n")
    log_in(someone)
    done = someone.run("init", "--yes", "--no-start", env={"ZAI_API_KEY": "k"})
    assert (
        "note:   the Claude login is left out; what lets it pay for Anthropic's models is the "
        "line\n        providers: {anthropic: {auth: subscription}}\n"
    ) in done.stdout
    assert file.read_text() == "models: {a: zai/glm-4.7}\n"
    file.write_text("models: {a: zai/glm-4.7}\nproviders: {anthropic: {auth: subscription}}\n")
    done = someone.run("init", "--no-start", "--json", env={"ZAI_API_KEY": "k"})
    assert json.loads(done.stdout)["added"] == ["opus", "sonnet", "haiku"]


# ------------------------------------------------------------------ a second run

BY_HAND = """\
# my models
gateway:   {port: 4000}   # 4000
models:
    fast:   &zai   {model: zai/glm-4.7,   context: 100000}     # an anchor

    # "quoted": zai/nothing
    'slow'  : {<<: *zai, label:   "Slow"}
roles: {  default: slow }
"""


def test_a_second_run_adds_what_is_new_and_changes_nothing_else(someone: Newcomer) -> None:
    """Lines of its own below `models:`; names that are taken get others; then nothing is new."""
    file = someone.write_profile(BY_HAND)
    env = {"ZAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    done = someone.run("init", "--no-start", stdin="\n", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == f"""\
found:  ZAI_API_KEY in the environment (Z.ai)
        DEEPSEEK_API_KEY in the environment (DeepSeek)
        Claude Code 2.1.332, ~/.local/bin/claude
~/.config/llmswitch/profiles/work.yaml is your profile: 2 models

       NAME            MODEL                    CONTEXT  USD PER Mtok
 1     glm-5.3         zai/glm-5.3              1M       $1.40/$4.40
 2     glm-5.3-flash   zai/glm-5.3-flash        1M       $0.15/$0.50
 3     glm-5.2         zai/glm-5.2              1M       $1.40/$4.40
 4     glm-5.1         zai/glm-5.1              200k     $1.40/$4.40
 5     glm-4.5-air     zai/glm-4.5-air          128k     $0.20/$1.10
 6  *  deepseek-flash  deepseek/deepseek-flash  1M       $0.30/$1.20

added to ~/.config/llmswitch/profiles/work.yaml will be:

  deepseek-flash: deepseek/deepseek-flash

Enter adds them; numbers choose other models
k takes another key; n adds nothing
>{" "}
added deepseek-flash to {file}
work is now the default profile

next:  llmswitch validate           what the profile needs
       llmswitch wrapper install    writes the command claude-multi
       claude-multi                 Claude Code, with every model in /model
"""
    )
    more = """label:   "Slow"}\n    deepseek-flash: deepseek/deepseek-flash\n"""
    added = BY_HAND.replace("""label:   "Slow"}\n""", more)
    assert file.read_text() == added
    done = someone.run("init", "--yes", "--no-start", env=env)
    assert done.stdout.partition("3 models\n")[2].startswith(
        "no key and no server is new since it was written\n"
        f"{file} is there already and was left as it is\n"
    )
    assert file.read_text() == added


def test_a_second_run_can_add_nothing_or_several(someone: Newcomer) -> None:
    """`n` adds none and goes on; numbers add those, in one writing."""
    file = someone.write_profile(BY_HAND)
    env = {"ZAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    done = someone.run("init", "--no-start", stdin="n\n", env=env)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == BY_HAND
    done = someone.run("init", "--no-start", "--json", env=env)
    assert json.loads(done.stdout)["added"] == ["deepseek-flash"]
    file.write_text(BY_HAND)
    done = someone.run("init", "--no-start", stdin="6 1\n\n", env=env)
    more = "    deepseek-flash: deepseek/deepseek-flash\n    glm-5.3: zai/glm-5.3\nroles"
    assert file.read_text() == BY_HAND.replace("roles", more)


def test_on_a_terminal_a_second_run_offers_what_else_there_is(someone: Newcomer) -> None:
    """With nothing new Enter adds nothing; a number adds that model, once Enter says so."""
    file = someone.write_profile(BY_HAND)
    someone.more["ZAI_API_KEY"] = "k"
    for typed, more in (("", ""), ("5", "    glm-4.5-air: zai/glm-4.5-air\n")):
        with someone.open("init", "--no-start") as terminal:
            screen = terminal.wait_for("Enter adds nothing; numbers add models; k takes a key\n>")
            assert "is your profile: 2 models\nno key and no server is new since it" in screen
            if typed:
                terminal.send(f"{typed}\r")
                terminal.wait_for("Enter adds them")
            terminal.enter()
            assert terminal.wait_exit() == 0
        assert file.read_text() == BY_HAND.replace("roles", f"{more}roles")


def test_a_key_in_the_place_of_an_answer_is_not_shown(connected: Newcomer) -> None:
    """One that tells its provider is taken for what it is; a piped answer that nobody understands
    is not repeated.
    """
    stdin = f"zai-secret\n{KEY}\n\n"
    done = connected.run("init", "--no-start", stdin=stdin, env={"ZAI_API_KEY": "k"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" not in done.stdout
    assert KEY not in done.stdout
    assert "> \nAnthropic takes the key\n" in done.stdout
    keys = connected.home / ".config/llmswitch/keys.json"
    assert json.loads(keys.read_text()) == {"ANTHROPIC_API_KEY": KEY}
    assert list(parse_profile(connected.profile.read_text(), "it").models)[:3] == [
        "opus",
        "sonnet",
        "haiku",
    ]


def test_from_a_file_with_yes_it_asks_nothing_and_starts(someone: Newcomer) -> None:
    """The whole output, with a folder of wrappers that is not on PATH."""
    text = f"models: {{parrot: demo/parrot}}\ngateway: {{port: {free_port()}}}\n"
    (someone.home / "mine.yaml").write_text(text)
    folder = someone.home / ".local/bin"
    claude = {"LLMSWITCH_CLAUDE": str(folder / "claude"), "PATH": "/usr/bin:/bin"}
    done = someone.run("init", "--from", "mine.yaml", "--yes", env=claude)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        plain(done.stdout)
        == """\
mine.yaml sends each key to its provider alone, and runs no code
wrote ~/.config/llmswitch/profiles/mine.yaml
started on 127.0.0.1:PORT, pid PID
installed ~/.local/bin/claude-multi
llmswitch doctor: 23 checks, 1 to look at
RESULT   CHECK    MESSAGE
warning  wrapper  ~/.local/bin is not on PATH
         -> export PATH=~/.local/bin:"$PATH"

next:  export PATH=~/.local/bin:"$PATH"  here, and in your shell's start-up file
       claude-multi                      Claude Code, with every model in /model"""
    )
    assert someone.run("down").returncode == 0


@pytest.mark.parametrize(
    ("models", "direct"),
    [
        ("{a: zai/glm-4.7, b: zai/glm-5.3}", "zai"),
        ("{a: ollama/qwen3}", "ollama"),
        ("{a: zai/glm-4.7, b: demo/parrot}", None),
        ("{a: openai/gpt-5.5-pro}", None),
    ],
)
def test_where_no_gateway_is_needed_the_way_without_is_named(
    models: str, direct: str | None, someone: Newcomer
) -> None:
    """All models are of one provider whose API is Anthropic's; the command that is named works."""
    text = f"models: {models}\ngateway: {{port: {free_port()}}}\n"
    (someone.home / "mine.yaml").write_text(text)
    done = someone.run("init", "--from", "mine.yaml", "--yes", env={"ZAI_API_KEY": "k"})
    assert (done.returncode, done.stderr) == (0, "")
    told = re.findall(
        r"^note: .* alone needs no gateway    -> llmswitch (.*)$", done.stdout, re.MULTILINE
    )
    assert told == ([f"wrapper install --direct {direct}"] if direct else [])
    for command in told:
        assert someone.run(*command.split()).returncode == 0


@pytest.mark.parametrize("by", ["the same command", "another model of that name"])
def test_what_came_while_the_question_stood_is_told_for_what_it_is(
    by: str, someone: Newcomer
) -> None:
    """A second `init` at once has added the same: nothing is added twice. A model of that name is
    not that one: it is named, and all is left.
    """
    file = someone.write_profile(BY_HAND)
    someone.more |= {"DEEPSEEK_API_KEY": "k", "ZAI_API_KEY": "k"}
    target = "deepseek/deepseek-flash" if by == "the same command" else "zai/glm-5.3"
    with someone.open("init", "--no-start") as terminal:
        terminal.wait_for("Enter adds them")
        mine = BY_HAND.replace("roles", f"    deepseek-flash: {target}\nroles")
        file.write_text(mine)
        terminal.enter()
        code = terminal.wait_exit()
        screen = terminal.text().replace("\n", "")  # long lines are broken
    assert file.read_text() == mine
    if by == "the same command":
        assert code == 0
        assert "profiles/work.yaml is there already and was left as it is" in screen
    else:
        assert code == 1
        assert "work.yaml has another model named deepseek-flash: zai/glm-5.3" in screen
        assert "-> llmswitch models add deepseek/deepseek-flash --name NAME" in screen


def test_the_variable_picks_the_profile_that_a_second_run_edits(someone: Newcomer) -> None:
    """LLMSWITCH_PROFILE, by name or by file; the default profile stays what it is, and it is said
    which that is. Without a default the picked one is it.
    """
    work = someone.write_profile(BY_HAND)
    home = work.with_name("home.yaml")
    elsewhere = someone.home / "elsewhere.yaml"
    default = work.parent.with_name("default-profile")
    added = BY_HAND.replace("roles", "    deepseek-flash: deepseek/deepseek-flash\nroles")
    env = {"DEEPSEEK_API_KEY": "k"}
    for picked, file in (("home", home), ("elsewhere.yaml", elsewhere)):
        file.write_text(BY_HAND)
        env["LLMSWITCH_PROFILE"] = picked
        done = someone.run("init", "--yes", "--no-start", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.partition("\nadded deepseek-flash to ")[2].startswith(
            f"{file}\nLLMSWITCH_PROFILE picked it; the default profile stays work\n"
        )
        assert file.read_text() == added
        assert (work.read_text(), default.read_text()) == (BY_HAND, "work\n")
    default.unlink()
    done = someone.run("init", "--yes", "--no-start", env=env)
    assert f"\n{elsewhere} is now the default profile\n" in done.stdout
    assert default.read_text() == f"{elsewhere}\n"
    assert someone.run("validate").stdout.startswith("elsewhere.yaml is valid: 3 models\n")


@pytest.mark.parametrize(
    ("key", "holds"), [("k", "glm-5.3: zai/glm-5.3"), ("", "# Claude and GLM in one")]
)
def test_a_name_that_is_new_is_what_the_profile_is_called(
    key: str, holds: str, someone: Newcomer
) -> None:
    """LLMSWITCH_PROFILE names no profile yet: it is made under that name, composed or ready-made,
    as it was shown.
    """
    env = {"LLMSWITCH_PROFILE": "fresh"} | ({"ZAI_API_KEY": key} if key else {})
    done = someone.run("init", "--yes", "--no-start", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    file = someone.profile.with_name("fresh.yaml")
    assert "~/.config/llmswitch/profiles/fresh.yaml will be:\n" in done.stdout
    assert f"\nwrote {file}: edit it as you like\nfresh is now the default profile\n" in done.stdout
    assert holds in file.read_text()
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("picked", "said"),
    [
        (
            "claude-glm",
            "claude-glm is a ready-made profile and cannot be edited\n-> llmswitch init --from ",
        ),
        ("no/such.yaml", "there is no profile file no/such.yaml\n-> check the path\n"),
        ("a b", "there is no profile named 'a b'; there are: claude-glm, claude-max, "),
    ],
)
def test_what_the_variable_names_and_cannot_be_edited_nor_made_is_refused(
    picked: str, said: str, someone: Newcomer
) -> None:
    """In the words of the other commands, before anything is asked."""
    done = someone.run("init", "--no-start", env={"LLMSWITCH_PROFILE": picked})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert not someone.profile.parent.exists()


def test_a_profile_with_mistakes_is_not_added_to(someone: Newcomer) -> None:
    """They are told, and nothing is asked."""
    file = someone.write_profile("models: {a: zia/glm-4.7}\n")
    done = someone.run("init", stdin="\n", env={"ZAI_API_KEY": "k"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        ".config/llmswitch/profiles/work.yaml:1: models.a.model has an unknown provider 'zia'; "
        "did you mean `zai`?\n-> edit .config/llmswitch/profiles/work.yaml, then: "
        "llmswitch validate .config/llmswitch/profiles/work.yaml\n"
    )
    assert file.read_text() == "models: {a: zia/glm-4.7}\n"


@given(profiles(), st.sampled_from(sorted(catalogue_data())))
def test_what_is_added_to_any_profile_is_put_in_and_nothing_else(text: str, provider: str) -> None:
    """Whatever its comments, anchors and spacing: every character that was there is there, in its
    order, and it says the same and the new models; or nothing is changed.
    """
    try:
        profile = parse_profile(text, "it")
    except LlmswitchError:
        return
    chosen = compose.candidates(profile, {provider}, (), {}, {})
    new = text
    try:
        for one in chosen:
            new = edit.with_model(new, one.name, one.value)
    except LlmswitchError:
        return
    kept = iter(new)
    assert all(character in kept for character in text)
    old = data_of(text)
    more = {one.name: one.value for one in chosen}
    assert data_of(new) == old | {"models": {**old["models"], **more}}
    assert list(parse_profile(new, "it").models) == [*profile.models, *more]


@given(st.sets(st.sampled_from(sorted(catalogue_data())), min_size=1), st.integers(4000, 4099))
def test_every_choice_of_the_catalogue_makes_a_valid_profile(names: set[str], port: int) -> None:
    """Each model with a name of its own, and something marked wherever there is a model."""
    there = compose.candidates(None, names, {"bedrock", "vertex_ai"}, {}, {})
    marked = [one for one in there if one.marked]
    assert bool(there) == bool(marked)
    if there:
        for chosen in (marked, there):
            profile = parse_profile(compose.profile_text(chosen, port), "it")
            assert [model.model for model in profile.models.values()] == [
                one.target for one in chosen
            ]
            assert profile.role("default") == chosen[0].name
            assert profile.gateway.port == port


KILLED = """
import json, os, signal, sys
from llmswitch.setup import write
from llmswitch.paths import find_home, find_profile

home = find_home(os.environ)
file = home.profiles / "main.yaml"
old, new = json.load(sys.stdin)

def write_and_die(moment):
    seen = 0
    def trace(frame, event, argument):
        nonlocal seen
        ours = ("setup/write.py", "/paths.py", "profile/edit.py", "pathlib.py")
        if not frame.f_code.co_filename.endswith(ours):
            return None
        seen += event == "line"
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    try:
        if old is None:
            write.write(home, file, new, {})
        else:
            models = {"glm": "zai/glm-5.3", "opus": "anthropic/claude-opus-5-5"}
            write.extend(home, write.own_profile(home, {}), models, {})
    except BaseException:
        os._exit(1)
    os._exit(0)

found = []
while not found or found[-1][0] == signal.SIGKILL:
    for there in (file, home.default_profile):
        there.unlink(missing_ok=True)
    if old is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(old)
    step = int(os.environ["STEP"])
    child = os.fork() or write_and_die(1 + step * len(found))
    status = os.waitpid(child, 0)[1]
    both = (file, home.default_profile)
    texts = [there.read_text() if there.exists() else None for there in both]
    found.append((status, *texts))
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("old", "step"),
    [(None, 1), ("models: {a: zai/x} # mine\n", 7)],
    ids=["the first profile", "what is added"],
)
def test_killed_at_any_moment_the_old_file_or_the_new_one_is_there(
    old: str | None, step: int, user: User
) -> None:
    """Killed before each line of what writes (before each seventh, where a profile is read again
    too), until one run comes through: never a part of a profile, never one model of two, and no
    default that is not there.
    """
    new = "models: {a: zai/x, glm: zai/glm-5.3, opus: anthropic/claude-opus-5-5} # mine\n"
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=user.unmeasured | {"STEP": str(step)},
        cwd=CHECKOUT,
        input=json.dumps([old, new]),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) > 30
    assert {status for status, _, _ in found[:-1]} == {signal.SIGKILL}
    assert {text for _, text, _ in found} == {old, new}
    assert {(text == new, default) for _, text, default in found if default} == {(True, "main\n")}
    assert found[-1] == [0, new, "main\n"]
