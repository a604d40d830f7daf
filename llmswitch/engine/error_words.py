"""What an upstream's error says, whatever its form: JSON of any vendor, a page, or plain text."""

from __future__ import annotations

import html
import json
import re
from typing import Any

BAD_GATEWAY = 502
UNREADABLE = "the answer cannot be read"
ERRORS = range(400, 600)  # the statuses that HTTP has for them
_LONGEST = 4000  # characters of an upstream's words
_LARGEST_PAGE = 20_000  # characters of a page that are looked at
# Fields that only an answer has, in any dialect.
_OF_ANSWERS = {"content", "choices", "output", "candidates", "input_tokens"}
_WORDS = ("message", "msg", "Message", "detail", "error_description")
# The status that belongs to an error which came with 200: by its type or its code.
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # Those of Z.ai: https://docs.z.ai/api-reference/api-code (2026-11)
    **dict.fromkeys(map(str, range(1000, 1005)), 401),
    **dict.fromkeys(map(str, (*range(1210, 1215), 1261)), 400),
    "1220": 403,
    **dict.fromkeys(map(str, (1113, *range(1302, 1314))), 429),
}
# What LiteLLM puts before an error's words, and after them.
_BEFORE = re.compile(r"^(?:litellm\.\w+: )?(?:(?:litellm\.)?\w+(?:Error|Exception)\b:? ?(?:- )?)*")
# What it says of an answer that it cannot read, some of it in the name of a vendor.
_UNREADABLE = re.compile(
    r"Error converting to valid response|closed the responses stream before|Expecting value: line"
    r"|Check the reverse proxy or model server"
)
_ORIGINAL = re.compile(r"^Unable to get json response - .*?, Original Response: ?", re.DOTALL)
_AFTER = re.compile(r"\n\nLiteLLM: |\nTraceback | Original exception: |\.? Handle with `litellm\.")
_OWN = "llmswitch: "
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>")


def loaded(text: str) -> Any:
    """JSON that was read, also from the first event of a stream; else the text itself."""
    data = re.search(r"^data: ?(\{.*)$", text, re.MULTILINE)
    try:
        return json.loads(data[1] if data else text)
    except (ValueError, RecursionError):
        return text


def error_in(data: Any) -> dict[str, Any] | None:
    """The error that is in JSON; None where it is an answer, or anything else."""
    if isinstance(data, list) and data:
        data = data[0]  # Gemini's
    if not isinstance(data, dict) or data.keys() & _OF_ANSWERS:
        return None
    response = data.get("response")  # of an event of OpenAI's Responses
    error = data.get("error") or (response.get("error") if isinstance(response, dict) else None)
    if error:
        return error if isinstance(error, dict) else {"message": str(error)}
    is_error = data.get("type") == "error" or data.get("success") is False or "code" in data
    return data if is_error and any(data.get(name) for name in _WORDS) else None


def words_of(data: Any) -> str:
    """What an error says, on its own; a page without its tags, what is not known as it is."""
    error = error_in(data) or data
    if isinstance(error, dict):
        found = next((error[name] for name in _WORDS if error.get(name)), None)
        text = found if isinstance(found, str) else json.dumps(found or data, ensure_ascii=False)
    else:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        if text.lstrip().startswith("<"):
            seen = _TAGS.sub(" ", text[:_LARGEST_PAGE])
            text = "a web page: " + " ".join(html.unescape(seen).split())
    text = _CONTROL.sub("", text).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def fitting_status(error: dict[str, Any]) -> int:
    """The status of an error that came with 200: its own code, or that of its kind, else 502."""
    for name in ("code", "status_code", "http_code", "type", "status"):
        said = str(error.get(name))
        if said in STATUSES:
            return STATUSES[said]
        if said.isdigit() and int(said) in ERRORS:
            return int(said)
    return BAD_GATEWAY


def own_words(text: str) -> str:
    """A text of LiteLLM's without its classes; one of ours without what LiteLLM puts around it."""
    _, ours, rest = text.partition(_OWN)
    words = rest if ours else _ORIGINAL.sub("", _BEFORE.sub("", text))
    if not ours and _UNREADABLE.search(words):
        return UNREADABLE
    return words_of(_AFTER.split(words, maxsplit=1)[0])
