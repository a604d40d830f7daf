"""What goes wrong when a gateway starts: one sentence, exit code 1, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llmswitch.errors import LlmswitchError
from llmswitch.gateway import lifecycle, process
from llmswitch.gateway.state import start_by_ps
from llmswitch.paths import Home, find_profile
from tests.conftest import KEYS, Mission, User, free_port
from tests.gateways import Gateway, running_below, timed, wait_for, worker_pids
from tests.ready_made import table

pytestmark = [pytest.mark.xdist_group("trouble"), pytest.mark.timeout(300)]

PROFILE = """
models: {{qwen: mine/qwen3}}
providers:
  mine: {{dialect: chat, base_url: "http://127.0.0.1:9/v1", key: MINE_KEY}}
gateway: {{port: {port}}}
"""


def refused(user: User, *arguments: str, env: dict[str, str] | None = None) -> str:
    """What a command says that must fail and leave no gateway and no state."""
    done = user.run(*arguments, env=env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert running_below(user.root) == []
    assert not (user.run_folder() / "state.json").exists()
    return done.stderr


# ------------------------------------------------------------------ found before anything starts


def test_busy_port(user: User) -> None:
    """A port that another program holds is named with that program, at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        user.write_profile(PROFILE.format(port=port))
        with timed("a taken port"):
            said = refused(user, "up")
        assert refused(user, "up", "--foreground") == said
    name = psutil.Process().name()
    assert said == (
        f"127.0.0.1:{port} is in use by {name} (pid {os.getpid()})\n"
        "-> stop it, or set another `gateway: {port: ...}` in the profile\n"
    )


def test_address_of_another_machine(user: User) -> None:
    """An address that this machine does not have cannot be listened on."""
    user.write_profile(PROFILE.format(port="4711, host: 192.0.2.1"))
    assert refused(user, "up") == (
        "192.0.2.1:4711 cannot be used: Cannot assign requested address\n"
        "-> stop it, or set another `gateway: {port: ...}` in the profile\n"
    )


def test_no_usable_model(user: User) -> None:
    """Without any key that the profile needs, every variable is named and nothing starts."""
    user.write_profile(
        """
models: {opus: anthropic/claude-opus-4-5-20251101, glm-4.7: zai/glm-4.7,
         two: {model: zai/x, keys: [ONE, TWO]}}
"""
    )
    gone = dict.fromkeys(KEYS, "")
    for command in (["up"], ["restart"], ["up", "--foreground"]):
        assert refused(user, *command, env=gone) == (
            "no model of the profile can be used: opus: ANTHROPIC_API_KEY is not set; "
            "glm-4.7: ZAI_API_KEY is not set; two: ONE and TWO are not set\n"
            "-> set one of them and try again: export ANTHROPIC_API_KEY=...\n"
        )


def test_unset_variable_of_the_engine(user: User) -> None:
    """A variable that `litellm:` names and that is not set keeps the gateway from starting: LiteLLM
    would send its name in the place of a key.
    """
    user.write_profile(
        PROFILE.format(port=free_port())
        + """
litellm:
  model_list:
  - model_name: more
    litellm_params: {model: openai/x, api_base: "http://127.0.0.1:9", api_key: os.environ/MORE_KEY}
"""
    )
    assert refused(user, "up") == (
        "MORE_KEY is not set, and the `litellm:` part of the profile needs it\n"
        "-> export MORE_KEY=...    (or take os.environ/MORE_KEY out)\n"
    )


def test_profile_with_mistakes(user: User) -> None:
    """A profile with mistakes starts nothing, and makes no key and no folder."""
    user.write_profile("models: {qwen: ollama/qwen}\nport: 4000\n")
    done = user.run("up")
    assert (done.returncode, done.stdout) == (1, "")
    assert ":2: port is not a field" in done.stderr
    assert not list(user.state.rglob("*.*"))


@pytest.mark.parametrize("place", ["state", "state/run", "state/run/work"])
def test_unwritable_folder(user: User, place: str) -> None:
    """A file in the place of a folder of ours is named, with what to do; it is left as it is."""
    user.write_profile(PROFILE.format(port=free_port()))
    obstacle = user.root / "llmswitch" / place
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("mine")
    done = user.run("up")
    assert (done.returncode, done.stdout) == (1, "")
    sentence, hint = done.stderr.splitlines()
    assert sentence.startswith(str(obstacle))
    assert sentence.endswith((" cannot be used: File exists", " cannot be used: Not a directory"))
    assert hint == "-> make it writable, or set LLMSWITCH_HOME to another folder"
    assert obstacle.read_text() == "mine"
    assert running_below(user.root) == []


