"""`llmswitch init`: from nothing to the real client, and what is there is only added to."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmswitch.cli import text_init
from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.load import parse_profile
from llmswitch.render.menu import make_rows
from llmswitch.setup import write
from tests import clients
from tests.conftest import CHECKOUT, free_port
from tests.internet import Internet, Strict
from tests.newcomer import KEY, MODELS, Newcomer, gateway_of, newcomer, plain
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
found:  no key and no model server on this machine
        Claude Code 2.1.332, ~/.local/bin/claude

paste a key (Anthropic, OpenAI, OpenRouter, Z.ai or any other); it stays hidden
(Enter alone lists the providers)
key:"""
BY_HAND_NEXT = """\
next:  llmswitch validate         what the profile needs
       llmswitch wrapper install  writes claude-multi
       claude-multi               Claude Code, with every model in /model
"""
HEAD = "# Written by `llmswitch init`, and yours from now on.\n"


def without_port(text: str) -> str:
    """A profile as `init` composes it where the usual port is free, in its file or on a screen."""
    return re.sub(r"^ *gateway: .*\n", "", text, flags=re.MULTILINE)


def keys_of(here: Newcomer) -> object:
    """The stored keys."""
    return json.loads((here.home / ".config/llmswitch/keys.json").read_text())


# ------------------------------------------------------------------ the first run


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(clients.newest, id="newest"),
        pytest.param(clients.oldest, id="oldest", marks=pytest.mark.soak),
    ],
)
def test_one_key_and_one_enter_lead_to_the_real_client(
    client: Callable[[], Path], tmp_path: Path
) -> None:
    """In a terminal and a clean home: the key is pasted, Enter is pressed, `claude-multi` opens
    the real client, and its first word reaches api.anthropic.com with that key. That host stands on
    this machine, behind a proxy and TLS of the test's own (HTTPS_PROXY, SSL_CERT_FILE); nothing of
    llmswitch is told another address. (The screens are held by tests/test_screens.py.)
    """
    with (
        newcomer(tmp_path, client()) as here,
        gateway_of(here),
        Strict("anthropic", MODELS, [KEY]) as upstream,
        Internet({"api.anthropic.com": upstream}, tmp_path) as internet,
    ):
        here.more |= internet.env
        with here.open("init") as terminal:
            terminal.wait_for("key:")
            terminal.send(f"{KEY}\r")
            terminal.wait_for("k adds a key")
            terminal.enter()
            assert terminal.wait_exit() == 0
            assert KEY not in terminal.text()
        clients.make_home(tmp_path / "x", here.home)
        (tmp_path / "x" / ".claude.json").rename(here.home / ".claude.json")  # no first questions
        with_multi = [str(here.home / ".local/bin/claude-multi")]
        with Terminal(with_multi, here.env, here.home, columns=120) as terminal:
            terminal.wait_for(INPUT_BOX)
            type_command(terminal, "good morning")
            terminal.wait_for("I am claude-opus-5-5 at anthropic")
    asked = [request for request in upstream.of("/v1/messages") if request.body]
    assert {request.headers.get("x-api-key") for request in asked} == {KEY}
    assert any("good morning" in json.dumps(request.body) for request in asked)
    assert keys_of(here) == {"ANTHROPIC_API_KEY": KEY}
    keys = here.home / ".config/llmswitch/keys.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert KEY not in here.profile.read_text()


