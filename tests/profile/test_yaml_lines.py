"""Reading YAML: every value knows its line, and nothing that YAML can hide gets through."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmswitch.profile.yaml_lines import Problem, dotted, read_document


def test_every_path_knows_the_line_where_it_is_written() -> None:
    """A key, a nested key and an item of a list each have their own line."""
    doc = read_document("a: 1\nb:\n  c:\n    - x\n    - y\n  d: {e: 2}\n")
    assert doc.problems == []
    assert doc.data == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2}}}
    paths = [("a",), ("b",), ("b", "c"), ("b", "c", 0), ("b", "c", 1), ("b", "d", "e")]
    assert [doc.line_of(path) for path in paths] == [1, 2, 3, 4, 5, 6]


def test_a_path_that_is_not_written_has_the_line_of_what_should_hold_it() -> None:
    """What is missing is complained about where it would have to stand; at worst on line 1."""
    doc = read_document("a: 1\nb:\n  c: 2\n")
    assert doc.line_of(("b", "missing", "deeper")) == 2
    assert doc.line_of(("nowhere",)) == 1


def test_plain_values_become_what_yaml_says() -> None:
    """Numbers, yes and no, nothing and text, in the forms of YAML 1.1."""
    doc = read_document("[1, 1.5, 1_000, 0x10, 010, yes, off, ~, null, 1e3, 08, 'true', a b]")
    assert doc.problems == []
    assert doc.data == [1, 1.5, 1000, 16, 8, True, False, None, None, "1e3", "08", "true", "a b"]


def test_a_date_stays_text() -> None:
    """`2026-01-31` is a name or a version here, also where no such day exists."""
    doc = read_document("2026-01-31: 2026-13-45\nb: 2026-01-31T10:00:00Z\nc: !!timestamp x\n")
    assert doc.problems == []
    assert doc.data == {"2026-01-31": "2026-13-45", "b": "2026-01-31T10:00:00Z", "c": "x"}


@pytest.mark.parametrize("wrap", ["{}", "\ufeff{}"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_line_ends_do_not_matter(wrap: str, end: str) -> None:
    """Files of Windows and of old Macs have the same values on the same lines."""
    doc = read_document(wrap.format("a: 1\nb:\n  c: x\n").replace("\n", end))
    assert (doc.data, doc.problems, doc.line_of(("b", "c"))) == ({"a": 1, "b": {"c": "x"}}, [], 3)


TRAPS = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "a stands here twice"),
    "a key twice, once in quotes": ("m:\n  a: 1\n  'a': 2\n", 3, "m.a stands here twice"),
    "a merge twice": (
        "a: &x {p: 1}\nb: &y {q: 1}\nc:\n  <<: *x\n  <<: *y\n",
        5,
        "c.<< stands here twice",
    ),
    "a number as a key": ("m:\n  4.7: x\n", 2, "m.4.7 is not text; put it in quotes"),
    "yes as a key": ("m: {yes: x}\n", 1, "m.yes is not text; put it in quotes"),
    "nothing as a key": ("m:\n  ~: x\n", 2, "m.~ is not text; put it in quotes"),
    "bytes as a key": ("!!binary aGk=: x\n", 1, "aGk= is not text; put it in quotes"),
    "a wrong bool as a key": ("{!!bool x: 1}\n", 1, "x is not text; put it in quotes"),
    "a number of 5000 digits": (
        f"a: 1\nn: {'9' * 5000}\n",
        2,
        "n cannot be read as int; put it in quotes if it is text",
    ),
    "a number of 5000 hex digits": (
        f"n: 0x{'f' * 5000}\n",
        1,
        "n cannot be read as int; put it in quotes if it is text",
    ),
    "no digits": ("n: 0x_\n", 1, "n cannot be read as int; put it in quotes if it is text"),
    "an empty int": ("n: !!int ''\n", 1, "n cannot be read as int; put it in quotes if it is text"),
    "not a number": ("n: .nan\n", 1, "n cannot be read as float; put it in quotes if it is text"),
    "infinity": ("n: -.inf\n", 1, "n cannot be read as float; put it in quotes if it is text"),
    "a wrong bool": (
        "n: [!!bool x]\n",
        1,
        "n[0] cannot be read as bool; put it in quotes if it is text",
    ),
    "the = of YAML 1.1": ("n: =\n", 1, "n cannot be read as value; put it in quotes if it is text"),
    "a file that is no value": (
        "!foo\n",
        1,
        "the file cannot be read as !foo; put it in quotes if it is text",
    ),
    "bytes": (
        "n: !!binary aGk=\n",
        1,
        "n cannot be read as binary; put it in quotes if it is text",
    ),
    "a set": ("n: !!set {a, b}\n", 1, "n cannot be read as set; put it in quotes if it is text"),
    "an unknown tag": (
        "n: !foo [x]\n",
        1,
        "n cannot be read as !foo; put it in quotes if it is text",
    ),
    "a mapping that says it is text": (
        "n: !!str {a: b}\n",
        1,
        "n cannot be read as str; put it in quotes if it is text",
    ),
    "a list that says it is a number": (
        "n: !!int [1]\n",
        1,
        "n cannot be read as int; put it in quotes if it is text",
    ),
    "a tab for an indent": ("a:\n\tb: 1\n", 2, "is not YAML: a tab stands where only spaces may"),
    "a list as a key": (
        "a: 1\n? [x]\n: y\n",
        2,
        "is not YAML: a list or a mapping stands where a name belongs",
    ),
    "two documents": (
        "a: 1\n---\na: 2\n",
        2,
        "is not YAML: expected a single document in the stream, but found another document",
    ),
    "an open quote": (
        "a: 'x\nb: 1\n",
        3,
        "is not YAML: while scanning a quoted scalar, found unexpected end of stream",
    ),
    "a wrong indent": (
        "a:\n  b: 1\n c: 2\n",
        3,
        "is not YAML: while parsing a block mapping, did not find expected key",
    ),
    "an unknown alias": ("a: *x\n", 1, "is not YAML: found undefined alias"),
    "a control character": (
        "a: \x01\n",
        1,
        "is not YAML: unacceptable character #x0001: control characters are not allowed",
    ),
    "a merge of a number": (
        "a:\n  <<: 3\n",
        2,
        (
            "is not YAML: while constructing a mapping, "
            "expected a mapping or list of mappings for merging, but found scalar"
        ),
    ),
    "an alias of itself": ("a: &a [*a]\n", 1, "is not YAML that can be read: nested too deeply"),
    "a deep nest": ("[" * 101 + "]" * 101, 1, "is not YAML that can be read: nested too deeply"),
}


@pytest.mark.parametrize(("text", "line", "message"), TRAPS.values(), ids=TRAPS)
def test_a_trap_of_yaml_is_one_problem_on_its_line(text: str, line: int, message: str) -> None:
    """What YAML lets pass, turns into something else, or cannot read is named with its line."""
    assert read_document(text).problems == [Problem(line, message)]


def test_a_hundred_levels_are_still_read() -> None:
    """The limit on nesting is far beyond any profile."""
    doc = read_document("[" * 100 + "]" * 100)
    assert doc.problems == []


def test_a_nest_that_would_crash_the_parser_is_refused() -> None:
    """Eighty kilobytes of brackets overflow libyaml's stack: the process would die of a signal."""
    program = (
        "from llmswitch.profile.yaml_lines import read_document\n"
        "for text in ('[' * 60000, '{a: ' * 60000 + '}' * 60000, '- ' * 60000):\n"
        "    print(read_document(text).problems[0].text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "is not YAML that can be read: nested too deeply\n" * 3


@pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merges"])
def test_an_alias_bomb_is_refused_at_once(form: str) -> None:
    """Ten lines that stand for ten billion values are not unfolded."""
    lines = ["a: &a {p: 1, q: 1, r: 1, s: 1, t: 1, u: 1, v: 1, w: 1, x: 1, y: 1}"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} " + form.format(", ".join([f"*{before}"] * 10)))
    doc = read_document("\n".join(lines))
    assert doc.problems == [
        Problem(1, "is not YAML that can be read: more than 20000 values"),
    ]


def test_anchors_and_merge_keys_work_and_what_is_written_wins() -> None:
    """`<<: *base` fills in what a mapping does not say itself; no false complaint of doubles."""
    doc = read_document(
        "a: &base {x: 1, y: 1}\nb: &more\n  <<: *base\n  y: 2\nc: *more\nd:\n  <<: *more\n  x: 3\n"
    )
    assert doc.problems == []
    assert doc.data == {
        "a": {"x": 1, "y": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 2},
        "d": {"x": 3, "y": 2},
    }


def test_a_tag_runs_nothing(tmp_path: object) -> None:
    """YAML's tags for Python objects are data that cannot be read, never a call."""
    doc = read_document(f"a: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    assert doc.data == {"a": None}
    assert doc.problems == [
        Problem(
            1, "a cannot be read as python/object/apply:os.mkdir; put it in quotes if it is text"
        )
    ]


def test_every_doubled_key_is_found_in_one_reading() -> None:
    """Problems are collected, not raised one by one."""
    doc = read_document("a: {x: 1, x: 2}\nb: {y: 1, y: 2}\n1: z\n")
    assert doc.problems == [
        Problem(1, "a.x stands here twice"),
        Problem(2, "b.y stands here twice"),
        Problem(3, "1 is not text; put it in quotes"),
    ]


def test_a_path_is_written_as_people_do_and_on_one_line() -> None:
    """Names with dots, positions in brackets, and what would break a line in quotes."""
    assert dotted(("models", "glm-4.5", "keys", 1)) == "models.glm-4.5.keys[1]"
    assert dotted(("models", "a\nb\x1b[31m")) == "models.'a\\nb\\x1b[31m'"
    assert dotted(("", "")) == "''.''"
    assert dotted(()) == ""