# ------------------------------------------------------------------ found while it starts


def test_interrupted(mission: Mission) -> None:
    """Ctrl-C while the gateway starts leaves no process and no state, and the port is free."""
    user = mission.user
    starting = user.begin("up")
    wait_for((user.run_folder() / "state.json").exists)
    wait_for(lambda: running_below(user.run_folder()))
    starting.send_signal(signal.SIGINT)
    with timed("Ctrl-C"):
        out, error = starting.communicate(timeout=60)
    assert starting.returncode == 130
    assert out == ""
    assert "Traceback" not in error
    assert running_below(user.root) == []
    assert not (user.run_folder() / "state.json").exists()
    with socket.create_server(("127.0.0.1", mission.port)):
        pass
    assert user.run("status").stdout.startswith("not running")


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        pytest.param(
            "router_settings: {health_check_interval: 5}",
            "ValueError: 'health_check_interval' is NOT a valid router_settings parameter. Please "
            "move it to 'general_settings'.",
            id="refused by LiteLLM",
        ),
        pytest.param(
            "model_list: [{model_name: more, litellm_params: {model: nosuch/y}},"
            " {model_name: odd, litellm_params: {model: nosuch/x}}]",
            "LiteLLM cannot serve more, odd; its log says why",
            id="models that LiteLLM would leave out",
        ),
    ],
)
def test_broken_engine_configuration(user: User, engine: str, sentence: str) -> None:
    """What LiteLLM says when it cannot start with the `litellm:` part is shown in one sentence. A
    model that LiteLLM would leave out in silence is such an error too. The cure names a profile by
    its path, where it is found by that alone.
    """
    file = user.root / "a profile.yaml"
    file.write_text(PROFILE.format(port=free_port()) + f"\nlitellm:\n  {engine}\n")
    said = refused(user, "up", "--profile", str(file))
    assert said == (
        f"the gateway failed to start: {sentence}\n-> llmswitch logs --profile '{file}'\n"
    )
    assert not list(user.state.rglob("state.json"))
    log = user.run("logs", "--profile", str(file))
    assert log.returncode == 0
    assert sentence in log.stdout


def test_two_at_once(mission: Mission) -> None:
    """Of two `up` at the same time one starts the gateway and the other finds it running; a third
    that waits for them is interrupted without harm.
    """
    user = mission.user
    three = [user.begin("up", "--json") for _ in range(3)]
    wait_for((user.run_folder() / "state.json").exists)
    three[2].send_signal(signal.SIGINT)
    done = []
    for one in three:
        out, error = one.communicate(timeout=100)
        # The one that is interrupted may be the one that starts it; and Python may lose a Ctrl-C
        # that comes while it imports.
        if one is not three[2] or one.returncode == 0:
            assert (one.returncode, error) == (0, "")
            done.append(json.loads(out))
    assert [answer["did"] for answer in done].count("started") == 1
    assert len({answer["pid"] for answer in done}) == 1
    assert len(worker_pids(user)) == 1
    assert len(running_below(user.root)) == 2


# ------------------------------------------------------------------ with a gateway that runs


def test_port_of_another_profile(running_mission: Mission) -> None:
    """A port that another profile's gateway holds is named with that profile."""
    user = running_mission.user
    pid = user.gateway_state()["pid"]
    text = PROFILE.format(port=running_mission.port)
    file = user.root / "llmswitch" / "profiles" / "other.yaml"
    file.write_text(text)
    done = user.run("up", "--profile", "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"127.0.0.1:{running_mission.port} is in use by the gateway of the profile work (pid {pid})"
        "\n-> stop it, or set another `gateway: {port: ...}` in the profile\n"
    )
    assert not (user.run_folder("other") / "state.json").exists()
    assert user.run("status").stdout.startswith("running")


