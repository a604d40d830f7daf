"""`service`: the units, the socket that systemd hands over, and what the commands do where a
service holds the port. A fake `systemctl` records what it is told; one test runs a real systemd.
"""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import service
from llmswitch.gateway import systemd as units
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile.load import load_profile
from llmswitch.profile.schema import Gateway
from llmswitch.render.plan import shown_path
from tests.conftest import Mission, User, free_port
from tests.gateways import Gateway as Door
from tests.gateways import running_below, wait_for

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.timeout(300)]
FAKE = """#!/bin/sh
echo "$*" >> "$0.calls"
if [ -f "$0.refuses" ]; then cat "$0.refuses" >&2; exit 1; fi
case "$*" in *" show "*) cat "$0.says" ;; esac
"""
SAYS = """MainPID={pid}
Result={result}
Id=llmswitch-work.service
ActiveState={gateway}

Result=success
Id=llmswitch-work.socket
ActiveState={socket}
"""
# What systemd does: a socket that listens, as descriptor 3, and whose it is.
HAND_OVER = """
import os, socket, sys
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(held.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "llmswitch", *sys.argv[2:]])
"""


class FakeSystemd:
    """A `systemctl` that does nothing and says what a test wants."""

    def __init__(self, user: User) -> None:
        self.program = user.root / "bin" / "systemctl"
        self.program.write_text(FAKE)
        self.program.chmod(0o755)
        trial = user.root / "bin" / "systemd-run"
        trial.write_text("#!/bin/sh\nexit 1\n")
        trial.chmod(0o755)
        self.says()

    def says(
        self, pid: int = 0, gateway: str = "inactive", held: str = "active", result: str = "success"
    ) -> None:
        """Set what `show` answers."""
        text = SAYS.format(pid=pid, gateway=gateway, socket=held, result=result)
        Path(f"{self.program}.says").write_text(text)

    def calls(self) -> list[str]:
        """What it was told since the last look, questions left out."""
        file = Path(f"{self.program}.calls")
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        asked = [line.removeprefix("--user --no-pager ") for line in lines]
        return [line for line in asked if not line.startswith("show ")]


@pytest.fixture
def systemd(user: User) -> FakeSystemd:
    """A fake one, and a profile that needs no key."""
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {free_port()}}}\n")
    return FakeSystemd(user)


def port_of(user: User) -> int:
    """The port of the profile."""
    text = (user.root / "llmswitch/profiles/work.yaml").read_text()
    return int(text.rpartition("port: ")[2].partition("}")[0])


def folder(user: User) -> Path:
    """Where the units are."""
    return user.home / ".config/systemd/user"


def row(user: User, name: str) -> dict[str, Any]:
    """One row of the doctor."""
    found = json.loads(user.run("doctor", "--json").stdout)["checks"]
    return next(one for one in found if one["name"] == name)


def test_install_writes_units_that_systemd_takes(user: User, systemd: FakeSystemd) -> None:
    """Two files, the port given to systemd, the gateway left to the first request."""
    done = user.run("service", "install")
    assert done.stdout == (
        f"installed the service llmswitch-work: systemd holds 127.0.0.1:{port_of(user)}, "
        "and the first request starts the gateway\n"
        "it ends when you log out, unless: loginctl enable-linger\n"
    ), done.stderr
    assert systemd.calls() == [
        "daemon-reload",
        "reset-failed llmswitch-work.socket llmswitch-work.service",
        "enable llmswitch-work.socket",
        "stop llmswitch-work.socket llmswitch-work.service",
        "start llmswitch-work.socket",
    ]
    held = (folder(user) / "llmswitch-work.socket").read_text()
    assert f"ListenStream=127.0.0.1:{port_of(user)}\n" in held
    unit = (folder(user) / "llmswitch-work.service").read_text()
    assert (
        f'ExecStart=:"{sys.executable}" "-E" "-P" "-m" "llmswitch" "up" "--foreground" '
        '"--profile" "work"\n'
    ) in unit
    assert f'Environment="LLMSWITCH_HOME={user.root}/llmswitch"\n' in unit
    assert f'ReadWritePaths="{user.state}"\n' in unit
    assert user.run("service", "install").stdout.splitlines()[0] == (
        "the service llmswitch-work is up to date: systemd holds "
        f"127.0.0.1:{port_of(user)}, and the first request starts the gateway"
    )
    assert systemd.calls() == []


