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
from llmswitch.paths import find_home

home = find_home(os.environ)
file = home.profiles / "main.yaml"
new, step = json.load(sys.stdin)

def write_and_die(moment):
    seen = 0
    def trace(frame, event, argument):
        nonlocal seen
        if not frame.f_code.co_filename.endswith(("setup/write.py", "/paths.py", "pathlib.py")):
            return None
        seen += event == "line"
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write.write(home, file, new.encode(), {})
    os._exit(0)

found = []
while not found or found[-1][0] == signal.SIGKILL:
    for there in (file, home.default_profile):
        there.unlink(missing_ok=True)
    child = os.fork() or write_and_die(1 + step * len(found))
    status = os.waitpid(child, 0)[1]
    both = (file, home.default_profile)
    found.append((status, *(there.read_text() if there.exists() else None for there in both)))
print(json.dumps(found))
"""


@pytest.mark.soak
def test_killed_at_any_moment_there_is_no_profile_or_all_of_it(user: User) -> None:
    """Killed before each line of what writes, until one run comes through: never a part of a
    profile, and no default that is not there. (What is added: tests/profile/test_edit.py.)
    """
    new = "models: {a: zai/x, glm: zai/glm-5.3} # mine\n"
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=user.unmeasured,
        cwd=CHECKOUT,
        input=json.dumps([new, size(1, 5)]),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) > size(30, 6)
    assert {status for status, _, _ in found[:-1]} == {signal.SIGKILL}
    assert {text for _, text, _ in found} == {None, new}
    assert {(text, default) for _, text, default in found if default} == {(new, "main\n")}
    assert found[-1] == [0, new, "main\n"]
