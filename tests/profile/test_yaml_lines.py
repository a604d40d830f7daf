"""Reading YAML: every value knows its line, and nothing that YAML can hide gets through."""

from __future__ import annotations

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


def test_every_duplicate_key_is_found_in_one_reading() -> None:
    """Problems are collected, not raised one by one."""
    doc = read_document("a: {x: 1, x: 2}\nb: {y: 1, y: 2}\n1: z\n")
    assert doc.problems == [
        Problem(1, "duplicate key a.x"),
        Problem(2, "duplicate key b.y"),
        Problem(3, "1 is not text; put it in quotes"),
    ]


def test_a_path_is_written_as_people_do_and_on_one_line() -> None:
    """Names with dots, positions in brackets, and what would break a line in quotes."""
    assert dotted(("models", "glm-4.5", "keys", 1)) == "models.glm-4.5.keys[1]"
    assert dotted(("models", "a\nb\x1b[31m")) == "models.'a\\nb\\x1b[31m'"
    assert dotted(("", "")) == "''.''"
    assert dotted(()) == ""
