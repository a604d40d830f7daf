"""Two offline models, served inside LiteLLM by its custom-provider hook: no key, no network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from litellm import CustomLLM, ModelResponse
from litellm.types.utils import Choices, GenericStreamingChunk, Message, Usage

_PAUSE = 0.02  # seconds between words, so that one sees it stream
_VOICES = {
    "parrot": "You said: {said}",
    "butler": "Certainly. {said} has been noted, and both of us run without a network.",
}


class Demo(CustomLLM):  # type: ignore[misc]  # litellm is not imported by the type checker
    """Answers with a fixed phrase around the last thing said."""

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer at once."""
        said = kwargs["messages"]
        words = _answer(kwargs["model"], said)
        return ModelResponse(
            model=kwargs["model"],
            created=int(time.time()),
            choices=[Choices(message=Message(content=" ".join(words)), finish_reason="stop")],
            usage=Usage(**_usage(said, words)),
        )

    async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer at once."""
        return self.completion(*args, **kwargs)

    def streaming(self, *args: Any, **kwargs: Any) -> Iterator[GenericStreamingChunk]:
        """The answer word by word."""
        words = _answer(kwargs["model"], kwargs["messages"])
        yield from (_chunk(word + " ") for word in words[:-1])
        yield _chunk(words[-1], _usage(kwargs["messages"], words))

    async def astreaming(self, *args: Any, **kwargs: Any) -> AsyncIterator[GenericStreamingChunk]:
        """The answer word by word, at the pace of someone who speaks fast."""
        for chunk in self.streaming(*args, **kwargs):
            yield chunk
            await asyncio.sleep(_PAUSE)


def _answer(model: str, messages: list[dict[str, Any]]) -> list[str]:
    said = [message for message in messages if message["role"] == "user"][-1]["content"]
    if isinstance(said, list):
        said = " ".join(part["text"] for part in said if part.get("type") == "text")
    return _VOICES[model].format(said=str(said).strip()).split()


def _usage(messages: list[dict[str, Any]], words: list[str]) -> dict[str, int]:
    """Words for tokens: nothing here is billed."""
    read = sum(len(str(message["content"]).split()) for message in messages)
    return {
        "prompt_tokens": read,
        "completion_tokens": len(words),
        "total_tokens": read + len(words),
    }


def _chunk(text: str, usage: dict[str, int] | None = None) -> GenericStreamingChunk:
    return {
        "text": text,
        "is_finished": usage is not None,
        "finish_reason": "stop" if usage is not None else "",
        "index": 0,
        "tool_use": None,
        "usage": usage,
    }


demo = Demo()
