"""Whose key it is: the gateway's own, or that of a client, of which there is only a digest."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path

from llmswitch.ledger import OWN_CLIENT

_Mark = tuple[int, int, int]


class Clients:
    """The clients of this installation; a change of the file counts from the next request on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark: _Mark | None = None
        self._names: dict[str, str] = {}

    def name_of(self, key: bytes) -> str | None:
        """The client that a key belongs to; None where it is nobody's."""
        self._read()
        return self._names.get(hashlib.sha256(key).hexdigest())

    def _read(self) -> None:
        """A file that is missing or damaged lets no client in."""
        try:
            stat = self._file.stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if mark == self._mark:
                return
            clients = json.loads(self._file.read_bytes())
            self._names = {client["sha256"]: name for name, client in clients.items()}
            self._mark = mark
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._mark, self._names = None, {}


_clients = Clients(Path(os.environ.get("LLMSWITCH_CLIENTS", "")))


def owner(key: bytes) -> str | None:
    """Who sent a request with this key; None where it opens nothing."""
    if hmac.compare_digest(key, os.environ["LLMSWITCH_GATEWAY_KEY"].encode()):
        return OWN_CLIENT
    return _clients.name_of(key)
