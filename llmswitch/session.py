"""One session of Claude Code through the gateway: what the wrapper runs.

    python -m llmswitch.session PROFILE [claude's own arguments...]

Standard library only, and no module that loads more: this stands between Enter and the client's
prompt. Everything slow (profile, rendering, starting) is left to `llmswitch up`, and done only
when something has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmswitch import __version__, health, saved_default
from llmswitch.claude import ALIASES, find_claude, plain_name, rung_of, version_of
from llmswitch.errors import LlmswitchError
from llmswitch.paths import LOOPBACK, ProfileRef, find_home, find_profile, write_private
from llmswitch.secrets import find_key, gateway_key
from llmswitch.state import State, is_ours, read_state

# What the client does without a model: nothing of ours is needed, so nothing is started.
_WITHOUT_MODEL = [
    "auth",
    "config",
    "doctor",
    "install",
    "mcp",
    "migrate-installer",
    "plugin",
    "plugins",
    "setup-token",
    "update",
    "upgrade",
    "-v",
    "--version",
    "-h",
    "--help",
]
_QUIET = (
    "DISABLE_AUTOUPDATER",
    "DISABLE_BUG_COMMAND",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run Claude Code and exit as it exits; what goes wrong before is one sentence and a cure."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = run_session(arguments[0], arguments[1:], os.environ)
    except LlmswitchError as error:
        sys.stderr.write(f"{error.message}\n-> {error.hint}\n")
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(
            f"{error.filename} cannot be used: {error.strerror}\n"
            "-> make it writable, or move llmswitch's files with LLMSWITCH_HOME\n"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if code < 0:  # the client died of a signal: die of the same
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def run_session(profile: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client; returns its exit code, negative for a signal."""
    claude = find_claude(environ)
    if arguments and arguments[0] in _WITHOUT_MODEL:
        os.execv(claude, [str(claude), *arguments])  # noqa: S606 - no shell wanted
    home = find_home(environ)
    ref = find_profile(home, profile or None, environ)
    run = home.run(ref)
    state = _ensure_gateway(ref, run, environ)
    rung = rung_of(version_of(claude, home.state / "claude-version.json"))
    client = state.clients[rung]
    user_file = saved_default.settings_file(environ)
    pick = _Pick(run / "pick.json", state, client["ids"])
    settings = _for_this_session(
        client["settings"], gateway_key(home), pick.model(), rung, user_file, environ
    )
    theirs, rest = _split_settings(arguments)
    written = _write_settings(run, _merge(theirs, settings))
    names = pick.names()
    before = saved_default.note(user_file, home.state / "sessions", names)
    code = _run(claude, ["--settings", str(written), *rest], environ)
    after = saved_default.put_back(before, names)
    if after.picked is not None:
        pick.remember(after.picked)
    if after.warning:
        sys.stderr.write(f"llmswitch: {after.warning}\n")
    return code


