"""Where a key comes from, and the gateway's own key. Nothing here prints a value."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence

from llmswitch.paths import Home, locked, write_private


def inside_name(name: str) -> str:
    """What a key's variable is called inside the gateway.

    Under its own name LiteLLM would find it by itself, and send it to a deployment that has no
    key of its own, whatever the host.
    """
    return f"LLMSWITCH_KEY_{name}"


def find_key(name: str, environ: Mapping[str, str]) -> str | None:
    """The key that a variable holds; None where it is not set or holds only white space."""
    return environ.get(name, "").strip() or None


def find_keys(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the named keys that there are."""
    found = ((name, find_key(name, environ)) for name in names)
    return {name: key for name, key in found if key is not None}


def missing_reason(names: Sequence[str]) -> str:
    """Why a model cannot be served: the variables that are not set."""
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set"


def gateway_key(home: Home) -> str:
    """The gateway's own key: random, made once for this installation, kept in a 0600 file."""
    file = home.gateway_key
    with locked(file.with_name("gateway.key.lock")):
        try:
            key = file.read_text().strip()
        except FileNotFoundError:
            key = ""
        if not key:
            key = f"sk-llmswitch-{secrets.token_urlsafe(32)}"
            write_private(file, key + "\n")
    return key


def set_names(environ: Mapping[str, str]) -> list[str]:
    """The names of every variable that holds something."""
    return [name for name in environ if find_key(name, environ)]


def fingerprint(key: str, secret: str) -> str:
    """Tells whether a key has changed without saying what it is: a keyed digest, 16 hex digits."""
    return hmac.new(secret.encode(), key.encode(), hashlib.sha256).hexdigest()[:16]
