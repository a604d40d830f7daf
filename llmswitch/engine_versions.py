"""Which versions of LiteLLM are supported, and which must never run: the one place that
pyproject.toml, the doctor, `make engine` and the manual agree with.
"""

from __future__ import annotations

from typing import NamedTuple


class Tested(NamedTuple):
    """A range of LiteLLM: from `oldest`, below `below`; the lock has `newest`, and `make engine`
    tests both ends. `canary` is newer, is tried too, and is not supported.
    """

    oldest: str
    newest: str
    below: str
    canary: str


TESTED = Tested(oldest="1.108.0", newest="1.108.7", below="1.109", canary="1.110.2")
# Releases on PyPI that stole credentials; it has taken them down.
MALICIOUS = ("1.82.7", "1.82.8", "1.107.0")
SAFE_FROM = "1.84.0"  # what is older has known vulnerabilities
REQUIREMENT = ",".join(
    [f"litellm[proxy]>={TESTED.oldest}", *(f"!={one}" for one in MALICIOUS), f"<{TESTED.below}"]
)


def numbers(release: str) -> tuple[int, ...]:
    """A version's numbers, to compare: `1.108.7` is (1, 108, 7)."""
    return tuple(int(part) for part in release.split(".")[:3] if part.isdecimal())


def is_supported(release: str) -> bool:
    """Whether a version is in the range."""
    return numbers(TESTED.oldest) <= numbers(release) < numbers(TESTED.below)
