"""The one key of the user's own settings that a session may change: `model` in settings.json.

Claude Code saves a model that is picked with Enter or a number as the default of every session,
`--settings` or not. A name that only the gateway knows then breaks plain `claude`. So the pick is
remembered for the next `claude-multi` and the user's own value is put back, and nothing else.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.gateway.state import process_start
from llmswitch.paths import locked, write_private

_ABSENT = None  # a settings file without a saved default


class _Seen(NamedTuple):
    """A settings file at one moment; `content` is None where there is none. `stamp` changes with
    every writing, also of the same content (the client makes a new file each time). `fault` says
    why nothing is known of it.
    """

    content: bytes | None
    stamp: tuple[int, int] | None
    fault: str | None = None


class After(NamedTuple):
    """What a session left: `picked` is the model id that was picked in it, "" for the row
    Default, None for no pick; `warning` says what could not be put back.
    """

    picked: str | None
    warning: str | None


class Before(NamedTuple):
    """The user's settings file as a session found it. `own` is the user's own saved default,
    `names` is every value that a pick can leave in its place, `left` what a session that was
    killed had left there.
    """

    file: Path
    seen: _Seen
    own: str | None
    names: frozenset[str]
    record: Path
    left: After = After(None, None)


def note(file: Path, records: Path, names: Collection[str]) -> Before:
    """Before a session: find out which default is the user's own, and write it down in `records`.

    A pick may stand there: of a session that is still open, which will put the user's value back,
    or of one that was killed before it could. Then that is done here.
    """
    with locked(records / "lock"):
        seen = _look(file)
        before = Before(file, seen, _model(seen), frozenset(names), records / f"{os.getpid()}.json")
        for earlier, alive in _recorded(file, records):
            if seen.fault or not _stands_there(earlier, before.own):
                continue
            left = before.left if alive else _put_back(earlier)
            before = before._replace(seen=_look(file), own=earlier.own, left=left)
            break
        if before.left.warning is None:  # else the next session needs to know, and tries again
            for record in _dead(records):
                record.unlink(missing_ok=True)
        write_private(before.record, _as_json(before))
    return before


def sessions(file: Path, records: Path) -> list[bool]:
    """The sessions with this settings file that have a record: whether each is still open."""
    return [alive for _, alive in _recorded(file, records)]


def picked_from(file: Path, records: Path, name: str) -> bool:
    """Whether a session with this settings file had a model of this name in its menu that is not
    the user's own default.
    """
    found = (before for before, _ in _recorded(file, records))
    return any(name in before.names and name != before.own for before in found)


def put_back(before: Before) -> After:
    """After a session: put the user's own default back where the session changed it."""
    with locked(before.record.with_name("lock")):
        try:
            return _put_back(before)
        finally:
            before.record.unlink(missing_ok=True)


def _put_back(before: Before) -> After:
    seen = _look(before.file)
    if seen == before.seen:
        return After(None, None)
    if fault := before.seen.fault or seen.fault:
        return After(None, f"{before.file} {fault} and was left unchanged")
    if seen.content is None:
        return After(None, None)  # taken away meanwhile
    now = _model(seen)
    if now not in {_ABSENT, before.own, *before.names}:
        return After(None, None)  # set from elsewhere meanwhile, to something of the user's own
    only_model = _rest(seen) == _rest(before.seen)
    # The client writes the file for every pick, also of what stands there already.
    again = only_model and now == _model(before.seen) and now in {_ABSENT, *before.names}
    picked = (now or "") if now != before.own or again else None
    try:
        restored = _restored(before, seen) if only_model or now != before.own else seen.content
    except ValueError:
        return After(
            picked,
            f'"model" in {before.file} is now {now!r}, which plain `claude` does not know. The '
            "file was laid out by hand and was left unchanged; set it back with /model",
        )
    return After(picked, _write(before.file, seen.content, restored))


def _restored(before: Before, seen: _Seen) -> bytes | None:
    """The file with the user's own default, None for no file. Where nothing else has changed that
    is the file of before, byte for byte. Else only the one key is changed.

    Raises ValueError for a file that is not laid out as the client writes it.
    """
    if _rest(seen) == _rest(before.seen) and _model(before.seen) == before.own:
        return before.seen.content
    if _model(seen) == before.own:
        return seen.content
    data, text = _data(seen), (seen.content or b"").decode()
    if text.rstrip("\n") != _laid_out(data):
        raise ValueError("not the client's layout")
    data = {**data, "model": before.own}
    if before.own is _ABSENT:
        del data["model"]
    return (_laid_out(data) + text[len(text.rstrip("\n")) :]).encode()


def _write(file: Path, content: bytes | None, restored: bytes | None) -> str | None:
    """Replace the content, where it is another; returns what went wrong."""
    target = file.resolve()  # people link it into their dotfiles
    try:
        if restored is None:
            target.unlink(missing_ok=True)
        elif restored != content:
            write_private(target, restored, target.stat().st_mode & 0o777)
    except OSError as error:
        return f"{file} could not be put back: {error.strerror}"
    return None


def _look(file: Path) -> _Seen:
    try:
        status = file.stat()
        stamp = (status.st_ino, status.st_mtime_ns)
    except FileNotFoundError:
        return _Seen(None, None)
    except OSError as error:
        return _Seen(None, None, f"cannot be read ({error.strerror})")
    try:
        seen = _Seen(file.read_bytes(), stamp)
        _data(seen)
    except OSError as error:
        return _Seen(None, stamp, f"cannot be read ({error.strerror})")
    except ValueError:
        return _Seen(None, stamp, "is or was not valid JSON")
    return seen


def _data(seen: _Seen) -> dict[str, Any]:
    """The settings, {} for none. Raises ValueError for what is no JSON object."""
    if seen.content is None or not seen.content.strip():
        return {}
    data = json.loads(seen.content.decode())
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def _model(seen: _Seen) -> str | None:
    model = _data(seen).get("model", _ABSENT)
    return model if isinstance(model, str) else _ABSENT


def _rest(seen: _Seen) -> dict[str, Any]:
    return {key: value for key, value in _data(seen).items() if key != "model"}


def _laid_out(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False)


def _stands_there(earlier: Before, current: str | None) -> bool:
    """Whether the saved default of now is what an earlier session left, and not the user's own."""
    return current != earlier.own and (current is _ABSENT or current in earlier.names)


def _as_json(before: Before) -> str:
    content = before.seen.content
    return json.dumps(
        {
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "file": str(before.file),
            "content": None if content is None else base64.b64encode(content).decode(),
            "own": before.own,
            "names": [] if before.seen.fault else sorted(before.names),
        }
    )


def _recorded(file: Path, records: Path) -> Iterator[tuple[Before, bool]]:
    """The earlier sessions with this settings file, and whether each is still open."""
    for record in sorted(records.glob("*.json")):
        entry = _entry(record)
        if entry.get("file") == str(file):
            content = entry["content"]
            seen = _Seen(None if content is None else base64.b64decode(content), None)
            names = frozenset(entry["names"])
            yield Before(file, seen, entry["own"], names, record), _is_open(entry)


def _dead(records: Path) -> Iterator[Path]:
    """The records of sessions that were killed."""
    return (record for record in records.glob("*.json") if not _is_open(_entry(record)))


_RECORDED = {"pid", "started", "file", "content", "own", "names"}


def _entry(record: Path) -> dict[str, Any]:
    try:
        entry: Any = json.loads(record.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(entry, dict) and entry.keys() >= _RECORDED
    return entry if whole else {}


def _is_open(entry: dict[str, Any]) -> bool:
    return "pid" in entry and process_start(entry["pid"]) == entry["started"]