def test_port_taken_between_the_look_and_the_start(
    running_mission: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of another gateway on the port is not taken for our own's."""
    user = running_mission.user
    file = user.root / "llmswitch" / "profiles" / "late.yaml"
    file.write_text(PROFILE.format(port=running_mission.port))
    home = Home(user.root / "llmswitch", user.state)
    monkeypatch.setattr(process, "check_port", lambda *_: None)
    ref = find_profile(home, "late", {})
    with pytest.raises(LlmswitchError, match=r"the gateway failed to start: .*Can't conn"):
        lifecycle.up(ref, home, user.env, lambda _text: None)
    assert len(running_below(user.root)) == 2  # those of the mission
    assert not (user.run_folder("late") / "state.json").exists()


def test_missing_key_leaves_the_model_out(mission: Mission) -> None:
    """A model whose key is not set is left out and named with the variable, by `up` and `status`;
    the others are served, and a killed `up` does not matter: the next finds what it started.
    """
    user = mission.user
    user.keys = {name: key for name, key in KEYS.items() if name != "ZAI_API_KEY"}
    killed = subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "up"],
        env=user.unmeasured,
        cwd=user.home,
        stdout=subprocess.DEVNULL,
    )
    wait_for((user.run_folder() / "state.json").exists)
    killed.kill()
    killed.wait()
    done = user.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    pid = user.gateway_state()["pid"]
    reason = "ZAI_API_KEY is not set"
    shown = table("opus", dict.fromkeys(("glm", "glm-4.7", "glm-4.5"), reason))
    assert done.stdout == f"already running work on 127.0.0.1:{mission.port}, pid {pid}\n{shown}"
    assert user.run("status").stdout.endswith(shown)
    row = user.json("status")["models"][2]
    assert (row["available"], row["reason"]) == (False, reason)
    gateway = Gateway(mission.url, user.gateway_key())
    assert gateway.ask("glm-4.7").status == 404
    assert gateway.ask("qwen").status == 200


def test_state_files_that_cannot_be_believed(user: User) -> None:
    """A gateway whose state file is lost is named by `up`, `restart` and `doctor`, and not ended. A
    file that names a process which is not ours, or is damaged: no process is taken for the
    gateway, none is killed, and `up` writes it anew.
    """
    port = free_port()
    user.write_profile(f"models: {{a: demo/parrot}}\ngateway: {{port: {port}}}\n")
    assert user.run("up").returncode == 0
    state, file = user.gateway_state(), user.run_folder() / "state.json"
    kept = file.read_text()
    file.unlink()
    said = (
        f"127.0.0.1:{port} is in use by a gateway of llmswitch whose state file was lost "
        f"(pid {state['pid']})"
    )
    cure = "stop it, or set another `gateway: {port: ...}` in the profile"
    assert user.run("status").stdout.startswith("not running (profile work)")
    assert user.run("down").stdout == "not running\n"
    for command in ("up", "restart"):
        assert user.run(command).stderr == f"{said}\n-> {cure}\n"
    rows = json.loads(user.run("doctor", "--json").stdout)["checks"]
    [row] = [row for row in rows if row["name"] == "port"]
    assert (row["level"], row["message"], row["hint"]) == ("error", said, cure)
    os.kill(state["pid"], signal.SIGTERM)
    wait_for(lambda: running_below(user.root) == [])

    with subprocess.Popen(["sleep", "100"]) as other:
        for started in (state["started"], "", "someone else's", None):
            file.write_text(json.dumps({**state, "pid": other.pid, "started": started}))
            assert user.run("status").stdout.startswith("not running")
            assert user.run("down").stdout == "not running\n"
        assert other.poll() is None
        other.kill()
    file.write_text(kept[: len(kept) // 2])  # how else it may be damaged: test_damaged_state
    for command in ("status", "down"):
        assert user.run(command).stderr == (
            f"the state file {file} is damaged\n-> llmswitch up    (writes a new one)\n"
        )
    done = user.run("up")
    assert done.stdout.startswith("started work on "), done.stderr
    assert user.run("status").stdout.startswith("running")


def test_process_start_on_macos() -> None:
    """Where there is no /proc, `ps` tells when a process started: the same in every time zone and
    language, another for another process, and None for none or a dead one.
    """
    me, parent = start_by_ps(os.getpid()), start_by_ps(1)
    assert me is not None
    assert len(me.split()) == 5
    assert parent is not None
    before = {name: os.environ.get(name) for name in ("TZ", "LC_ALL")}
    os.environ |= {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8"}
    try:
        assert start_by_ps(os.getpid()) == me
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    child = subprocess.Popen(["true"])
    wait_for(lambda: psutil.Process(child.pid).status() == "zombie")
    assert start_by_ps(child.pid) is None
    child.wait()
    assert start_by_ps(child.pid) is None


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Whatever a test starts of its own ends with it."""
    yield
    for line in running_below(tmp_path):
        pid = int(line.split()[0])
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
