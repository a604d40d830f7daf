"""What each try of a request got in place of an answer.

LiteLLM puts a status and words of its own around an upstream's error. What the upstream sent stands
in the chain of its exception: from there it is noted, and answers.py tells it to the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import httpx
import httpx2
from litellm.litellm_core_utils.exception_mapping_utils import ExceptionCheckers

from llmswitch.engine.error_words import (
    BAD_GATEWAY,
    ERRORS,
    UNREADABLE,
    error_in,
    fitting_status,
    loaded,
    own_words,
    words_of,
)
from llmswitch.engine.key_rotation import failures as keys
from llmswitch.engine.outgoing import secrets
from llmswitch.engine.patches import LONGER, TOO_LONG
from llmswitch.engine.request import Failure, RequestContext
from llmswitch.redact import without_keys

_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _SILENT = 200, 400, 401, 403, 504
_OF_THE_CLIENT = range(400, 500)
_LOGIN = "Claude login"  # what deployments.py calls the key of a model that has none of its own
_HEADERS = re.compile(r"retry-after|request-id|x-should-retry|anthropic-ratelimit-[a-z-]+")
# Of httpx2 since openai 3, of aiohttp below httpx in LiteLLM.
_REFUSED = (httpx.HTTPStatusError, httpx2.HTTPStatusError)
_TIMEOUTS = (httpx.TimeoutException, httpx2.TimeoutException, TimeoutError)
_BROKEN = (httpx.RequestError, httpx2.RequestError, aiohttp.ClientError, OSError)
_NOT_CONNECTED = (httpx.ConnectError, httpx2.ConnectError, aiohttp.ClientConnectorError)
_WAITED = re.compile(r"Timeout passed=([\d.]+)")

Headers = tuple[tuple[bytes, bytes], ...]


def note_last(exception: Exception, context: RequestContext) -> None:
    """A request has failed; its last try may not be noted yet."""
    if context.deployment:
        known = {
            "litellm_params": context.deployment,
            "standard_logging_object": {"model_group": context.deployment["model_name"]},
            "api_call_start_time": context.arrived,
        }
        note(exception, known, context)


def note(
    exception: BaseException | None, kwargs: Mapping[str, Any], context: RequestContext
) -> None:
    """A try has failed, as LiteLLM tells of it."""
    chain = [*_chain(exception, context.exceptions)]
    if chain:
        context.failures.append(_failure(chain, kwargs, context))
        context.exceptions += chain
        context.deployment = {}


def noted(body: Any, context: RequestContext) -> Failure:
    """The newest failure: what LiteLLM has noted of the try that is under way, else `body`, which
    it takes for an answer: JSON, or text.
    """
    if context.deployment or not context.failures:
        info = context.deployment.get("model_info") or {}
        model = context.deployment.get("model_name") or context.asked or ""
        error = error_in(body)
        status = fitting_status(error) if error else _OK
        context.failures.append(_of_provider(model, info, context, status, body))
        keys.rest(str(info.get("id")))
        context.deployment = {}
    return context.failures[-1]


def refusal(status: int, words: str, model: str = "") -> Failure:
    """What we, or LiteLLM in its own way, refuse before anything is sent."""
    known = status if status in ERRORS else BAD_GATEWAY
    return Failure(model, known, f"llmswitch: {without_keys(own_words(words), secrets())}")


def of_response(
    deployment: Mapping[str, Any], response: httpx.Response, context: RequestContext
) -> Failure:
    """What an upstream has refused, with the headers that tell what to do next."""
    model, info = deployment["model_name"], deployment.get("model_info") or {}
    status, headers = response.status_code, _kept(response.headers)
    return _of_provider(model, info, context, status, response.text, headers)


def _failure(
    chain: list[BaseException], kwargs: Mapping[str, Any], context: RequestContext
) -> Failure:
    told = (kwargs.get("litellm_params") or {}).get("model_info")
    info = told or context.deployment.get("model_info") or {}
    model = (kwargs.get("standard_logging_object") or {}).get("model_group") or context.asked or ""
    known = next((one for one in chain if isinstance(one, (*_REFUSED, *_BROKEN, *_TIMEOUTS))), None)
    if isinstance(known, _REFUSED):
        answer = known.response
        headers = _kept(answer.headers)
        return _of_provider(model, info, context, answer.status_code, answer.text, headers)
    if isinstance(known, _TIMEOUTS):
        waited = next((found for one in chain if (found := _WAITED.search(str(one)))), None)
        words = f"no answer within {float(waited[1]):g} s" if waited else "no answer in time"
        return _of_provider(model, info, context, _SILENT, words)
    if known:
        return _of_provider(model, info, context, BAD_GATEWAY, _why_broken(known))
    if not kwargs.get("api_call_start_time"):
        status = int(getattr(chain[0], "status_code", None) or 0)
        said = own_words(words_of(getattr(chain[0], "detail", None) or str(chain[0])))
        if status in _OF_THE_CLIENT:
            return refusal(status, said, model)
        label = info.get("llmswitch_label") or model
        return refusal(_BAD_REQUEST, f"the request cannot be translated for {label}: {said}", model)
    return _of_words(chain, kwargs, context, model, info)


def _of_words(
    chain: list[BaseException],
    kwargs: Mapping[str, Any],
    context: RequestContext,
    model: str,
    info: Mapping[str, Any],
) -> Failure:
    """Of an answer with 200 that LiteLLM could make nothing of: the error that is in it, else what
    LiteLLM says of it.
    """
    whole = None if kwargs.get("stream") else kwargs.get("original_response")
    said = own_words(str(chain[0]))
    for data in (loaded(str(whole)), loaded(said)):
        if error := error_in(data):
            return _of_provider(model, info, context, fitting_status(error), data)
    if isinstance(whole, str):
        return _of_provider(model, info, context, _OK, whole)
    statuses = [one.status_code for one in chain if hasattr(one, "status_code")]
    status = statuses[-1] if statuses and said != UNREADABLE else _OK
    return _of_provider(model, info, context, status, said)


def _why_broken(exception: BaseException) -> str:
    """Why there is no answer, or no end of it."""
    if isinstance(exception, _NOT_CONNECTED):
        return "no connection: " + re.sub(r" ssl:(?:<[^>]*>|\S+)", "", str(exception))
    if isinstance(exception, httpx.DecodingError):
        return "the answer cannot be unpacked"
    if str(exception).startswith(LONGER):
        return str(exception)
    return "the connection broke before the answer was complete"


def _chain(exception: BaseException | None, known: list[BaseException]) -> Iterator[BaseException]:
    """An exception and those that it was made of, the outermost first, up to one that is known."""
    found: list[BaseException] = []
    while exception and not any(exception is one for one in (*found, *known)):
        found.append(exception)
        yield exception
        exception = exception.__cause__ or exception.__context__


def _kept(headers: Mapping[str, str]) -> Headers:
    """Those of an upstream's headers that a client needs to know what to do next."""
    return tuple(
        (name.lower().encode(), value.encode("latin-1", "replace"))
        for name, value in headers.items()
        if _HEADERS.fullmatch(name.lower())
    )


