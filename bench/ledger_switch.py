"""Runs inside the measured gateway: takes the ledger out of LiteLLM's callbacks, and puts it back,
when a request says so. It is copied beside the gateway's configuration, as LiteLLM wants it.
"""

from __future__ import annotations

from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

from llmswitch.engine.recorder import ledger

SAYS = "bench: the ledger is"
_Places = list[tuple[list[Any], int]]


class Switch(CustomLogger):
    """`on` and `off`: everything else of the process stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._taken_from: _Places = []

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Look for the word of command in the first message."""
        said = str(data.get("messages"))
        if f"{SAYS} off" in said and not self._taken_from:
            self._taken_from = _places()
            for place, index in self._taken_from:
                del place[index]
        elif f"{SAYS} on" in said:
            for place, index in self._taken_from:
                place.insert(index, ledger)
            self._taken_from = []


def _places() -> _Places:
    lists = [value for value in vars(litellm).values() if isinstance(value, list)]
    return [
        (place, index)
        for place in {id(place): place for place in lists}.values()
        for index, callback in enumerate(place)
        if callback is ledger
    ]


switch = Switch()
