"""`llmswitch doctor`: for each fault exactly one check turns, its cure cures it, and nothing breaks
the doctor itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from llmswitch.cli import text
from llmswitch.doctor import checks, checks_engine, checks_installation
from llmswitch.doctor.checks import Result
from llmswitch.doctor.context import Context, Verdict
from llmswitch.engine_versions import MALICIOUS, REQUIREMENT, SAFE_FROM, TESTED, is_supported
from llmswitch.paths import find_home, make_private_folder
from llmswitch.redact import with_tilde
from tests.conftest import CHECKOUT, unmeasured
from tests.doctor.faults import IDLE, NOW, RESTART, RUNNING, Fault, Scene, make_scene
from tests.fake_claude import install
from tests.gateways import wait_for

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene whose gateway was never started."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return make_scene(tmp_path)


@pytest.fixture(scope="module")
def with_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene with a gateway, shared by the tests."""
    scene = make_scene(tmp_path_factory.mktemp("running"))
    yield scene
    scene.user.run("down")
    scene.user.stop_everything()


@pytest.fixture
def running(with_gateway: Scene) -> Iterator[Scene]:
    """The same, which runs; what a test changes in its shell and profile is put back."""
    scene = with_gateway
    assert scene.user.run("up", timeout=200).returncode == 0
    profile, environ = scene.profile.read_text(), {**scene.environ}
    yield scene
    scene.profile.write_text(profile)
    scene.environ = environ


def assert_turns(scene: Scene, fault: Fault) -> None:
    """The fault turns its check and no other; the cure that is printed puts everything right."""
    names = scene.names
    fault.seed(scene)
    message, hint = fault.message.format(**names), fault.hint.format(**names)
    assert scene.wrong() == [Result(fault.check, fault.level, message, hint)]  # type: ignore[arg-type]
    fault.cure(scene, hint)
    assert scene.wrong() == []


@pytest.mark.parametrize("fault", IDLE, ids=[fault.what for fault in IDLE])
def test_a_fault_before_the_gateway_runs(scene: Scene, fault: Fault) -> None:
    """Exactly its check turns, with this message, and the printed cure makes it good again."""
    assert_turns(scene, fault)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            fault, id=fault.what, marks=[pytest.mark.soak] if "hangs" in fault.what else []
        )
        for fault in RUNNING
    ],
)
def test_a_fault_while_the_gateway_runs(running: Scene, fault: Fault) -> None:
    """The same, with the real gateway."""
    assert_turns(running, fault)


# ------------------------------------------------------------------ the whole


def test_a_whole_screen(running: Scene) -> None:
    """The sum and what is wrong; with `--all` a row for each check in the order of the data flow,
    the worst last; `~` for home, the cure below its row, exit code 1 for an error alone.
    """
    names = [
        *("versions", "litellm", "files", "disk", "profile", "advice", "trust", "prices"),
        *("ANTHROPIC_API_KEY", "ZAI_API_KEY", "MINE_KEY", "variables", "state", "generated files"),
        *("process", "port", "liveliness", "readiness", "models", "current", "ledger", "clients"),
        *("claude", "wrapper", "plain claude", "saved default", "proxy"),
    ]
    assert list(running.doctor()) == names
    done = running.user.run("doctor", env=running.environ)
    said = "26 checks passed, 1 note    (all of them: llmswitch doctor --all)\n"
    assert (done.returncode, done.stderr, done.stdout) == (0, "", said)

    running.environ["ANTHROPIC_MODEL"] = "mine"
    done = running.user.run("doctor", env=running.environ)
    assert done.returncode == 0, "a warning is no error"
    table = """\
RESULT   CHECK         MESSAGE
warning  plain claude  ANTHROPIC_MODEL is exported and redirects plain `claude`
                       (not claude-multi)
         -> unset ANTHROPIC_MODEL
"""
    assert done.stdout == (
        "25 checks passed, 1 note, 1 warning    (all of them: llmswitch doctor --all)\n" + table
    )

    running.claude.unlink()
    done = running.user.run("doctor", "--all", env=running.environ)
    install(running.claude)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "24 checks passed, 1 note, 1 warning, 1 error"
    levels = [line.split("  ")[0] for line in lines[2:] if line[0] != " "]
    assert levels == ["ok"] * 24 + ["info", "warning", "error"]
    assert "ok       models             3 models, 5 roles, all in the gateway's own list" in lines
    assert lines[-3:] == [
        "error    claude             there is no `claude` on PATH",
        "         -> npm install -g @anthropic-ai/claude-code",
        "            (or set LLMSWITCH_CLAUDE)",
    ]
    found = json.loads(running.user.run("doctor", "--json", env=running.environ).stdout)
    assert (found["worst"], [row["name"] for row in found["checks"]]) == ("warning", names)