def _ensure_gateway(ref: ProfileRef, run: Path, environ: Mapping[str, str]) -> State:
    """The state of a gateway that answers and is up to date; `llmswitch up` makes it so if not."""
    state = _current(ref, run, environ)
    if state is None:
        name = ref.name if ref.id == ref.name else str(ref.file)
        command = [sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--profile", name]
        # What `up` says belongs on the terminal, never into the output of `claude -p`.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        state = read_state(run)
        if state is None:
            raise LlmswitchError("the gateway left no state behind", "llmswitch up")
    return state


def _current(ref: ProfileRef, run: Path, environ: Mapping[str, str]) -> State | None:
    try:
        state = read_state(run)
    except LlmswitchError:
        return None  # damaged: `up` writes it anew
    if state is None or not is_ours(state) or state.version != __version__:
        return None
    if hashlib.sha256(ref.file.read_bytes()).hexdigest() != state.profile_sha256:
        return None
    lacking = {name for row in state.models for name in row["missing"]} - state.keys.keys()
    if any(find_key(name, environ) for name in lacking):
        return None  # a key that was missing is set now: its model can be had
    return state if health.answers(state.host, state.port) else None


class _Pick:
    """The model that was picked in the last session of a profile, for the next one to start with."""

    def __init__(self, file: Path, state: State, ids: dict[str, str]) -> None:
        self.file = file
        self.roles = state.roles
        self.ids = ids

    def model(self) -> str | None:
        """The id of the remembered pick, None where there is none or it is no longer served."""
        try:
            name = json.loads(self.file.read_text())["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self.ids.get(self.roles.get(name, name))

    def remember(self, wire: str) -> None:
        """Keep a pick; "" is the row Default."""
        write_private(self.file, json.dumps({"model": plain_name(wire)}))

    def names(self) -> set[str]:
        """Every value that a pick of this menu can leave in the user's settings."""
        return {*self.ids, *self.ids.values(), *(f"{name}[1m]" for name in self.ids), *ALIASES}


def _for_this_session(
    menu: dict[str, Any],
    key: str,
    model: str | None,
    rung: str,
    user_file: Path,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The menu's settings with what only a session knows: the gateway's key, the model to start
    with, and a way around the user's proxy.
    """
    settings = {**menu, "env": {**menu["env"], "ANTHROPIC_AUTH_TOKEN": key}}
    if model:
        settings["model"] = model
    surroundings = {**environ, **_env_of(user_file)}
    outside = surroundings.get("NO_PROXY") or surroundings.get("no_proxy")
    around = f"{outside},{LOOPBACK}" if outside else LOOPBACK
    settings["env"] |= {"NO_PROXY": around, "no_proxy": around}
    if rung == "discovery" and surroundings.get("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"):
        settings["env"] |= dict.fromkeys(_QUIET, "1")  # what else that variable stands for
    return settings


def _env_of(user_file: Path) -> dict[str, str]:
    """The `env` block of the user's own settings; it beats exported variables."""
    try:
        env = json.loads(user_file.read_text())["env"]
        return {str(name): str(value) for name, value in env.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _split_settings(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The user's own `--settings` (a file or JSON, as the client takes it) and the other arguments."""
    rest: list[str] = []
    given: str | None = None
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += ["--", *waiting]
        elif argument == "--settings":
            given = next(waiting, None)
        elif argument.startswith("--settings="):
            given = argument.partition("=")[2]
        else:
            rest.append(argument)
    if given is None:
        return {}, rest
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError) as error:
        raise LlmswitchError(
            f"--settings {given[:80]} cannot be read: {error}", "give a JSON file or a JSON object"
        ) from error
    if not isinstance(data, dict):
        raise LlmswitchError(f"--settings {given[:80]} is no JSON object", "give a JSON object")
    return data, rest


def _merge(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """The user's settings with ours over them."""
    merged = {**theirs, **ours}
    if isinstance(theirs.get("env"), dict):
        merged["env"] = {**theirs["env"], **ours["env"]}
    return merged


def _write_settings(run: Path, settings: dict[str, Any]) -> Path:
    """Write the settings under a name made of their content.

    The client watches the file while it runs, so another session's must never replace it; and its
    background agents outlive the session, so it stays.
    """
    text = json.dumps(settings, ensure_ascii=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    file = run / "settings" / f"claude-settings-{digest}.json"
    if not file.exists():
        write_private(file, text)
    return file


def _run(claude: Path, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client in our place: its terminal, its signals, its stops; returns as run_session."""
    for number in (signal.SIGINT, signal.SIGQUIT):  # Ctrl-C is the client's to answer
        signal.signal(number, signal.SIG_IGN)
    passed = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    pid = os.posix_spawn(claude, [str(claude), *arguments], dict(environ), setsigdef=passed)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(pid, received))
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):  # Ctrl-Z: the shell waits for us, so stop with it
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
            continue
        return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
