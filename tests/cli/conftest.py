"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import InsideUser, inside_user


@pytest.fixture
def user(tmp_path: Path) -> Iterator[InsideUser]:
    """A user of this test's own, whose commands run inside this process."""
    yield from inside_user(tmp_path)
