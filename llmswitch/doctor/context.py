"""What the doctor looks at: each thing is read once, whatever state the rest is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmswitch import health
from llmswitch.errors import LlmswitchError
from llmswitch.gateway.manager import Service, installed
from llmswitch.gateway.state import State, is_ours, read_state
from llmswitch.paths import Home, ProfileRef, find_profile
from llmswitch.profile import trust
from llmswitch.profile.load import load_profile
from llmswitch.profile.schema import Profile
from llmswitch.profile.secrets import Keys, find_keys, known_keys, read_gateway_key
from llmswitch.render.menu import Row, make_rows, row_data
from llmswitch.render.plan import RenderedFiles, render, shown_path
from llmswitch.render.retirement import Retirement, retirements

Level = Literal["failed", "skipped", "ok", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "skipped", "info", "warning", "failed", "error")  # upwards


class Verdict(NamedTuple):
    """What a check found: a level, one line, and where there is one the line that cures it."""

    level: Level
    message: str
    hint: str | None = None


class NotAskedError(Exception):
    """A check has nothing to look at, because of what another check reports."""


@dataclass
class Context:
    """The user's shell, files and processes. Reading an attribute may raise NotAskedError.

    `wanted` is the value of `--profile`, `bin` the folder of the wrappers, `now` is in seconds
    since 1970.
    """

    environ: Mapping[str, str]
    home: Home
    wanted: str | None
    bin: Path
    now: float

    @property
    def user_home(self) -> Path:
        """The user's home folder."""
        return Path(self.environ.get("HOME") or Path.home())

    @cached_property
    def named(self) -> ProfileRef | LlmswitchError:
        """The profile that is meant, or why there is none."""
        try:
            return find_profile(self.home, self.wanted, self.environ)
        except LlmswitchError as error:
            return error
        except OSError as error:
            said = f"{error.filename} cannot be read: {error.strerror}"
            return LlmswitchError(said, "move it away, then: llmswitch init --from claude-glm")

    @cached_property
    def loaded(self) -> Profile | LlmswitchError:
        """The profile, or its mistakes."""
        try:
            return load_profile(self.ref.file, shown_path(self.ref.file))
        except LlmswitchError as error:
            return error

    @property
    def ref(self) -> ProfileRef:
        """The profile that is meant."""
        if isinstance(self.named, LlmswitchError):
            raise NotAskedError("there is no profile")
        return self.named

    @property
    def profile(self) -> Profile:
        """The profile, if it has no mistakes."""
        if isinstance(self.loaded, LlmswitchError):
            raise NotAskedError("the profile has mistakes")
        return self.loaded

    def command(self, words: str) -> str:
        """A command of llmswitch for this profile, as the user types it."""
        return f"llmswitch {words} --profile {self.ref.typed}"

    # ---------------------------------------------------------------- the profile

    @cached_property
    def key_names(self) -> list[str]:
        """The variables that can hold a key of the profile's models, in its order."""
        try:
            return self.profile.key_names
        except NotAskedError:
            return []

    @cached_property
    def trust(self) -> trust.Trust:
        """What to know of the profile if it is somebody else's; nothing where it has mistakes."""
        try:
            return trust.look(self.profile)
        except NotAskedError:
            return trust.Trust((), ())

    @cached_property
    def known(self) -> Keys:
        """Every key that is set: in this shell, or by `key set`."""
        try:
            return known_keys(self.environ, self.home)
        except LlmswitchError as error:
            raise NotAskedError("the file of the keys is damaged") from error

    @cached_property
    def keys(self) -> dict[str, str]:
        """The keys of the profile's models whose values can be read."""
        return find_keys(self.profile.key_names, self.known.values)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every model of the profile, as the gateway serves it or would."""
        return make_rows(self.profile, {*self.known.names, *self.held})

    @property
    def rows_if_any(self) -> tuple[Row, ...]:
        """The same; none where the profile or the keys cannot be read."""
        try:
            return self.rows
        except NotAskedError:
            return ()

    @cached_property
    def retiring(self) -> list[Retirement]:
        """The models that their providers are about to retire, or have retired."""
        return retirements(map(row_data, self.rows_if_any), self.now)

    @cached_property
    def rendered(self) -> RenderedFiles:
        """What `up` would write now."""
        try:
            return render(self.ref, self.known.values, {*self.held, *self.known.hidden})
        except LlmswitchError as error:
            raise NotAskedError("the profile has mistakes") from error

    # ---------------------------------------------------------------- the gateway

    @property
    def run(self) -> Path:
        """The folder of everything generated for the profile."""
        return self.home.run(self.ref)

    @cached_property
    def noted(self) -> State | LlmswitchError | None:
        """The state file: of the last gateway, damaged, or none."""
        try:
            return read_state(self.run)
        except LlmswitchError as error:
            return error

    @cached_property
    def running(self) -> State | None:
        """The gateway, if its process is alive and the one that was started."""
        return self.noted if isinstance(self.noted, State) and is_ours(self.noted) else None

    @cached_property
    def answers(self) -> bool:
        """Whether the running gateway answers."""
        state = self.running
        return state is not None and health.answers(state.host, state.port)

    @property
    def gateway(self) -> State:
        """The gateway, if it runs and answers."""
        if self.running is None:
            raise NotAskedError("the gateway is not running")
        if not self.answers:
            raise NotAskedError("the gateway does not answer")
        return self.running

    @cached_property
    def own_state(self) -> Any:
        """What the gateway says of itself: its ledger, its budgets, when it stops."""
        state = self.gateway
        try:
            return health.ask(state.host, state.port, health.OWN_STATE, self.own_key)
        except (OSError, ValueError) as error:
            raise NotAskedError(f"the gateway does not report its state: {error}") from error

    @property
    def held(self) -> frozenset[str]:
        """The names of the keys that the running gateway has."""
        return frozenset(self.running.keys if self.running else ())

    @cached_property
    def own_key(self) -> str:
        """The gateway's own key, if it has been made."""
        try:
            key = read_gateway_key(self.home)
        except (LlmswitchError, OSError) as error:
            raise NotAskedError("the gateway's key cannot be used") from error
        if key is None:
            raise NotAskedError("there is no gateway key yet")
        return key

    @cached_property
    def service(self) -> Service | None:
        """The service that is installed for the profile."""
        if isinstance(self.named, LlmswitchError):
            return None
        return installed(self.ref, self.home, self.environ)


def first_of(found: Sequence[object]) -> str:
    """The first of several, and how many more there are."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0]}{more}"


def are(names: Sequence[str]) -> str:
    """`a is`, `a, b are`: how a sentence about them begins."""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
