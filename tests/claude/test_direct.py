"""Direct wrappers: Claude Code at one provider, with no gateway, its key and no other."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmswitch.claude import direct_menu, wrapper
from llmswitch.errors import LlmswitchError
from llmswitch.paths import ProfileRef
from llmswitch.profile.providers import DIRECT, catalogue_data
from llmswitch.profile.rules import TEST_HOST
from tests import clients
from tests.clients import newest_and_oldest
from tests.conftest import User, make_user
from tests.fake_claude import Seen, install
from tests.gateways import AUTHENTICATION, wait_for
from tests.profile.test_catalogue import key_of, model_of, path_of
from tests.profile.test_keys import RING
from tests.seat import Seat, choose, conversation, files_below, leave, open_menu, switch
from tests.setup.test_hostile_home import SECRETS, elsewhere, make_hostile
from tests.terminal import INPUT_BOX, Terminal, type_command
from tests.upstream import Behaviour, FakeUpstream, Request, Tool

pytestmark = [pytest.mark.xdist_group("direct"), pytest.mark.timeout(600)]

Fetch = Callable[[], Path]
PROVIDERS = [name for name, data in catalogue_data().items() if data["dialect"] in DIRECT]
LOGIN = {
    "accessToken": "sk-ant-oat01-saved-login",
    "refreshToken": "sk-ant-ort01-saved-login",
    "scopes": ["user:inference", "user:profile"],
    "subscriptionType": "max",
}
EVERY = [
    pytest.param(name, marks=() if name in {"zai", "anthropic"} else pytest.mark.soak)
    for name in PROVIDERS
]
GLM = [  # id, label, description
    ("glm-5.3", "GLM-5.3", "Z.ai · 1M · $1.40/$4.40 per Mtok"),
    ("glm-5.3-flash", "GLM-5.3 Flash", "Z.ai · 1M · $0.15/$0.50 per Mtok"),
    ("glm-5.2", "GLM-5.2", "Z.ai · 1M · $1.40/$4.40 per Mtok"),
    ("glm-5.1", "GLM-5.1", "Z.ai · 200k · $1.40/$4.40 per Mtok"),
    ("glm-4.7", "GLM-4.7", "Z.ai · 200k · $0.60/$2.20 per Mtok"),
    ("glm-4.5-air", "GLM-4.5 Air", "Z.ai · 128k · $0.20/$1.10 per Mtok"),
]
MENU = [(label, description) for _, label, description in GLM]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """Stands for whatever provider a test is about."""
    with FakeUpstream("it") as one:
        yield one


@pytest.fixture
def someone(tmp_path: Path) -> User:
    """A user in whose shell no key is set."""
    user = make_user(tmp_path)
    user.keys = {}
    return user


def keep_keys(user: User, **keys: Any) -> None:
    """What `key set` would have kept."""
    file = user.root / "llmswitch" / "keys.json"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(json.dumps(keys))
    file.chmod(0o600)


def point(
    user: User, provider: str, upstream: FakeUpstream, models: str = "{x: demo/parrot}"
) -> None:
    """A profile that says only where a provider is, and has other models."""
    url = upstream.url + path_of(provider)
    user.write_profile(f"models: {models}\nproviders: {{{provider}: {{base_url: '{url}'}}}}\n")


def add_wrapper(user: User, provider: str, *more: str) -> dict[str, Any]:
    """Install a direct wrapper on the user's PATH."""
    done: dict[str, Any] = user.json(
        "wrapper", "install", "--direct", provider, "--dir", str(user.root / "bin"), *more
    )
    return done


def sit_down(user: User, claude: Path, login: bool = True) -> Seat:
    """The user at a real client, with a saved Claude login."""
    project = user.root / "project"
    project.mkdir()
    home = clients.make_home(user.root / "claude-home", project)
    if login:
        kept = {**LOGIN, "expiresAt": int(time.time() * 1000) + 10**9}
        (home / ".claude" / ".credentials.json").write_text(json.dumps({"claudeAiOauth": kept}))
    return Seat(user, claude, home, project)