def test_a_screen_fits_80_columns() -> None:
    """A long message is wrapped below where it begins; a cure is not, so that it can be copied."""
    results = [
        Result("files", "ok", "only you can read it", None),
        Result(
            "other", "error", "word " * 30, "cd a && rm -rf " + "x" * 90 + "    (" + "why " * 30
        ),
    ]
    lines = text.doctor(results)
    assert [line for line in lines if len(line) > 80] == [
        "        -> cd a && rm -rf " + "x" * 90,
    ]
    assert lines[3] == " " * 15 + "word " * 12 + "word"
    shown = text.doctor_screen(results, everything=False)
    assert shown == ["1 check passed, 1 error", lines[0], *lines[2:]]
    assert text.doctor_screen(results[:1], everything=False) == ["1 check passed"]


def test_nothing_secret_is_shown_and_nothing_is_written(scene: Scene) -> None:
    """No key, whatever is wrong with it, and no file changed or made by looking."""
    keys = {"ZAI_API_KEY": "'sk-ant-hush one'", "ANTHROPIC_API_KEY": "sk-or-hush-two"}
    scene.environ |= {**keys, "MINE_KEY": "", "ANTHROPIC_AUTH_TOKEN": "hush-three"}
    places = [scene.user.root / "llmswitch", scene.user.home]
    before = [snapshot(place) for place in places]
    assert "hush" not in str(scene.doctor())
    assert [snapshot(place) for place in places] == before


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """When each file below a folder was written, and its mode."""
    files = {str(file): file.stat() for file in root.rglob("*")}
    return {name: (status.st_mtime_ns, status.st_mode) for name, status in files.items()}


def test_the_doctor_does_not_import_the_engine(scene: Scene) -> None:
    """`import litellm` alone would take longer than the doctor may."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmswitch", "doctor"],
        env=unmeasured(scene.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "llmswitch.doctor.checks" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"litellm", "fastapi"}}


def test_no_key_at_all(scene: Scene) -> None:
    """Where no model can be served, each key's row is an error."""
    names = ["ANTHROPIC_API_KEY", "ZAI_API_KEY", "MINE_KEY"]
    scene.environ |= dict.fromkeys(names, "")
    said = "is not set, and no model of the profile can be used"
    assert [one[:3] for one in scene.wrong()] == [(name, "error", said) for name in names]


def test_a_key_that_only_the_gateway_has(running: Scene) -> None:
    """From a shell without the keys nothing is missing as long as the gateway runs."""
    running.environ["ZAI_API_KEY"] = ""
    said = "not set in this shell, but the running gateway has it"
    assert running.doctor()["ZAI_API_KEY"][1:3] == ("ok", said)


def test_a_model_that_the_gateway_does_not_serve(running: Scene) -> None:
    """A configuration that was edited by hand and loaded: the doctor asks the gateway itself."""
    file = running.user.run_folder() / "litellm_config.yaml"
    file.write_text(file.read_text().replace("model_name: opus", "model_name: other"))
    (worker,) = psutil.Process(running.names["pid"]).children()
    worker.kill()
    wait_for(lambda: running.doctor()["models"].level == "error")
    assert running.doctor()["models"][2:] == ("the gateway does not serve opus", RESTART)
    assert [row.name for row in running.wrong()] == ["generated files", "models"]
    running.type(RESTART)
    assert running.wrong() == []


