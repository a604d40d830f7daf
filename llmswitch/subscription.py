"""What a profile may say where a Claude login pays (`auth: subscription`).

The login is sent to api.anthropic.com, or to a server on this machine, alone. LiteLLM itself would
send it to whatever host an `anthropic/` deployment names, so the host is held here, and
engine/subscription.py holds the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from llmswitch.document import Path
from llmswitch.engine_rules import ANTHROPIC_BASE

SUBSCRIPTION = "subscription"
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def subscription_problems(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every line that would send a login elsewhere, or a key beside it, as (path, sentence). Takes
    the profile as plain data.
    """
    providers = data.get("providers")
    found = providers.items() if isinstance(providers, dict) else ()
    logins = {name: spec for name, spec in found
              if isinstance(spec, dict) and spec.get("auth") == SUBSCRIPTION}  # fmt: skip
    for name, spec in logins.items():
        path = ("providers", name)
        if spec.get("dialect") != "anthropic":
            yield (*path, "auth"), "is subscription, which goes only with `dialect: anthropic`"
        elif not _is_anthropics(str(spec.get("base_url"))):
            said = f"must be {ANTHROPIC_BASE}, or a server on this machine: "
            yield (*path, "base_url"), said + "your Claude login is sent nowhere else"
        if spec.get("key") is not None:
            yield (*path, "key"), "goes not with `auth: subscription`; take one of them out"
    models = data.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or model.get("keys") is None:
            continue
        provider = str(model.get("model")).partition("/")[0]
        if provider in logins:
            said = f"goes not with `auth: subscription` of {provider}; take one of them out"
            yield ("models", name, "keys"), said


def _is_anthropics(url: str) -> bool:
    """Whether a login may go there: to Anthropic by TLS, or to this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return True  # is told as no URL at all
    if parts.hostname in _THIS_MACHINE:
        return True
    base = urlsplit(ANTHROPIC_BASE)
    return (parts.scheme, parts.hostname, port or 443) == (base.scheme, base.hostname, 443)
