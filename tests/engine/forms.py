"""What the gateway's own answers look like."""

from __future__ import annotations

from tests.upstream import Json


def error_body(path: str, status: int, said: str) -> Json:
    """An error of the gateway's own in the form of the API that a path belongs to."""
    if path.startswith(("/v1/chat/completions", "/v1/responses")):
        code = "invalid_api_key" if status == 401 else None
        kind = "invalid_request_error"
        return {"error": {"message": said, "type": kind, "param": None, "code": code}}
    kinds = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}
    kind = kinds.get(status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": said}}
