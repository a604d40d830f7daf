"""Which of a model's keys comes next after a failure (a LiteLLM hook)."""

from __future__ import annotations

import time
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine.request import current

_REST = 5.0  # seconds
_OF_THE_REQUEST = (400, 413, 422)  # would fail with any key


class Failures(CustomLogger):
    """Sends a second try to another key, and lets a key that has failed rest while others work.

    LiteLLM retries with any key, the same one too; its own cooldown answers "No deployments
    available" in place of the real failure once every key rests.
    """

    def __init__(self) -> None:
        super().__init__()
        self._failed: dict[str, float] = {}

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Note a failure that may be the key's or the provider's."""
        said = kwargs.get("standard_logging_object") or {}
        status = getattr(kwargs.get("exception"), "status_code", 500)
        if said.get("model_id") and status not in _OF_THE_REQUEST:
            self.rest(said["model_id"])

    def rest(self, deployment: str) -> None:
        """Let the key of a deployment rest, by LiteLLM's id of it."""
        self._failed[deployment] = time.monotonic()

    async def async_pre_call_check(self, deployment: dict[str, Any], parent_otel_span: Any) -> None:
        """Note what this request has tried."""
        if context := current.get():
            context.tried.add(_id(deployment))

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Those that this request has not tried, without those that rest if any are left then."""
        context = current.get()
        if len(healthy_deployments) < 2 or context is None:  # noqa: PLR2004 - nothing to choose
            return healthy_deployments
        fresh = [item for item in healthy_deployments if _id(item) not in context.tried]
        rested = [item for item in fresh if not self._rests(_id(item))]
        return rested or fresh or healthy_deployments

    def _rests(self, deployment: str) -> bool:
        failed = self._failed.get(deployment)
        return failed is not None and time.monotonic() - failed < _REST


def _id(deployment: dict[str, Any]) -> str:
    return str((deployment.get("model_info") or {}).get("id"))


failures = Failures()
