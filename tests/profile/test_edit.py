"""Edits of a profile: one model more or less, and every other byte as it was."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, ProfileRef, find_home, find_profile, stamp
from llmswitch.profile import edit
from llmswitch.profile.edit import with_model, without_model
from llmswitch.profile.yaml_lines import read_document
from tests.command import run_here
from tests.conftest import CHECKOUT, User

NEW = "zai/glm-5.3"
# The text before and after `glm: zai/glm-5.3` is added.
ADDED = {
    "an empty file": ("", "models:\n  glm: zai/glm-5.3\n"),
    "comments alone, no newline": ("# mine", "# mine\nmodels:\n  glm: zai/glm-5.3"),
    "only a document's start": ("---\n", "---\nmodels:\n  glm: zai/glm-5.3\n"),
    "no models yet": (
        "gateway:\n  port: 1 # mine\n\n# end\n",
        "gateway:\n  port: 1 # mine\nmodels:\n  glm: zai/glm-5.3\n\n# end\n",
    ),
    "an empty `models:`": (
        "models: # none\ngateway: {port: 1}\n",
        "models: # none\n  glm: zai/glm-5.3\ngateway: {port: 1}\n",
    ),
    "short forms": (
        "models:\n    a:   zai/x\t# a\ttab\n\n    # b: zai/y\nroles: {}\n",
        "models:\n    a:   zai/x\t# a\ttab\n    glm: zai/glm-5.3\n\n    # b: zai/y\nroles: {}\n",
    ),
    "a long form at the end, no newline": (
        "models:\n  a:\n    model: zai/x\n    keys: [A,\n      B]",
        "models:\n  a:\n    model: zai/x\n    keys: [A,\n      B]\n  glm: zai/glm-5.3",
    ),
    "Windows' line ends": (
        "models:\r\n  a: zai/x\r\ngateway: {port: 1}\r\n",
        "models:\r\n  a: zai/x\r\n  glm: zai/glm-5.3\r\ngateway: {port: 1}\r\n",
    ),
    "flow style": ("models: {a: zai/x}\n", "models: {a: zai/x, glm: zai/glm-5.3}\n"),
    "flow style without any": ("models: {}\n", "models: {glm: zai/glm-5.3}\n"),
    "flow style over lines": (
        "models: {\n  a: zai/x, # one\n  b: zai/y, # two\n}\n",
        "models: {\n  a: zai/x, # one\n  b: zai/y, # two\n  glm: zai/glm-5.3\n}\n",
    ),
    "a flow of everything": (
        "{gateway: {port: 1}} # all",
        "{gateway: {port: 1}, models: {glm: zai/glm-5.3}} # all",
    ),
    "a block scalar at the end": (
        "models:\n  a:\n    label: |-\n      two\n      lines\n\nroles: {}\n",
        "models:\n  a:\n    label: |-\n      two\n      lines\n  glm: zai/glm-5.3\n\nroles: {}\n",
    ),
    "anchors, aliases, a merge, unicode": (
        "x: &x {model: zai/x}\nmodels:\n  <<: {m: zai/m}\n  é: *x\nroles: {}\n",
        "x: &x {model: zai/x}\nmodels:\n  <<: {m: zai/m}\n  é: *x\n  glm: zai/glm-5.3\nroles: {}\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), ADDED.values(), ids=ADDED)
def test_a_model_is_added_as_the_last(before: str, after: str) -> None:
    """In the user's own style, and nothing else is touched."""
    assert with_model(before, "glm", NEW) == after


