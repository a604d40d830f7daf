"""Which of a model's keys comes next after a failure.

LiteLLM retries with any key, the same one too; its own cooldown answers "No deployments available"
in place of the real failure once every key rests.
"""

from __future__ import annotations

import time
from typing import Any

from llmswitch.engine.request import RequestContext

_REST = 5.0  # seconds
_OF_THE_REQUEST = (400, 413, 422)  # would fail with any key


class Failures:
    """Sends a second try to another key, and lets a key that has failed rest while others work."""

    def __init__(self) -> None:
        self._failed: dict[str, float] = {}

    def note(self, kwargs: Any) -> None:
        """Note a failure that may be the key's or the provider's, as LiteLLM tells it."""
        said = kwargs.get("standard_logging_object") or {}
        status = getattr(kwargs.get("exception"), "status_code", 500)
        if said.get("model_id") and status not in _OF_THE_REQUEST:
            self.rest(said["model_id"])

    def rest(self, deployment: str) -> None:
        """Let the key of a deployment rest, by LiteLLM's id of it."""
        self._failed[deployment] = time.monotonic()

    def in_turn(self, deployments: list[Any], context: RequestContext | None) -> list[Any]:
        """Those that this request has not tried, without those that rest if any are left then."""
        if len(deployments) < 2 or context is None:  # noqa: PLR2004 - nothing to choose
            return deployments
        fresh = [item for item in deployments if id_of(item) not in context.tried]
        rested = [item for item in fresh if not self._rests(id_of(item))]
        return rested or fresh or deployments

    def _rests(self, deployment: str) -> bool:
        failed = self._failed.get(deployment)
        return failed is not None and time.monotonic() - failed < _REST


def id_of(deployment: dict[str, Any]) -> str:
    """LiteLLM's id of a deployment."""
    return str((deployment.get("model_info") or {}).get("id"))


failures = Failures()