def test_a_key_that_is_refused_is_asked_for_again(connected: Newcomer) -> None:
    """Nothing of it is kept; nor of what cannot be a key."""
    stdin = f"sk-ant-api03-of-yesterday\nyour-key-here\n{KEY}\n\n"
    done = connected.run("init", "--no-start", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    again = "paste another, or press Enter to continue without\nkey: \n"
    assert done.stdout.startswith(
        f"{NOTHING} \nAnthropic refuses the key: api.anthropic.com answers 401; {again}"
        f"that holds a placeholder, not a key; {again}Anthropic accepts the key\n"
    )
    assert keys_of(connected) == {"ANTHROPIC_API_KEY": KEY}


def test_a_key_that_does_not_tell_its_provider_asks_whose_it_is(connected: Newcomer) -> None:
    """With piped answers, and what they lead to is shown as on a terminal, but for the key."""
    done = connected.run("init", "--no-start", stdin="zai-key\nnobody\nZ.ai\n5 glm-5.3\n\n")
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.partition("which provider?")[2]
    assert told.startswith(
        " number or name: \nnot in the list: type a number or a name from it\n"
        "which provider? number or name: Z.ai\nZ.ai accepts the key\n"
    )
    first, _, second = told.partition("\n> 5 glm-5.3\n")
    assert re.findall(r"^ +\d+  \*  (\S+)", first, re.MULTILINE) == [
        "glm-5.3",
        "glm-4.7",
        "glm-5.3-flash",
    ]
    assert re.findall(r"^ +\d+  \*  (\S+)", second, re.MULTILINE) == ["glm-5.3", "glm-5.1"]
    assert second.partition("\n> \n")[2] == (
        "stored ZAI_API_KEY in ~/.config/llmswitch/keys.json\n"
        "wrote ~/.config/llmswitch/profiles/main.yaml\n"
        f"main is now the default profile\n\n{BY_HAND_NEXT}"
    )
    assert without_port(connected.profile.read_text()) == (
        f"{HEAD}models:\n  glm-5.1: zai/glm-5.1\n  glm-5.3: zai/glm-5.3\n"
        "roles: {default: glm-5.1}\n"
    )
    assert "zai-key" not in done.stdout
    assert "\x1b" not in done.stdout


def test_a_wrong_answer_is_asked_again_and_k_adds_a_key(connected: Newcomer) -> None:
    """What was chosen stays in front of the user until Enter; models go by name too."""
    answers = f"{KEY}\n9\nk\nzai\nzai-key\nglm-4.7,opus haiku\nyes\n"
    done = connected.run("init", "--no-start", stdin=answers)
    assert (done.returncode, done.stderr) == (0, "")
    assert "> \nnot in the list: type numbers from it, such as 2 1\n" in done.stdout
    page = "https://z.ai/manage-apikey/apikey-list"
    assert (
        f"key: \npaste a key from Z.ai (get one at {page}); it stays hidden\n"
        "key: \nZ.ai accepts the key\n"
    ) in done.stdout
    assert without_port(connected.profile.read_text()) == (
        f"{HEAD}models:\n  glm-4.7: zai/glm-4.7\n"
        "  opus: anthropic/claude-opus-5-5\n"
        "  haiku: anthropic/claude-haiku-5-5\n"
        "roles: {default: glm-4.7}\n"
    )
    assert keys_of(connected) == {"ANTHROPIC_API_KEY": KEY, "ZAI_API_KEY": "zai-key"}


def test_a_key_in_the_place_of_an_answer_is_not_shown(connected: Newcomer) -> None:
    """One that tells its provider is taken for what it is; a piped answer that nobody understands
    is not repeated.
    """
    stdin = f"zai-secret\n{KEY}\n\n"
    done = connected.run("init", "--no-start", stdin=stdin, env={"ZAI_API_KEY": "k"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" not in done.stdout
    assert KEY not in done.stdout
    assert "> \nAnthropic accepts the key\n" in done.stdout
    assert keys_of(connected) == {"ANTHROPIC_API_KEY": KEY}
    models = list(parse_profile(connected.profile.read_text(), "it").models)
    assert models[:3] == ["opus", "sonnet", "haiku"]


def test_a_provider_that_cannot_be_asked_is_no_mistake(someone: Newcomer) -> None:
    """It says so, and goes on with the key."""
    done = someone.run("init", "--no-start", stdin=f"{KEY}\n\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "key: \nthe key was not checked: Anthropic " in done.stdout
    assert someone.profile.exists()


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

end of input: continuing as with --yes

~/.config/llmswitch/profiles/claude-glm.yaml will be:

{shown}
wrote ~/.config/llmswitch/profiles/claude-glm.yaml
installed ~/.local/bin/claude-multi; it starts the profile claude-glm
the gateway was not started: no model has a key

next:  llmswitch key set ANTHROPIC_API_KEY  get one at https://console.anthropic.com/settings/keys
       llmswitch key set ZAI_API_KEY        get one at https://z.ai/manage-apikey/apikey-list
       claude-multi                         Claude Code, with every model in /model
"""
    )
    assert someone.profile.with_name("claude-glm.yaml").read_text() == ready_made
    again = someone.run("init", "--no-start", stdin=f"{KEY}\n", env={"ANTHROPIC_API_KEY": ""})
    assert again.returncode == 0, "and now with a key, for the profile that is there"
    profile = "~/.config/llmswitch/profiles/claude-glm.yaml"
    told = f"your profile is {profile}: 5 models, 5 left out because no key is set\n"
    assert told in again.stdout
    end = again.stdout.partition("k adds a key\n")[2]
    assert end.startswith(
        "> \nend of input: continuing as with --yes\n"
        "stored ANTHROPIC_API_KEY in ~/.config/llmswitch/keys.json\n"
        f"{profile} exists and was not changed\n"
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_one_that_has_ended(closed: str, someone: Newcomer) -> None:
    """As some schedulers start their jobs. The command does its work, and no file of it takes the
    place of the output.
    """
    for command in ("init --no-start", "wrapper install"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"'{sys.executable}' -m llmswitch {command} {closed}"],
            env=someone.env,
            cwd=someone.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert bool(done.stdout) == (">" not in closed)
    profile = someone.profile.with_name("claude-glm.yaml").read_text()
    assert list(parse_profile(profile, "it").models)
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
    port = someone.ports["lm-studio"]
    with FakeUpstream("lm-studio", ["qwen/qwen3-coder:30b", "m:latest"], port=port):
        done = someone.run("init", "--yes", "--no-start", env={"OPENAI_API_KEY": "k", **cloud})
    assert (done.returncode, done.stderr) == (0, "")
    told = plain(done.stdout)
    assert told.startswith("""\
found:  ZAI_API_KEY in ~/.config/llmswitch/keys.json (Z.ai)
        OPENAI_API_KEY in the environment (OpenAI)
        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and AWS_REGION_NAME in the environment (Bedrock)
        LM Studio on localhost:PORT with 2 models
note:   no `claude` on PATH    -> npm install -g @anthropic-ai/claude-code
""")
    bedrock = "12     opus             bedrock/us.anthropic.claude-opus-5-5    1M       $4.40/$22\n"
    assert bedrock in told
    assert told.partition(f"\n\n  {HEAD}")[2].startswith("""\
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
""")


def test_yes_starts_all_and_the_gateway_asks_the_server_on_this_machine(someone: Newcomer) -> None:
    """From `init --yes` to an answer of LM Studio; the wrappers' folder is not on PATH."""
    claude = {"LLMSWITCH_CLAUDE": str(someone.home / ".local/bin/claude"), "PATH": "/usr/bin:/bin"}
    port = someone.ports["lm-studio"]
    upstream = FakeUpstream("lm-studio", ["qwen/qwen3-coder:30b"], port=port)
    with upstream, gateway_of(someone):
        done = someone.start("init", "--yes", env=claude)
        assert (done.returncode, done.stderr) == (0, "")
        told = plain(done.stdout).partition("\nwrote ")[2]
        assert told.startswith("""\
~/.config/llmswitch/profiles/main.yaml
started main on 127.0.0.1:PORT, pid PID
installed ~/.local/bin/claude-multi; it starts the profile main
llmswitch doctor: """)
        assert "\nwarning  wrapper  ~/.local/bin is not on PATH\n" in told
        assert told.endswith("""
next:  export PATH=~/.local/bin:"$PATH"  here, and in your shell's start-up file
       claude-multi                      Claude Code, with every model in /model""")
        asked = someone.run("doctor", "--live", "--yes")
        assert upstream.of("/v1/messages"), asked.stdout


@pytest.mark.parametrize(
    ("pasted", "key", "code"),
    [(True, "\x03", 130), (True, "\x04", 1), (False, "\x03", 130), (False, "\x04", 1)],
    ids=["Ctrl-C", "Ctrl-D", "Ctrl-C at the key", "Ctrl-D at the key"],
)
def test_whoever_leaves_leaves_nothing_behind(
    pasted: bool, key: str, code: int, connected: Newcomer
) -> None:
    """At the last question, a good key given, or at the first, where the terminal shows nothing of
    what is typed: no file is new, and one line says so.
    """
    before = files_below(connected.home)
    with connected.open("init") as terminal:
        terminal.wait_for("key:")
        if pasted:
            terminal.send(f"{KEY}\r")
            terminal.wait_for("n quits and writes nothing")
            terminal.wait_idle(0.1)
        terminal.send(key)
        assert terminal.wait_exit() == code
        assert terminal.text().endswith("\nnothing was written")
    assert files_below(connected.home) == before


def test_n_writes_nothing(connected: Newcomer) -> None:
    """Neither the profile nor the key."""
    before = files_below(connected.home)
    done = connected.run("init", stdin=f"{KEY}\nn\n")
    assert (done.returncode, done.stderr) == (1, "nothing was written\n")
    assert files_below(connected.home) == before


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


def test_what_redirects_plain_claude_is_said_and_left(someone: Newcomer) -> None:
    """A settings.json that points elsewhere; and a wrapper that is there."""
    settings = someone.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}}')
    before = settings.read_bytes()
    assert someone.run("init", "--from", "claude-glm").returncode == 0
    done = someone.run("init", "--yes", "--no-start")
    assert done.stdout.startswith(
        "found:  no key and no model server on this machine\n"
        "        Claude Code 2.1.332, ~/.local/bin/claude\n"
        "        the wrapper ~/.local/bin/claude-multi\n"
        f"note:   ANTHROPIC_BASE_URL in {settings} "
    )
    assert "; it is left as it is\nyour profile is " in done.stdout
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
    """Enter alone takes it, having said who decides whether it may. (That it reaches Anthropic is
    held by tests/claude/test_client_subscription.py.)
    """
    log_in(connected)
    done = connected.run("init", "--no-start", stdin="\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ 1  \*  opus  .*  1M       subscription$", done.stdout, re.MULTILINE)
    line = "providers: {anthropic: {auth: subscription}}\n"
    assert (
        f"  {line}\n"
        "your Claude login will pay for Anthropic's models; it is sent to Anthropic only.\n"
        "Whether your plan allows that through a gateway is between you and Anthropic\n"
    ) in without_port(done.stdout)
    assert line in connected.profile.read_text()
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
        "note:   the Claude login is not used; what lets it pay for Anthropic's models is\n"
        "        providers: {anthropic: {auth: subscription}}\n"
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


ADDED = BY_HAND.replace("roles", "    deepseek-flash: deepseek/deepseek-flash\nroles")


def test_a_second_run_adds_what_is_new_and_changes_nothing_else(someone: Newcomer) -> None:
    """Lines of its own below `models:`; then nothing is new."""
    file = someone.write_profile(BY_HAND)
    env = {"ZAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    done = someone.run("init", "--no-start", stdin="\n", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    work = "~/.config/llmswitch/profiles/work.yaml"
    assert (
        done.stdout
        == f"""\
found:  ZAI_API_KEY in the environment (Z.ai)
        DEEPSEEK_API_KEY in the environment (DeepSeek)
        Claude Code 2.1.332, ~/.local/bin/claude
your profile is {work}: 2 models

       NAME            MODEL                    CONTEXT  USD PER Mtok
 1     glm-5.3         zai/glm-5.3              1M       $1.40/$4.40
 2     glm-5.3-flash   zai/glm-5.3-flash        1M       $0.15/$0.50
 3     glm-5.2         zai/glm-5.2              1M       $1.40/$4.40
 4     glm-5.1         zai/glm-5.1              200k     $1.40/$4.40
 5     glm-4.5-air     zai/glm-4.5-air          128k     $0.20/$1.10
 6  *  deepseek-flash  deepseek/deepseek-flash  1M       $0.30/$1.20

will be added to {work}:

  deepseek-flash: deepseek/deepseek-flash

Enter adds them; numbers choose other models
k adds a key; n adds nothing
>{" "}
added deepseek-flash to {work}
work is now the default profile

{BY_HAND_NEXT}"""
    )
    assert file.read_text() == ADDED
    done = someone.run("init", "--yes", "--no-start", env=env)
    assert done.stdout.partition("3 models\n")[2].startswith(
        f"no key and no model server is new\n{work} exists and was not changed\n"
    )
    assert file.read_text() == ADDED


def test_a_second_run_can_add_nothing_or_several(someone: Newcomer) -> None:
    """`n` adds none and goes on; numbers add those, in one writing; with nothing new, a number
    still adds.
    """
    file = someone.write_profile(BY_HAND)
    env = {"ZAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    for typed, more in (
        ("n\n", ""),
        ("6 1\n\n", "    deepseek-flash: deepseek/deepseek-flash\n    glm-5.3: zai/glm-5.3\n"),
    ):
        done = someone.run("init", "--no-start", stdin=typed, env=env)
        assert done.returncode == 0, done.stderr
        assert file.read_text() == BY_HAND.replace("roles", f"{more}roles")
    file.write_text(BY_HAND)
    done = someone.run("init", "--no-start", "--json", env=env)
    assert json.loads(done.stdout)["added"] == ["deepseek-flash"]
    done = someone.run("init", "--no-start", stdin="5\n\n", env=env)
    assert "\nEnter adds nothing; numbers add models; k adds a key\n> 5\n" in done.stdout
    assert file.read_text() == ADDED.replace("roles", "    glm-4.5-air: zai/glm-4.5-air\nroles")


def test_what_came_while_the_question_stood_is_told_for_what_it_is(someone: Newcomer) -> None:
    """A second `init` at once has added the same: nothing is added twice. A model of that name is
    not that one: it is named, and all is left.
    """
    file = someone.write_profile(ADDED)
    home = Home(file.parent.parent, someone.home / "state")
    ref = ProfileRef("work", file, "work")
    same = {"deepseek-flash": "deepseek/deepseek-flash"}
    assert write.extend(home, ref, same, {}).added == ()
    with pytest.raises(LlmswitchError) as raised:
        write.extend(home, ref, {"new": "zai/glm-5.3", "deepseek-flash": "zai/glm-5.3"}, {})
    assert raised.value.message.endswith(
        "work.yaml has another model named deepseek-flash: deepseek/deepseek-flash"
    )
    assert raised.value.hint == "llmswitch models add zai/glm-5.3 --name NAME"
    assert file.read_text() == ADDED


def test_another_profile_of_claude_multi_is_changed_only_when_one_agrees(
    someone: Newcomer,
) -> None:
    """What it starts is named, and the command that changes it."""
    someone.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {free_port()}}}\n")
    wrapper = someone.home / ".local/bin/claude-multi"
    assert someone.run("wrapper", "install").returncode == 0
    before = wrapper.read_bytes()
    question = "claude-multi starts work; let it start claude-glm instead? [Y/n] "
    done = someone.run("init", "--from", "claude-glm", stdin="n\n")
    assert (done.returncode, done.stderr) == (0, "")
    change = "llmswitch wrapper install --profile claude-glm"
    assert f"{question}n\nto change it: {change}\n" in done.stdout
    assert "claude-multi is up to date; it starts the profile work\n" in done.stdout
    assert wrapper.read_bytes() == before
    done = someone.run("init", "--from", "claude-glm", stdin="\n")
    assert f"{question}\n" in done.stdout
    assert "updated ~/.local/bin/claude-multi; it starts the profile claude-glm\n" in done.stdout


def test_the_variable_picks_the_profile_that_a_second_run_edits(someone: Newcomer) -> None:
    """LLMSWITCH_PROFILE, by name or by file; the default profile stays what it is, and it is said
    which that is. Without a default the picked one is it.
    """
    work = someone.write_profile(BY_HAND)
    home = work.with_name("home.yaml")
    elsewhere = someone.home / "elsewhere.yaml"
    default = work.parent.with_name("default-profile")
    env = {"DEEPSEEK_API_KEY": "k"}
    for picked, file in (("home", home), ("elsewhere.yaml", elsewhere)):
        file.write_text(BY_HAND)
        env["LLMSWITCH_PROFILE"] = picked
        done = someone.run("init", "--yes", "--no-start", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        shown = str(file).replace(str(someone.home), "~")
        assert done.stdout.partition("\nadded deepseek-flash to ")[2].startswith(
            f"{shown}\nLLMSWITCH_PROFILE picked it; the default profile is still work\n"
        )
        assert file.read_text() == ADDED
        assert (work.read_text(), default.read_text()) == (BY_HAND, "work\n")
    default.unlink()
    done = someone.run("init", "--yes", "--no-start", env=env)
    assert f"\n{elsewhere} is now the default profile\n" in done.stdout
    assert default.read_text() == f"{elsewhere}\n"


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
    file, shown = someone.profile.with_name("fresh.yaml"), "~/.config/llmswitch/profiles/fresh.yaml"
    assert f"{shown} will be:\n" in done.stdout
    assert f"\nwrote {shown}\nfresh is now the default profile\n" in done.stdout
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
    shown = ".config/llmswitch/profiles/work.yaml"
    assert done.stderr.startswith(f"{shown}:1: models.a.model has an unknown provider 'zia'; ")
    assert file.read_text() == "models: {a: zia/glm-4.7}\n"


# ------------------------------------------------------------------ the end of it


@pytest.mark.parametrize(
    ("models", "direct"),
    [
        ("{a: zai/glm-4.7, b: zai/glm-5.3}", "Z.ai alone needs no gateway    -> {} zai"),
        ("{a: ollama/qwen3}", "Ollama alone needs no gateway    -> {} ollama"),
        ("{a: zai/glm-4.7, b: demo/parrot}", None),
        ("{a: openai/gpt-5.5-pro}", None),
    ],
)
def test_where_no_gateway_is_needed_the_way_without_is_named(
    models: str, direct: str | None
) -> None:
    """All models are of one provider whose API is Anthropic's."""
    rows = make_rows(parse_profile(f"models: {models}\n", "it"), ())
    command = "llmswitch wrapper install --direct"
    told = [f"note: {direct.format(command)}"] if direct else []
    assert text_init.without_gateway(rows) == told
