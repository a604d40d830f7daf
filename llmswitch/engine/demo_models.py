"""Two offline models, served inside LiteLLM by its custom-provider hook: no key, no network."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from litellm.llms.custom_llm import CustomLLM, CustomLLMError
from litellm.types.llms.openai import ChatCompletionUsageBlock
from litellm.types.utils import Choices, GenericStreamingChunk, Message, ModelResponse, Usage

_PAUSE = 0.02  # seconds between words, so that one sees it stream
# What Claude Code says beside the person, also of a `/model` before, and how LiteLLM passes on what
# it said as the system.
_BESIDE = re.compile(
    r"<(system-reminder|local-command-\w+|command-\w+)>.*?</\1>"
    r"|^Operator note \(not from the user\): .*",
    re.DOTALL,
)
_VOICES = {
    "parrot": "You said: {said}",
    "butler": "Certainly. {said} has been noted, and both of us run without a network.",
}


class Demo(CustomLLM):
    """Answers with a fixed phrase around the last thing said."""

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer at once."""
        words, used = _answer(kwargs["model"], kwargs["messages"])
        return ModelResponse(
            model=kwargs["model"],
            created=int(time.time()),
            choices=[Choices(message=Message(content=" ".join(words)), finish_reason="stop")],
            usage=Usage(
                prompt_tokens=used["prompt_tokens"],
                completion_tokens=used["completion_tokens"],
                total_tokens=used["total_tokens"],
            ),
        )

    async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer at once."""
        return self.completion(*args, **kwargs)

    def streaming(self, *args: Any, **kwargs: Any) -> Iterator[GenericStreamingChunk]:
        """The answer word by word."""
        words, used = _answer(kwargs["model"], kwargs["messages"])
        return iter([*(_chunk(word + " ") for word in words[:-1]), _chunk(words[-1], used)])

    def astreaming(  # type: ignore[override]  # an async iterator, as LiteLLM's guide has it
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[GenericStreamingChunk]:
        """The answer word by word, at the pace of someone who speaks fast."""
        return _paced(self.streaming(*args, **kwargs))


async def _paced(chunks: Iterator[GenericStreamingChunk]) -> AsyncIterator[GenericStreamingChunk]:
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(_PAUSE)


def _answer(
    model: str, messages: list[dict[str, Any]]
) -> tuple[list[str], ChatCompletionUsageBlock]:
    """The words of an answer, and the usage with words for tokens: nothing here is billed."""
    if model not in _VOICES:
        known = ", ".join(_VOICES)
        said = f"there is no demo model {model!r}; there are: {known}"
        raise CustomLLMError(404, said)  # type: ignore[no-untyped-call]  # as LiteLLM has it
    spoken = [_spoken(message) for message in messages if message["role"] == "user"]
    last = next((text for text in reversed(spoken) if text), "")
    words = _VOICES[model].format(said=last).split()
    read = sum(len(_text(message).split()) for message in messages)
    used: ChatCompletionUsageBlock = {
        "prompt_tokens": read,
        "completion_tokens": len(words),
        "total_tokens": read + len(words),
    }
    return words, used


def _spoken(message: dict[str, Any]) -> str:
    """What the person said: Claude Code puts thousands of words of its own beside that."""
    return _BESIDE.sub("", _text(message)).strip()


def _text(message: dict[str, Any]) -> str:
    """What a message says; nothing where it is a picture or a call of a tool."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(part["text"] for part in content if part.get("type") == "text")
    return str(content).strip()


def _chunk(text: str, usage: ChatCompletionUsageBlock | None = None) -> GenericStreamingChunk:
    return {
        "text": text,
        "is_finished": usage is not None,
        "finish_reason": "stop" if usage is not None else "",
        "index": 0,
        "tool_use": None,
        "usage": usage,
    }


demo = Demo()