@pytest.mark.skipif(
    not (shutil.which("systemd-analyze") or os.environ.get("CI")), reason="needs systemd-analyze"
)
def test_systemd_takes_the_units_and_finds_them_hardened(tmp_path: Path) -> None:
    """No warning of `verify`, also with a hostile path; the exposure that `security` finds."""
    user = User(tmp_path / 'a "b" $c %d é')
    user.home.mkdir(parents=True)
    (user.root / "bin").mkdir()
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {free_port()}}}\n")
    FakeSystemd(user)
    done = user.run("service", "install")
    assert done.returncode == 0, done.stderr
    files = sorted(folder(user).glob("llmswitch-work.*"))
    quiet = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
    said = subprocess.run(
        ["systemd-analyze", "--user", "verify", *map(str, files)],
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=60", str(files[0])],
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_key_of_this_shell_alone_is_told_with_its_cure(user: User, systemd: FakeSystemd) -> None:
    """A service sees no shell; one that could not start at all is not installed."""
    user.write_profile(
        f"models: {{a: demo/parrot, b: zai/glm-4.7}}\ngateway: {{port: {free_port()}}}\n"
    )
    said = user.run("service", "install").stdout
    told = "ZAI_API_KEY is set in this shell alone, where a service does not see it"
    assert f"\n{told}    -> llmswitch key set ZAI_API_KEY\n" in said
    assert user.json("service", "install")["missing"] == ["ZAI_API_KEY"]
    systemd.calls()

    user.write_profile(f"models: {{b: zai/glm-4.7}}\ngateway: {{port: {free_port()}}}\n", "only")
    refused = user.run("service", "install", "--profile", "only")
    assert refused.returncode == 1
    assert refused.stderr == (
        "a service could not start: it does not see ZAI_API_KEY of this shell\n"
        "-> llmswitch key set ZAI_API_KEY\n"
    )
    assert not (folder(user) / "llmswitch-only.service").exists()
    assert systemd.calls() == []


def test_without_a_manager_nothing_is_written(user: User, systemd: FakeSystemd) -> None:
    """One sentence, and what to do instead."""
    systemd.program.unlink()
    done = user.run("service", "install", env={"PATH": str(user.root / "bin")})
    assert done.stderr == (
        "there is no `systemctl` on PATH, so nothing here runs services\n"
        "-> llmswitch up    (or `llmswitch up --foreground` below a supervisor of your own)\n"
    )
    FakeSystemd(user)
    Path(f"{systemd.program}.refuses").write_text("Failed to connect to bus: No medium found\n")
    done = user.run("service", "install")
    assert done.returncode == 1
    assert done.stderr == (
        "no systemd runs for your user here: Failed to connect to bus: No medium found\n"
        "-> loginctl enable-linger, then log in again    (without one: llmswitch up)\n"
    )
    assert not folder(user).exists()


def test_the_service_of_another_installation_is_left_alone(
    user: User, systemd: FakeSystemd
) -> None:
    """And so is a file that llmswitch did not write."""
    user.run("service", "install")
    before = {file: file.read_bytes() for file in folder(user).iterdir()}
    systemd.calls()
    other = {"LLMSWITCH_HOME": str(user.root / "other")}
    profile = str(user.root / "llmswitch/profiles/work.yaml")
    shutil.copytree(user.root / "llmswitch/profiles", user.root / "other/profiles")
    done = user.run("service", "install", "--profile", "work", env=other)
    assert done.stderr == (
        f"{folder(user)}/llmswitch-work.socket is not of this installation, so it is left alone\n"
        "-> move it away, or set LLMSWITCH_HOME as it was when that service was installed\n"
    )
    gone = user.run("service", "uninstall", "--profile", "work", env=other)
    assert gone.stdout == "no service is installed for the profile work\n"
    assert {file: file.read_bytes() for file in folder(user).iterdir()} == before
    assert systemd.calls() == []
    assert Path(profile).exists()


def test_uninstall_takes_the_units_away(user: User, systemd: FakeSystemd) -> None:
    """`service uninstall`, and `uninstall` for all of them."""
    for command in (["service", "uninstall"], ["uninstall", "--yes"]):
        user.run("service", "install")
        systemd.calls()
        done = user.run(*command)
        assert done.returncode == 0, done.stderr
        assert "removed the service llmswitch-work" in done.stdout
        assert systemd.calls() == [
            "disable --now llmswitch-work.socket llmswitch-work.service",
            "reset-failed llmswitch-work.socket llmswitch-work.service",
            "daemon-reload",
        ]
        assert not list(user.home.rglob("llmswitch-work*"))


def test_status_and_doctor_tell_of_the_service(user: User, systemd: FakeSystemd) -> None:
    """Installed and idle, given up, stopped, stale: each with what to do."""
    user.run("service", "install")
    port, name = port_of(user), "llmswitch-work"
    idle = f"{name} holds the port, and the first request starts the gateway"
    assert user.run("service", "status").stdout == f"{idle}\n"
    first = user.run("status").stdout.splitlines()[0]
    assert first == "not running (profile work); the first request starts it"
    assert row(user, "service")["message"] == (
        f"{name} holds the port and starts the gateway at the first request"
    )
    assert row(user, "port")["message"] == f"127.0.0.1:{port} is held by the service"

    systemd.says(gateway="failed", held="failed", result="exit-code")
    why = f"journalctl --user -u {name} -n 20"
    assert user.run("service", "status").stdout == f"{name} has given up (exit-code)    -> {why}\n"
    assert user.run("status").stdout.splitlines()[0] == (
        f"not running: the service {name} has given up (exit-code)    -> llmswitch service status"
    )
    told = row(user, "service")
    assert (told["level"], told["message"]) == ("error", f"{name} has given up: exit-code")
    assert told["hint"] == f"llmswitch service install --profile work    (why: {why})"

    systemd.says(held="inactive")
    told = row(user, "service")
    assert (told["level"], told["hint"]) == ("info", "llmswitch up --profile work")

    systemd.says()
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {free_port()}}}\n")
    told = row(user, "service")
    assert told["level"] == "warning"
    assert told["message"] == f"{name} was installed by another llmswitch, or for another address"
    assert told["hint"] == "llmswitch service install --profile work"
    assert user.json("service", "status")["current"] is False
    assert user.run("service", "install").stdout.startswith(f"updated the service {name}: ")
    assert row(user, "service")["level"] == "ok"


