"""The gate: what stands between the gateway's port and LiteLLM. Only what is on a list goes
through, for every key alike: routes (routes.py), headers (keys.py), fields of bodies (fields.py),
names of models (model_list.py), sizes (bodies.py).
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

from llmswitch.engine import fields, keys, model_list, routes, token_counts
from llmswitch.engine.answers import answer, error_body, error_kind, watched
from llmswitch.engine.asgi import App, GoneError, Message, Receive, RefusedError, Send
from llmswitch.engine.bodies import Body, parsed, sent_again
from llmswitch.engine.completion import Completion
from llmswitch.engine.idle import use
from llmswitch.engine.own_state import state
from llmswitch.engine.refusals import record_refusal
from llmswitch.engine.request import RequestContext, begin, in_context
from llmswitch.engine.startup import checked
from llmswitch.ledger import NO_CLIENT

_NO_FALLBACKS = b"x-llmswitch-fallbacks"  # `off`: the model that is asked for, or none


def guard(app: App) -> App:
    """LiteLLM's application behind the gate."""

    async def gate(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, checked(send))
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSockets here"})
            return
        scope["headers"] = [(name.lower(), value) for name, value in scope["headers"]]
        scope["path"] = routes.exact(scope["raw_path"], scope["path"])
        if not await _answered_here(scope, send):
            await _pass_on(app, scope, receive, send)

    return gate


async def _answered_here(scope: Message, send: Send) -> bool:
    """Answer what needs no LiteLLM; whether it was answered."""
    method, path = scope["method"], scope["path"]
    if (method, path) in routes.PROBES or (method == "GET" and path in routes.HEALTH):
        await answer(send, 200, {"status": "healthy"})
    elif (client := keys.sender(scope["headers"])) is None:
        stranger = RequestContext(NO_CLIENT, None, None)
        await _refuse(scope, send, stranger, RefusedError(401, keys.refusal(scope["headers"])))
    elif (method, path) == ("GET", routes.OWN_STATE):
        await answer(send, 200, state(client))
    else:
        context = begin(client, scope["headers"])
        if routes.is_listed(method, path):
            return False
        said = f"there is no {method} {path[:100]!r} here"
        await _refuse(scope, send, context, RefusedError(404, said))
    return True


async def _pass_on(app: App, scope: Message, receive: Receive, send: Send) -> None:
    """Let LiteLLM answer a request of a listed route."""
    headers, context = scope["headers"], in_context()
    context.login = keys.login(headers)
    context.no_fallbacks = (_NO_FALLBACKS, b"off") in headers
    body, completion = Body(headers), Completion(send)
    send = completion.send
    use.open_request()
    try:
        data = await _accepted(scope, receive, body, context)
        content = None if data is None else _written(data)
        if data and scope["path"] == routes.COUNT_TOKENS:
            counted = await token_counts.count(data, headers, context)
            await answer(send, counted.status, counted.data, counted.headers)
            return
        again = receive if content is None else sent_again(content, receive)
        watching = watched(send, context, scope["path"])
        await app(_inner(scope, content), again, _releasing(watching, body))
    except RefusedError as refusal:
        await _refuse(scope, send, context, refusal)
    except GoneError:
        return
    finally:
        body.close()
        use.close_request()
        completion.end(context)


async def _accepted(
    scope: Message, receive: Receive, body: Body, context: RequestContext
) -> dict[str, Any] | None:
    """What passes of a body; None where the route has none. Raises RefusedError, GoneError."""
    path = scope["path"]
    if scope["method"] != "POST":
        if path.startswith(routes.ONE_MODEL):
            _model(path.removeprefix(routes.ONE_MODEL), context)
        return None
    data = parsed(await body.read(receive))
    context.asked = _model(data.get("model"), context)
    kept = fields.passed(path, data, context.asked) | {"model": context.asked}
    context.beyond = {name: value for name, value in data.items() if name not in kept}
    return kept


def _model(asked: Any, context: RequestContext) -> str:
    """The model of the profile that a request names. Raises RefusedError where there is none."""
    if not isinstance(asked, str) or not asked:
        raise RefusedError(400, "model: the name of a model is required")
    if known := model_list.known(asked):
        return known
    context.unknown = asked
    there = ", ".join(model_list.shown())
    raise RefusedError(404, f"the profile has no model {asked[:100]!r}; it has: {there}")


def _inner(scope: Message, content: bytes | None) -> Message:
    """The request as LiteLLM gets it."""
    path, headers = scope["path"], scope["headers"]
    return {
        **scope,
        "root_path": "",
        "raw_path": path.encode(),
        "query_string": routes.passed_query(path, scope["query_string"]),
        "headers": keys.passed(headers, None if content is None else len(content)),
    }


def _written(data: dict[str, Any]) -> bytes:
    """A body anew, never as it was sent: others may read a name differently that comes twice."""
    try:
        return orjson.dumps(data)
    except TypeError:
        raise RefusedError(400, "the body is nested too deeply") from None


def _releasing(send: Send, body: Body) -> Send:
    """The same `send`; once the answer begins the request is no burden any more."""

    async def release(message: Message) -> None:
        body.release()
        await send(message)

    return release


async def _refuse(
    scope: Message, send: Send, context: RequestContext, refusal: RefusedError
) -> None:
    """Answer with the reason, in the form of the API that was asked, and note it in the ledger."""
    record_refusal(context, refusal.status, error_kind(refusal.status))
    said = error_body(scope["path"], refusal.status, f"llmswitch: {refusal.message}")
    await answer(send, refusal.status, said)


async def authenticate(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """LiteLLM's `custom_auth`: ask for the key once more, and take it off the request, so that no
    credential reaches what LiteLLM sends on. Without it LiteLLM answers 400 "No connected db." to a
    wrong key and 500 to a missing one.
    """
    headers = request.scope["headers"]
    if keys.sender(headers) is None:
        raise HTTPException(401, keys.refusal(headers))
    headers[:] = [header for header in headers if header[0] != b"x-litellm-api-key"]
    return UserAPIKeyAuth(api_key="llmswitch")
