"""The command `init`: its dialogue. What is found, composed and written is others' work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmswitch.cli.ask import Screen
from llmswitch.cli.common import BIN, JsonOption, keys_here, own_home, places_here, show
from llmswitch.cli.init_from import take

if TYPE_CHECKING:
    from pathlib import Path

    from llmswitch.paths import Home, ProfileRef
    from llmswitch.profile.model_lists import Answer
    from llmswitch.profile.providers import Provider
    from llmswitch.profile.schema import Profile
    from llmswitch.setup.compose import Candidate
    from llmswitch.setup.detect import Found
    from llmswitch.setup.write import Done

_WRAPPER = "claude-multi"


def init(
    *,
    source: Annotated[
        str | None, typer.Option("--from", help="A ready-made profile, or a file of yours.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing, and take what is found.")
    ] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Write the profile, and no more than that.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Set everything up: a profile from what is found here, the gateway, claude-multi.

    A profile that is there is added to, never overwritten. LLMSWITCH_PROFILE names it, or a new
    one. --json asks nothing, like --yes; --from FILE is used on your word or with --yes.
    """
    from llmswitch.cli import text

    home = own_home()
    screen = Screen(asks=not (yes or as_json), silent=as_json)
    known: dict[str, Any] = {}
    if source is None:
        done = _Guide(home, screen).run()
    else:
        done, known = take(home, source, screen, yes=yes)
    if no_start:
        screen.tell(text.init(done))
        started: dict[str, Any] = {}
    else:
        started = _start(home, done, screen)
    if as_json:
        data = {"name": done.ref.name, "file": str(done.ref.file), "was_there": done.was_there}
        show([], data | {"added": list(done.added)} | known | started, as_json)


def _start(home: Home, done: Done, screen: Screen) -> dict[str, Any]:
    """Let the gateway run, write the wrapper, ask the doctor; what came of it, for --json."""
    from llmswitch.claude import wrapper
    from llmswitch.cli import progress, text, text_init
    from llmswitch.doctor import checks
    from llmswitch.doctor.context import Context
    from llmswitch.gateway import lifecycle
    from llmswitch.profile.load import load_profile
    from llmswitch.render.menu import make_rows
    from llmswitch.render.plan import shown_path

    screen.tell(text_init.written(done))
    profile = load_profile(done.ref.file, shown_path(done.ref.file))
    context = Context(os.environ, home, done.ref.argument, BIN.expanduser(), time.time())
    rows = make_rows(profile, {*keys_here(home).names, *context.held})
    usable = any(row.reason is None for row in rows)
    outcome = None
    if usable:
        with progress.shown() as tell:
            outcome = lifecycle.up(done.ref, home, os.environ, tell, on_demand=True)
        screen.tell(text.outcome_in_short(outcome))
    made = wrapper.install(done.ref, _WRAPPER, BIN, os.environ)
    screen.tell(text_init.installed(made))
    # A new one: this one keeps what it found before the start.
    results = checks.examine(replace(context))
    if usable:
        screen.tell(text_init.doctor(results))
    screen.tell([*text_init.without_gateway(rows), *text_init.coming(made, rows)])
    return {
        "gateway": text.outcome_data(outcome) if outcome else None,
        "wrapper": {"file": str(made.file), "did": made.did, "on_path": made.on_path},
        "doctor": checks.worst(results),
    }


