"""`service`: the unit, the agent, and what the commands do where a service runs the gateway. A fake
`systemctl` runs the unit as far as that goes; one test runs a real systemd.
"""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmswitch.errors import LlmswitchError
from llmswitch.gateway.manager import Seen, Service, service_of
from llmswitch.gateway.service import wanted_text
from llmswitch.paths import Home, ProfileRef, find_home, find_profile
from tests.conftest import User, free_port
from tests.gateways import Gateway, running_below, wait_for

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.timeout(300)]
FAKE = f"""#!{sys.executable}
import os, shlex, signal, subprocess, sys, time
from pathlib import Path
from llmswitch.gateway.state import process_start

refuses, says, calls, pid = (Path(sys.argv[0] + end) for end in (".no", ".says", ".calls", ".pid"))
verb, *_, unit = [word for word in sys.argv[1:] if not word.startswith("--")] + [""]
if refuses.exists():
    sys.exit(refuses.read_text())
main = int(pid.read_text()) if pid.exists() else 0
main = main if main and process_start(main) else 0
if verb == "show":
    print(says.read_text() if says.exists() else f"Result=success\\nMainPID={{main}}")
    sys.exit()
with calls.open("a") as told:
    told.write(" ".join(sys.argv[3:]) + "\\n")
if verb == "start" and not main:
    text = Path(os.environ["HOME"], ".config/systemd/user", sys.argv[-1]).read_text()
    found = [line.partition("=")[::2] for line in text.splitlines()]
    [command] = [shlex.split(value[1:]) for name, value in found if name == "ExecStart"]
    env = [shlex.split(value)[0] for name, value in found if name == "Environment"]
    env = dict(pair.split("=", 1) for pair in env)
    null, home = subprocess.DEVNULL, os.environ["HOME"]
    env |= {{"HOME": home, "PATH": "/usr/bin:/bin"}}
    started = subprocess.Popen(command, env=env, stdin=null, stdout=null, stderr=null, cwd=home,
                               start_new_session=True)
    pid.write_text(str(started.pid))
elif main and (verb == "stop" or "--now" in sys.argv):
    os.kill(main, signal.SIGTERM)
    while process_start(main):
        time.sleep(0.05)
"""
NAME = "llmswitch-work"
UNIT = f"{NAME}.service"


class FakeSystemd:
    """A `systemctl` that runs one unit."""

    def __init__(self, user: User) -> None:
        self.program = user.root / "bin" / "systemctl"
        self.program.write_text(FAKE)
        self.program.chmod(0o755)

    def refuses(self, words: str) -> None:
        """Have it fail from now on."""
        Path(f"{self.program}.no").write_text(words)

    def says(self, state: str) -> None:
        """Have it answer `show` with this."""
        Path(f"{self.program}.says").write_text(state)

    def calls(self) -> list[str]:
        """What it was told since the last look, questions left out."""
        file = Path(f"{self.program}.calls")
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def systemd(user: User) -> FakeSystemd:
    """A fake one, and a profile with a model that needs no key and one that does."""
    write_profile(user, free_port())
    return FakeSystemd(user)


def write_profile(user: User, port: int, models: str = "a: demo/parrot, b: zai/glm-4.7") -> None:
    """The profile."""
    user.write_profile(f"models: {{{models}}}\ngateway: {{port: {port}}}\n")


def port_of(user: User) -> int:
    """The port of the profile."""
    text = (user.root / "llmswitch/profiles/work.yaml").read_text()
    return int(text.rpartition("port: ")[2].partition("}")[0])


def written(user: User) -> Service:
    """The service of the profile, its unit written and not started."""
    home = find_home(user.env)
    ref = find_profile(home, "work", user.env)
    service = service_of(ref, home, user.env)
    service.file.parent.mkdir(parents=True, exist_ok=True)
    service.file.write_text(wanted_text(service, ref))
    return service


def row(user: User, name: str) -> dict[str, Any]:
    """One row of the doctor."""
    found: list[dict[str, Any]] = json.loads(user.run("doctor", "--json").stdout)["checks"]
    return next(one for one in found if one["name"] == name)


