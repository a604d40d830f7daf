"""`llmswitch doctor`: for each fault exactly one check turns, its cure cures it, and nothing breaks
the doctor itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from llmswitch.doctor import checks, checks_engine, checks_installation
from llmswitch.doctor.facts import Facts, Verdict
from llmswitch.engine_versions import MALICIOUS, REQUIREMENT, SAFE_FROM, TESTED, is_supported
from llmswitch.paths import find_home, make_private_folder
from llmswitch.redact import with_tilde
from tests.conftest import CHECKOUT, unmeasured
from tests.fake_claude import install
from tests.faults import GOOD, IDLE, RESTART, RUNNING, Fault, Scene, edited, set_scene, typed
from tests.gateways import wait_for

pytestmark = pytest.mark.timeout(300)

NOW = 1_796_000_000.0  # 2026-11-30


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene with a running gateway, shared by the tests: each puts back what it changes."""
    for scene in set_scene(tmp_path_factory.mktemp("running")):
        assert scene.llmswitch("up").returncode == 0
        yield scene


@pytest.fixture
def running_scene(running: Scene) -> Iterator[Scene]:
    """The same, put in order again after the test, whatever came of it."""
    profile = running.profile.read_text()
    yield running
    running.path.clear()
    running.shell.more.clear()
    shutil.rmtree(running.home)
    running.home.mkdir()
    install(running.shell.claude)
    running.profile.write_text(profile)
    running.profile.chmod(0o600)
    for command in (["wrapper", "install", "--dir", running.names["bin"]], ["up"]):
        done = running.llmswitch(*command)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def idle_scene(tmp_path: Path) -> Iterator[Scene]:
    """A scene whose gateway was never started."""
    yield from set_scene(tmp_path)


def assert_turns(scene: Scene, fault: Fault) -> None:
    """The fault turns its check and no other; the cure that is printed puts everything right."""
    before = scene.doctor()
    assert {row["level"] for row in before.values()} <= GOOD
    file = scene.mission.user.run_folder() / "state.json"
    pid = json.loads(file.read_text())["pid"] if file.exists() else None
    names = scene.names | {"program": psutil.Process().name(), "pid": pid}
    fault.seed(scene)
    turned = [row for row in scene.doctor().values() if row["level"] not in GOOD]
    hint = fault.hint.format(**names)
    message = fault.message.format(**names)
    assert turned == [{"name": fault.check, "level": fault.level, "message": message, "hint": hint}]
    fault.cure(scene, hint.replace("~", str(scene.home)))
    assert scene.doctor()[fault.check]["level"] in GOOD


def titles(faults: list[Fault]) -> list[str]:
    """The names of the tests."""
    return [fault.what for fault in faults]


@pytest.mark.parametrize("fault", RUNNING, ids=titles(RUNNING))
def test_a_fault_while_the_gateway_runs(running_scene: Scene, fault: Fault) -> None:
    """Exactly its check turns, with this message, and the printed cure makes it good again."""
    assert_turns(running_scene, fault)


@pytest.mark.parametrize("fault", IDLE, ids=titles(IDLE))
def test_a_fault_before_the_gateway_runs(idle_scene: Scene, fault: Fault) -> None:
    """The same, where no gateway was ever started."""
    assert_turns(idle_scene, fault)


# ------------------------------------------------------------------ the whole


