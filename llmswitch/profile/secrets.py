"""Where a key comes from, and the gateway's own key. Nothing here prints a value."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, check_own_folder, locked, open_own, write_private

RENEW = "llmswitch key renew-gateway"
_FORM = re.compile(r"sk-llmswitch-[A-Za-z0-9_-]{43}")  # as every version has made them


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


class Keys(NamedTuple):
    """Keys by the names of their variables. `values` are those of the environment and of the file
    of `key set`; `hidden` are the fingerprints of those that the system's keyring holds, which is
    asked by the commands that need a value.
    """

    values: dict[str, str]
    hidden: dict[str, str]

    @property
    def names(self) -> set[str]:
        """Every variable that is set, wherever."""
        return {*self.values, *self.hidden}

    def fingerprint(self, name: str, secret: str) -> str | None:
        """That of a key as it is now; None where it is not set."""
        if name in self.values:
            return fingerprint(self.values[name], secret)
        return self.hidden.get(name)


def stored_keys(home: Home) -> Keys:
    """What `key set` has kept. Raises LlmswitchError where the file is damaged."""
    try:
        kept = json.loads(home.keys.read_text(encoding="utf-8"))
        values = {name: key for name, key in kept.items() if isinstance(key, str)}
        return Keys(values, {n: key["keyring"] for n, key in kept.items() if n not in values})
    except FileNotFoundError:
        return Keys({}, {})
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise LlmswitchError(
            f"the key file {home.keys} is damaged",
            f"move it away (mv {shlex.quote(str(home.keys))} ~/keys.old), then: llmswitch key set",
        ) from error


def known_keys(environ: Mapping[str, str], home: Home) -> Keys:
    """Every key there is: the environment's, over those that `key set` has kept."""
    stored = stored_keys(home)
    shell = {name: key for name in environ if (key := find_key(name, environ))}
    hidden = {name: mark for name, mark in stored.hidden.items() if name not in shell}
    return Keys(stored.values | shell, hidden)


def missing_reason(names: Sequence[str]) -> str:
    """Why a model cannot be served: the variables that are not set."""
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set"


def new_key() -> str:
    """A random key that opens a gateway: 256 bits."""
    return f"sk-llmswitch-{secrets.token_urlsafe(32)}"


def gateway_key(home: Home) -> str:
    """The gateway's own key: random, made once for this installation, kept in a 0600 file.

    Raises LlmswitchError as read_gateway_key.
    """
    with locked(_lock(home)):
        key = read_gateway_key(home)
        if key is None:
            key = new_key()
            write_private(home.gateway_key, key + "\n")
    return key


def renew_gateway_key(home: Home) -> str:
    """Put a new key in the place of the gateway's own, whatever is there."""
    key = new_key()
    with locked(_lock(home)):
        write_private(home.gateway_key, key + "\n")
    return key


def read_gateway_key(home: Home) -> str | None:
    """The gateway's own key, as the file has it; None where there is none yet.

    Raises LlmswitchError where somebody else may know the key, or has written it: for a link, for
    another owner or a mode that lets others in, and for what is not in the form that we write.
    """
    file = home.gateway_key
    try:
        descriptor = open_own(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        key = stream.read(1000).strip()
    check_own_folder(file.parent)
    if not key:
        return None  # what a full disk leaves
    if mode & 0o077:
        keep = shlex.join(["chmod", "600", str(file)])
        raise LlmswitchError(
            f"other users may have read the gateway's key: {file} has the mode {mode:o}",
            f"{RENEW}    (makes a new key; to keep the old one: {keep})",
        )
    if not _FORM.fullmatch(key):
        raise LlmswitchError(f"{file} does not hold a key made by llmswitch", RENEW)
    return key


def _lock(home: Home) -> Path:
    return home.gateway_key.with_name("gateway.key.lock")


def fingerprint(key: str, secret: str) -> str:
    """Tells whether a key has changed without saying what it is: a keyed digest, 16 hex digits."""
    return hmac.new(secret.encode(), key.encode(), hashlib.sha256).hexdigest()[:16]