def test_a_service_from_install_to_uninstall(user: User, systemd: FakeSystemd) -> None:
    """`install` starts the gateway and waits until it answers; the other commands go through the
    service, and none starts a second gateway; `uninstall` leaves neither file nor process.
    """
    port = port_of(user)
    done = user.run("service", "install")
    pid = user.gateway_state()["pid"]
    assert done.stderr == ""
    assert done.stdout == (
        f"installed the service {NAME}: its gateway runs on 127.0.0.1:{port}, pid {pid}\n"
        "ZAI_API_KEY is set only in this shell, which the service does not see    "
        "-> llmswitch key set ZAI_API_KEY\n"
        "it stops when you log out    -> loginctl enable-linger keeps it\n"
    )
    started = [f"reset-failed {UNIT}", f"start {UNIT}"]
    assert systemd.calls() == ["daemon-reload", f"enable {UNIT}", *started]
    assert Path(f"{systemd.program}.pid").read_text() == str(pid)
    assert "hi" in Gateway(f"http://127.0.0.1:{port}", user.gateway_key()).ask("a").said
    assert user.run("service", "status").stdout == f"{NAME} runs, pid {pid}\n"
    assert row(user, "service")["message"] == f"{NAME} runs, pid {pid}"
    assert user.run("status").stdout.splitlines()[0] == (
        f"running on 127.0.0.1:{port}, pid {pid}, profile work, by the service {NAME}"
    )
    assert user.run("up").stdout.startswith(
        f"already running work on 127.0.0.1:{port}, pid {pid}\n"
    )
    again = user.json("service", "install")
    assert (again["did"], again["pid"], again["missing"]) == ("nothing", pid, ["ZAI_API_KEY"])
    assert systemd.calls() == []
    assert user.run("logs", "-f").stdout == (
        f"the service {NAME} logs to the journal    -> journalctl --user -u {NAME} -n 100 -f\n"
    )
    for command in ("up", "restart"):
        assert user.run(command, "-v").stderr == (
            f"-v does not work with the service {NAME}\n"
            "-> llmswitch down --profile work, then: llmswitch up --foreground -v --profile work\n"
        )

    moved = free_port()
    write_profile(user, moved)
    assert user.run("up").stderr == (
        f"the service {NAME} has to be restarted: the address or the version of its gateway has "
        "changed\n-> llmswitch restart --profile work\n"
    )
    assert systemd.calls() == []
    assert user.run("restart").stdout.startswith(f"restarted work on 127.0.0.1:{moved}, pid ")
    assert systemd.calls() == [f"stop {UNIT}", *started]
    assert user.run("down").stdout.startswith(f"stopped 127.0.0.1:{moved}, pid ")
    assert systemd.calls() == [f"stop {UNIT}"]
    stopped = f"{NAME} is stopped until the next login"
    assert user.run("service", "status").stdout == f"{stopped}    -> llmswitch up\n"
    assert user.run("up").stdout.startswith(f"started work on 127.0.0.1:{moved}, pid ")
    assert systemd.calls() == started

    assert user.run("service", "uninstall").stdout == f"stopped and removed the service {NAME}\n"
    assert systemd.calls() == [f"disable --now {UNIT}", f"reset-failed {UNIT}", "daemon-reload"]
    assert not list(user.home.rglob("llmswitch*"))
    assert running_below(user.root) == []
    assert user.run("status").stdout.startswith("not running (profile work)    -> llmswitch up\n")
    gone = user.run("service", "uninstall")
    assert gone.stdout == "no service is installed for the profile work\n"


def test_the_unit_starts_the_gateway_and_holds_no_key(user: User) -> None:
    """What is run, with which variables: none of the shell's but where files are."""
    write_profile(user, 4711)
    text = written(user).file.read_text()
    command = '"-E" "-P" "-m" "llmswitch" "up" "--foreground" "--profile" "work"'
    assert f'\nExecStart=:"{sys.executable}" {command}\n' in text
    found = [line for line in text.splitlines() if line.startswith("Environment")]
    assert found == [f'Environment="LLMSWITCH_HOME={user.root}/llmswitch"']
    assert [key for key in user.keys.values() if key in text] == []