def test_the_table(running_scene: Scene) -> None:
    """A row for each check in the order of the data flow, `~` for home, the cure below its row, and
    exit code 1 for an error alone.
    """
    scene = running_scene
    done = scene.llmswitch("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    names = [row["name"] for row in scene.doctor().values()]
    assert names == [
        "versions",
        "litellm",
        "files",
        "disk",
        "profile",
        "advice",
        "trust",
        "prices",
        "ANTHROPIC_API_KEY",
        "ZAI_API_KEY",
        "MINE_KEY",
        "variables",
        "state",
        "generated files",
        "process",
        "port",
        "liveliness",
        "readiness",
        "models",
        "current",
        "ledger",
        "clients",
        "claude",
        "wrapper",
        "plain claude",
        "saved default",
        "proxy",
    ]
    lines = done.stdout.splitlines()
    assert lines[0] == "RESULT  CHECK              MESSAGE"
    trusted = names.index("trust")  # a profile of the tests sends its keys to this machine
    assert lines[2 + trusted].strip().startswith("-> if you did not write it, read all")
    del lines[1 + trusted : 3 + trusted]
    assert [line.split("  ")[0] for line in lines[1:]] == ["ok"] * (len(names) - 1)
    assert "models             6 models, 5 roles, all in the gateway's own list" in done.stdout

    scene.export(ANTHROPIC_MODEL="mine")
    done = scene.llmswitch("doctor")
    assert done.returncode == 0, "a warning is no error"
    said = "ANTHROPIC_MODEL is exported and leads a plain `claude` astray (not claude-multi)"
    assert (
        f"warning  plain claude       {said}\n{' ' * 28}-> unset ANTHROPIC_MODEL\n" in done.stdout
    )

    install(scene.shell.claude, "")
    assert scene.llmswitch("doctor").returncode == 1


def test_nothing_secret_is_shown_and_nothing_is_written(idle_scene: Scene) -> None:
    """No key, whatever is wrong with it, and no file changed or made by looking."""
    scene = idle_scene
    keys = {"ZAI_API_KEY": "'sk-ant-hush one'", "ANTHROPIC_API_KEY": "sk-or-hush-two"}
    scene.export(**keys, MINE_KEY="", ANTHROPIC_AUTH_TOKEN="hush-three")
    before = snapshot(scene.mission.user.root / "llmswitch") | snapshot(scene.home)
    for arguments in (["doctor"], ["doctor", "--json"]):
        done = scene.llmswitch(*arguments)
        assert "hush" not in done.stdout + done.stderr
        assert done.stderr == ""
    assert snapshot(scene.mission.user.root / "llmswitch") | snapshot(scene.home) == before


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """When each file below a folder was written, and its mode."""
    files = {str(file): file.stat() for file in root.rglob("*")}
    return {name: (status.st_mtime_ns, status.st_mode) for name, status in files.items()}


def test_the_doctor_does_not_import_the_engine(idle_scene: Scene) -> None:
    """`import litellm` alone would take longer than the doctor may."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmswitch", "doctor"],
        env=unmeasured(idle_scene.env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "llmswitch.doctor.checks" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"litellm", "fastapi"}}


def test_no_key_at_all(idle_scene: Scene) -> None:
    """Where no model can be served, each key's row is an error."""
    idle_scene.export(ZAI_API_KEY="", ANTHROPIC_API_KEY="", MINE_KEY="")
    rows = idle_scene.doctor()
    for name in ("ZAI_API_KEY", "ANTHROPIC_API_KEY", "MINE_KEY"):
        said = "is not set, and no model of the profile can be used"
        assert (rows[name]["level"], rows[name]["message"]) == ("error", said)


def test_a_key_that_only_the_gateway_has(running_scene: Scene) -> None:
    """From a shell without the keys nothing is missing as long as the gateway runs."""
    running_scene.export(ZAI_API_KEY="")
    row = running_scene.doctor()["ZAI_API_KEY"]
    said = "not set in this shell, but the running gateway has it"
    assert (row["level"], row["message"]) == ("ok", said)


def test_a_second_key_that_is_missing(idle_scene: Scene) -> None:
    """A model with two keys is served by one, and the other is named."""
    edited("model: zai/glm-4.7", "model: zai/glm-4.7\n    keys: [ZAI_API_KEY, SECOND]")(idle_scene)
    row = idle_scene.doctor()["SECOND"]
    assert (row["level"], row["message"]) == ("warning", "is not set; another key does its work")


def test_a_model_that_the_gateway_does_not_serve(running_scene: Scene) -> None:
    """A configuration that was edited by hand and loaded: the doctor asks the gateway itself."""
    scene = running_scene
    file = scene.mission.user.run_folder() / "litellm_config.yaml"
    file.write_text(file.read_text().replace("model_name: opus", "model_name: other"))
    before = psutil.Process(scene.mission.user.gateway_state()["pid"])
    (worker,) = before.children()
    worker.kill()
    wait_for(lambda: scene.doctor()["models"]["level"] == "error")
    row = scene.doctor()["models"]
    assert (row["message"], row["hint"]) == ("the gateway does not serve opus", RESTART)
    typed(scene, RESTART)
    assert scene.doctor()["models"]["level"] == "ok"


def test_a_session_that_is_open(running_scene: Scene) -> None:
    """A saved default of ours is no fault while a session is open; what a killed one left has its
    own cure.
    """
    scene = running_scene
    own = json.dumps({"model": "sonnet"})
    scene.settings.parent.mkdir()
    scene.settings.write_text(own)
    scene.export(FAKE_DO="wait")
    with subprocess.Popen(
        [scene.shell.wrapper], env=scene.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"out\n"
        scene.settings.write_text(json.dumps({"model": "glm-4.7"}))
        row = scene.doctor()["saved default"]
        said = "'glm-4.7' is saved as long as a session is open, then put back"
        assert (row["level"], row["message"]) == ("ok", said)
        client = psutil.Process(session.pid).children()
        session.kill()
        client[0].kill()
    scene.unset("FAKE_DO")
    row = scene.doctor()["saved default"]
    assert row["hint"] == "claude-multi -p hi    (puts your own back)"
    typed(scene, row["hint"])
    assert scene.settings.read_text() == own
    assert scene.doctor()["saved default"]["level"] == "ok"


def test_a_proxy_is_told(idle_scene: Scene) -> None:
    """A proxy without an exception for this machine is worth knowing, and no fault."""
    idle_scene.export(HTTPS_PROXY="http://127.0.0.1:9")
    row = idle_scene.doctor()["proxy"]
    assert row["level"] == "info"
    assert row["hint"] == 'export NO_PROXY="$NO_PROXY,127.0.0.1"'
    idle_scene.export(NO_PROXY="127.0.0.1,localhost,::1")
    assert idle_scene.doctor()["proxy"]["level"] == "ok"


def test_an_older_client(idle_scene: Scene) -> None:
    """A client that lists some of the models is told of, with the command that updates it."""
    install(idle_scene.shell.claude, "2.1.197 (Claude Code)")
    row = idle_scene.doctor()["claude"]
    assert (row["level"], row["hint"]) == ("warning", "claude update")
    assert row["message"].endswith("/model shows five models at most; 2.1.242 and newer show all")


@pytest.mark.parametrize(
    ("free", "verdict"),
    [
        (500_000_000, Verdict("ok", "500 MB free for /s")),
        (
            499_000_000,
            Verdict(
                "warning",
                "only 499 MB are free for /s",
                "make room, or move it with LLMSWITCH_HOME",
            ),
        ),
        (
            49_000_000,
            Verdict(
                "error", "only 49 MB are free for /s", "make room, or move it with LLMSWITCH_HOME"
            ),
        ),
    ],
)
def test_room_on_the_disk(free: int, verdict: Verdict) -> None:
    """From half a gigabyte on there is enough."""
    assert checks_installation.disk_verdict(Path("/s"), free) == verdict


def test_a_check_that_breaks_does_not_break_the_others(tmp_path: Path) -> None:
    """What no check has thought of is a row `failed`, which ranks just below an error."""
    env = {"HOME": str(tmp_path)}

    def breaks(_facts: Facts) -> Verdict:
        raise ZeroDivisionError(f"in {tmp_path}/x")

    row = checks._run(checks.Check("odd", breaks), Facts(env, find_home(env), None, tmp_path, NOW))
    said = "could not be asked: ZeroDivisionError: in ~/x"
    assert row == checks.Result("odd", "failed", said, None)
    warning = checks.Result("other", "warning", "", None)
    assert checks.worst([row, warning]) == "failed"
    assert checks.worst([row, warning, warning._replace(level="error")]) == "error"


def test_a_default_profile_that_cannot_be_read(idle_scene: Scene) -> None:
    """A folder in place of the file: the profile's row says so, the others that there is none."""
    file = Path(idle_scene.names["config"], "default-profile")
    file.unlink()
    file.mkdir()
    rows = idle_scene.doctor()
    said = f"{file} cannot be read: Is a directory"
    assert (rows["profile"]["level"], rows["profile"]["message"]) == ("error", said)
    assert rows["port"]["message"] == "there is no profile"


def test_the_engine_that_is_asked_for_is_the_one_that_is_declared() -> None:
    """pyproject.toml, the lock, the doctor and CONTRIBUTING name the same range and versions."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert REQUIREMENT in project["dependencies"]
    locked = tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    assert [one["version"] for one in locked if one["name"] == "litellm"] == [TESTED.newest]
    assert all(f"!={release}" in REQUIREMENT for release in MALICIOUS)
    assert not any(is_supported(release) for release in (*MALICIOUS, SAFE_FROM, TESTED.canary))
    assert is_supported(TESTED.oldest)
    assert is_supported(TESTED.newest)
    told = f"{TESTED.oldest} to {TESTED.newest} are supported, {TESTED.canary} is tried"
    assert told in " ".join((CHECKOUT / "CONTRIBUTING.md").read_text().split())


def test_an_innocent_sitecustomize(running_scene: Scene) -> None:
    """Is nobody's but its owner's, as is a cook.py that is no package."""
    folder = running_scene.shell.folder / "mine"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("")
    (folder / "cook.py").write_text("")
    running_scene.export(PYTHONPATH=str(folder))
    row = running_scene.doctor()["litellm"]
    assert (row["level"], row["message"]) == ("ok", f"LiteLLM {version('litellm')}")


def test_the_environment_of_the_running_gateway_is_looked_at(tmp_path: Path) -> None:
    """Also where the doctor runs in another; nothing of it is imported."""
    site = tmp_path / "lib/python3.11/site-packages"
    (tmp_path / "bin").mkdir()
    site.mkdir(parents=True)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (site / "cook.py").write_text("raise SystemExit('imported')")
    process = subprocess.Popen([str(tmp_path / "bin/python"), "-c", "import time; time.sleep(60)"])
    try:
        facts = Facts({}, find_home({"HOME": str(tmp_path)}), None, tmp_path, NOW)
        facts.__dict__["running"] = SimpleNamespace(pid=process.pid)
        verdict = checks_engine.check_engine(facts)
    finally:
        process.kill()
        process.wait()
    assert verdict.message == (
        f"{site}/cook.py is of a malicious LiteLLM; keys and files of this machine may have gone "
        "out"
    )


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ('{"port": 1}', "the state file {file} is damaged"),
        ("[" * 100_000, "the state file {file} is damaged"),
        (None, "the state file {file} cannot be read: Is a directory"),
    ],
    ids=["of another form", "deep", "a folder"],
)
def test_odd_state_files(idle_scene: Scene, state: str | None, message: str) -> None:
    """One row tells it, and those that need the state are skipped."""
    file = idle_scene.mission.user.run_folder() / "state.json"
    make_private_folder(file.parent)
    file.mkdir(0o700) if state is None else file.touch(0o600)
    if state is not None:
        file.write_text(state)
    rows = idle_scene.doctor()
    file.rmdir() if state is None else file.unlink()
    assert rows["state"]["message"] == message.format(file=file)
    assert [name for name, row in rows.items() if row["level"] not in GOOD] == ["state"]


def test_types_of_the_state(running_scene: Scene) -> None:
    """A state file with values of other types is damaged, not believed."""
    file = running_scene.mission.user.run_folder() / "state.json"
    text = file.read_text()
    for field, value in (("pid", "../../etc"), ("models", [1]), ("roles", None), ("host", 5)):
        file.write_text(json.dumps(json.loads(text) | {field: value}))
        row = running_scene.doctor()["state"]
        assert (row["level"], row["message"]) == ("error", f"the state file {file} is damaged")
    file.write_text(text)


def test_a_variable_of_the_engine_that_is_not_set(idle_scene: Scene) -> None:
    """What `up` would refuse, the doctor tells before."""
    with idle_scene.profile.open("a") as stream:
        stream.write("litellm: {router_settings: {redis_password: os.environ/REDIS_PW}}\n")
    turned = {name: row for name, row in idle_scene.doctor().items() if row["level"] not in GOOD}
    assert list(turned) == ["variables"]
    assert turned["variables"]["message"] == "REDIS_PW is not set"
    assert turned["variables"]["hint"] == "export REDIS_PW=..."
    assert idle_scene.llmswitch("up").returncode == 1


@pytest.mark.parametrize("name", ["LLMSWITCH_HOME", "LLMSWITCH_PROFILE", "LLMSWITCH_CLAUDE"])
def test_a_home_folder_that_nobody_has(idle_scene: Scene, name: str) -> None:
    """A `~name` that cannot be expanded is a path like any other: no traceback, no failed row."""
    idle_scene.export(**{name: "~nobody-has-this/x.yaml"})
    assert idle_scene.doctor()


def test_odd_records_of_sessions(idle_scene: Scene) -> None:
    """What is no record of a session is none."""
    records = idle_scene.mission.user.state / "sessions"
    make_private_folder(records)
    idle_scene.write_settings(model="glm-4.7")
    for number, text in enumerate(("[]", "5", "null", "{", '{"file": "x"}')):
        (records / f"{number}.json").write_text(text)
        (records / f"{number}.json").chmod(0o600)
    assert idle_scene.doctor()["saved default"]["level"] == "warning"


def test_a_good_wrapper_is_enough(idle_scene: Scene) -> None:
    """A link to it, or a stale one of another name, does not hide it."""
    folder = Path(idle_scene.names["bin"])
    (folder / "aa").write_bytes((folder / "claude-multi").read_bytes() + b"# stale \xff\n")
    (folder / "aa").chmod(0o755)
    (folder / "ab").symlink_to(folder / "claude-multi")
    row = idle_scene.doctor()["wrapper"]
    assert (row["level"], row["message"]) == ("ok", str(folder / "claude-multi"))


def test_home_is_shortened_only_where_it_is_home() -> None:
    """`~` stands for the whole folder at the start of a path, and never inside quotes."""
    assert with_tilde("/h/joe/x '/h/joe/my x' /h/joel /h/joe", Path("/h/joe")) == (
        "~/x '/h/joe/my x' /h/joel ~"
    )
    assert with_tilde("a/b c", Path("/")) == "a/b c"
    assert with_tilde("no profile", Path("e")) == "no profile"