def run(seat: Seat, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A direct wrapper without a terminal."""
    return subprocess.run(
        [command, *arguments],
        env=seat.env,
        executable=seat.user.root / "bin" / command,
        cwd=seat.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def open_it(seat: Seat, command: str, *arguments: str) -> Terminal:
    """A direct wrapper in a terminal."""
    return Terminal([seat.user.root / "bin" / command, *arguments], seat.env, seat.project)


@contextmanager
def hostile(seat: Seat) -> Iterator[dict[str, bytes]]:
    """A home and a shell that would lead the session astray, and fail to; what is in the home."""
    with elsewhere() as (url, received):
        called = make_hostile(seat, url, "users-model")
        yield files_below(seat.home / ".claude")
    assert not called.exists(), "the user's own apiKeyHelper was run"
    assert [said for said in received if not said.startswith(b"CONNECT ")] == []


def credentials(request: Request) -> dict[str, str]:
    """Every header of a request that can carry one."""
    return {name: value for name, value in request.headers.items() if name in AUTHENTICATION}


def ask(terminal: Terminal, upstream: FakeUpstream, text: str) -> str:
    """Say something new; the model that was asked."""
    type_command(terminal, text)

    def asked() -> list[Request]:
        return [
            r for _, r in conversation([upstream]) if text in json.dumps((r.body or {})["messages"])
        ]

    wait_for(asked)
    terminal.wait_idle(0.4)
    return str((asked()[0].body or {})["model"])


# ------------------------------------------------------------------ what a provider receives


@newest_and_oldest
@pytest.mark.parametrize("provider", EVERY)
def test_each_provider_gets_its_own_path_and_key_and_nothing_else(
    provider: str, client: Fetch, someone: User, upstream: FakeUpstream
) -> None:
    """With other keys and tokens exported and saved, a settings.json of the user's that leads
    elsewhere, a switch to Bedrock and a proxy: one request, at the provider's path, with its key.
    """
    seat = sit_down(someone, client())
    key = key_of(provider)
    known = catalogue_data()[provider].get("models")
    point(someone, provider, upstream, "{x: demo/parrot}" if known else f"{{x: {provider}/loaded}}")
    if key:
        keep_keys(someone, **{catalogue_data()[provider]["key"]: key})
    command = Path(add_wrapper(someone, provider)["file"]).name
    with hostile(seat) as before:
        if provider == "anthropic":
            del seat.more["ANTHROPIC_API_KEY"]  # it would be the one to use
        done = run(seat, command, "-p", "hi")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"I am {model_of(provider)} at it\n"
        after = files_below(seat.home / ".claude")
        assert {name: after.get(name) for name in before} == before
    (request,) = upstream.requests
    assert request.path == path_of(provider) + "/v1/messages"
    sent = {"authorization": f"Bearer {key}", "x-api-key": key} if key else {
        "authorization": "Bearer none"}  # fmt: skip
    assert credentials(request) == sent
    everything = json.dumps([request.headers, request.body])
    assert not [secret for secret in (*SECRETS.values(), "saved-login") if secret in everything]


@newest_and_oldest
def test_the_key_is_in_no_file_argument_or_environment(
    client: Fetch, someone: User, upstream: FakeUpstream
) -> None:
    """A key that `key set` has kept: what the client's Bash sees of itself and of the client, and
    every file but the one of the keys.
    """
    seat = sit_down(someone, client())
    point(someone, "zai", upstream)
    keep_keys(someone, ZAI_API_KEY="own-zai-secret")
    add_wrapper(someone, "zai")
    look = "env; tr '\\0' '\\n' < /proc/$PPID/environ; tr '\\0' '\\n' < /proc/$PPID/cmdline"
    upstream.behave(Behaviour(tool=Tool("Bash", {"command": look, "description": "look"})))
    done = run(seat, "claude-glm", "--allowedTools", "Bash", "-p", "look around")
    assert done.returncode == 0, done.stderr
    assert "\n--settings\n" in done.stdout, "it did not look at the client"
    assert "ANTHROPIC_BASE_URL=" in done.stdout
    assert "own-zai-secret" not in done.stdout
    asked = [request for _, request in conversation([upstream])]
    assert [credentials(one)["x-api-key"] for one in asked] == ["own-zai-secret"] * 2
    kept = files_below(someone.root)
    holding = [name for name, content in kept.items() if b"own-zai-secret" in content]
    assert holding == ["llmswitch/keys.json"]
    written = [file for file in someone.state.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}


@newest_and_oldest
def test_a_subscription_sends_the_login_alone_and_to_anthropic_alone(
    client: Fetch, someone: User, upstream: FakeUpstream
) -> None:
    """`auth: subscription`: with every key and token exported, `claude-opus` sends the client's own
    login and nothing else; `claude-glm` of the same profile sends its key and no login.
    """
    seat = sit_down(someone, client())
    someone.keys = {**someone.keys, TEST_HOST: upstream.url.removeprefix("http://")}
    someone.write_profile(
        "models: {o: anthropic/claude-opus-4-5-20251101, x: demo/parrot}\n"
        f"providers:\n  anthropic: {{auth: subscription, base_url: '{upstream.url}'}}\n"
        f"  zai: {{base_url: '{upstream.url}/api/anthropic'}}\n"
    )
    keep_keys(someone, ANTHROPIC_API_KEY="kept-key", ZAI_API_KEY="zai-own")
    for provider in ("anthropic", "zai"):
        add_wrapper(someone, provider)
    with hostile(seat):
        del seat.more["CLAUDE_CODE_OAUTH_TOKEN"]  # a login too, which would be the one to use
        done = run(seat, "claude-opus", "-p", "hi")
        other = run(seat, "claude-glm", "-p", "hi")
        assert (done.returncode, other.returncode) == (0, 0), done.stderr + other.stderr
    ours, theirs = upstream.requests
    assert ours.path == "/v1/messages"
    assert credentials(ours) == {"authorization": "Bearer sk-ant-oat01-saved-login"}
    assert "oauth" in ours.headers["anthropic-beta"]
    assert theirs.path == "/api/anthropic/v1/messages"
    assert credentials(theirs) == {"authorization": "Bearer zai-own", "x-api-key": "zai-own"}
    everything = json.dumps([ours.headers, ours.body, theirs.headers, theirs.body])
    assert not [secret for secret in SECRETS.values() if secret in everything]


@newest_and_oldest
def test_a_key_of_this_shell_comes_before_one_that_is_kept(
    client: Fetch, someone: User, upstream: FakeUpstream
) -> None:
    """Also ANTHROPIC_API_KEY, which the client is otherwise told is empty; and then the saved login
    is not sent.
    """
    seat = sit_down(someone, client())
    point(someone, "anthropic", upstream)
    add_wrapper(someone, "anthropic")
    keep_keys(someone, ANTHROPIC_API_KEY="kept-key")
    for exported, sent in (({"ANTHROPIC_API_KEY": "shells-key"}, "shells-key"), ({}, "kept-key")):
        seat.more = exported
        upstream.clear()
        assert run(seat, "claude-opus", "-p", "hi").returncode == 0
        assert [credentials(request) for request in upstream.requests] == [
            {"authorization": f"Bearer {sent}", "x-api-key": sent}
        ]


def test_a_key_of_the_systems_keyring(someone: User, upstream: FakeUpstream) -> None:
    """Read when the client asks; and where the keyring gives it out no more, no other credential
    takes its place.
    """
    seat = sit_down(someone, clients.newest())
    ring = someone.root / "ring"
    ring.mkdir()
    (ring / "fakering.py").write_text(RING)
    for home in (seat.home, someone.home):
        config = home / ".config" / "python_keyring"
        config.mkdir(parents=True)
        (config / "keyringrc.cfg").write_text(
            f"[backend]\ndefault-keyring=fakering.Ring\nkeyring-path={ring}\n"
        )
    point(someone, "zai", upstream)
    add_wrapper(someone, "zai")
    kept = subprocess.run(
        [sys.executable, "-m", "llmswitch", "key", "set", "zai"],
        env=someone.env,
        cwd=someone.home,
        input="own-zai",
        text=True,
        capture_output=True,
        check=True,
    )
    assert kept.stdout.startswith("stored ZAI_API_KEY in the system's keyring\n")
    assert run(seat, "claude-glm", "-p", "hi").returncode == 0
    assert credentials(upstream.requests[0])["x-api-key"] == "own-zai"
    (ring / "locked").touch()
    upstream.clear()
    seat.more = {"ANTHROPIC_API_KEY": SECRETS["key"], "ANTHROPIC_AUTH_TOKEN": SECRETS["login"]}
    done = run(seat, "claude-glm", "-p", "hi")
    assert "ZAI_API_KEY is not set\n-> llmswitch key set ZAI_API_KEY" in done.stderr
    assert {(credentials(r)["authorization"], credentials(r)["x-api-key"])
            for r in upstream.requests} == {("Bearer", "")}  # fmt: skip


# ------------------------------------------------------------------ the menu of the real client


def test_newest_menu(someone: User, upstream: FakeUpstream) -> None:
    """On 2.1.332, in a home and a shell that would send it elsewhere: it asks nothing and warns of
    nothing; the menu is Default and every model of the catalogue; A, B, and A again go to the
    provider under its own names, and every request, those of its own accord too, carries the
    provider's key alone. A pick is remembered for this wrapper, and the user's default put back.
    """
    seat = sit_down(someone, clients.newest())
    url = upstream.url
    someone.write_profile(
        "models: {x: demo/parrot}\nproviders:\n"
        f"  zai: {{base_url: '{url}/api/anthropic'}}\n  moonshot: {{base_url: '{url}/m'}}\n"
    )
    keep_keys(someone, ZAI_API_KEY="own-zai", MOONSHOT_API_KEY="own-kimi")
    add_wrapper(someone, "zai")
    add_wrapper(someone, "moonshot")
    with hostile(seat) as before:
        with open_it(seat, "claude-glm") as terminal:
            terminal.wait_for(INPUT_BOX)
            assert "⚠" not in terminal.wait_idle(1)
            assert ask(terminal, upstream, "word-one") == "glm-5.3"
            rows = open_menu(terminal)
            assert [(row.label, row.description) for row in rows[1:]] == MENU
            assert rows[0].label == "Default (recommended)"
            choose(terminal, str(rows[4].number))
            assert json.loads(seat.settings.read_text())["model"] == "glm-5.1", "no pick was saved"
            assert ask(terminal, upstream, "word-two") == "glm-5.1"
            assert leave(terminal) == 0
        after = files_below(seat.home / ".claude")
        assert {name: after.get(name) for name in before} == before
        assert run(seat, "claude-glm", "-p", "x").stdout == "I am glm-5.1 at it\n"
        titles = {(r.body or {})["model"] for r in upstream.requests} - {"glm-5.3", "glm-5.1"}
        assert titles <= {"glm-5.3-flash"}, "what the client asks by itself is for the small one"
        sent = {tuple(sorted(credentials(request).items())) for request in upstream.requests}
        assert sent == {(("authorization", "Bearer own-zai"), ("x-api-key", "own-zai"))}
        assert run(seat, "claude-kimi", "-p", "x").stdout == "I am kimi-k3 at it\n"
    everything = json.dumps([[r.headers, r.body] for r in upstream.requests])
    assert not [secret for secret in (*SECRETS.values(), "saved-login") if secret in everything]


@pytest.mark.soak
def test_oldest_menu(someone: User, upstream: FakeUpstream) -> None:
    """2.1.197 has a row for each role and one more: five models, and a word of the sixth and how to
    reach it; the provider is never asked for a list.
    """
    seat = sit_down(someone, clients.oldest())
    point(someone, "zai", upstream)
    keep_keys(someone, ZAI_API_KEY="own-zai")
    add_wrapper(someone, "zai")
    with open_it(seat, "claude-glm") as terminal:
        assert (
            "llmswitch: Claude Code 2.1.197 does not list glm-4.5-air in /model; type /model "
            "glm-4.5-air, or get 2.1.242 or newer, which lists them: claude update"
        ) in " ".join(terminal.wait_for(INPUT_BOX).split("\n"))
        assert ask(terminal, upstream, "word-one") == "glm-5.3"
        rows = open_menu(terminal)
        found = {row.label: row.description for row in rows}
        assert {label: found.get(label) for label, _ in MENU[:-1]} == dict(MENU[:-1])
        choose(terminal, next(str(row.number) for row in rows if row.label == "GLM-5.2"))
        assert ask(terminal, upstream, "word-two") == "glm-5.2"
        switch(terminal, "glm-4.5-air")
        assert ask(terminal, upstream, "word-three") == "glm-4.5-air"
        assert leave(terminal) == 0
    assert {request.method for request in upstream.requests} == {"POST"}


# ------------------------------------------------------------------ what it is made of


@pytest.fixture
def shell(someone: User) -> User:
    """A user with a key of Z.ai, and a program in place of `claude` that tells what it is given."""
    install(someone.root / "bin" / "claude")
    someone.keys = {"FAKE_SEEN": str(someone.root / "seen")}
    keep_keys(someone, ZAI_API_KEY="own-zai")
    return someone


def start(user: User, command: str, *arguments: str) -> Seen:
    """What the client is given by a wrapper."""
    subprocess.run(
        [user.root / "bin" / command, *arguments],
        env=user.env, cwd=user.home, stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    return Seen(user.root / "seen")


def rows_of(seen: Seen) -> list[tuple[str, str]]:
    """Model and label of each row."""
    return [(row["model"], row["label"]) for row in seen.settings["modelPicker"]["options"]]


def test_without_a_profile_the_models_are_the_catalogues(shell: User) -> None:
    """Nothing is set up but the key."""
    assert add_wrapper(shell, "zai") == {
        "file": str(shell.root / "bin" / "claude-glm"),
        "did": "installed",
        "on_path": True,
        "direct": "zai",
        "models": [name for name, _, _ in GLM],
        "key_set": True,
    }
    seen = start(shell, "claude-glm")
    assert rows_of(seen)[0] == ("glm-5.3[1m]", "GLM-5.3")
    assert [name.removesuffix("[1m]") for name, _ in rows_of(seen)] == [name for name, _, _ in GLM]
    assert seen.settings["env"]["ANTHROPIC_BASE_URL"] == "https://api.z.ai/api/anthropic"
    assert seen.settings["env"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "glm-5.3-flash[1m]"
    assert seen.settings["env"]["ANTHROPIC_AUTH_TOKEN"] == ""
    assert "own-zai" not in json.dumps([seen.settings, seen.env, [str(a) for a in seen.argv]])


PROFILE = """
models:
  opus: anthropic/claude-opus-5-5
  glm: {model: zai/glm-4.7, label: My GLM, context: 150000, price: {input: 1, output: 2}}
  small: {model: zai/glm-4.5-air, behaves_as: claude-haiku-4-5}
roles: {default: glm, haiku: small, subagent: small, sonnet: opus}
"""


def test_a_profile_gives_labels_windows_prices_and_roles(shell: User) -> None:
    """Of its models on that provider, under the provider's names; a role of another's model is the
    default's; its names do for `--model` too. A change takes effect on the next start.
    """
    file = shell.write_profile(PROFILE)
    add_wrapper(shell, "zai")
    seen = start(shell, "claude-glm", "--model", "small")
    assert seen.settings["modelPicker"]["options"] == [
        {
            "model": "glm-4.7",
            "label": "My GLM",
            "description": "Z.ai · 150k · $1/$2 per Mtok",
            "behavesAs": "claude-sonnet-4-5",
        },
        {
            "model": "glm-4.5-air",
            "label": "GLM-4.5 Air",
            "description": "Z.ai · 128k · $0.20/$1.10 per Mtok",
            "behavesAs": "claude-haiku-4-5",
        },
    ]
    env = seen.settings["env"]
    assert seen.settings["model"] == "glm-4.7"
    assert env["ANTHROPIC_DEFAULT_SONNET_MODEL"] == "glm-4.7"
    assert env["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "glm-4.5-air"
    assert env["CLAUDE_CODE_SUBAGENT_MODEL"] == "glm-4.5-air"
    assert env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "128000"
    assert seen.given == [b"--model", b"glm-4.5-air"]
    file.write_text(PROFILE.replace("My GLM", "Another"))
    assert rows_of(start(shell, "claude-glm"))[0] == ("glm-4.7", "Another")


def test_the_menu_is_rendered_only_when_something_has_changed(shell: User) -> None:
    """Not on the second start; again for a damaged file, and when the default profile comes."""
    add_wrapper(shell, "zai")
    start(shell, "claude-glm")
    file = shell.state / "direct" / "zai" / "menu.json"
    first = file.stat().st_mtime_ns
    start(shell, "claude-glm")
    assert file.stat().st_mtime_ns == first
    for damaged in ("{", "[]", '{"version": 1}'):
        file.write_text(damaged)
        assert len(rows_of(start(shell, "claude-glm"))) == len(GLM)
        assert json.loads(file.read_text())["roles"]["haiku"] == "glm-5.3-flash"
    shell.write_profile(PROFILE)
    assert [label for _, label in rows_of(start(shell, "claude-glm"))] == [
        "My GLM",
        "GLM-4.5 Air",
    ]


def test_what_the_user_gives_goes_on_to_the_client(shell: User) -> None:
    """Own settings are kept, ours stand over them; other vendors' keys pass; and what needs no
    model needs no key either.
    """
    add_wrapper(shell, "zai")
    shell.keys = {**shell.keys, "OTHER_API_KEY": "theirs"}
    seen = start(shell, "claude-glm", "--settings", '{"x": 1, "apiKeyHelper": "no"}', "--continue")
    assert seen.settings["x"] == 1
    assert "llmswitch.claude.key_helper" in seen.settings["apiKeyHelper"]
    assert seen.given == [b"--continue"]
    assert seen.env["OTHER_API_KEY"] == "theirs"
    keep_keys(shell)
    seen = start(shell, "claude-glm", "mcp", "list")
    assert seen.argv[1:] == [b"mcp", b"list"]


def test_without_a_key_nothing_is_started(shell: User) -> None:
    """One sentence and the cure, when it is installed and when it is started."""
    keep_keys(shell)
    cure = "llmswitch key set zai    (from https://z.ai/manage-apikey/apikey-list)"
    where = str(shell.root / "bin")
    done = shell.run("wrapper", "install", "--direct", "zai", "--dir", where)
    assert done.stdout == (
        f"installed {where}/claude-glm\nrun it: claude-glm\n"
        "it connects to Z.ai itself, with 6 models in /model\n"
        "budgets, fallbacks and usage need a gateway\n"
        f"first set the key: {cure}\n"
    )
    done = subprocess.run(
        [f"{where}/claude-glm", "-p", "x"],
        env=shell.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ZAI_API_KEY is not set, so Z.ai cannot be asked\n-> {cure}\n"
    assert not (shell.root / "seen").exists()


def test_a_provider_of_the_profiles_own(shell: User) -> None:
    """With the variables that the profile names for its models, and no other of that provider; the
    cure names the variable, which works whichever the default profile is.
    """
    shell.write_profile("models: {x: demo/parrot}\n", "main")
    shell.write_profile(
        "models: {coder: {model: mine/qwen, keys: [MINE_2]}}\n"
        "providers: {mine: {dialect: messages, base_url: 'http://127.0.0.1:9/v1', key: MINE_1}}\n",
        "other",
    )
    (shell.root / "llmswitch" / "default-profile").write_text("main\n")
    file = add_wrapper(shell, "mine", "--profile", "other")["file"]
    assert Path(file).name == "claude-mine"
    done = subprocess.run([file], env=shell.env, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "MINE_2 is not set, so mine cannot be asked\n-> llmswitch key set MINE_2\n"
    )
    keep_keys(shell, MINE_1="first", MINE_2="second")
    seen = start(shell, "claude-mine")
    assert rows_of(seen) == [("qwen", "Qwen")]
    assert seen.settings["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    helper = subprocess.run(
        ["sh", "-c", seen.settings["apiKeyHelper"]],
        env={"PATH": "/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert helper.stdout == "second\n"


# ------------------------------------------------------------------ which there can be


@pytest.mark.parametrize(
    ("provider", "said", "cure"),
    [
        (
            "openai",
            (
                "openai has no known Anthropic-compatible endpoint, so Claude Code cannot "
                f"talk to it directly; these have one: {', '.join(PROVIDERS)}"
            ),
            "llmswitch wrapper install    (through the gateway, with every provider)",
        ),
        ("zia", "there is no provider 'zia'; did you mean `zai`?", "llmswitch providers"),
        (
            "ollama",
            "no models of ollama are known",
            (
                "llmswitch models add ollama/MODEL    (what it serves: llmswitch models "
                "--provider ollama --refresh)"
            ),
        ),
    ],
)
def test_what_there_can_be_no_direct_wrapper_of(provider: str, said: str, cure: str) -> None:
    """A provider that needs the gateway, a name that nobody has, no known model: each says so."""
    with pytest.raises(LlmswitchError) as caught:
        direct_menu.render(provider, None)
    assert (caught.value.message, caught.value.hint) == (said, cure)


def test_each_has_a_name_of_its_own(someone: User) -> None:
    """From the catalogue, or `--name`; the list tells which is which, and each can be taken away by
    its provider.
    """
    names = {"zai": "claude-glm", "anthropic": "claude-opus", "deepseek": "claude-deepseek",
             "moonshot": "claude-kimi", "openrouter": "claude-openrouter"}  # fmt: skip
    assert {name: direct_menu.wrapper_name(name, None) for name in names} == names
    where = ("--dir", str(someone.root / "bin"))
    kimi, named = str(someone.root / "bin" / "claude-kimi"), str(someone.root / "bin" / "z")
    assert add_wrapper(someone, "moonshot")["file"] == kimi
    assert add_wrapper(someone, "moonshot")["did"] == "nothing"
    assert add_wrapper(someone, "zai", "--name", "z")["file"] == named
    listed = someone.json("wrapper", "list", *where)
    assert listed["direct"] == {kimi: "moonshot", named: "zai"}
    rows = someone.run("wrapper", "list", *where).stdout.splitlines()
    assert ["none:", "zai", "itself", named] in [row.split()[1:] for row in rows]
    done = someone.run("wrapper", "uninstall", "--direct", "moonshot", *where)
    assert done.stdout == f"removed {kimi}\n"


@pytest.mark.parametrize("name", [(), ("--name", "claude-multi")], ids=["usual", "named"])
def test_an_empty_provider_is_not_the_gateway(name: tuple[str, ...], someone: User) -> None:
    """`--direct "$UNSET"` neither installs nor removes the wrapper of the gateway."""
    someone.write_profile("models: {x: demo/parrot}\n")
    assert someone.run("wrapper", "install").returncode == 0
    before = files_below(someone.root)
    for command in ("install", "uninstall"):
        done = someone.run("wrapper", command, "--direct", "", *name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "--direct needs a provider\n-> llmswitch providers\n"
    assert files_below(someone.root) == before


def test_a_wrapper_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    """Nor taken away by a provider that it does not start, whether it is one of the gateway's or
    another provider's; what is said cures it.
    """
    glm = tmp_path / "claude-glm"
    away = f"llmswitch wrapper uninstall --name claude-glm --dir {tmp_path}"
    first = f"choose another name with --name, or first: {away}"
    multi = ProfileRef("work", tmp_path / "work.yaml", "work")
    zai, kimi = wrapper.Direct("zai", ""), wrapper.Direct("moonshot", "")
    gateway, at_zai, at_kimi = "through the gateway", "at zai itself", "at moonshot itself"

    def install(of: ProfileRef | wrapper.Direct) -> Callable[[], object]:
        return lambda: wrapper.install(of, "claude-glm", tmp_path, {})

    def uninstall(provider: str | None) -> Callable[[], object]:
        return lambda: wrapper.uninstall("claude-glm", tmp_path, provider)

    for there, act, starts, wanted, cure in (
        (multi, install(zai), gateway, at_zai, first),
        (multi, uninstall("zai"), gateway, at_zai, away),
        (zai, install(multi), at_zai, gateway, first),
        (zai, install(kimi), at_zai, at_kimi, first),
        (zai, uninstall("moonshot"), at_zai, at_kimi, away),
    ):
        install(there)()
        before = glm.read_bytes()
        with pytest.raises(LlmswitchError) as caught:
            act()
        assert caught.value.message == f"{glm} starts Claude Code {starts}, not {wanted}"
        assert caught.value.hint == cure
        assert glm.read_bytes() == before
        assert uninstall(None)() == glm


def test_the_catalogues_roles_are_of_its_models() -> None:
    """A role that names no known model would be one that the provider does not have."""
    for name, data in catalogue_data().items():
        known = {one if isinstance(one, str) else one["id"] for one in data.get("models", [])}
        assert set(data.get("roles", {}).values()) <= known, name


def test_uninstall_takes_all_of_it_away(shell: User) -> None:
    """The wrappers, and what they have generated."""
    before = files_below(shell.home)
    add_wrapper(shell, "zai")
    start(shell, "claude-glm")
    done = shell.run("uninstall", "--yes", "--dir", str(shell.root / "bin"))
    assert done.returncode == 0, done.stderr
    assert not (shell.root / "bin" / "claude-glm").exists()
    assert not (shell.root / "llmswitch").exists()
    assert files_below(shell.home) == before


def test_what_a_killed_session_left_is_told_and_put_back(shell: User) -> None:
    """A model of a direct wrapper's menu that stands in the user's settings: by the doctor, with a
    wrapper that there is; its next start puts the user's own back.
    """
    shell.write_profile("models: {x: demo/parrot}\n")
    add_wrapper(shell, "zai")
    settings = shell.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"model": "opus"}')
    with subprocess.Popen(
        [shell.root / "bin" / "claude-glm"],
        env={**shell.env, "FAKE_DO": "wait"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"out\n"
        settings.write_text('{"model": "glm-5.1"}')
        client = psutil.Process(session.pid).children()
        session.kill()
        client[0].kill()
    where = {"PATH": f"{shell.root / 'bin'}:/usr/bin:/bin"}
    checks = json.loads(shell.run("doctor", "--json", env=where).stdout)["checks"]
    row = next(check for check in checks if check["name"] == "saved default")
    assert row["level"] == "warning"
    assert row["message"].startswith("'glm-5.1' is the default model in ")
    assert row["hint"] == "claude-glm -p hi    (restores your own default model)"
    start(shell, "claude-glm", "-p", "hi")
    assert settings.read_text() == '{"model": "opus"}'


def test_the_doctor_looks_at_direct_wrappers(shell: User) -> None:
    """They are enough; a stale one, and one whose profile is gone, come with their cure."""

    def row() -> dict[str, Any]:
        checks = json.loads(shell.run("doctor", "--json").stdout)["checks"]
        return next(check for check in checks if check["name"] == "wrapper")

    file = Path(add_wrapper(shell, "zai")["file"])
    assert (row()["level"], row()["message"]) == ("ok", str(file)), "without any profile"
    shell.write_profile(PROFILE, "other")
    shell.write_profile(PROFILE)
    file = Path(add_wrapper(shell, "zai", "--profile", "other")["file"])
    place = f"--name claude-glm --dir {file.parent}"
    assert (row()["level"], row()["message"]) == ("ok", str(file))
    text = file.read_text()
    file.write_text(text + "# older\n")
    assert row() == {
        "name": "wrapper",
        "level": "warning",
        "message": f"{file} is not as this llmswitch writes it",
        "hint": f"llmswitch wrapper install --direct zai --profile other {place}",
    }
    assert add_wrapper(shell, "zai", "--profile", "other")["did"] == "updated"
    (shell.root / "llmswitch" / "profiles" / "other.yaml").unlink()
    found = row()
    assert found["message"].startswith(f"{file}: there is no profile named 'other'; ")
    assert found["hint"] == f"llmswitch wrapper install --direct zai {place}"
    assert add_wrapper(shell, "zai")["did"] == "updated"
    assert row()["level"] == "ok"