@pytest.mark.skipif(
    not (shutil.which("systemd-analyze") or os.environ.get("CI")), reason="needs systemd-analyze"
)
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """No warning of `verify`, also with a hostile path."""
    user = User(tmp_path / 'a "b" $c %d é')
    user.home.mkdir(parents=True)
    write_profile(user, 4711)
    said = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(written(user).file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_a_service_that_could_not_start_is_not_installed(user: User, systemd: FakeSystemd) -> None:
    """It does not see the key of this shell, or its port is taken by another program."""
    write_profile(user, port_of(user), "b: zai/glm-4.7")
    assert user.run("service", "install").stderr == (
        "a service cannot use ZAI_API_KEY of this shell\n-> llmswitch key set ZAI_API_KEY\n"
    )
    assert not (user.home / ".config").exists()
    assert systemd.calls() == []


MISSING = (
    "`systemctl` is not on PATH, so llmswitch cannot manage a service\n"
    "-> llmswitch up    (or `llmswitch up --foreground` under a supervisor of your own)\n"
)
NO_BUS = (
    "systemd is not running for your user: Failed to connect to bus: No medium found\n"
    "-> loginctl enable-linger, then log in again    (without one: llmswitch up)\n"
)
FAILED = "systemctl --user --no-pager show -p ActiveState,Result,MainPID llmswitch-work.service"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (None, MISSING),
        ("Failed to connect to bus: No medium found", NO_BUS),
        ("Access denied", f"`{FAILED}` failed: Access denied\n-> {FAILED}    (try it by hand)\n"),
    ],
)
def test_without_a_manager_nothing_is_written(
    user: User, systemd: FakeSystemd, words: str | None, said: str
) -> None:
    """One sentence and a cure where `systemctl` is missing or fails."""
    path = str(user.root / "bin")
    if words is None:
        systemd.program.unlink()
    else:
        systemd.refuses(words)
    done = user.run("service", "install", env={"PATH": path})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert not (user.home / ".config").exists()


def test_the_service_of_another_installation_is_left_alone(
    user: User, systemd: FakeSystemd
) -> None:
    """And so is a file that llmswitch did not write."""
    file = written(user).file
    before = file.read_bytes()
    other = {"LLMSWITCH_HOME": str(user.root / "other")}
    shutil.copytree(user.root / "llmswitch/profiles", user.root / "other/profiles")
    refused = (
        f"~/{file.relative_to(user.home)} was not written by this installation\n"
        "-> move it away, or set LLMSWITCH_HOME as it was when that service was installed\n"
    )
    done = user.run("service", "install", "--profile", "work", env=other)
    assert done.stderr == refused
    gone = user.run("service", "uninstall", "--profile", "work", env=other)
    assert gone.stdout == "no service is installed for the profile work\n"
    assert file.read_bytes() == before
    file.write_text("[Service]\nExecStart=/bin/true\n")
    assert user.run("service", "install").stderr == refused
    assert systemd.calls() == []


