"""The gateway's own key: whose file it is taken from, and how a new one takes its place."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmswitch import paths
from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, locked
from llmswitch.profile import secrets
from tests.conftest import Mission, User, lasting_mission
from tests.gateways import Gateway, wait_for, worker_pids

pytestmark = [pytest.mark.xdist_group("gateway-key"), pytest.mark.timeout(300)]

KEY = "sk-llmswitch-" + "k" * 43
RENEW = "llmswitch key renew-gateway"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An installation with a gateway key."""
    home = Home(tmp_path / "config", tmp_path / "state")
    paths.write_private(home.gateway_key, KEY + "\n")
    return home


def refused(read: Callable[[], object]) -> tuple[str, str]:
    """The sentence and the cure of a refusal."""
    with pytest.raises(LlmswitchError) as caught:
        read()
    return caught.value.message, caught.value.hint


def both(home: Home) -> tuple[str, str]:
    """What both readers say; no other key has been made."""
    said = refused(lambda: secrets.read_gateway_key(home))
    assert refused(lambda: secrets.gateway_key(home)) == said
    return said


def test_a_good_file_is_read(home: Home) -> None:
    """A regular file of the user's own, 0600; one that is not there is no key, and a look makes
    none.
    """
    assert secrets.read_gateway_key(home) == secrets.gateway_key(home) == KEY
    home.gateway_key.unlink()
    assert secrets.read_gateway_key(home) is None
    assert not home.gateway_key.exists()


def test_a_link_is_not_followed(home: Home, tmp_path: Path) -> None:
    """Not even to a file that holds a key of the right form."""
    target = tmp_path / "known-to-somebody"
    home.gateway_key.rename(target)
    home.gateway_key.symlink_to(target)
    assert both(home) == (
        f"{home.gateway_key} is a symbolic link and is not followed",
        f"mv {home.gateway_key} {home.gateway_key}.old",
    )
    assert secrets.renew_gateway_key(home) == secrets.gateway_key(home)
    assert not home.gateway_key.is_symlink()
    assert target.read_text() == KEY + "\n"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602, 0o644])
def test_a_file_that_others_may_open_is_refused(home: Home, mode: int) -> None:
    """They may have read the key, so the cure is a new one."""
    home.gateway_key.chmod(mode)
    assert both(home) == (
        f"other users may have read the gateway's key: {home.gateway_key} has the mode {mode:o}",
        f"{RENEW}    (makes a new key; to keep the old one: chmod 600 {home.gateway_key})",
    )
    secrets.renew_gateway_key(home)
    assert stat.S_IMODE(home.gateway_key.stat().st_mode) == 0o600
    assert secrets.gateway_key(home) != KEY


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"sk-llmswitch-",
        KEY[:-1].encode(),
        KEY.encode() + b"k",
        b"sk-ant-api03-" + b"k" * 43,
        KEY.encode() + b"\n" + KEY.encode(),
        b"\xff\x00" * 40,
        b"k" * 5000,
    ],
)
def test_what_llmswitch_has_not_written_is_refused(home: Home, content: bytes) -> None:
    """Too short, too long, two lines, or another vendor's key; the file stays as it is."""
    home.gateway_key.write_bytes(content)
    assert both(home) == (f"{home.gateway_key} does not hold a key made by llmswitch", RENEW)
    assert home.gateway_key.read_bytes() == content


def test_what_is_no_file_is_refused(home: Home) -> None:
    """A pipe does not hold the command up."""
    home.gateway_key.unlink()
    os.mkfifo(home.gateway_key)
    assert both(home)[0] == f"{home.gateway_key} is not a regular file"


def test_the_owner_is_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key, its lock and their folder belong to the user who asks."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    key, folder = home.gateway_key, home.state
    assert refused(lambda: secrets.read_gateway_key(home))[0] == f"{key} belongs to another user"
    assert refused(lambda: secrets.gateway_key(home)) == (
        f"{folder} belongs to another user",
        "name a folder of your own: export LLMSWITCH_HOME=...",
    )
    monkeypatch.setattr(paths, "check_own_folder", lambda _folder: None)
    lock = key.with_name("gateway.key.lock")
    assert refused(lambda: secrets.gateway_key(home))[0] == f"{lock} belongs to another user"


def test_a_folder_that_everybody_can_write_to_is_refused(home: Home) -> None:
    """There anybody could put their own files in the place of ours."""
    home.state.chmod(0o777)
    said = f"every user of this machine can write to {home.state}", f"chmod go-w {home.state}"
    assert both(home) == said
    home.state.chmod(0o770)
    assert secrets.gateway_key(home) == KEY, "a group of one's own is usual"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """What it leads to is neither made nor changed."""
    lock, target, theirs = tmp_path / "a.lock", tmp_path / "made", tmp_path / "theirs"
    theirs.write_text("as it was")
    theirs.chmod(0o644)
    for to in (target, theirs):
        lock.unlink(missing_ok=True)
        lock.symlink_to(to)

        def lock_it() -> None:
            with locked(lock):
                pass

        assert refused(lock_it)[0] == f"{lock} is a symbolic link and is not followed"
    assert not target.exists()
    assert (theirs.read_text(), stat.S_IMODE(theirs.stat().st_mode)) == ("as it was", 0o644)