@pytest.mark.usefixtures("systemd")
def test_a_service_takes_no_v(user: User) -> None:
    """It starts its gateway as it was installed; what does instead is said."""
    user.run("service", "install")
    for command in ("up", "restart"):
        done = user.run(command, "-v")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "the service llmswitch-work starts this gateway, and it takes no -v\n"
            "-> llmswitch down --profile work, then: llmswitch up --foreground -v --profile work\n"
        )


def test_a_socket_that_is_handed_over_serves(user: User, systemd: FakeSystemd) -> None:
    """The socket is served as it is, and none is bound: a request that comes before LiteLLM is
    loaded is answered. The other commands go through the service; none starts a second gateway.
    """
    port = port_of(user)
    user.run("service", "install")
    systemd.calls()
    process = subprocess.Popen(
        [sys.executable, "-c", HAND_OVER, str(port), "up", "--foreground"],
        env=user.env,
        cwd=user.home,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: _listens(port))
        key = user.state / "gateway.key"
        with socket.create_connection(("127.0.0.1", port)):
            reply = Door(f"http://127.0.0.1:{port}", key.read_text().strip()).ask("a")
        assert "hi" in reply.said
        systemd.says(pid=process.pid, gateway="active")
        assert user.gateway_state()["pid"] == process.pid
        assert user.run("status").stdout.splitlines()[0] == (
            f"running on 127.0.0.1:{port}, pid {process.pid}, profile work, "
            "by the service llmswitch-work"
        )
        found = user.json("status")
        assert (found["running"], found["current"]) == (True, True)
        assert found["service"]["pid"] == process.pid
        assert user.run("service", "status").stdout == (
            f"llmswitch-work holds the port, and its gateway runs, pid {process.pid}\n"
        )
        done = user.run("up")
        assert done.stdout.startswith(f"already running on 127.0.0.1:{port}, pid {process.pid}")
        assert systemd.calls() == []

        moved = free_port()
        user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {moved}}}\n")
        assert user.run("up").stderr == (
            "the service llmswitch-work runs this gateway, and has to start it anew\n"
            "-> llmswitch service install --profile work\n"
        )
        user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {port}}}\n")
        user.run("restart")
        assert systemd.calls() == [
            "reset-failed llmswitch-work.socket llmswitch-work.service",
            "start llmswitch-work.socket",
            "restart llmswitch-work.service",
        ]
        user.run("down")
        assert systemd.calls() == ["stop llmswitch-work.socket llmswitch-work.service"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_socket_of_another_address_is_refused(user: User, systemd: FakeSystemd) -> None:
    """The profile's port was changed since the service was installed: clients would find nobody."""
    del systemd
    other = free_port()
    done = subprocess.run(
        [sys.executable, "-c", HAND_OVER, str(other), "up", "--foreground"],
        env=user.env,
        cwd=user.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"the service holds 127.0.0.1:{other}, but the profile says 127.0.0.1:{port_of(user)}\n"
        "-> llmswitch service install\n"
    )


def test_up_says_when_the_service_holds_another_port(user: User, systemd: FakeSystemd) -> None:
    """It is not started to fail where only the journal sees it."""
    user.run("service", "install")
    systemd.calls()
    port = free_port()
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {port}}}\n")
    assert user.run("up").stderr == (
        f"the service llmswitch-work holds another address than 127.0.0.1:{port}\n"
        "-> llmswitch service install --profile work\n"
    )
    assert systemd.calls() == []