def _of_provider(
    model: str,
    info: Mapping[str, Any],
    context: RequestContext,
    status: int,
    body: Any,
    headers: Headers = (),
) -> Failure:
    """Of what an upstream has answered: `body` is its text, or its JSON."""
    data = loaded(body) if isinstance(body, str) else body
    error = error_in(data) or {}
    is_anthropic = isinstance(data, dict) and data.get("type") == "error"
    provider = info.get("llmswitch_provider")
    login = [context.login.decode("latin-1")] if context.login else []
    words = without_keys(words_of(data), [*secrets(), *login])
    message = f"{info.get('llmswitch_label') or provider or model}: "
    if (
        ExceptionCheckers.is_error_str_context_window_exceeded(words)
        and TOO_LONG not in words.lower()
    ):
        message += f"{TOO_LONG}: "  # by which Claude Code sees that it is to compact
    message += words or f"answered {status} and said nothing"
    has_key = info.get("llmswitch_key", _LOGIN) != _LOGIN
    if status in (_UNAUTHORIZED, _FORBIDDEN) and provider and has_key:
        message += f" -> llmswitch key check {provider}"
    return Failure(
        model,
        status if status in ERRORS else BAD_GATEWAY,
        message,
        is_anthropic=is_anthropic,
        kind=_text(error.get("type")),
        code=_text(error.get("code")),
        request_id=_text(data.get("request_id")) if is_anthropic else None,
        headers=headers,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
