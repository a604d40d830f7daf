"""What a profile may say where a Claude login pays (`auth: subscription`).

The login is sent to https://api.anthropic.com alone. LiteLLM itself would send it to whatever host
an `anthropic/` deployment names, so the host is held here, and engine/subscription.py holds the
rest. A server on this machine, as tests need one, is named by the environment: a profile may be
somebody else's, and on a port of this machine anybody may listen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from llmswitch.profile.litellm_rules import ANTHROPIC_BASE
from llmswitch.profile.yaml_lines import Path

SUBSCRIPTION = "subscription"
TEST_HOST = "LLMSWITCH_TEST_LOGIN_HOST"  # 127.0.0.1:PORT, [::1]:PORT or localhost:PORT
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def subscription_problems(
    data: dict[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[Path, str]]:
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
        elif not _may_have_login(str(spec.get("base_url")), environ.get(TEST_HOST)):
            said = f"must be {ANTHROPIC_BASE}: your Claude login is sent nowhere else"
            yield (*path, "base_url"), said
        if spec.get("key") is not None:
            yield (*path, "key"), "cannot be combined with `auth: subscription`; remove one"
    models = data.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or model.get("keys") is None:
            continue
        provider = str(model.get("model")).partition("/")[0]
        if provider in logins:
            said = f"cannot be combined with `auth: subscription` of {provider}; remove one"
            yield ("models", name, "keys"), said


def _may_have_login(url: str, test_host: str | None) -> bool:
    """Whether a login may go there: to Anthropic by TLS, or to the very server on this machine that
    the environment names.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return True  # is told as no URL at all
    if parts.hostname in _THIS_MACHINE:
        return test_host is not None and parts.netloc == test_host
    base = urlsplit(ANTHROPIC_BASE)
    return (parts.scheme, parts.hostname, port or 443) == (base.scheme, base.hostname, 443)