# ------------------------------------------------------------------ a new key


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A gateway that runs."""
    for mission in lasting_mission(tmp_path_factory.mktemp("renewal")):
        file = mission.write()
        file.write_text(file.read_text() + "clients: [laptop]\n")
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission


def answers(mission: Mission, key: str) -> int:
    """The status of a request with a key."""
    return Gateway(mission.url, key).ask("qwen").status


def told(user: User, *gateways: str) -> list[str]:
    """What `key renew-gateway` prints."""
    return [
        f"created a new gateway key: {user.state / 'gateway.key'}",
        *gateways,
        "these still have the old key; how each gets the new one:",
        "  open sessions                 end them, then: claude-multi --continue",
        "  VS Code                       llmswitch env --format vscode, or: llmswitch code",
        "  shells, CI, containers, SDKs  llmswitch env",
        "client keys stay as they are",
    ]


def test_without_a_gateway(user: User) -> None:
    """A new key takes the place of a damaged one, and of none; each is another."""
    assert user.run("key", "renew-gateway").stdout.splitlines() == told(user)
    first = user.gateway_key()
    (user.state / "gateway.key").write_text("spoilt")
    assert user.json("key", "renew-gateway") == {
        "file": str(user.state / "gateway.key"),
        "reloaded": [],
        "failed": [],
    }
    assert user.gateway_key() not in (first, "spoilt")


def test_a_running_gateway_takes_the_new_key_alone(running: Mission) -> None:
    """When the command has ended, the old key gets a 401 and the new one an answer; a client's own
    key goes on working, and the process is the one that ran before.
    """
    user = running.user
    laptop = user.json("client", "add", "laptop")["key"]
    old, pid = user.gateway_key(), user.gateway_state()["pid"]
    assert answers(running, old) == 200
    done = user.run("key", "renew-gateway")
    address = running.url.removeprefix("http://")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        told(user, f"work on {address} accepts it"),
    )
    new = user.gateway_key()
    assert old not in done.stdout + done.stderr
    assert new not in done.stdout + done.stderr
    assert [answers(running, key) for key in (old, new, laptop)] == [401, 200, 200]
    wait_for(lambda: len(worker_pids(user)) == 1)
    assert answers(running, old) == 401
    assert user.gateway_state()["pid"] == pid
    assert user.json("up")["did"] == "nothing"
    given = json.loads(user.run("env", "--format", "json").stdout)
    assert given["ANTHROPIC_AUTH_TOKEN"] == new


def test_a_gateway_that_cannot_be_reloaded_is_named(running: Mission) -> None:
    """It goes on with the old key, and the command fails with how to end that."""
    user = running.user
    file = user.root / "llmswitch" / "profiles" / "work.yaml"
    before, old = file.read_text(), user.gateway_key()
    file.write_text(before + "modells: {}\n")
    try:
        done = user.run("key", "renew-gateway")
        assert done.returncode == 1
        failed = [line for line in done.stdout.splitlines() if "work" in line]
        shown = f"{file}:{len(before.splitlines()) + 1}: modells is not a field"
        assert failed[0].startswith(f"work still accepts the old key: {shown}")
        assert failed[1].endswith("(or: llmswitch down --profile work)")
        assert answers(running, old) == 200
    finally:
        file.write_text(before)
    assert user.json("up")["did"] == "reloaded"
    assert answers(running, old) == 401


def test_the_key_is_refused_by_every_command_that_needs_it(running: Mission) -> None:
    """With a file that others can read, `up`, `env` and a session stop with the sentence and the
    cure; the doctor's row says it; `status` and `down` need no key, and the gateway goes on.
    """
    user = running.user
    key = user.state / "gateway.key"
    value = user.gateway_key()
    key.chmod(0o644)
    try:
        said = (
            f"other users may have read the gateway's key: {key} has the mode 644\n"
            f"-> {RENEW}    (makes a new key; to keep the old one: chmod 600 {key})\n"
        )
        for command in (["up"], ["env"], ["restart"]):
            done = user.run(*command)
            assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
        checks = json.loads(user.run("doctor", "--json").stdout)["checks"]
        rows = {row["name"]: row for row in checks}
        assert (rows["files"]["level"], rows["files"]["hint"]) == (
            "error",
            f"{RENEW}    (makes a new key; to keep the old one: chmod 600 {key})".replace(
                str(user.home), "~"
            ),
        )
        assert rows["models"]["message"] == "the gateway's key cannot be used"
        assert user.json("status")["running"] is True
        assert answers(running, value) == 200
    finally:
        key.chmod(0o600)
