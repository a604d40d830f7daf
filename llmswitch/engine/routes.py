"""Which routes exist: a short list, for every key alike. LiteLLM's others are not even built."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MODELS = "/v1/models"
ONE_MODEL = MODELS + "/"  # and a name

OWN_STATE = "/llmswitch/state"  # ours, see own_state.py
HEALTH = ("/health/liveliness", "/health/liveness", "/health/readiness")  # need no key
# What Claude Code asks before its first request, only to have the connection open.
PROBES = (("HEAD", "/"), ("HEAD", "/api/hello"))

POSTED = (MESSAGES, COUNT_TOKENS, CHAT, RESPONSES)
# Those of LiteLLM's routes that are built; count_tokens is answered here.
BUILT = (MESSAGES, CHAT, RESPONSES, MODELS, "/v1/models/{model_id}")
_ASKED_IN_URL = {MESSAGES: ("beta",), MODELS: ("limit",)}


def exact(raw: bytes, path: str) -> str:
    """The path as it was sent; only the name of a model is taken from `path`, which is decoded."""
    sent = raw.decode("latin-1")
    return path if sent.startswith(ONE_MODEL) else sent


def is_listed(method: str, path: str) -> bool:
    """Whether LiteLLM is to see such a request."""
    if method == "POST":
        return path in POSTED
    return method == "GET" and (
        path == MODELS or (path.startswith(ONE_MODEL) and path != ONE_MODEL)
    )


def passed_query(path: str, query: bytes) -> bytes:
    """Of a query those parameters that the API of the route has."""
    known = _ASKED_IN_URL.get(path, ())
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode([pair for pair in pairs if pair[0] in known]).encode()
