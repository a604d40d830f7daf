"""One gateway for the live checks of a worker; each file brings it to a profile of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import KEYS, Mission, lasting_mission

FAKE_KEY = "fake-key-of-the-provider"


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """The mission, whose gateway the first `up` starts."""
    for mission in lasting_mission(tmp_path_factory.mktemp("asked")):
        mission.user.keys = {**KEYS, "FAKE_KEY": FAKE_KEY}
        yield mission


@pytest.fixture(scope="module")
def running(asked: Mission) -> Mission:
    """The same with its own profile, which runs."""
    for upstream in asked.upstreams:
        upstream.clear()
    asked.write()
    done = asked.user.run("up", timeout=200)
    assert done.returncode == 0, done.stderr
    return asked