def test_what_is_not_this_process_s_is_not_handed_on() -> None:
    """A variable that a parent has left names a descriptor of somebody else's."""
    left = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "NOTIFY_SOCKET": "/run/x"}
    assert units.handed_over(left, 4711, Gateway()) == {}


def test_the_agent_of_launchd(tmp_path: Path) -> None:
    """What can be said of it without a Mac: the file parses, and says what is to be run."""
    file = tmp_path / "work.yaml"
    file.write_text("models: {a: demo/parrot}\n")
    home = Home(tmp_path / "a--&b", tmp_path / "a--&b/state")
    ref = ProfileRef("work", file, "work")
    environ = {"HOME": str(tmp_path), "LLMSWITCH_HOME": str(home.config)}
    profile = load_profile(file, shown_path(file))
    [text] = service.wanted_texts(ref, profile, home, environ, "darwin", private_users=False)
    agent = plistlib.loads(text.encode())
    log = str(home.run(ref) / "service-gateway.log")
    assert agent == {
        "Label": "llmswitch-work",
        "ProgramArguments": [
            *[sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--foreground"],
            *["--profile", "work"],
        ],
        "EnvironmentVariables": {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LLMSWITCH_HOME": str(home.config),
        },
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 45,
        "Umask": 0o077,
        "ProcessType": "Interactive",
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    found = units.service_of(ref, environ, "darwin")
    assert found.files == (tmp_path / "Library/LaunchAgents/llmswitch-work.plist",)
    found.files[0].parent.mkdir(parents=True)
    found.files[0].write_text(text)
    assert units.is_of(found, home)
    assert not units.is_of(found, Home(tmp_path, tmp_path / "state"))


def test_what_launchctl_is_told(tmp_path: Path) -> None:
    """The verbs of launchctl(1), for the user's own session; recorded, not tried."""
    program = tmp_path / "launchctl"
    program.write_text(
        '#!/bin/sh\necho "$*" >> "$0.calls"\n[ "$1" != print ] || printf "\\tpid = 4711\\n"\n'
    )
    program.chmod(0o755)
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/bin:/usr/bin"}
    found = units.service_of(ProfileRef("w", tmp_path, "w"), environ, "darwin")
    found.load()
    found.restart()
    found.stop()
    mine = f"gui/{os.getuid()}"
    assert Path(f"{program}.calls").read_text().splitlines() == [
        f"bootout {mine}/llmswitch-w",
        f"bootstrap {mine} {found.files[0]}",
        f"bootstrap {mine} {found.files[0]}",
        f"kickstart -k {mine}/llmswitch-w",
        f"bootout {mine}/llmswitch-w",
    ]
    assert found.seen() == units.Seen(holds=True, pid=4711, failed=None)


def test_a_path_that_no_unit_can_hold_is_refused(tmp_path: Path) -> None:
    """A line end would begin a line of its own."""
    file = tmp_path / "work.yaml"
    file.write_text("models: {a: demo/parrot}\n")
    home = Home(tmp_path, tmp_path / "x\nExecStart=/bin/sh")
    ref = ProfileRef("work", file, "work")
    profile = load_profile(file, shown_path(file))
    with pytest.raises(LlmswitchError) as refused:
        service.wanted_texts(ref, profile, home, {}, "linux", private_users=True)
    assert refused.value.message.endswith("cannot stand in a unit of systemd")


# ------------------------------------------------------------------ a real systemd of a user

MANAGER = Path("/usr/lib/systemd/systemd")
# In a mount namespace of its own /run is empty, so that no one else sees this systemd.
ALONE = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" || exit 90
chmod 700 "$XDG_RUNTIME_DIR"
timeout 220 /usr/lib/systemd/systemd --user --unit=basic.target 2>/dev/null &
manager=$!
for turn in 1 2 3 4 5 6 7 8 9 10; do
    systemctl --user is-system-running >/dev/null 2>&1 && break
    sleep 0.5
done
systemctl --user show -p Version >/dev/null 2>&1 || { kill $manager; exit 90; }
eval "$1"
kill $manager
wait $manager
"""
STORY = """
say() { echo "== $1"; shift; "$@" 2>&1; }
llmswitch() { "$PYTHON" -m llmswitch "$@"; }
ask() { "$PYTHON" -c 'import os, urllib.request as u
print(u.urlopen(os.environ["URL"] + "/health/liveliness", timeout=60).status)'; }
say install llmswitch service install
say idle llmswitch status
say first ask
say status llmswitch status
say up llmswitch up
pid=$(systemctl --user show -p MainPID --value llmswitch-work.service)
say hardened grep -E '^(NoNewPrivs|Seccomp):' /proc/$pid/status
say root sh -c "awk '\\$5 == \\"/\\" {print \\$6}' /proc/$pid/mountinfo | tail -n 1"
systemctl --user kill -s KILL llmswitch-work.service
say killed ask
say down llmswitch down
say refused ask
say again llmswitch up
say uninstall llmswitch service uninstall
"""


@pytest.mark.skipif(
    os.getuid() != 0 or not MANAGER.exists(),
    reason="needs root and systemd, to run one beside the machine's own",
)
def test_under_a_real_systemd_of_a_user(mission: Mission) -> None:
    """Idle it holds the port; the first request starts the gateway, and so does one after the
    gateway was killed; `down` lets the port go, `up` takes it again; nothing is left.
    """
    user = mission.user
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {mission.port}}}\n")
    more = folder(user) / "llmswitch-work.service.d"
    more.mkdir(parents=True)
    # The tests stand in /tmp, which the unit would hide; there is no journal here.
    (more / "test.conf").write_text("[Service]\nPrivateTmp=no\nStandardOutput=null\n")
    env = {**user.env, "PYTHON": sys.executable, "URL": mission.url}
    env["XDG_RUNTIME_DIR"] = f"/run/user/{os.getuid()}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ALONE, "sh", STORY],
        env=env,
        cwd=user.home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "== install" not in done.stdout:
        pytest.skip(f"no systemd of a user can be run here: {done.stderr[-200:]}")
    parts = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    where = f"127.0.0.1:{mission.port}"
    assert parts["install"].startswith(
        f"installed the service llmswitch-work: systemd holds {where}, "
    ), done.stdout
    assert parts["idle"].startswith("not running (profile work); the first request starts it\n")
    assert parts["first"] == "200\n", done.stdout
    assert "profile work, by the service llmswitch-work\n" in parts["status"]
    assert parts["up"].startswith(f"already running on {where}, pid ")
    assert parts["hardened"].split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    assert parts["root"].startswith("ro,")
    assert parts["killed"] == "200\n"
    assert parts["down"].startswith(f"stopped {where}, pid ")
    assert "Connection refused" in parts["refused"]
    assert parts["again"].startswith(f"started on {where}, pid ")
    assert parts["uninstall"] == "stopped and removed the service llmswitch-work\n"
    assert not list(folder(user).glob("llmswitch-work.*[et]"))
    wait_for(lambda: not running_below(user.root), 20)
