"""One mission for all tests of a worker: its gateway is started once, and `up` brings it to another
profile in half a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Mission, lasting_mission
from tests.seat import Seat, bring, take_seat


@pytest.fixture(scope="session")
def one_mission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """The mission; whoever uses it says what its profile is."""
    yield from lasting_mission(tmp_path_factory.mktemp("mission"))


@pytest.fixture
def running_mission(one_mission: Mission) -> Mission:
    """The mission with its own profile and keys; its upstreams are well."""
    return bring(one_mission)


@pytest.fixture
def seat(client: Callable[[], Path], running_mission: Mission, tmp_path: Path) -> Seat:
    """A seat with the client of the test."""
    return take_seat(running_mission, client(), tmp_path)