def test_a_session_that_is_open(running: Scene) -> None:
    """A saved default of ours is no fault while a session is open; what a killed one left has its
    own cure.
    """
    running.write_settings(model="sonnet")
    running.environ["FAKE_DO"] = "wait"
    with subprocess.Popen(
        [running.user.root / "bin/claude-multi"],
        env=running.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"out\n"
        running.write_settings(model="glm-4.7")
        said = "'glm-4.7' is the default model until the open session ends, then your own is back"
        assert running.doctor()["saved default"][1:3] == ("ok", said)
        (client,) = psutil.Process(session.pid).children()
        session.kill()
        client.kill()
    del running.environ["FAKE_DO"]
    [row] = running.wrong()
    assert (row.name, row.hint) == (
        "saved default",
        "claude-multi -p hi    (restores your own default model)",
    )
    running.type(row.hint or "")
    assert json.loads(running.settings.read_text()) == {"model": "sonnet"}
    assert running.wrong() == []


# ------------------------------------------------------------------ single checks


def test_a_proxy_is_reported(scene: Scene) -> None:
    """A proxy without an exception for this machine is worth knowing, and no fault."""
    scene.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"
    said = "HTTPS_PROXY is set, and NO_PROXY lacks 127.0.0.1 (claude-multi adds it)"
    cure = 'export NO_PROXY="$NO_PROXY,127.0.0.1"'
    assert scene.doctor()["proxy"] == Result("proxy", "info", said, cure)
    scene.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"
    assert scene.doctor()["proxy"].level == "ok"


@pytest.mark.parametrize(
    ("megabytes", "level"), [(500, "ok"), (499, "warning"), (50, "warning"), (49, "error")]
)
def test_room_on_the_disk(megabytes: int, level: str) -> None:
    """From half a gigabyte on there is enough."""
    verdict = checks_installation.disk_verdict(Path("/s"), megabytes * 1_000_000)
    cure = "free some space, or set LLMSWITCH_HOME to a folder on another disk"
    only = Verdict(level, f"only {megabytes} MB are free for /s", cure)  # type: ignore[arg-type]
    assert verdict == (Verdict("ok", "500 MB free for /s") if level == "ok" else only)


def test_a_check_that_breaks_does_not_break_the_others(tmp_path: Path) -> None:
    """What no check has thought of is a row `failed`, which ranks just below an error."""
    env = {"HOME": str(tmp_path)}

    def breaks(_context: Context) -> Verdict:
        raise ZeroDivisionError(f"in {tmp_path}/x")

    row = checks.run("odd", breaks, Context(env, find_home(env), None, tmp_path, NOW))
    assert row == Result("odd", "failed", "this check crashed: ZeroDivisionError: in ~/x", None)
    warning = Result("other", "warning", "", None)
    assert checks.worst([row, warning]) == "failed"
    assert checks.worst([row, warning, warning._replace(level="error")]) == "error"


def test_a_default_profile_that_cannot_be_read(scene: Scene) -> None:
    """A folder in place of the file: the profile's row says so, the others that there is none."""
    file = scene.user.root / "llmswitch/default-profile"
    file.unlink()
    file.mkdir()
    [row] = scene.wrong()
    assert row[:3] == ("profile", "error", f"{file} cannot be read: Is a directory")
    assert scene.doctor()["port"].message == "there is no profile"


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


def test_an_innocent_sitecustomize(scene: Scene) -> None:
    """Is nobody's but its owner's, as is a cook.py that is no package."""
    (scene.user.root / "sitecustomize.py").write_text("")
    (scene.user.root / "cook.py").write_text("")
    sys.path.insert(0, str(scene.user.root))
    assert scene.doctor()["litellm"].level == "ok"


def test_the_environment_of_the_running_gateway_is_looked_at(tmp_path: Path) -> None:
    """Also where the doctor runs in another; nothing of it is imported."""
    site = tmp_path / "lib/python3.11/site-packages"
    (tmp_path / "bin").mkdir()
    site.mkdir(parents=True)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (site / "cook.py").write_text("raise SystemExit('imported')")
    process = subprocess.Popen([str(tmp_path / "bin/python"), "-c", "import time; time.sleep(60)"])
    try:
        context = Context({}, find_home({"HOME": str(tmp_path)}), None, tmp_path, NOW)
        context.__dict__["running"] = SimpleNamespace(pid=process.pid)
        verdict = checks_engine.check_engine(context)
    finally:
        process.kill()
        process.wait()
    assert verdict.message.startswith(
        f"{site}/cook.py is part of a malicious LiteLLM release, which may "
    )


def test_a_state_file_that_cannot_be_read(scene: Scene) -> None:
    """One row reports it, with a cure of its own; those that need the state are skipped."""
    file = scene.user.run_folder() / "state.json"
    make_private_folder(file)
    message = f"the state file {file} cannot be read: Is a directory"
    cure = f"move it away: mv {file} {file}.old"
    assert scene.wrong() == [Result("state", "error", message, cure)]


@pytest.mark.parametrize(
    "other", [{"pid": "../../etc"}, {"models": [1]}, {"roles": None}, {"host": 5}, None], ids=str
)
def test_a_state_file_of_another_form(running: Scene, other: dict[str, object] | None) -> None:
    """A state file with values of other types is damaged, not believed."""
    file = running.user.run_folder() / "state.json"
    before = file.read_text()
    file.write_text(json.dumps(json.loads(before) | other) if other else "[" * 100_000)
    row = running.doctor()["state"]
    file.write_text(before)
    assert row[1:3] == ("error", f"the state file {file} is damaged")


@pytest.mark.parametrize("name", ["LLMSWITCH_HOME", "LLMSWITCH_PROFILE", "LLMSWITCH_CLAUDE"])
def test_a_home_folder_that_nobody_has(scene: Scene, name: str) -> None:
    """A `~name` that cannot be expanded is a path like any other: no traceback, no failed row."""
    scene.environ[name] = "~nobody-has-this/x.yaml"
    assert scene.doctor()


def test_odd_records_of_sessions(scene: Scene) -> None:
    """What is no record of a session is none."""
    scene.write_settings(model="glm-4.7")
    for number, content in enumerate(("[]", "5", "null", "{", '{"file": "x"}')):
        scene.write_state(f"sessions/{number}.json", content)
    assert [row.name for row in scene.wrong()] == ["saved default"]


def test_a_good_wrapper_is_enough(scene: Scene) -> None:
    """A link to it, or a stale one of another name, does not hide it."""
    folder = scene.user.root / "bin"
    (folder / "aa").write_bytes((folder / "claude-multi").read_bytes() + b"# stale \xff\n")
    (folder / "aa").chmod(0o755)
    (folder / "ab").symlink_to(folder / "claude-multi")
    assert scene.doctor()["wrapper"][1:3] == ("ok", str(folder / "claude-multi"))
    (folder / "claude-multi").unlink()
    said = f"{folder}/aa is not as this llmswitch writes it"
    cure = f"llmswitch wrapper install --profile work --name aa --dir {folder}"
    assert scene.wrong() == [Result("wrapper", "warning", said, cure)]


def test_home_is_shortened_only_where_it_is_home() -> None:
    """`~` stands for the whole folder at the start of a path, and never inside quotes."""
    assert with_tilde("/h/joe/x '/h/joe/my x' /h/joel /h/joe", Path("/h/joe")) == (
        "~/x '/h/joe/my x' /h/joel ~"
    )
    assert with_tilde("a/b c", Path("/")) == "a/b c"
    assert with_tilde("no profile", Path("e")) == "no profile"
