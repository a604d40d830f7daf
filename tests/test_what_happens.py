"""Every line of the manual's table of faults is held by a test, which is named here."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import CHECKOUT
from tests.manual import page

HELD = {
    "a key is not set": "gateway/test_trouble::test_missing_key_leaves_the_model_out",
    "the profile has mistakes, or is deleted": (
        "gateway/test_break_files::test_a_file_that_is_lost_while_it_runs"
    ),
    "the port is taken": "gateway/test_trouble::test_busy_port",
    "you edit the profile and run `up`": "gateway/test_reload::test_no_request_is_lost",
    "the new configuration does not start": (
        "gateway/test_reload::test_configuration_that_does_not_start"
    ),
    "LiteLLM's process is killed": "gateway/test_reload::test_killed_worker",
    "it is killed three times within 30 seconds, with no reload between": (
        "gateway/test_crash_loop::test_a_crash_loop_stops_the_gateway"
    ),
    "the process that holds the port is killed": (
        "gateway/test_break_machine::test_a_master_that_is_killed"
    ),
    "the gateway hangs (is stopped)": "gateway/test_break_machine::test_a_gateway_that_hangs",
    "the machine sleeps": "gateway/test_break_machine::test_a_machine_that_sleeps",
    "it runs out of file descriptors": "gateway/test_break_machine::test_no_descriptors_left",
    "the clock jumps by a day": "gateway/test_break_machine::test_a_clock_that_jumps",
    "an upstream fails before its first byte": "engine/test_faults::test_one_key_of_two",
    "an upstream breaks off a stream": (
        "engine/test_provider_errors::test_a_stream_that_is_cut_says_so"
    ),
    "an upstream answers with a web page, nothing, or a status that HTTP does not have": (
        "engine/test_provider_errors::test_no_answer_is_a_502_or_a_504"
    ),
    "an upstream's answer is longer than 64 MB": (
        "engine/test_fault_upstreams::test_what_comes_of_it"
    ),
    "a budget is spent": (
        "engine/test_budgets::test_the_first_request_over_a_budget_is_refused_until_its_period_ends"
    ),
    "the ledger cannot be written (full disk, damaged file)": (
        "gateway/test_break_machine::test_a_full_disk"
    ),
    "the disk is full": "gateway/test_break_machine::test_a_full_disk",
    "its state file is deleted": ("gateway/test_trouble::test_state_files_that_cannot_be_believed"),
    "its folder `workers/` is deleted": (
        "gateway/test_break_files::test_a_file_that_is_lost_while_it_runs"
    ),
    "`keys.json` is damaged": "gateway/test_break_files::test_a_file_that_is_lost_while_it_runs",
    "the ledger's file is deleted": (
        "gateway/test_break_files::test_a_file_that_is_lost_while_it_runs"
    ),
    "you ask for a name that is not in the profile": (
        "engine/test_gate_bodies::test_a_model_is_a_name_of_the_profile_and_nothing_else"
    ),
    "the last session ends": "gateway/test_on_demand::test_it_goes_after_the_last_session",
    "the wrapper is killed": "gateway/test_on_demand::test_it_goes_after_the_last_session",
    "you run `claude-multi` while the gateway is stopping": (
        "gateway/test_on_demand::test_a_session_in_the_moment_of_going"
    ),
    "`claude-multi` finds no gateway": (
        "gateway/test_on_demand::test_the_next_start_is_not_waited_for"
    ),
    "a gateway that was not waited for does not start": (
        "gateway/test_on_demand::test_the_next_start_is_not_waited_for"
    ),
    "Ctrl-C during `up`": "gateway/test_trouble::test_interrupted",
    "two `up` at once": "gateway/test_trouble::test_two_at_once",
}


def table() -> list[list[str]]:
    """The cells of each fault."""
    lines = page("explanation/what-happens-when.md").splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_every_fault_of_the_manual_has_its_test() -> None:
    """And four cells, none of them empty."""
    assert [row[0] for row in table()] == list(HELD)
    assert [row for row in table() if len(row) != 4 or not all(row)] == []


@pytest.mark.parametrize("name", sorted(set(HELD.values())))
def test_the_test_is_there(name: str) -> None:
    """By that name, in that file."""
    file, _, function = name.partition("::")
    tree = ast.parse((CHECKOUT / "tests" / f"{file}.py").read_bytes())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
