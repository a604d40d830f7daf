"""The one key of the user's own settings that a session may change: `model` in settings.json.

Claude Code saves a model that is picked with Enter or a number as the default of every session,
`--settings` or not. A name that only the gateway knows then breaks plain `claude`. So the pick is
remembered for the next `claude-multi` and the user's own value is put back, and nothing else.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.paths import locked, write_private
from llmswitch.state import process_start

_ABSENT = None  # a settings file without a saved default


class Before(NamedTuple):
    """The user's settings file as a session found it. `own` is the user's own saved default."""

    file: Path
    content: bytes | None
    own: str | None
    record: Path


class After(NamedTuple):
    """What a session left: `picked` is the model id that was picked in it, "" for the row
    Default, None for no pick; `warning` says what could not be put back.
    """

    picked: str | None
    warning: str | None


def settings_file(environ: Mapping[str, str]) -> Path:
    """Claude Code's own settings of the user."""
    folder = environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME") or Path.home(), ".claude")
    return Path(folder) / "settings.json"


def note(file: Path, records: Path, names: Collection[str]) -> Before:
    """Before a session: find out which default is the user's own, and write it down in `records`.

    A value out of `names` may stand there because another session is still open, or was killed
    before it could put the user's back: then that session's record says which was theirs.
    """
    with locked(records / "lock"):
        content = _read(file)
        own = _model(content)
        if own in names:
            own = _recorded(file, records, own)
        _drop_dead(records)
        record = records / f"{os.getpid()}.json"
        entry = {"file": str(file), "own": own, "started": process_start(os.getpid())}
        write_private(record, json.dumps(entry))
    return Before(file, content, own, record)


def put_back(before: Before, names: Collection[str]) -> After:
    """After a session: put the user's own default back where the session changed it."""
    with locked(before.record.with_name("lock")):
        try:
            return _put_back(before, names)
        finally:
            before.record.unlink(missing_ok=True)


def _put_back(before: Before, names: Collection[str]) -> After:
    content = _read(before.file)
    if content == before.content:
        return After(None, None)
    try:
        data = _parse(content)
    except ValueError:
        return After(None, f"{before.file} is no longer JSON, so it was left as it is")
    now = data.get("model", _ABSENT)
    if now is not _ABSENT and now not in names:
        return After(None, None)  # set from elsewhere meanwhile, to something of the user's own
    picked = "" if now is _ABSENT and before.own is not _ABSENT else now
    if now == before.own:
        return After(None, None)
    restored = _restored(before, content, data)
    if restored is None:
        return After(
            picked,
            f'"model" in {before.file} is now {now!r}, which plain `claude` does not know, and the '
            "file's layout is not the client's own, so it was left; set it back with /model",
        )
    target = before.file.resolve()  # people link it into their dotfiles
    try:
        if restored == b"":
            target.unlink()
        else:
            write_private(target, restored, target.stat().st_mode & 0o777)
    except OSError as error:
        return After(picked, f"{before.file} could not be put back: {error.strerror}")
    return After(picked, None)


def _restored(before: Before, content: bytes | None, data: dict[str, Any]) -> bytes | None:
    """The file with the user's own default: b"" for no file, None where it cannot be done safely.

    Where nothing else has changed that is the file of before, byte for byte. Else only the one key
    is changed, and only in a file that is laid out as the client writes it.
    """
    rest = {key: value for key, value in data.items() if key != "model"}
    if before.content is None and not rest:
        return b""
    try:
        earlier = _parse(before.content)
    except ValueError:
        return None
    same = {key: value for key, value in earlier.items() if key != "model"} == rest
    if before.content is not None and same and earlier.get("model", _ABSENT) == before.own:
        return before.content
    text = (content or b"").decode()
    if text.rstrip("\n") != _laid_out(data):
        return None
    fixed = rest if before.own is _ABSENT else {**data, "model": before.own}
    return (_laid_out(fixed) + text[len(text.rstrip("\n")) :]).encode()


def _laid_out(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes | None) -> dict[str, Any]:
    """The settings as data, {} for none. Raises ValueError for what is no JSON object."""
    if content is None or not content.strip():
        return {}
    data = json.loads(content.decode())
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def _model(content: bytes | None) -> str | None:
    try:
        model = _parse(content).get("model", _ABSENT)
    except ValueError:
        return _ABSENT
    return model if isinstance(model, str) else _ABSENT


def _recorded(file: Path, records: Path, current: str | None) -> str | None:
    """What an earlier session wrote down as the user's own default for this file."""
    for record in sorted(records.glob("*.json")):
        try:
            entry = json.loads(record.read_text())
        except (OSError, ValueError):
            continue
        if entry.get("file") == str(file):
            own: str | None = entry.get("own")
            return own
    return current


def _drop_dead(records: Path) -> None:
    """Forget the records of sessions that were killed; their knowledge is in the new record."""
    for record in records.glob("*.json"):
        try:
            entry = json.loads(record.read_text())
        except (OSError, ValueError):
            entry = {}
        if process_start(int(record.stem)) != entry.get("started"):
            record.unlink(missing_ok=True)