@pytest.mark.parametrize("has_manager", [True, False])
def test_uninstall_removes_every_service(
    user: User, systemd: FakeSystemd, has_manager: bool
) -> None:
    """Also the link that starts it at login, where no manager removes it."""
    file = written(user).file
    link = file.parent / "default.target.wants" / file.name
    link.parent.mkdir()
    link.symlink_to(file)
    if not has_manager:
        systemd.refuses("Failed to connect to bus: No medium found")
    done = user.run("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"removed the service {NAME}\n" in done.stdout
    assert not os.path.lexists(file)
    assert not os.path.lexists(link)


def test_status_and_doctor_tell_of_the_service(user: User, systemd: FakeSystemd) -> None:
    """Failed, stopped, without a manager, of another version: each with its cure."""
    service = written(user)
    systemd.says("ActiveState=failed\nResult=exit-code\nMainPID=0\n")
    why = f"journalctl --user -u {NAME} -n 20"
    assert user.run("service", "status").stdout == f"{NAME} failed (exit-code)    -> {why}\n"
    assert user.run("status").stdout.splitlines()[0] == (
        f"not running: the service {NAME} failed (exit-code)    -> llmswitch service status"
    )
    told = row(user, "service")
    assert (told["level"], told["message"]) == ("error", f"{NAME} failed: exit-code")
    assert told["hint"] == f"llmswitch up --profile work    (why: {why})"

    systemd.says("ActiveState=inactive\nResult=success\nMainPID=0\n")
    told = row(user, "service")
    assert (told["level"], told["hint"]) == ("info", "llmswitch up --profile work")

    service.file.write_text(service.file.read_text().replace("MemoryMax=2G", "MemoryMax=1G"))
    told = row(user, "service")
    assert (told["level"], told["message"], told["hint"]) == (
        "warning",
        f"{NAME} was written by another version of llmswitch",
        "llmswitch service install --profile work",
    )
    assert user.run("service", "status").stdout.splitlines()[1] == (
        "its file was written by another version    -> llmswitch service install"
    )

    systemd.refuses("Failed to connect to bus: No medium found")
    assert user.run("service", "status").stdout.splitlines()[0] == (
        f"{NAME} is installed, but no service manager runs for your user"
    )


def an_agent(folder: Path, state: str = "a--&b") -> tuple[Service, ProfileRef]:
    """The service of a profile on macOS."""
    home = Home(folder / state, folder / state / "state")
    ref = ProfileRef("work", folder / "work.yaml", "work")
    environ = {
        "HOME": str(folder),
        "LLMSWITCH_HOME": str(home.config),
        "PATH": f"{folder}:/bin:/usr/bin",
    }
    return service_of(ref, home, environ, "darwin"), ref


def test_the_agent_of_launchd(tmp_path: Path) -> None:
    """What can be said of it without a Mac: the file parses, and says what is to be run."""
    service, ref = an_agent(tmp_path)
    text = wanted_text(service, ref)
    assert plistlib.loads(text.encode()) == {
        "Label": NAME,
        "ProgramArguments": [
            *[sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--foreground"],
            *["--profile", "work"],
        ],
        "EnvironmentVariables": {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LLMSWITCH_HOME": str(tmp_path / "a--&b"),
        },
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 45,
        "Umask": 0o077,
        "ProcessType": "Interactive",
        "StandardOutPath": str(service.log),
        "StandardErrorPath": str(service.log),
    }
    assert service.log == tmp_path / "a--&b/state/run/work/service-gateway.log"
    assert service.file == tmp_path / f"Library/LaunchAgents/{NAME}.plist"
    service.file.parent.mkdir(parents=True)
    service.file.write_text(text)
    assert service.is_ours
    assert not an_agent(tmp_path, "other")[0].is_ours


def test_what_launchctl_is_told(tmp_path: Path) -> None:
    """The verbs of launchctl(1), for the user's own session; recorded, not tried."""
    program = tmp_path / "launchctl"
    program.write_text(
        '#!/bin/sh\necho "$*" >> "$0.calls"\n[ "$1" != print ] || printf "\\tpid = 4711\\n"\n'
    )
    program.chmod(0o755)
    service, _ = an_agent(tmp_path)
    service.load()
    service.start()
    service.restart()
    assert service.seen() == Seen(4711, None)
    service.remove()
    mine = f"gui/{os.getuid()}"
    start = [f"bootstrap {mine} {service.file}", f"kickstart {mine}/{NAME}"]
    end, look = f"bootout {mine}/{NAME}", f"print {mine}/{NAME}"
    told = Path(f"{program}.calls").read_text().splitlines()
    assert told == [*start, end, *start, look, look, end]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_path_that_no_service_can_hold_is_refused(tmp_path: Path, platform: str) -> None:
    """A line end would begin a line of its own."""
    home = Home(tmp_path, tmp_path / "x\nExecStart=/bin/sh")
    ref = ProfileRef("work", tmp_path / "work.yaml", "work")
    with pytest.raises(LlmswitchError) as refused:
        wanted_text(service_of(ref, home, {"HOME": str(tmp_path)}, platform), ref)
    assert refused.value.message.endswith(" cannot stand in the file of a service")


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
pid() { systemctl --user show -p MainPID --value llmswitch-work.service; }
say install llmswitch service install
say enabled systemctl --user is-enabled llmswitch-work.service
first=$(pid)
say hardened grep -E '^(NoNewPrivs|Seccomp):' /proc/$first/status
systemctl --user kill -s KILL llmswitch-work.service
while [ "$(pid)" = "$first" ] || [ "$(pid)" = 0 ]; do sleep 0.2; done
say killed llmswitch up
say down llmswitch down
say again llmswitch up
say uninstall llmswitch service uninstall
"""


@pytest.mark.skipif(
    os.getuid() != 0 or not MANAGER.exists(),
    reason="needs root and systemd, to run one beside the machine's own",
)
def test_under_a_real_systemd_of_a_user(user: User) -> None:
    """It is started now and at login, and again when it is killed; `down` stops it, `up` starts it;
    nothing is left.
    """
    write_profile(user, free_port(), "a: demo/parrot")
    more = user.home / ".config/systemd/user/llmswitch-work.service.d"
    more.mkdir(parents=True)
    (more / "test.conf").write_text("[Service]\nStandardOutput=null\n")  # no journal here
    env = {**user.env, "PYTHON": sys.executable, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
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
    where = f"127.0.0.1:{port_of(user)}, pid "
    runs = f"installed the service {NAME}: its gateway runs on {where}"
    assert parts["install"].startswith(runs), done.stdout
    assert parts["enabled"] == "enabled\n"
    assert parts["hardened"].split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    assert parts["killed"].startswith(f"already running work on {where}"), done.stdout
    assert parts["down"].startswith(f"stopped {where}")
    assert parts["again"].startswith(f"started work on {where}")
    assert parts["uninstall"] == f"stopped and removed the service {NAME}\n"
    assert [file.name for file in more.parent.iterdir()] == [more.name]
    wait_for(lambda: not running_below(user.root), 20)
