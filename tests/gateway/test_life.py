"""A gateway from `up` to `down`: what it says, what it leaves, and what it takes from the shell."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import CHECKOUT, KEYS, Mission, User, lasting_mission
from tests.gateways import Gateway, running_below, secrets_in, wait_for, worker_pids
from tests.ready_made import NAMES, table
from tests.upstream import Behaviour

pytestmark = [pytest.mark.xdist_group("life"), pytest.mark.timeout(300)]


@dataclass
class Proxy:
    """A proxy that lets nobody through and counts who came."""

    port: int
    asked: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """What HTTP_PROXY and HTTPS_PROXY of the hostile shell point to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Proxy(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    found.asked.append(connection.recv(300))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def hostile(proxy: Proxy) -> dict[str, str]:
    """What a shell may have that must not get into the gateway."""
    return {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_AUTH_TOKEN": "stray-token",
        "ANTHROPIC_MODEL": "stray-model",
        "OPENAI_API_KEY": "stray-openai",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "DATABASE_URL": "postgresql://stray@127.0.0.1:9/x",
        "REDIS_URL": "redis://127.0.0.1:9",
        "LITELLM_MASTER_KEY": "stray-master",
        "LITELLM_LOG": "DEBUG",
        "LITELLM_MODE": "DEV",
        "CONFIG_FILE_PATH": "/nonexistent",
        "GUNICORN_CMD_ARGS": "--bind 0.0.0.0:4711 --workers 3",
        "WEB_CONCURRENCY": "4",
        "PYTHONPATH": "/nonexistent",
        "PYTHONSTARTUP": "/nonexistent",
        "LD_LIBRARY_PATH": "/nonexistent",
        "AWS_SECRET_ACCESS_KEY": "stray-aws",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "HTTP_PROXY": f"http://127.0.0.1:{proxy.port}",
        "https_proxy": f"http://127.0.0.1:{proxy.port}",
        "NO_PROXY": "intranet.example",
        "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    }


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy) -> Iterator[Mission]:
    """The mission's gateway, started from a hostile shell without a umask to speak of."""
    before = os.umask(0)
    try:
        for mission in lasting_mission(tmp_path_factory.mktemp("life")):
            mission.user.keys = {**KEYS, **hostile(proxy), "SPARE_KEY": "spare-key"}
            mission.user.keys["PYTHONPATH"] = str(CHECKOUT)
            done = mission.user.run("up")
            assert done.returncode == 0, done.stderr
            yield mission
    finally:
        os.umask(before)


TABLE = table("glm-4.7", {})


def test_up_again_and_status(shell: Mission) -> None:
    """`up` on a running gateway changes nothing; both say where it runs and what it serves, also as
    the JSON that scripts rely on.
    """
    user = shell.user
    before, workers = user.gateway_state(), worker_pids(user)
    pid, where = before["pid"], f"on 127.0.0.1:{shell.port}, pid {before['pid']}"
    done = user.run("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"already running work {where}\n{TABLE}"
    assert user.run("status").stdout == (
        f"running {where}, profile work; stays until llmswitch down\n{TABLE}"
    )
    done = user.json("up")
    assert list(done) == ["did", "url", "pid", "models"]
    assert (done["did"], done["url"], done["pid"]) == ("nothing", shell.url, pid)
    assert [row["name"] for row in done["models"]] == NAMES
    found = user.json("status")
    assert {name: found[name] for name in ("running", "url", "pid", "profile", "current")} == {
        "running": True,
        "url": shell.url,
        "pid": pid,
        "profile": "work",
        "current": True,
    }
    assert found["log"] == str(user.run_folder() / "gateway.log")
    assert found["default"] == "glm-4.7"
    row = found["models"][NAMES.index("glm-4.7")]
    assert (row["provider"], row["available"], row["reason"]) == ("zai", True, None)
    assert (user.gateway_state(), worker_pids(user)) == (before, workers)
    assert len(workers) == 1


def test_modes(shell: Mission) -> None:
    """Every folder of ours can be entered and every file read by the user alone, also what gunicorn
    and LiteLLM write, and whatever the shell's umask is.
    """
    wrong = {}
    for path in [shell.user.state, *shell.user.state.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o700 if path.is_dir() else 0o600):
            wrong[str(path.relative_to(shell.user.state))] = oct(mode)
    assert wrong == {}
    names = {path.name for path in shell.user.run_folder().iterdir()}
    assert names >= {"state.json", "gateway.log", "litellm_config.yaml", "gunicorn.conf.py", "lock"}


def test_listens_on_loopback_only(shell: Mission) -> None:
    """The port is bound to 127.0.0.1 and nothing else is bound, whatever the shell asked for."""
    pids = {shell.user.gateway_state()["pid"], *worker_pids(shell.user)}
    bound = {
        (connection.laddr.ip, connection.laddr.port)
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    assert bound == {("127.0.0.1", shell.port)}


def test_environment_is_built_from_nothing(shell: Mission, proxy: Proxy) -> None:
    """Master and worker have exactly the variables that they need: no key under its own name, none
    that the profile does not use, and nothing of a shell that would redirect them.
    """
    user = shell.user
    url = f"http://127.0.0.1:{proxy.port}"
    expected = {
        "HOME": str(user.home),
        "LANG": "C.UTF-8",
        "PATH": user.env["PATH"],
        "SSL_CERT_FILE": user.env["SSL_CERT_FILE"],
        "HTTP_PROXY": url,
        "https_proxy": url,
        "NO_PROXY": "intranet.example,127.0.0.1,localhost,::1",
        "no_proxy": "intranet.example,127.0.0.1,localhost,::1",
        "CONFIG_FILE_PATH": str(user.run_folder() / "litellm_config.yaml"),
        "LLMSWITCH_CLIENTS": str(user.state / "clients.json"),
        "LLMSWITCH_LEDGER": str(user.state / "ledger" / "work.db"),
        "LLMSWITCH_PROFILE": "work",
        "DISABLE_ADMIN_UI": "True",
        "LITELLM_DISABLE_BUG_REPORT_LINK": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
        "LITELLM_LOCAL_BLOG_POSTS": "True",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_OFFLINE_MODE": "True",
        "LITELLM_RUST": "False",
        "LITELLM_TELEMETRY_DISABLED": "True",
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "1000000",
        "NO_DOCS": "True",
        "NO_OPENAPI": "True",
        "NO_REDOC": "True",
        "PYTHONUNBUFFERED": "1",
        "LLMSWITCH_KEY_ANTHROPIC_API_KEY": KEYS["ANTHROPIC_API_KEY"],
        "LLMSWITCH_KEY_ZAI_API_KEY": KEYS["ZAI_API_KEY"],
        "LLMSWITCH_KEY_MINE_KEY": KEYS["MINE_KEY"],
        "LLMSWITCH_GATEWAY_KEY": user.gateway_key(),
    }
    for pid in (user.gateway_state()["pid"], *worker_pids(user)):
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
        assert dict(item.split("=", 1) for item in raw.split("\0") if item) == expected


@pytest.mark.engine
def test_upstreams_on_loopback_need_no_proxy(shell: Mission, proxy: Proxy) -> None:
    """A provider on this machine is reached directly, whatever the shell's proxy; and neither the
    start nor a request has anything to ask of the network.
    """
    gateway = Gateway(shell.url, shell.user.gateway_key())
    for model, name in (("opus", "anthropic"), ("glm-4.7", "zai"), ("qwen", "mine")):
        for stream in (False, True):
            assert gateway.ask(model, stream=stream).said.endswith(f" at {name}")
    assert proxy.asked == []


def test_secrets_are_in_one_file(shell: Mission) -> None:
    """No generated file and no command line holds a key, but gateway.key the gateway's own."""
    known = [*KEYS.values(), shell.user.gateway_key(), "spare-key", *hostile_secrets()]
    holding = {
        file.name: secrets_in(file.read_text(errors="replace"), *known)
        for file in shell.user.state.rglob("*")
        if file.is_file()
    }
    assert holding.pop("gateway.key") == [shell.user.gateway_key()]
    assert not any(holding.values())
    assert "gateway.log" in holding
    for pid in (shell.user.gateway_state()["pid"], *worker_pids(shell.user)):
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert not secrets_in(command, *known)


def hostile_secrets() -> list[str]:
    """The secrets of the hostile shell."""
    return [value for value in hostile(Proxy(0)).values() if value.startswith("stray")]


def test_nothing_is_written_elsewhere(shell: Mission) -> None:
    """The user's home is as empty as it was, and so is what stands beside our state."""
    assert list(shell.user.home.rglob("*")) == []
    beside = {path.name for path in (shell.user.root / "llmswitch").iterdir()}
    assert beside == {"profiles", "default-profile", "state"}


def test_the_key_is_random_and_stays(shell: Mission, tmp_path: Path) -> None:
    """The gateway's key is long and random, and is not made anew."""
    key = shell.user.gateway_key()
    assert key.startswith("sk-llmswitch-")
    assert len(key) > 50
    assert shell.user.run("up").returncode == 0
    assert shell.user.gateway_key() == key
    from llmswitch.paths import Home
    from llmswitch.profile.secrets import gateway_key

    assert gateway_key(Home(tmp_path, tmp_path / "state")) != key


def test_running_means_that_it_answers(shell: Mission) -> None:
    """A gateway whose worker hangs does not run, as far as `status` is concerned."""
    (worker,) = worker_pids(shell.user)
    os.kill(worker, signal.SIGSTOP)
    try:
        found = shell.user.json("status")
        assert (found["running"], found["current"], found["starting"]) == (False, False, False)
        assert found["pid"] == shell.user.gateway_state()["pid"]
    finally:
        os.kill(worker, signal.SIGCONT)
    assert shell.user.json("status")["running"] is True


def test_status_of_a_profile_with_mistakes(shell: Mission) -> None:
    """A mistake in the profile of a running gateway keeps `up` from reloading it, changes nothing
    else, and `status` goes on to show what runs.
    """
    file = shell.user.root / "llmswitch" / "profiles" / "work.yaml"
    text = file.read_text()
    file.write_text(text + "port: 1\n")
    try:
        found = shell.user.json("status")
        assert (found["running"], found["current"]) == (True, False)
        assert [row["name"] for row in found["models"]] == NAMES
        for command in ("up", "restart"):
            done = shell.user.run(command)
            assert (done.returncode, done.stdout) == (1, "")
            assert "port is not a field" in done.stderr
    finally:
        file.write_text(text)
    assert shell.user.json("up")["did"] == "nothing"
    assert shell.user.json("status")["current"] is True


# ------------------------------------------------------------------ down, restart


def test_down_and_restart(mission: Mission) -> None:
    """`down` ends every process and frees the port; a second one says that nothing ran. What ran is
    remembered, so that `status` can show the models. `restart` starts a gateway, also where none
    runs, on the same port.
    """
    user = mission.user
    first = user.json("up")
    assert first["did"] == "started"
    done = user.run("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"stopped 127.0.0.1:{mission.port}, pid {first['pid']}\n"
    assert running_below(user.root) == []
    again = user.run("down")
    assert (again.returncode, again.stdout, again.stderr) == (0, "not running\n", "")
    assert user.json("down") == {"stopped": False}

    said = user.run("status")
    assert said.returncode == 0
    assert said.stdout.startswith("not running (profile work)    -> llmswitch up\n")
    found = user.json("status")
    assert (found["running"], found["current"], found["pid"]) == (False, False, None)
    assert found["url"] == mission.url
    assert [row["name"] for row in found["models"]] == NAMES

    second = user.json("restart")
    assert second["did"] == "started"  # there was nothing to stop
    assert second["pid"] != first["pid"]
    log = (user.run_folder() / "gateway.log").read_text()  # it goes on
    assert 0 < log.index(f"[{first['pid']}]") < log.index(f"[{second['pid']}]")

    done = user.run("restart")
    third = user.gateway_state()
    assert done.stdout.startswith(
        f"restarted work on 127.0.0.1:{mission.port}, pid {third['pid']}\n"
    )
    assert third["pid"] not in (first["pid"], second["pid"])
    assert {int(line.split()[0]) for line in running_below(user.root)} == {
        third["pid"],
        *worker_pids(user),
    }
    assert Gateway(mission.url, user.gateway_key()).ask("qwen").status == 200


def test_down_before_any_up(user: User) -> None:
    """`down` for a profile that never ran says so and makes nothing."""
    user.write_profile("models: {qwen: ollama/qwen}")
    done = user.run("down")
    assert (done.returncode, done.stdout) == (0, "not running\n")
    assert not user.state.exists()


# ------------------------------------------------------------------ in the foreground


@pytest.mark.parametrize(
    "told",
    [pytest.param("the master alone", marks=pytest.mark.soak), "everyone at the terminal"],
)
def test_foreground(mission: Mission, told: str) -> None:
    """`up --foreground` is the gateway itself: its log on this terminal, an answer to requests,
    `already running` for everyone else; and Ctrl-C (or SIGINT from a supervisor) ends it whole and
    at once, also while a stream is open.
    """
    user = mission.user
    process = subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "up", "--foreground"],
        env=user.env,
        cwd=user.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: user.state.exists() and user.run("status").stdout.startswith("running"))
        assert user.gateway_state()["pid"] == process.pid
        gateway = Gateway(mission.url, user.gateway_key())
        assert gateway.ask("glm-4.7").said == "I am glm-4.7 at zai"
        second = user.run("up", "--foreground")
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == (
            f"already running on 127.0.0.1:{mission.port}, pid {process.pid}\n"
            "-> llmswitch down --profile work\n"
        )
        assert user.json("up")["did"] == "nothing"
        modes = {stat.S_IMODE(p.stat().st_mode) for p in user.state.rglob("*") if p.is_file()}
        assert modes == {0o600}
        mission.zai.clear()
        mission.zai.behave(Behaviour(events=1000, delay=0.1))
        stream = threading.Thread(target=ask_and_be_cut_off, args=[gateway], daemon=True)
        stream.start()
        wait_for(lambda: mission.zai.requests)
    finally:
        began = time.monotonic()
        end = os.kill if told == "the master alone" else os.killpg
        end(process.pid, signal.SIGINT)
        shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - began < 20  # the stream would have gone on for 100 s, or 30 to a kill
    stream.join(20)
    assert "SIGKILL" not in shown  # it left when it was told to
    assert f"Listening at: http://127.0.0.1:{mission.port} ({process.pid})" in shown
    assert not secrets_in(shown, *KEYS.values(), user.gateway_key())
    assert running_below(user.root) == []
    assert user.run("status").stdout.startswith("not running")
    assert user.run("down").stdout == "not running\n"


def ask_and_be_cut_off(gateway: Gateway) -> None:
    """A stream that does not come to its end."""
    with contextlib.suppress(httpx.HTTPError):
        gateway.ask("glm-4.7", stream=True)


def test_foreground_can_be_stopped_from_elsewhere(mission: Mission) -> None:
    """`down` in another terminal ends a gateway that runs in the foreground; a profile that was
    changed meanwhile is reloaded there by `up`.
    """
    user = mission.user
    process = subprocess.Popen(
        [sys.executable, "-m", "llmswitch", "up", "--foreground"],
        env=user.env,
        cwd=user.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: user.state.exists() and user.run("status").stdout.startswith("running"))
        file = user.root / "llmswitch" / "profiles" / "work.yaml"
        file.write_text(file.read_text().replace("qwen:", "qwen-new:"))
        assert user.json("up")["did"] == "reloaded"
        gateway = Gateway(mission.url, user.gateway_key())
        assert gateway.ask("qwen-new").said == "I am qwen3 at mine"
        done = user.run("down")
        assert done.stdout == f"stopped 127.0.0.1:{mission.port}, pid {process.pid}\n"
        assert process.wait(60) == 0
        assert running_below(user.root) == []
    finally:
        if process.poll() is None:
            process.kill()


def test_state_has_what_the_wrapper_reads(shell: Mission) -> None:
    """What the wrapper reads on every start is there: settings and ids for each kind of client."""
    state = json.loads((shell.user.run_folder() / "state.json").read_text())
    assert set(state["clients"]) == {"picker", "rows"}
    assert all(set(client) == {"settings", "ids", "login"} for client in state["clients"].values())
    assert len(state["keys"]) == 4
