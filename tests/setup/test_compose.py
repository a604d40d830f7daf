"""What `init` composes and writes: valid whatever was chosen, and whole whenever it is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import LlmswitchError
from llmswitch.profile.edit import with_model
from llmswitch.profile.load import parse_profile
from llmswitch.profile.providers import catalogue_data
from llmswitch.setup import compose
from tests.conftest import CHECKOUT, User
from tests.profile.test_edit import data_of, profiles
from tests.soak import size


@given(profiles(), st.sampled_from(sorted(catalogue_data())))
def test_what_is_added_to_any_profile_is_put_in_and_nothing_else(text: str, provider: str) -> None:
    """Whatever its comments, anchors and spacing: every character that was there is there, in its
    order, and it says the same and the new models; or nothing is changed.
    """
    try:
        profile = parse_profile(text, "it")
    except LlmswitchError:
        return
    chosen = compose.candidates(profile, {provider}, (), {}, {})
    new = text
    try:
        for one in chosen:
            new = with_model(new, one.name, one.value)
    except LlmswitchError:
        return
    kept = iter(new)
    assert all(character in kept for character in text)
    old = data_of(text)
    more = {one.name: one.value for one in chosen}
    assert data_of(new) == old | {"models": {**old["models"], **more}}
    assert list(parse_profile(new, "it").models) == [*profile.models, *more]


@given(st.sets(st.sampled_from(sorted(catalogue_data())), min_size=1), st.integers(4000, 4099))
def test_every_choice_of_the_catalogue_makes_a_valid_profile(names: set[str], port: int) -> None:
    """Each model with a name of its own, and something marked wherever there is a model."""
    there = compose.candidates(None, names, {"bedrock", "vertex_ai"}, {}, {})
    marked = [one for one in there if one.marked]
    assert bool(there) == bool(marked)
    if there:
        for chosen in (marked, there):
            profile = parse_profile(compose.profile_text(chosen, port), "it")
            assert [model.model for model in profile.models.values()] == [
                one.target for one in chosen
            ]
            assert profile.role("default") == chosen[0].name
            assert profile.gateway.port == port


KILLED = """
import json, os, signal, sys
from llmswitch.setup import write
from llmswitch.paths import find_home, find_profile

home = find_home(os.environ)
file = home.profiles / "main.yaml"
old, new = json.load(sys.stdin)

def write_and_die(moment):
    seen = 0
    def trace(frame, event, argument):
        nonlocal seen
        ours = ("setup/write.py", "/paths.py", "profile/edit.py", "pathlib.py")
        if not frame.f_code.co_filename.endswith(ours):
            return None
        seen += event == "line"
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    try:
        if old is None:
            write.write(home, file, new.encode(), {})
        else:
            models = {"glm": "zai/glm-5.3", "opus": "anthropic/claude-opus-5-5"}
            write.extend(home, write.own_profile(home, {}), models, {})
    except BaseException:
        os._exit(1)
    os._exit(0)

found = []
while not found or found[-1][0] == signal.SIGKILL:
    for there in (file, home.default_profile):
        there.unlink(missing_ok=True)
    if old is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(old)
    step = int(os.environ["STEP"])
    child = os.fork() or write_and_die(1 + step * len(found))
    status = os.waitpid(child, 0)[1]
    both = (file, home.default_profile)
    texts = [there.read_text() if there.exists() else None for there in both]
    found.append((status, *texts))
print(json.dumps(found))
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("old", "step"),
    [(None, 1), ("models: {a: zai/x} # mine\n", 7)],
    ids=["the first profile", "what is added"],
)
def test_killed_at_any_moment_the_old_file_or_the_new_one_is_there(
    old: str | None, step: int, user: User
) -> None:
    """Killed before each line of what writes (before each seventh, where a profile is read again
    too), until one run comes through: never a part of a profile, never one model of two, and no
    default that is not there.
    """
    new = "models: {a: zai/x, glm: zai/glm-5.3, opus: anthropic/claude-opus-5-5} # mine\n"
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=user.unmeasured | {"STEP": str(step * size(1, 5))},
        cwd=CHECKOUT,
        input=json.dumps([old, new]),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) > size(30, 6)
    assert {status for status, _, _ in found[:-1]} == {signal.SIGKILL}
    assert {text for _, text, _ in found} == {old, new}
    assert {(text == new, default) for _, text, default in found if default} == {(True, "main\n")}
    assert found[-1] == [0, new, "main\n"]