@dataclass
class _Guide:
    """The dialogue. Nothing is written, and no key kept, before all is answered."""

    home: Home
    screen: Screen
    pasted: dict[str, str] = field(default_factory=dict)  # keys by provider
    answers: dict[str, Answer] = field(default_factory=dict)  # what their providers said

    @cached_property
    def ref(self) -> ProfileRef | None:
        """The profile that is there already."""
        from llmswitch.setup import write

        return write.own_profile(self.home, os.environ)

    @cached_property
    def profile(self) -> Profile | None:
        """What it says."""
        from llmswitch.profile.load import load_profile
        from llmswitch.render.plan import shown_path

        return load_profile(self.ref.file, shown_path(self.ref.file)) if self.ref else None

    @cached_property
    def providers(self) -> dict[str, Provider]:
        """Every provider that is known."""
        from llmswitch.profile import catalogue

        return catalogue.providers(self.profile)

    @cached_property
    def found(self) -> Found:
        """What is there on this machine."""
        from llmswitch.setup import detect

        return detect.look(self.home, os.environ, BIN.expanduser(), self.profile, time.time())

    def run(self) -> Done:
        """Ask, then write. Ends the command where the user leaves it."""
        from llmswitch.cli import text_init

        try:
            chosen = self._ask()
        except (KeyboardInterrupt, EOFError) as stop:
            sys.stderr.write(f"\n{text_init.NOTHING}\n")
            raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 1) from stop
        if chosen is None:
            sys.stderr.write(f"{text_init.NOTHING}\n")
            raise typer.Exit(1)
        return self._write(chosen)

    def _ask(self) -> list[Candidate] | None:
        """The models to write; None to write nothing."""
        from llmswitch.cli import text_init
        from llmswitch.render.menu import make_rows

        variables = [name for names in self.found.keys.values() for name in names]
        places = places_here(self.home, variables)
        self.screen.tell(text_init.found(self.found, self.providers, places, self.home.keys))
        usable = bool(self.found.keys or self.found.servers or self.found.login)
        if self.profile and self.ref:
            rows = make_rows(self.profile, keys_here(self.home).names)
            usable = any(row.reason is None for row in rows)
            self.screen.tell(text_init.second(self.ref.file, rows))
            served = {row.provider.dialect for row in rows if row.reason is None}
            if self.found.login and "anthropic" not in served:
                self.screen.tell(text_init.LOGIN_TOO)
        if not usable and self.screen.asks:
            self._take_key()
        if self.ref and not any(one.marked for one in self._candidates()):
            self.screen.tell([text_init.NOTHING_NEW])
            return self._choose() if self.screen.asks else []
        return self._choose()

    def _candidates(self) -> list[Candidate]:
        from llmswitch.profile import model_lists
        from llmswitch.setup import compose

        said = model_lists.known(self.home)
        fresh = {name: answer.models for name, answer in self.found.servers.items()}
        fresh |= {name: answer.models for name, answer in self.answers.items() if answer.models}
        listed = {name: [one["id"] for one in models] for name, models in fresh.items()}
        said |= {name: {"models": models} for name, models in fresh.items()}
        wanted = {*self.found.keys, *self.found.servers, *self.pasted}
        logins = self._logins()
        wanted |= logins
        return compose.candidates(self.profile, wanted, self.found.clouds, said, listed, logins)

    def _logins(self) -> set[str]:
        """The providers that the Claude login opens: Anthropic, where there is no key for it."""
        if not self.found.login:
            return set()
        if self.profile:
            own = self.profile.providers.items()
            return {name for name, one in own if one.auth == "subscription"}
        return {"anthropic"} - {*self.found.keys, *self.pasted}

    def _choose(self) -> list[Candidate] | None:
        """Show what will be written until it is what is wanted."""
        from llmswitch.cli import text_init

        chosen: list[Candidate] | None = None
        while True:
            there = self._candidates()
            taken = [one for one in there if one.marked] if chosen is None else chosen
            for part in (text_init.models(there, taken), self._shown(taken)):
                self.screen.tell(["", *part] if part else [])
            self.screen.tell([""])
            answer = self._answer(there, taken)
            if answer is None:
                return [] if self.ref else None
            if isinstance(answer, str):
                self._take_key(answer)
            elif answer is taken:
                return taken
            chosen = None if isinstance(answer, str) else answer

    def _answer(
        self, there: Sequence[Candidate], taken: list[Candidate]
    ) -> list[Candidate] | str | None:
        """What is to be done: these models, a key (empty to ask for it), or None to leave it."""
        from llmswitch.cli import text_init
        from llmswitch.setup import compose

        while True:
            if self.screen.asks:
                self.screen.tell(text_init.question(there, taken, self.ref is not None))
            answer = self.screen.line(text_init.ANSWER)
            word = (answer or "").lower()
            if answer and self._owner(answer):
                self.screen.took("")
                return answer
            named = compose.choose(word, there)
            known = word in {"", "y", "yes", "n", "no", "k"} or named is not None
            self.screen.took(word if known else "")
            if word in {"", "y", "yes"}:
                return taken
            if word in {"n", "no"}:
                return None
            if word == "k":
                return ""
            if named is not None:
                return named
            self.screen.tell(text_init.NO_SUCH)

    def _shown(self, taken: Sequence[Candidate]) -> list[str]:
        from llmswitch.cli import text_init
        from llmswitch.profile import edit

        if self.ref:
            lines = [edit.entry(one.name, one.value) for one in taken]
            return text_init.additions(self.ref.file, lines) if lines else []
        return text_init.profile(*self._new(taken), taken)

    def _new(self, taken: Sequence[Candidate]) -> tuple[Path, str]:
        """The file of a new profile, and its text; a ready-made one's where no model is taken."""
        from llmswitch.setup import compose, write

        if taken:
            name, text = write.FIRST, compose.profile_text(taken, self._port)
        else:
            name, text = write.ready_made()
        return write.new_file(self.home, name, os.environ), text

    @cached_property
    def _port(self) -> int:
        from llmswitch.setup import detect

        return detect.free_port()

    def _write(self, chosen: Sequence[Candidate]) -> Done:
        from llmswitch.cli import text_init, text_keys
        from llmswitch.profile import keys
        from llmswitch.setup import write

        for provider, key in self.pasted.items():
            name = self.providers[provider].key or ""
            place = keys.set_key(self.home, name, key)
            self.screen.tell(text_init.kept(name, place, self.home.keys))
            if places_here(self.home, [name])[name] == "environment":
                self.screen.tell(text_keys.shadowed(name))
        if self.ref:
            added = {one.name: one.value for one in chosen}
            return write.extend(self.home, self.ref, added, os.environ)
        return write.write(self.home, *self._new(chosen), os.environ)

    # -------------------------------------------------------------- a key

    def _take_key(self, given: str = "") -> None:
        """Ask for a key, or take one that is given, until one is not refused, or none comes."""
        from llmswitch.cli import text_init

        key: str | None = given
        if not given:
            self.screen.tell(["", *text_init.PASTE])
            key = self.screen.secret(text_init.KEY)
        if key is None:
            return
        named = self._named(key)
        name = named or self._owner(key) or self._which()
        if name is None:
            return
        if named or not key:
            self.screen.tell(text_init.page_of(self.providers[name], name))
            key = self.screen.secret(text_init.KEY)
        while key:
            name = self._owner(key) or name
            if self._is_fit(name, key):
                self.pasted[name] = key
                if not any(one.provider == name for one in self._candidates()):
                    self.screen.tell(text_init.no_models(self.providers[name], name))
                return
            key = self.screen.secret(text_init.KEY)

    @cached_property
    def _keyed(self) -> list[str]:
        """The providers that need a key and nothing else."""
        return [name for name, one in self.providers.items() if one.key and not one.env]

    def _owner(self, key: str) -> str | None:
        """The provider that a key says to be of."""
        from llmswitch.profile import catalogue

        name = catalogue.of_key(key)
        return name if name in self._keyed else None

    def _named(self, text: str) -> str | None:
        """The provider that is meant by its name, or by its label."""
        shown = {(self.providers[name].label or name).lower(): name for name in self._keyed}
        return (shown | dict(zip(self._keyed, self._keyed, strict=True))).get(text.lower())

    def _which(self) -> str | None:
        """Ask for a provider; None where none is named."""
        from llmswitch.cli import text_init

        self.screen.tell(text_init.providers(self.providers, self._keyed))
        numbers = {str(at): name for at, name in enumerate(self._keyed, 1)}
        while answer := self.screen.line(text_init.WHOSE):
            name = numbers.get(answer) or self._named(answer)
            self.screen.took(answer if name else "")
            if name:
                return name
            self.screen.tell(text_init.NO_PROVIDER)
        if answer is not None:
            self.screen.took("")
        return None

    def _is_fit(self, name: str, key: str) -> bool:
        """Whether a key can be one of a provider, which is asked, and says what came of it."""
        from llmswitch.cli import progress, text_init
        from llmswitch.profile import keys, model_lists

        provider = self.providers[name]
        if wrong := next(keys.key_problems(key, provider), None):
            self.screen.tell(text_init.wrong(wrong))
            return False
        with progress.shown() as tell:
            tell(f"asking {provider.label or name}")
            answer = model_lists.check_key(provider, key)
            if answer.trouble is None and not answer.models:  # it was asked elsewhere
                answer = answer._replace(models=model_lists.ask_models(provider, key).models)
        self.screen.tell(text_init.checked(provider.label or name, answer))
        self.answers[name] = answer
        return not answer.refused