# The text before and after `b` is removed.
REMOVED = {
    "short form": (
        "models:\n  a: zai/x\n  # of b\n  b: zai/y # gone\n\n  c: zai/z\n",
        "models:\n  a: zai/x\n  # of b\n\n  c: zai/z\n",
    ),
    "long form": (
        "models:\n  b:\n    model: zai/y\n    keys:\n      - A\n      - B\n  c: zai/z\n",
        "models:\n  c: zai/z\n",
    ),
    "the last, no newline": ("models:\n  a: zai/x\n  b: zai/y", "models:\n  a: zai/x\n"),
    "Windows' line ends": (
        "models:\r\n  a: zai/x\r\n  b: zai/y\r\n# end\r\n",
        "models:\r\n  a: zai/x\r\n# end\r\n",
    ),
    "flow, first": ("models: {b: zai/y, a: zai/x}\n", "models: {a: zai/x}\n"),
    "flow, last": ("models: {a: zai/x, b: zai/y}\n", "models: {a: zai/x}\n"),
    "flow, over lines": (
        "models: {\n  a: zai/x,\n  b: zai/y,\n  c: zai/z } # end\n",
        "models: {\n  a: zai/x,\n  c: zai/z } # end\n",
    ),
    "a block scalar": (
        "models:\n  a: zai/x\n  b:\n    label: |\n      two\n      lines\n  c: zai/z\n",
        "models:\n  a: zai/x\n  c: zai/z\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), REMOVED.values(), ids=REMOVED)
def test_a_model_is_cut_out(before: str, after: str) -> None:
    """With its own lines and what stands on them, and nothing else."""
    assert without_model(before, "b") == after


REFUSED: dict[str, tuple[str, str]] = {
    "an alias of models": (
        "x: &x {b: zai/y}\nmodels: *x\n",
        "the profile is written in a way that is not safe to edit",
    ),
    "models used elsewhere": (
        "models: &m\n  b: zai/y\nlitellm: {x: {<<: *m}}\n",
        "the profile is written in a way that is not safe to edit",
    ),
    "no mapping": ("- b\n", "the profile is not a mapping"),
    "twice": (
        "models:\n  b: zai/x\n  b: zai/y\n",
        "the profile has an error on line 3: duplicate key models.b",
    ),
    "the end of a document": (
        "models: {b: zai/y}\n...\n# more\nx: 1\n",
        "the profile has an error on line 4: invalid YAML: ",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_edited_safely_is_refused(text: str, message: str) -> None:
    """With a sentence, and the line to write by hand."""
    with pytest.raises(LlmswitchError) as caught:
        with_model(text, "glm", NEW)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == "add it yourself, below `models:`:  glm: zai/glm-5.3"


def test_a_model_whose_anchor_is_used_cannot_be_cut_out() -> None:
    """Nor one that comes by a merge, nor one in flow style with a comment beside it; the hint names
    its line where it has one.
    """
    for text, message, hint in (
        (
            "models: {\n  a: zai/x, b: zai/y # two\n  , c: zai/z }\n",
            "the profile is written in a way that is not safe to edit",
            "remove it yourself, on line 2",
        ),
        (
            "models:\n  a: zai/x\n  b: &b {model: zai/y}\n  c: *b\n",
            "the profile is written in a way that is not safe to edit",
            "remove it yourself, on line 3",
        ),
        (
            "x: &x {b: zai/y}\nmodels:\n  <<: *x\n  a: zai/x\n",
            "the profile is written in a way that is not safe to edit",
            "remove it yourself, on line 1",
        ),
    ):
        with pytest.raises(LlmswitchError) as caught:
            without_model(text, "b")
        assert (caught.value.message, caught.value.hint) == (message, hint)


# ------------------------------------------------------------------ whatever a user writes

COMMENTS = ("", "", " # why", "\t# a\ttab", " # naïve ☃ {,}: &x", "   ")
VALUES = (
    "zai/x",
    '"zai/ü"',
    "'zai/it''s'",
    "{model: zai/x, keys: [A, B]}",
    "{model: zai/x,{c}\n{i}  label: L}",
    "\n{i}  model: zai/x{c}\n{i}  fallbacks:\n{i}  - o{c}\n",
    "&an\n{i}  model: zai/x\n{i}  drop: [x]",
    "*base",
    "{<<: *base, context: 5}",
    "\n{i}  label: >+\n{i}    long\n\n{i}    text\n\n",
    "\n{i}  label: |{c}\n{i}    # no comment\n{i}   \n",
    "zai/\n{i}  folded",
    "",
)
NAMES = st.lists(
    st.sampled_from(["a", "glm-4.7", '"q: z"', "'é'", "'1'", '"yes"', "x/y", "b b"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def profiles(draw: st.DrawFn) -> str:
    """Texts of profiles as people write them, orderly or not."""
    comment = st.sampled_from(COMMENTS)
    indent = draw(st.sampled_from(["  ", " ", "    "]))
    flow = draw(st.booleans())
    parts = []
    for name in draw(NAMES):
        value = draw(st.sampled_from([v for v in VALUES if "\n" not in v] if flow else VALUES))
        value = value.replace("{c}", draw(comment)).replace("{i}", indent)
        parts.append(f"{name}: {value}")
    if flow:
        joint = st.sampled_from([", ", ",", f",{draw(comment)}\n   ", "\n  , "])
        joints = [draw(joint) for _ in parts]
        inside = "".join(f"{part}{joint}" for part, joint in zip(parts, joints, strict=True))
        end = draw(st.sampled_from(["}", f"{draw(comment)}\n  }}"]))
        models = f"models: {{{draw(st.sampled_from(['', ' ', chr(10) + '   ']))}{inside}{end}"
    else:
        lines = []
        for part in parts:
            lines.append(draw(st.sampled_from(["", "", f"{indent}# mine{draw(comment)}\n", "\n"])))
            lines.append(f"{indent}{part}{draw(comment)}\n")
        models = f"models:{draw(comment)}\n" + "".join(lines).removesuffix("\n")
    before = draw(st.sampled_from(["", "# top\n\n", "---\n", "%YAML 1.1\n---\n"]))
    base = "litellm: {base: &base {model: zai/b}}\n"
    after = draw(st.sampled_from(["", "\n", "\n\n# end", "\nroles: {default: a} # r\n", "\n...\n"]))
    eol = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return (before + base + models + after).replace("\n", eol)


def data_of(text: str) -> Any:
    """What a text says; None where it says nothing that can be read."""
    doc = read_document(text)
    return None if doc.problems else doc.data


def check_hint(error: LlmswitchError, begins: str) -> None:
    """A refusal tells what to write."""
    assert error.hint.startswith(begins)


@given(profiles(), st.sampled_from(["new", "glm-5.3", "1.5", "a:b", "yes"]))
def test_adding_puts_in_one_piece_and_nothing_else(text: str, name: str) -> None:
    """The old text is the new one without one piece; it says the same and the model; or the edit is
    refused.
    """
    value: Any = {"model": "zai/a, {b}", "context": 5} if len(name) == 3 else NEW
    try:
        new = with_model(text, name, value)
    except LlmswitchError as error:
        check_hint(error, "add it yourself, below `models:`:  ")
        return
    more = len(new) - len(text)
    cuts = (new[:at] + new[at + more :] for at in range(len(text) + 1))
    assert text in cuts
    old = data_of(text)
    assert data_of(new) == old | {"models": {**old["models"], name: value}}
    if "\r\n" not in text and not text.endswith("\n...\n"):
        assert re.sub("[, \n]", "", without_model(new, name)) == re.sub("[, \n]", "", text)


@given(profiles(), st.data())
def test_removing_cuts_out_the_model_and_nothing_else(text: str, data: st.DataObject) -> None:
    """Every character that goes belongs to the model; the others stay, in their order."""
    old = data_of(text)
    if old is None:
        return
    name = data.draw(st.sampled_from(list(old["models"])))
    try:
        new = without_model(text, name)
    except LlmswitchError as error:
        check_hint(error, "remove it yourself")
        return
    assert data_of(new)["models"] == {k: v for k, v in old["models"].items() if k != name}
    assert data_of(new) | {"models": 0} == old | {"models": 0}
    assert text.count("# mine") == new.count("# mine")
    kept = iter(text)
    assert all(character in kept for character in new)


# ------------------------------------------------------------------ the file


def home_of(user: User) -> tuple[Home, ProfileRef]:
    """Where the user's files are, and the default profile."""
    home = find_home(user.env)
    return home, find_profile(home, None, user.env)


def test_the_file_keeps_its_mode_its_mark_and_its_link(user: User) -> None:
    """A profile that is a link to a file with a byte order mark stays one."""
    link = user.write_profile("")
    real = user.home / "dotfiles.yaml"
    real.write_bytes(b"\xef\xbb\xbfmodels: {a: zai/x}\r\n")
    real.chmod(0o640)
    link.unlink()
    link.symlink_to(real)
    home, ref = home_of(user)
    edit.add(home, ref, "work.yaml", "glm", NEW)
    assert real.read_bytes() == b"\xef\xbb\xbfmodels: {a: zai/x, glm: zai/glm-5.3}\r\n"
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_read_only_profile_is_left_as_it_is(user: User) -> None:
    """Whoever took the right to write away meant it; what is there already needs none."""
    file = user.write_profile("models: {a: zai/x, b: zai/y}\n")
    file.chmod(0o444)
    before = stamp(file)
    for command in (("add", "zai/glm-5.3"), ("remove", "b")):
        done = run_here(user, "models", *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (f"{file} is read-only and was not changed\n-> chmod u+w {file}\n")
        assert stamp(file) == before
    done = run_here(user, "init", "--yes", "--no-start", env={"DEEPSEEK_API_KEY": "k"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"{file} is read-only and was not changed\n")
    assert stamp(file) == before
    assert run_here(user, "models", "add", "zai/x", "--name", "a").returncode == 0
    file.chmod(0o644)
    assert run_here(user, "models", "add", "zai/glm-5.3").returncode == 0
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_would_be_no_valid_profile_is_not_written(user: User) -> None:
    """The file stays as it was, and every mistake that it would have is told."""
    file = user.write_profile("models: {a: zai/x}\n")
    home, ref = home_of(user)
    with pytest.raises(LlmswitchError) as caught:
        edit.add(home, ref, "work.yaml", "default", NEW)
    assert caught.value.message == (
        "work.yaml was not changed, because it would not be valid:\n"
        "work.yaml:1: models.default is reserved by Claude Code; choose another name"
    )
    assert file.read_text() == "models: {a: zai/x}\n"


NAMED = """\
models:
  a: {model: zai/x, fallbacks: [b], context_fallbacks: [b]}
  b: {model: zai/y, budget: {usd: 1, per: day}}
roles: {haiku: b}
budgets: [{usd: 5, per: month}, {usd: 1, per: month, model: b}]
cache: {type: local, models: [b]}
"""


def test_a_model_that_the_profile_names_is_not_removed(user: User) -> None:
    """Every place that names it is told; its own budget goes with it."""
    file = user.write_profile(NAMED)
    home, ref = home_of(user)
    with pytest.raises(LlmswitchError) as caught:
        edit.remove(home, ref, "work.yaml", "b")
    assert caught.value.message == (
        "b is used by roles.haiku, models.a.fallbacks, models.a.context_fallbacks, budgets[1], "
        "cache.models"
    )
    assert caught.value.hint == "edit work.yaml there first, then remove it"
    file.write_text("models:\n  a: zai/x\n  b: {model: zai/y, budget: {usd: 1, per: day}}\n")
    edit.remove(home, ref, "work.yaml", "b")
    assert file.read_text() == "models:\n  a: zai/x\n"
    with pytest.raises(LlmswitchError, match=r"^a is the only model of work\.yaml$"):
        edit.remove(home, ref, "work.yaml", "a")
    with pytest.raises(LlmswitchError, match=r"^work\.yaml has no model 'c'; it has: a$"):
        edit.remove(home, ref, "work.yaml", "c")


def test_a_ready_made_profile_is_not_edited(user: User) -> None:
    """`init` makes one of the user's own."""
    home = find_home(user.env)
    file = CHECKOUT / "profiles" / "demo.yaml"
    before = file.read_bytes()
    with pytest.raises(LlmswitchError) as caught:
        edit.add(home, find_profile(home, "demo", user.env), "demo.yaml", "glm", NEW)
    assert caught.value.message == "demo is a ready-made profile and cannot be edited"
    assert caught.value.hint == "llmswitch init --from demo    (makes a copy of your own)"
    assert file.read_bytes() == before


KILLED = """
import json, os, signal, sys
from llmswitch.profile import edit
from llmswitch.paths import find_home, find_profile, write_private

home = find_home(os.environ)
ref = find_profile(home, None, os.environ)
old = ref.file.read_text()

def add_and_die(moment):
    seen = 0
    def trace(frame, event, argument):
        nonlocal seen
        if "path" not in frame.f_code.co_filename:  # ours and the library's own
            return None
        seen += event == "line"
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    def traced(*arguments):
        sys.settrace(trace)
        write_private(*arguments)
    edit.write_private = traced
    try:
        edit.add(home, ref, "work.yaml", "glm", "zai/glm-5.3")
    except BaseException:
        os._exit(1)  # or it would go on as its parent does
    os._exit(0)

found = []
while not found or found[-1][0] == signal.SIGKILL:
    ref.file.write_text(old)
    child = os.fork() or add_and_die(len(found) + 1)
    found.append((os.waitpid(child, 0)[1], ref.file.read_text()))
print(json.dumps(found))
"""


@pytest.mark.soak
@pytest.mark.timeout(400)  # a process for each line
def test_killed_at_any_moment_the_old_file_or_the_new_one_is_there(user: User) -> None:
    """Killed before each line of what writes the file, until one run comes through."""
    old, new = "models: {a: zai/x}\n", "models: {a: zai/x, glm: zai/glm-5.3}\n"
    file = user.write_profile(old)
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=user.unmeasured,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) > 15
    assert {status for status, _ in found[:-1]} == {signal.SIGKILL}
    assert {text for _, text in found} == {old, new}
    assert found[-1] == [0, new]
    assert file.stat().st_mode & 0o777 == 0o644
