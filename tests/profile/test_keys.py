"""`key`: where keys are kept, who is given them, and that nobody else ever sees one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.command import json_here, run_here
from tests.conftest import CHECKOUT, Mission, User, lasting_mission
from tests.gateways import Gateway
from tests.profile.test_models import lists
from tests.ready_made import NAMES
from tests.shell import take_shell
from tests.terminal import Terminal
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("keys"), pytest.mark.timeout(300)]

SECRET = "zai-kept-5d41402abc4b2a76"
OTHER = "zai-other-7d793037a0760186"
PAGE = "https://z.ai/manage-apikey/apikey-list"


def key_set(user: User, which: str, key: str) -> subprocess.CompletedProcess[str]:
    """`llmswitch key set WHICH`, with the key in a pipe."""
    return run_here(user, "key", "set", which, stdin=f"{key}\n")


def key_set_apart(user: User, which: str, key: str) -> subprocess.CompletedProcess[str]:
    """The same in a process, which looks for a keyring anew."""
    return subprocess.run(
        [sys.executable, "-m", "llmswitch", "key", "set", which],
        env=user.env,
        cwd=user.home,
        input=f"{key}\n",
        capture_output=True,
        text=True,
        check=False,
    )


def places(user: User, ask: Callable[..., Any] = json_here) -> dict[str, str]:
    """Where `key list` says that each key comes from, those that are nowhere left out."""
    rows = ask(user, "key", "list")["keys"]
    return {row["name"]: row["place"] for row in rows if row["place"]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A mission whose gateway, once started, goes on."""
    yield from lasting_mission(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def mission(shared: Mission) -> Mission:
    """The same in a shell without any key, and none kept."""
    shared.user.keys = {}
    for path in ("llmswitch/keys.json", "home/.config/python_keyring/keyringrc.cfg"):
        (shared.user.root / path).unlink(missing_ok=True)
    log = shared.user.run_folder() / "gateway.log"
    if log.exists():
        log.write_text("")
    for upstream in shared.upstreams:
        upstream.clear()
        upstream.behave(Behaviour())
    return shared


# ------------------------------------------------------------------ the file


def test_a_key_is_kept_in_a_private_file(user: User) -> None:
    """From a pipe, named by its provider or its variable; a second one takes its place."""
    user.keys = {}
    file = user.root / "llmswitch" / "keys.json"
    done = key_set(user, "zai", SECRET)
    said = f"stored ZAI_API_KEY in {file}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert key_set(user, "MY_KEY", "mine-own").returncode == 0
    assert key_set(user, "ZAI_API_KEY", OTHER).returncode == 0
    assert json.loads(file.read_text()) == {"ZAI_API_KEY": OTHER, "MY_KEY": "mine-own"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert places(user) == {"ZAI_API_KEY": "file", "MY_KEY": "file"}
    lines = run_here(user, "key", "list").stdout.splitlines()
    assert f"ZAI_API_KEY         zai           {file}" in lines
    assert "XAI_API_KEY         xai           nowhere: not set" in lines
    assert f"MY_KEY              -             {file}" in lines
    done = run_here(user, "key", "remove", "zai")
    assert done.stdout == (
        f"removed ZAI_API_KEY from {file}\na running gateway keeps it until: llmswitch restart\n"
    )
    assert json.loads(file.read_text()) == {"MY_KEY": "mine-own"}
    done = run_here(user, "key", "remove", "zai")
    assert done.stdout == "`key set` has not stored ZAI_API_KEY\n"


def test_the_environment_comes_first(user: User) -> None:
    """And `key set` says so when it keeps one that is not used."""
    user.keys = {"ZAI_API_KEY": "from-the-shell"}
    assert key_set(user, "zai", SECRET).stdout.splitlines()[1] == (
        "note: this shell also sets ZAI_API_KEY, which is used first    -> unset ZAI_API_KEY"
    )
    assert places(user) == {"ZAI_API_KEY": "environment"}
    user.keys = {"ZAI_API_KEY": " "}
    assert places(user) == {"ZAI_API_KEY": "file"}


def test_a_key_is_typed_unseen(user: User) -> None:
    """On a terminal it is asked for, and what is typed does not appear."""
    user.keys = {}
    command = [sys.executable, "-m", "llmswitch", "key", "set", "zai"]
    with Terminal(command, user.env, user.home) as terminal:
        terminal.wait_for("the key for ZAI_API_KEY:")
        terminal.send(f"{SECRET}\r")
        terminal.wait_for("stored ZAI_API_KEY in")
        assert SECRET not in "".join(terminal.lines())
    assert SECRET in (user.root / "llmswitch" / "keys.json").read_text()


AGAIN = "llmswitch key set ZAI_API_KEY    (and paste it)"
NEITHER = (
    "this is neither a provider nor a variable such as ZAI_API_KEY (never write a key itself on "
    "the command line)"
)
WRONG = {
    "no key": ("zai", "", "no key was given for ZAI_API_KEY", AGAIN),
    "several lines": (
        "zai",
        "a\nb",
        "several lines were given, not one key, for ZAI_API_KEY",
        AGAIN,
    ),
    "a provider without one": ("ollama", SECRET, "ollama needs no key", "llmswitch providers"),
    "a key in place of its name": (
        SECRET,
        "",
        NEITHER,
        "llmswitch providers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("which", "key", "message", "hint"), WRONG.values(), ids=WRONG)
def test_what_is_no_key_is_refused(
    user: User, which: str, key: str, message: str, hint: str
) -> None:
    """With what to do instead, and without showing what may be one."""
    user.keys = {}
    done = key_set(user, which, key)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n-> {hint}\n")
    assert not (user.root / "llmswitch" / "keys.json").exists()


def test_a_key_that_looks_wrong_is_kept_with_a_warning(user: User) -> None:
    """The same that the doctor says, and the page to get a right one."""
    user.keys = {}
    for key, said in {
        "your-api-key-here": "holds a placeholder, not a key",
        "'zai'": "has quotes around it",
        "sk-ant-api03-x": "looks like a key of Anthropic",
    }.items():
        done = key_set(user, "zai", key)
        assert done.stdout.splitlines()[1] == f"warning: it {said}; get one from {PAGE}"
        assert done.returncode == 0
    assert "warning" not in key_set(user, "MY_KEY", "sk-ant-api03-x").stdout


def test_a_damaged_file_of_keys_is_told(mission: Mission) -> None:
    """By every command that needs it, with the cure; the doctor tells it too, and goes on."""
    user = mission.user
    file = user.root / "llmswitch" / "keys.json"
    file.write_text("{")
    file.chmod(0o600)
    cure = f"move it away (mv {file} ~/keys.old), then: llmswitch key set"
    for command in (("up",), ("status",), ("validate",), ("key", "list"), ("render",)):
        done = run_here(user, *command)
        assert (done.returncode, done.stderr) == (
            1, f"the key file {file} is damaged\n-> {cure}\n"
        )  # fmt: skip
    rows = {
        row["name"]: row for row in json.loads(run_here(user, "doctor", "--json").stdout)["checks"]
    }
    assert rows["files"]["message"] == f"the key file {file} is damaged"
    assert rows["files"]["level"] == "error"
    assert rows["ZAI_API_KEY"]["level"] == "skipped"
    assert "failed" not in {row["level"] for row in rows.values()}
    file.write_text("{}")
    file.chmod(0o644)
    rows = {
        row["name"]: row for row in json.loads(run_here(user, "doctor", "--json").stdout)["checks"]
    }
    assert rows["files"]["message"] == f"{file} can be read by others"
    assert rows["files"]["hint"] == f"chmod 600 {file}"


# ------------------------------------------------------------------ who is given one


def test_a_kept_key_is_as_good_as_one_of_the_shell_and_nobody_else_sees_it(
    mission: Mission, tmp_path: Path
) -> None:
    """validate, status, doctor, up and claude-multi count it; its own upstream receives it; it is
    in no other file, no output, no argument and no environment but the gateway's.
    """
    user = mission.user
    outputs = [key_set(user, "zai", SECRET)]
    done = run_here(user, "validate")
    assert "glm-4.7 is left out" not in done.stdout
    assert "opus is left out of the menu: ANTHROPIC_API_KEY is not set" in done.stdout
    available = {name: name.startswith("glm") for name in NAMES}

    def shown() -> dict[str, bool]:
        return {row["name"]: row["available"] for row in json_here(user, "status")["models"]}

    assert shown() == available  # of the profile
    outputs += [done, run_here(user, "render"), user.run("up"), run_here(user, "status")]
    assert all(each.returncode == 0 for each in outputs)
    assert shown() == available  # of the gateway
    gateway = Gateway(mission.url, user.gateway_key())
    assert gateway.ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    outputs.append(user.run("doctor", "--all"))
    file = user.root / "llmswitch" / "keys.json"
    assert f"ok ZAI_API_KEY is kept in {file}" in " ".join(outputs[-1].stdout.split())
    shell = take_shell(mission, tmp_path / "shell")
    outputs.append(shell.run("-p", "hi"))
    assert outputs[-1].returncode == 0
    assert SECRET not in json.dumps(shell.seen.env)
    assert SECRET not in json.dumps(shell.seen.settings)
    outputs += [
        run_here(user, "doctor", "--report"),
        run_here(user, "key", "list"),
        run_here(user, "logs"),
    ]
    assert not [each.args for each in outputs if SECRET[:8] in each.stdout + each.stderr]
    for place in user.root.rglob("*"):
        if place.is_file() and place != file:
            assert SECRET.encode() not in place.read_bytes(), place
    master = psutil.Process(user.gateway_state()["pid"])
    assert master.environ()["LLMSWITCH_KEY_ZAI_API_KEY"] == SECRET
    assert "ZAI_API_KEY" not in master.environ()
    for process in (master, *master.children()):
        assert SECRET not in " ".join(process.cmdline())
    assert not [r for r in mission.anthropic.requests + mission.mine.requests if SECRET in str(r)]


def test_a_key_of_the_shell_is_used_before_a_kept_one(mission: Mission) -> None:
    """The upstream receives that one; and a report hides the other, should a log hold it."""
    user = mission.user
    key_set(user, "zai", SECRET)
    user.keys = {"ZAI_API_KEY": OTHER}
    user.json("up")
    assert Gateway(mission.url, user.gateway_key()).ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {OTHER}"
    with (user.run_folder() / "gateway.log").open("a") as log:
        log.write(f"an upstream said: bad {SECRET}\n")
    done = run_here(user, "doctor", "--report")
    assert "an upstream said: bad REDACTED" in done.stdout
    assert SECRET not in done.stdout


def test_a_new_key_reaches_the_gateway_by_the_next_session(
    mission: Mission, tmp_path: Path
) -> None:
    """claude-multi sees that another key was kept."""
    user = mission.user
    key_set(user, "zai", SECRET)
    shell = take_shell(mission, tmp_path / "shell")
    assert shell.run("-p", "hi").returncode == 0
    key_set(user, "zai", OTHER)
    assert "reloaded" in shell.run("-p", "hi").stderr
    assert Gateway(mission.url, user.gateway_key()).ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {OTHER}"
    assert shell.run("-p", "hi").stderr == ""


# ------------------------------------------------------------------ the system's keyring

RING = '''
import json
from pathlib import Path
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

HERE = Path(__file__).parent

class Ring(KeyringBackend):
    """A keyring in a file, which counts how often it is asked, and can be locked."""

    priority = 9

    def _all(self):
        with (HERE / "asked").open("a") as stream:
            stream.write("x")
        if (HERE / "locked").exists():
            raise KeyringLocked("locked")
        file = HERE / "ring.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service}|{username}")

    def set_password(self, service, username, password):
        held = self._all() | {f"{service}|{username}": password}
        (HERE / "ring.json").write_text(json.dumps(held))

    def delete_password(self, service, username):
        held = self._all()
        if held.pop(f"{service}|{username}", None) is None:
            raise PasswordDeleteError("none")
        (HERE / "ring.json").write_text(json.dumps(held))
'''


@pytest.fixture
def ring(mission: Mission) -> Path:
    """A folder with a keyring that the real library finds by its own configuration file."""
    folder = mission.user.root / "ring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "fakering.py").write_text(RING)
    config = mission.user.home / ".config" / "python_keyring"
    config.mkdir(parents=True, exist_ok=True)
    (config / "keyringrc.cfg").write_text(
        f"[backend]\ndefault-keyring=fakering.Ring\nkeyring-path={folder}\n"
    )
    return folder


def test_a_key_in_the_keyring_stays_there(mission: Mission, ring: Path) -> None:
    """Only `key` and `up` ask the keyring; the others know that it has the key, and the file that
    says so holds no part of it.
    """
    user = mission.user
    done = key_set_apart(user, "zai", SECRET)
    assert done.stdout == "stored ZAI_API_KEY in the system's keyring\n"
    held = json.loads((ring / "ring.json").read_text())
    assert held == {f"llmswitch {user.root / 'llmswitch'}|ZAI_API_KEY": SECRET}
    (kept,) = json.loads((user.root / "llmswitch" / "keys.json").read_text()).items()
    assert kept[0] == "ZAI_API_KEY"
    assert list(kept[1]) == ["keyring"]
    assert len(kept[1]["keyring"]) == 16

    def asked() -> int:
        return len((ring / "asked").read_text())

    before = asked()
    assert places(user, User.json) == {"ZAI_API_KEY": "keyring"}
    rows = {row["name"]: row["available"] for row in user.json("status")["models"]}
    assert rows["glm-4.7"]
    assert "ZAI_API_KEY" in user.run("render").stdout
    checks = {r["name"]: r for r in json.loads(user.run("doctor", "--json").stdout)["checks"]}
    assert checks["ZAI_API_KEY"]["message"] == "is kept in the system's keyring"
    assert asked() == before
    assert "LLMSWITCH_KEY_ZAI_API_KEY" in user.run("doctor", "--report").stdout
    before = asked()
    assert user.json("up")["did"] != "nothing"
    assert asked() == before + 1
    gateway = Gateway(mission.url, user.gateway_key())
    assert gateway.ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert user.json("status")["current"]
    for place in user.root.rglob("*"):
        if place.is_file() and place.parent != ring:
            assert SECRET.encode() not in place.read_bytes(), place
    key_set_apart(user, "zai", OTHER)
    assert user.json("up")["did"] == "reloaded"
    assert gateway.ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {OTHER}"
    (ring / "locked").touch()  # the gateway has it already
    assert user.json("up")["did"] == "nothing"
    assert user.run("down").returncode == 0
    done = user.run("up")
    assert done.returncode == 1
    assert "glm-4.7: ZAI_API_KEY is not set" in done.stderr
    (ring / "locked").unlink()
    assert user.run("key", "remove", "zai").stdout.startswith(
        "removed ZAI_API_KEY from the system's keyring\n"
    )
    assert json.loads((ring / "ring.json").read_text()) == {}
    assert places(user, User.json) == {}


def test_a_new_gateway_key_does_not_make_a_key_of_the_keyring_another(
    mission: Mission, ring: Path
) -> None:
    """What the file and the state say of the key is made with the gateway's; after a new one both
    agree, so that no session takes the key for one that has changed.
    """
    user = mission.user
    key_set_apart(user, "zai", SECRET)
    assert (ring / "ring.json").exists()
    file = user.root / "llmswitch" / "keys.json"
    before = file.read_text()
    user.json("up")
    assert user.run("key", "renew-gateway").returncode == 0
    assert file.read_text() != before
    mark = json.loads(file.read_text())["ZAI_API_KEY"]["keyring"]
    assert user.gateway_state()["keys"]["ZAI_API_KEY"] == mark
    assert Gateway(mission.url, user.gateway_key()).ask("glm-4.7").status == 200
    assert mission.zai.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


def test_what_an_upstream_says_of_a_key_in_the_keyring_is_hidden(
    mission: Mission, ring: Path
) -> None:
    """In a report and in what the live checks print; for that the keyring is asked."""
    user = mission.user
    key_set_apart(user, "zai", SECRET)
    assert (ring / "ring.json").exists()
    user.json("up")
    with (user.run_folder() / "gateway.log").open("a") as log:
        log.write(f"an upstream said: bad {SECRET}\n")
    mission.zai.behave(Behaviour(status=401, error=f"the key {SECRET} is bad"))
    outputs = [user.run("doctor", "--report"), user.run("doctor", "--live", "glm-4.7", "--yes")]
    assert "an upstream said: bad REDACTED" in outputs[0].stdout
    assert "glm-4.7, answer: HTTP 401: the key" in outputs[1].stdout
    assert not [each for each in outputs if SECRET in each.stdout + each.stderr]


def test_a_locked_keyring_does_not_lose_the_key(mission: Mission, ring: Path) -> None:
    """What it does not take goes into the file; and a shell's key comes before it."""
    user = mission.user
    (ring / "locked").touch()
    file = user.root / "llmswitch" / "keys.json"
    assert key_set_apart(user, "zai", SECRET).stdout == f"stored ZAI_API_KEY in {file}\n"
    assert places(user, User.json) == {"ZAI_API_KEY": "file"}
    (ring / "locked").unlink()
    key_set_apart(user, "zai", OTHER)
    assert places(user, User.json) == {"ZAI_API_KEY": "keyring"}
    assert SECRET not in file.read_text()
    user.keys = {"ZAI_API_KEY": "from-the-shell"}
    assert places(user, User.json) == {"ZAI_API_KEY": "environment"}


def test_without_the_library_nothing_is_missed(user: User) -> None:
    """The extra is optional: where it is not installed, or set up for a keyring that is not there,
    the file is used.
    """
    user.keys = {"PYTHON_KEYRING_BACKEND": "nothing.Here"}
    file = user.root / "llmswitch" / "keys.json"
    assert key_set_apart(user, "zai", SECRET).stdout == f"stored ZAI_API_KEY in {file}\n"
    user.keys = {}
    code = "import sys; sys.modules['keyring'] = None; sys.argv[0] = 'llmswitch'\n"
    code += "from llmswitch.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "key", "set", "zai"],
        env=user.env, cwd=CHECKOUT, input=SECRET, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"stored ZAI_API_KEY in {file}\n"


# ------------------------------------------------------------------ check


def test_check_asks_the_provider_and_nobody_else(user: User) -> None:
    """Each key of a provider, at its own host; what proves nothing is not called a success."""
    user.keys = {"TWO": "second"}
    key_set(user, "zai", SECRET)
    listed: dict[str, tuple[int, Any]] = {"/v1/models": (200, {"data": []})}
    with lists(listed) as zai, lists(listed) as other:
        user.write_profile(
            "models: {a: {model: zai/x, keys: [ZAI_API_KEY, TWO]}, b: xai/y}\n"
            f"providers: {{zai: {{base_url: '{zai.url}'}}, xai: {{base_url: '{other.url}/v1'}}}}\n"
        )
        done = run_here(user, "key", "check", "zai")
        assert (done.returncode, done.stdout) == (0, "zai accepts ZAI_API_KEY\nzai accepts TWO\n")
        assert [key for _, key in zai.asked] == [f"Bearer {SECRET}", None, "Bearer second", None]
        assert other.asked == []
        zai.answers["/v1/models"] = (401, {})
        done = run_here(user, "key", "check", "zai", env={"TWO": ""})
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            f"ZAI_API_KEY: zai refuses the key: 127.0.0.1:{zai.server_port} answers 401",
            "-> llmswitch key set ZAI_API_KEY",
        ]
        zai.answers["/v1/models"], zai.open = (200, {"data": []}), True
        done = run_here(user, "key", "check", "zai", env={"TWO": ""})
        assert done.stdout == (
            "ZAI_API_KEY could not be checked: zai lists its models to anyone, which proves "
            "nothing about the key\n-> llmswitch doctor --live    (asks the models themselves)\n"
        )
        assert done.returncode == 1
        done = run_here(user, "key", "check", "zai", "--json", env={"TWO": ""})
        assert json.loads(done.stdout)["keys"]["ZAI_API_KEY"]["accepted"] is None
    done = run_here(user, "key", "check", "xai")
    assert (done.returncode, done.stderr) == (
        1, "XAI_API_KEY is not set\n-> llmswitch key set XAI_API_KEY    (from https://console.x.ai)\n"
    )  # fmt: skip
    assert run_here(user, "key", "check", "ollama").stderr == (
        "ollama needs no key\n-> llmswitch models --provider ollama\n"
    )
