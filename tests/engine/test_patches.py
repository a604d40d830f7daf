"""What reaches into LiteLLM and the packages below it either fits or refuses, aloud."""

from __future__ import annotations

import json
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from llmswitch.engine.master import SHARED
from llmswitch.engine.patches import PATCHES, PatchError, tell_kills
from tests.conftest import User, free_port
from tests.imported_engine import look

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

# LiteLLM is imported once; each change is made in a process of its own, then all is applied here.
_LOOK = """
import json, os, sys
from importlib import import_module
import litellm
from litellm.proxy.auth import user_api_key_auth as auth
from litellm.proxy.proxy_server import proxy_logging_obj
from llmswitch.engine import master, patches

def told(change):
    reading, writing = os.pipe()
    if not os.fork():
        exec(change, {"patches": patches})
        try:
            patches.apply()
        except patches.PatchError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        return stream.read()

class Recorder:
    names = []
    def find_spec(self, name, path=None, target=None):
        self.names.append(name)

def hooks_added():
    litellm.callbacks = []
    proxy_logging_obj._add_proxy_hooks()
    return [type(hook).__name__ for hook in litellm.callbacks]

def looked_for():
    Recorder.names = []
    auth._seed_request_destinations(None, None)
    return Recorder.names

found = {"told": [told(change) for change in json.loads(sys.argv[1])]}
found["imported"] = {name: name in sys.modules for name in master.SHARED}
master.share()
found["complete"] = [
    getattr(import_module(name), model).__pydantic_complete__
    for name, models in master.SHARED.items()
    for model in models
]
sys.meta_path.insert(0, Recorder())
looked_for()
found["before"] = [hooks_added(), looked_for()]
patches.apply()
found["after"] = [hooks_added(), looked_for()]
print(json.dumps(found))
"""
MAPPING = "from litellm.litellm_core_utils.exception_mapping_utils import ExceptionCheckers\n"
AUTH = "from litellm.proxy.auth import user_api_key_auth as auth\n"
WRITER = "writer = patches._cache_writer()\n"
SEND_TWICE = """
import httpx
once = httpx.Client._send_single_request
httpx.Client.send = lambda self, request, **_: [once(self, request) for _ in range(2)][0]
"""
# What another version could have changed, the patch that relies on it, and what it says.
CHANGES = {
    "a redirect has another name": (
        SEND_TWICE,
        "follow no redirect",
        "httpx follows redirects all the same",
    ),
    "an answer is read otherwise": (
        "import httpx; httpx.Response.aiter_bytes = lambda self, size, more: None",
        "bound answers",
        "httpx.Response.aiter_bytes has other parameters",
    ),
    "hooks are listed elsewhere": (
        "import litellm.proxy.utils as utils; utils.PROXY_HOOKS = {**utils.PROXY_HOOKS}",
        "run no hooks of the proxy",
        "their list is elsewhere",
    ),
    "tenants are looked for elsewhere": (
        AUTH + "auth.user_api_key_auth = lambda *_: None",
        "look for no tenants",
        "they are looked for elsewhere",
    ),
    "errors are looked at elsewhere": (
        MAPPING + "known = ExceptionCheckers.is_error_str_context_window_exceeded\n"
        "del ExceptionCheckers.is_error_str_context_window_exceeded",
        "know a long prompt",
        "type object 'ExceptionCheckers' has no attribute 'is_error_str_context_window_exceeded'",
    ),
    "what came is kept elsewhere": (
        WRITER + "writer.__init__ = lambda self, inner, handler: setattr(self, 'inner', inner)",
        "bill what came",
        "it keeps its stream elsewhere",
    ),
    "a connection ends otherwise": (
        "patches.H11Protocol.shutdown = None",
        "wait for connections",
        "uvicorn calls no shutdown",
    ),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What is said of the LiteLLM that is installed and of it with each of the changes, and what it
    does before the patches and after.
    """
    changes = ["", *(change for change, _, _ in CHANGES.values())]
    seen: dict[str, Any] = look(_LOOK, json.dumps(changes))
    return seen


def test_every_patch_fits(found: dict[str, Any]) -> None:
    """With the LiteLLM that is installed."""
    assert found["told"][0] == ""


@pytest.mark.parametrize("change", CHANGES)
def test_a_patch_that_does_not_fit_names_itself(found: dict[str, Any], change: str) -> None:
    """Whichever part of whichever package has changed below it."""
    _, patch, said = CHANGES[change]
    made_for = next(one.seen for one in PATCHES if one.name == patch)
    assert found["told"][1 + [*CHANGES].index(change)] == (
        f"LiteLLM {version('litellm')} does not fit this llmswitch: its patch `{patch}`, made for "
        f"{made_for}, does not work: {said}"
    )


def test_what_litellm_does_for_itself_is_left_out(found: dict[str, Any]) -> None:
    """It would run hooks of its own with each request, and look for a tenant in vain."""
    hooks, looked_for = found["before"]
    assert "SkillsInjectionHook" in hooks
    assert "litellm.integrations.otel.logger" in looked_for
    assert found["after"] == [[], []]


def test_workers_share_what_they_would_make(found: dict[str, Any]) -> None:
    """Each module is one that LiteLLM has and does not import by itself until a worker serves, or
    has models that are built late; then they are there.
    """
    assert found["imported"] == {name: bool(models) for name, models in SHARED.items()}
    assert found["complete"] == [True] * len(found["complete"]) != []


def test_a_gunicorn_that_kills_otherwise() -> None:
    """Is told in the same words."""
    with pytest.raises(PatchError) as told:
        tell_kills(object(), lambda _pid: None)
    assert str(told.value) == (
        f"LiteLLM {version('litellm')} does not fit this llmswitch: its patch `tell kills`, made "
        "for gunicorn 23, does not work: 'object' object has no attribute 'kill_worker'"
    )


_OTHER = """
import importlib.machinery, sys

class Other:
    def find_spec(self, name, path=None, target=None):
        if name == "litellm.litellm_core_utils.exception_mapping_utils":
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            run = spec.loader.exec_module
            def changed(module):
                run(module)
                checkers = module.ExceptionCheckers
                checkers.is_too_long = checkers.is_error_str_context_window_exceeded
                del checkers.is_error_str_context_window_exceeded
            spec.loader.exec_module = changed
            return spec

sys.meta_path.insert(0, Other())
"""


def another_litellm(folder: Path) -> Path:
    """The Python of an environment whose LiteLLM has renamed something that a patch relies on."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "all.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    (site / "other_litellm.py").write_text(_OTHER)
    (site / "other_litellm.pth").write_text("import other_litellm\n")
    (site / "llmswitch.pth").write_text(str(Path(__file__).parents[2]))
    return folder / "bin" / "python"


def test_up_and_doctor_say_which_patch_does_not_fit(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway does not start: `up` fails with the sentence, and `doctor` repeats it."""
    user.write_profile(f"models: {{glm: zai/glm-4.7}}\ngateway: {{port: {free_port()}}}\n")
    monkeypatch.setattr(sys, "executable", str(another_litellm(user.root / "environment")))
    done = user.run("up")
    told = (
        f"LiteLLM {version('litellm')} does not fit this llmswitch: its patch `know a long "
        "prompt`, made for LiteLLM 1.108.0 to 1.108.7, does not work: type object "
        "'ExceptionCheckers' has no attribute 'is_error_str_context_window_exceeded'"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"the gateway failed to start: {told}",
        "-> llmswitch logs --profile work",
    ]
    found = json.loads(user.run("doctor", "--json").stdout)
    rows = {row["name"]: row for row in found["checks"]}
    assert (rows["process"]["level"], rows["process"]["message"]) == (
        "error",
        f"the gateway stopped unexpectedly: {told}",
    )
