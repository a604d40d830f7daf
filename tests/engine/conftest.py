"""What the tests of the engine share: a gateway, and the gate in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is asked for on the internet

from tests.engine.gate import Gate, in_this_process
from tests.gateways import PROFILE
from tests.ledgers import House, open_house


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway that each file brings to its profile; a test leaves it healthy."""
    yield from open_house(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def shared(stage: House, request: pytest.FixtureRequest) -> House:
    """The same, with the PROFILE and the KEYS of the test's file, else with those of the lab."""
    own = request.module
    return stage.bring(getattr(own, "PROFILE", PROFILE), getattr(own, "KEYS", None))


@pytest.fixture
def lab(shared: House) -> House:
    """The same with every upstream well and not asked yet."""
    shared.reset()
    return shared


@pytest.fixture
def house(shared: House) -> House:
    """The same, for a test that reads the ledger."""
    shared.heal()
    return shared


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The gate without LiteLLM behind it, in this process."""
    with in_this_process(tmp_path_factory.mktemp("gate")) as made:
        yield made
