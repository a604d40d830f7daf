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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmswitch import __version__, health, saved_default
from llmswitch.arguments import (
    GOES_ON,
    WITHOUT_MODEL,
    change_model,
    command_of,
    split_settings,
)
from llmswitch.claude import (
    ALIASES,
    DISCOVERY_FROM,
    PRICING_FROM,
    Version,
    cannot_run,
    client_environment,
    find_claude,
    missing_rows,
    plain_name,
    rung_of,
    shown,
    version_of,
)
from llmswitch.errors import LlmswitchError
from llmswitch.paths import LOOPBACK, ProfileRef, find_home, find_profile, write_private
from llmswitch.secrets import Keys, gateway_key, known_keys
from llmswitch.state import State, is_ours, read_state

_POLICIES = (Path("/etc/claude-code"), Path("/Library/Application Support/ClaudeCode"))
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
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def run_session(profile: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client; returns its exit code, negative for a signal."""
    claude = find_claude(environ)
    command = command_of(arguments)
    if command in WITHOUT_MODEL:
        try:
            os.execve(claude, [str(claude), *arguments], environ)  # noqa: S606 - no shell wanted
        except OSError as error:
            raise cannot_run(claude, error) from error
    home = find_home(environ)
    ref = find_profile(home, profile or None, environ)
    run = home.run(ref)
    theirs, rest = split_settings(arguments)  # a mistake there is told before anything is started
    version = version_of(claude, home.state / "claude-version.json")
    key = gateway_key(home)
    state = _ensure_gateway(ref, run, key, known_keys(environ, home))
    rung = rung_of(version)
    client = state.clients[rung]
    user_file = saved_default.settings_file(environ)
    pick = _Pick(run / "pick.json", state, client["ids"])
    rest = change_model(rest, lambda name: pick.listed(name, rung))
    before = saved_default.note(user_file, home.state / "sessions", pick.names())
    _settle(before.left, pick)
    environment = client_environment(environ)
    if command not in GOES_ON:
        settings = _for_this_session(client, key, pick.model(), rung, user_file, environ)
        if _are_listed(theirs, user_file):
            # The client puts such lists together. Without one it answers a mistyped name better.
            settings.setdefault("availableModels", [*client["ids"].values()])
        pricing = settings.pop("modelPricing", None)
        merged = _merge(theirs, settings)
        if pricing and version >= PRICING_FROM and _can_be_hosted(rest, user_file, environ):
            environment = _host_environment(environ, user_file, merged["env"])
            rest = ["--managed-settings", json.dumps({"modelPricing": pricing}), *rest]
        rest = ["--settings", str(_write_settings(run, merged)), *rest]
        if rung == "rows" and not {"-p", "--print"} & set(arguments):
            _tell_what_is_missed(version, client)
    code = _run(claude, rest, environment)
    _settle(saved_default.put_back(before), pick)
    return code


def _settle(after: saved_default.After, pick: _Pick) -> None:
    """Keep what was picked, and tell what could not be put back."""
    if after.picked is not None:
        pick.remember(after.picked)
    if after.warning:
        sys.stderr.write(f"llmswitch: {after.warning}\n")


def _tell_what_is_missed(version: Version, client: dict[str, Any]) -> None:
    missing = missing_rows(client["settings"]["env"], client["ids"])
    if missing:
        sys.stderr.write(
            f"llmswitch: Claude Code {shown(version)} cannot list {', '.join(missing)} in /model "
            f"({shown(DISCOVERY_FROM)} and newer can); start with one: --model {missing[0]}\n"
        )


def _ensure_gateway(ref: ProfileRef, run: Path, key: str, known: Keys) -> State:
    """The state of a gateway that answers and is up to date; `llmswitch up` makes it so if not."""
    state = _current(ref, run, key, known)
    if state is None:
        command = [sys.executable, "-E", "-P", "-m", "llmswitch", "up", "--quiet"]
        command += ["--profile", ref.argument]
        # What `up` says belongs on the terminal, never into the output of `claude -p`.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        state = read_state(run)
        if state is None:
            raise LlmswitchError("the gateway left no state behind", "llmswitch up")
    return state


def _current(ref: ProfileRef, run: Path, key: str, known: Keys) -> State | None:
    try:
        state = read_state(run)
    except LlmswitchError:
        return None  # damaged: `up` writes it anew
    if state is None or not is_ours(state) or state.version != __version__:
        return None
    if hashlib.sha256(ref.file.read_bytes()).hexdigest() != state.profile_sha256:
        return None
    names = {name for row in state.models for name in row["missing"]} | state.keys.keys()
    for name in names:  # a key that was missing or another is set now
        mark = known.fingerprint(name, key)
        if mark and state.keys.get(name) != mark:
            return None
    return state if health.answers(state.host, state.port) else None


class _Pick:
    """The model picked in the last session of a profile: the next one starts with it."""

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

    def listed(self, name: str, rung: str) -> str:
        """A name after `--model` as the menu has it: with the mark of a million tokens.

        Raises LlmswitchError where the client would take its default instead, without a word.
        """
        if rung == "discovery" and name != "default" and name not in self.names():
            raise LlmswitchError(
                f"the profile has no model {name!r}; it has: {', '.join(self.ids)}",
                f"--model {next(iter(self.ids))}",
            )
        wire = self.ids.get(name, name)
        return wire if wire.endswith("[1m]") else name

    def names(self) -> set[str]:
        """Every value that a pick of this menu can leave in the user's settings."""
        plain = {*self.ids, *self.ids.values(), *ALIASES}
        return plain | {f"{name}[1m]" for name in plain}


def _for_this_session(
    client: dict[str, Any],
    key: str,
    model: str | None,
    rung: str,
    user_file: Path,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The menu's settings with what only a session knows: the gateway's key, the model to start
    with, and a way around the user's proxy.
    """
    settings = {**client["settings"], "env": {**client["settings"]["env"]}}
    settings["env"]["ANTHROPIC_AUTH_TOKEN"] = key
    if model:
        settings["model"] = model
    surroundings = {**environ, **_env_of(user_file)}
    outside = surroundings.get("NO_PROXY") or surroundings.get("no_proxy")
    around = f"{outside},{LOOPBACK}" if outside else LOOPBACK
    settings["env"] |= {"NO_PROXY": around, "no_proxy": around}
    if rung == "discovery" and surroundings.get("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"):
        settings["env"] |= dict.fromkeys(_QUIET, "1")  # what else that variable stands for
    return settings


def _can_be_hosted(arguments: Sequence[str], user_file: Path, environ: Mapping[str, str]) -> bool:
    """Whether the client can be told our prices without losing anything of the user's.

    It takes prices only from the program that manages its provider (2.1.330). Then it ignores
    variables of some names in the project's settings, also those that only its tools need, and
    sessions that it sends to the background are not logged in; with `-p` there are none of these.
    """
    given = {argument.partition("=")[0] for argument in arguments}
    if not given & {"-p", "--print"} and environ.get("LLMSWITCH_CLIENT_PRICES") != "1":
        return False
    if any(folder.exists() for folder in _POLICIES):  # an organization's settings come first
        return False
    files = [file for file in _project_files() if file != user_file]
    return not given & {"--managed-settings", "--setting-sources"} and not any(
        _settings_in(file).get("env") for file in files
    )


def _host_environment(
    environ: Mapping[str, str], user_file: Path, env: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a client whose provider we manage: of some names (addresses, models,
    proxies, certificates) it believes no settings file, only what is exported.
    """
    found = client_environment({**environ, **_env_of(user_file), **env})
    return {**found, "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1"}


def _are_listed(theirs: dict[str, Any], user_file: Path) -> bool:
    """Whether any settings of the user's or the project's say which models there are."""
    files = [user_file, *_project_files()]
    return any("availableModels" in given for given in (theirs, *map(_settings_in, files)))


def _project_files() -> list[Path]:
    here = Path.cwd()
    folders = [folder / ".claude" for folder in (here, *here.parents)]
    return [
        folder / name for folder in folders for name in ("settings.json", "settings.local.json")
    ]


def _settings_in(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _env_of(user_file: Path) -> dict[str, str]:
    """The `env` block of the user's own settings; it beats exported variables."""
    env = _settings_in(user_file).get("env")
    return {name: str(value) for name, value in env.items()} if isinstance(env, dict) else {}


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
    typed = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP}
    ended = {signal.SIGTERM, signal.SIGHUP}
    ignored = {number for number in typed | ended if signal.getsignal(number) is signal.SIG_IGN}
    ended -= ignored  # by `nohup`, say: then by the client too
    passed = (typed | ended | {signal.SIGPIPE}) - ignored
    # Keys are the client's to answer. It sends Ctrl-Z's signal on to the whole group (2.1.197 and
    # 2.1.330): were we stopped by that too, and by its stop below, `fg` would be needed twice.
    for number in typed:
        signal.signal(number, signal.SIG_IGN)
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, ended)  # until there is whom to pass it to
    try:
        pid = os.posix_spawn(
            claude, [str(claude), *arguments], environ, setsigmask=waiting, setsigdef=passed
        )
    except OSError as error:
        raise cannot_run(claude, error) from error

    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in ended:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):  # Ctrl-Z: the shell waits for us, so stop with it
            os.kill(os.getpid(), signal.SIGSTOP)
            # `fg` wakes the client too. Told so twice, it would draw and read its screen twice.
            changed, later = _wait_a_second(pid)
            if not changed:
                os.kill(pid, signal.SIGCONT)
            if not changed or os.WIFCONTINUED(later):
                continue
            status = later
        for number in ended:  # what is left to do takes no time, and must be done
            signal.signal(number, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(status)


def _wait_a_second(pid: int) -> tuple[int, int]:
    """As os.waitpid, for a child that goes on or ends; (0, 0) where it does neither."""
    for _ in range(20):
        changed, status = os.waitpid(pid, os.WNOHANG | os.WCONTINUED)
        if changed:
            return changed, status
        time.sleep(0.05)
    return 0, 0


if __name__ == "__main__":
    main()
