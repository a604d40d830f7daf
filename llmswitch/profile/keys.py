"""Keys that `key set` keeps: in the system's keyring where there is one, else in a 0600 file.

The file, keys.json, also says which keys the keyring has, so that nothing but a command that needs
a value ever asks it. `secrets.py` reads the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from llmswitch.errors import LlmswitchError
from llmswitch.paths import Home, locked, write_private
from llmswitch.profile.providers import Provider, catalogue_data
from llmswitch.profile.secrets import find_key, fingerprint, gateway_key, known_keys, stored_keys

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

Place = Literal["environment", "keyring", "file"]
KEYRING = "the system's keyring"
_REAL = 1  # the priority from which on the library itself recommends a keyring
_PLACEHOLDER = re.compile(
    r"\.{3}|…|<.*>|x{4,}|\*{4,}|your[-_ ].*|.*[-_ ]here|(sk-)?\.+|changeme|change-me|todo|dummy"
    r"|sk-1234|(api|my)[-_ ]?key",
    re.IGNORECASE,
)


def open_keys(environ: Mapping[str, str], home: Home) -> dict[str, str]:
    """Every key there is, by the name of its variable: of the environment, else of the keyring,
    else of the file.
    """
    known = known_keys(environ, home)
    return kept_keys(home) | known.values if known.hidden else known.values


def kept_keys(home: Home) -> dict[str, str]:
    """What `key set` has kept, but what the keyring does not give out: as if it were not set."""
    stored = stored_keys(home)
    ring = _keyring() if stored.hidden else None
    held = {name: _read(ring, home, name) for name in stored.hidden} if ring else {}
    return stored.values | {name: key for name, key in held.items() if key}


def set_key(home: Home, name: str, key: str) -> Place:
    """Keep a key; tells where."""
    with locked(home.keys.with_name("keys.lock")):
        entries = _entries(home)
        place: Place = "file"
        entry: Any = key
        if (ring := _keyring()) and _keep(ring, home, name, key):
            place, entry = "keyring", {"keyring": fingerprint(key, gateway_key(home))}
        _write(home, {**entries, name: entry})
    return place


def remove_key(home: Home, name: str) -> Place | None:
    """Forget a key; tells where it was, None where it was not kept."""
    with locked(home.keys.with_name("keys.lock")):
        entries = _entries(home)
        entry = entries.pop(name, None)
        if entry is None:
            return None
        if isinstance(entry, dict) and (ring := _keyring()):
            from keyring.errors import KeyringError

            with suppress(KeyringError):  # gone already, or locked: it is not looked for any more
                ring.delete_password(_service(home), name)
        _write(home, entries)
    return "keyring" if isinstance(entry, dict) else "file"


def mark_anew(home: Home, secret: str) -> None:
    """Write the fingerprints of what the keyring holds with another secret. What it does not give
    out now keeps its old one: a gateway that has it is reloaded once more than it had to be.
    """
    with locked(home.keys.with_name("keys.lock")):
        stored = stored_keys(home)
        held = kept_keys(home)
        marks = {name: fingerprint(held[name], secret) for name in stored.hidden if name in held}
        if marks:
            _write(home, _entries(home) | {name: {"keyring": mark} for name, mark in marks.items()})


def place_of(name: str, environ: Mapping[str, str], home: Home) -> Place | None:
    """Where a key comes from; None where it is not set."""
    if find_key(name, environ):
        return "environment"
    stored = stored_keys(home)
    if name in stored.hidden:
        return "keyring"
    return "file" if name in stored.values else None


def usable(key: str, name: str) -> str:
    """A key that can be kept. Raises LlmswitchError for none, and for what is several lines."""
    if not key or len(key.splitlines()) != 1:
        said = "no key was given" if not key else "several lines were given, not one key,"
        raise LlmswitchError(f"{said} for {name}", f"llmswitch key set {name}    (and paste it)")
    return key


def key_problems(key: str, provider: Provider | None) -> Iterator[str]:
    """What looks wrong with a key, without a part of it."""
    prefix = provider.key_prefix if provider else None
    if _PLACEHOLDER.fullmatch(key.strip("\"'")):
        yield "holds a placeholder, not a key"
    if key[0] in "\"'" or key[-1] in "\"'":
        yield "has quotes around it"
    if re.search(r"\s", key):
        yield "contains white space"
    if not key.isascii() or not key.isprintable():
        yield "contains characters that no key has"
    if key.startswith("sk-ant-oat"):
        yield "is the token of a Claude subscription, not an API key"
    if provider is None or (prefix and key.startswith(prefix)):
        return
    for other in catalogue_data().values():
        theirs = other.get("key_prefix")
        if theirs and theirs != prefix and key.startswith(theirs):
            yield f"looks like a key of {other['label']}"


def _entries(home: Home) -> dict[str, Any]:
    stored = stored_keys(home)
    return stored.values | {name: {"keyring": mark} for name, mark in stored.hidden.items()}


def _write(home: Home, entries: Mapping[str, Any]) -> None:
    write_private(home.keys, json.dumps(entries, indent=1))


def _keyring() -> KeyringBackend | None:
    """The system's keyring, if the library is there and has found a real one."""
    try:
        import keyring

        ring = keyring.get_keyring()
    except (ImportError, AttributeError):  # the latter of a backend that is configured but gone
        return None
    return ring if ring.priority >= _REAL else None


def _service(home: Home) -> str:
    """What the keyring calls us: another LLMSWITCH_HOME has keys of its own."""
    return f"llmswitch {home.config}"


def _keep(ring: KeyringBackend, home: Home, name: str, key: str) -> bool:
    from keyring.errors import KeyringError

    try:
        ring.set_password(_service(home), name, key)
    except KeyringError:
        return False
    return True


def _read(ring: KeyringBackend, home: Home, name: str) -> str | None:
    from keyring.errors import KeyringError

    try:
        return ring.get_password(_service(home), name)
    except KeyringError:
        return None
