"""The last live check of a model: the real `claude -p` reads a file with it, through the gateway.

In a home of its own, so that nothing of the user's is read, changed or left behind.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmswitch.claude.login import OWN_LOGIN, gateway_access
from llmswitch.doctor.messages_api import one_line
from llmswitch.doctor.probe import NO_CALL, NOT_USED, Cell
from llmswitch.doctor.requests import NOTE, PASSWORD
from llmswitch.paths import LOOPBACK, write_private

NOTE_FILE = "note.txt"
_PROMPT = (
    "Read the file {file} with the tool Read. Then answer with the one word that the note says."
)
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


def drive(
    claude: Path,
    client: Mapping[str, Any],
    key: str,
    model: str,
    folder: Path,
    environ: Mapping[str, str],
    timeout: float = 120.0,
) -> Cell:
    """Have the client answer a question that takes one call of a tool.

    `client` are the settings and model ids for its version as the gateway's state has them, and
    whether this model is paid by a login (that of CLAUDE_CODE_OAUTH_TOKEN), `key` is the gateway's,
    `folder` is empty and becomes the client's home. `timeout` is in seconds: by itself the client
    tries ten times, which takes three minutes.
    """
    note = folder / "project" / NOTE_FILE
    note.parent.mkdir()
    note.write_text(f"{NOTE}\n", encoding="utf-8")
    settings = folder / "settings.json"
    with_login = client["login"]
    access = gateway_access(key, {}, with_login=with_login)
    env = client["settings"]["env"] | access | {"NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}
    write_private(settings, json.dumps({**client["settings"], "env": env}))
    command = [str(claude), "--settings", str(settings), "--model", client["ids"][model]]
    command += ["--allowedTools", "Read", "--output-format", "stream-json", "--verbose"]
    command += ["-p", _PROMPT.format(file=note)]
    try:
        done = subprocess.run(
            command,
            env=_environment(environ, folder, with_login=with_login),
            cwd=note.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Cell("error", f"claude -p did not answer within {timeout:g} s")
    except OSError as error:
        return Cell("failed", f"{claude} cannot be run: {error.strerror}")
    return _judged(done, key)


def _environment(environ: Mapping[str, str], home: Path, *, with_login: bool) -> dict[str, str]:
    """The client's environment: a home of its own, and no credential or address of the user's but
    a login that is wanted.
    """
    passed_on = (*_PASSED_ON, OWN_LOGIN) if with_login else _PASSED_ON
    kept = {name: environ[name] for name in passed_on if name in environ}
    quiet = ("DISABLE_AUTOUPDATER", "DISABLE_ERROR_REPORTING", "DISABLE_TELEMETRY")
    return kept | dict.fromkeys(quiet, "1") | {"HOME": str(home), "TERM": "dumb"}


def _judged(done: subprocess.CompletedProcess[str], key: str) -> Cell:
    events = list(_events(done.stdout))
    last: dict[str, Any] = next(
        (event for event in reversed(events) if event.get("type") == "result"), {}
    )
    said = str(last.get("result") or "")
    words = one_line(said or done.stderr or done.stdout, (key,)) or None
    if done.returncode or not last or last.get("is_error"):
        return Cell("error", f"claude -p failed with exit code {done.returncode}", words)
    if not any('"tool_use"' in json.dumps(one) for one in events if one.get("type") == "assistant"):
        return Cell("error", NO_CALL, words)
    if PASSWORD not in said.lower():
        return Cell("warning", NOT_USED, words)
    return Cell("ok")


def _events(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event
