"""The dialogue of `init`. Nothing is written, and no key stored, before all is answered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmswitch.cli import init_key, text_init
from llmswitch.cli.ask import Screen
from llmswitch.cli.common import BIN, keys_here, places_here
from llmswitch.cli.init import leave
from llmswitch.cli.key import store
from llmswitch.paths import Home, ProfileRef
from llmswitch.profile import catalogue, model_lists
from llmswitch.profile.edit import entry
from llmswitch.profile.load import load_profile
from llmswitch.profile.providers import Provider
from llmswitch.profile.schema import Profile
from llmswitch.render.menu import make_rows
from llmswitch.render.plan import shown_path
from llmswitch.setup import compose, detect, write
from llmswitch.setup.compose import Candidate


def run(home: Home, screen: Screen, environ: Mapping[str, str]) -> write.Done:
    """Ask, then write. Ends the command where the user quits."""
    try:
        ref = write.own_profile(home, environ)
        profile = load_profile(ref.file, shown_path(ref.file)) if ref else None
        found = detect.look(home, environ, BIN.expanduser(), profile, time.time())
        guide = _Guide(home, screen, environ, ref, profile, catalogue.providers(profile), found)
        guide.introduce()
        chosen = guide.choose()
    except (KeyboardInterrupt, EOFError) as stop:
        screen.tell([""])
        raise leave(130 if isinstance(stop, KeyboardInterrupt) else 1) from stop
    if chosen is None:
        raise leave(1)
    return guide.write(chosen)


@dataclass
class _Guide:
    """What the dialogue knows. `ref` and `profile` are those that exist already; `pasted` are the
    keys by provider.
    """

    home: Home
    screen: Screen
    environ: Mapping[str, str]
    ref: ProfileRef | None
    profile: Profile | None
    providers: dict[str, Provider]
    found: detect.Found
    pasted: dict[str, init_key.Pasted] = field(default_factory=dict)

    def introduce(self) -> None:
        """Show what was found; without a usable model, ask for a key."""
        names = [name for keys in self.found.keys.values() for name in keys]
        places = places_here(self.home, names)
        self.screen.tell(text_init.found(self.home, self.found, self.providers, places))
        usable = bool(self.found.keys or self.found.servers or self.found.login)
        if self.profile and self.ref:
            rows = make_rows(self.profile, keys_here(self.home).names)
            served = [row.provider.dialect for row in rows if row.reason is None]
            usable = bool(served)
            self.screen.tell(text_init.existing_profile(self.ref.file, rows))
            if self.found.login and "anthropic" not in served:
                self.screen.tell(text_init.LOGIN_UNUSED)
        if not usable and self.screen.asks:
            self.take_key()

    def choose(self) -> list[Candidate] | None:
        """Show what will be written until the user accepts it; None where the user quits."""
        if self.ref and not any(one.marked for one in self.candidates()):
            self.screen.tell([text_init.NOTHING_NEW])
            if not self.screen.asks:
                return []
        chosen: list[Candidate] | None = None
        while True:
            there = self.candidates()
            taken = [one for one in there if one.marked] if chosen is None else chosen
            for part in (text_init.models(there, taken), self.preview(taken)):
                self.screen.tell(["", *part] if part else [])
            self.screen.tell([""])
            answer = self.answer(there, taken)
            if answer is None:
                return [] if self.ref else None
            if answer is taken:
                return taken
            chosen = None if isinstance(answer, str) else answer
            if isinstance(answer, str):
                self.take_key(answer)

    def candidates(self) -> list[Candidate]:
        """The models to choose from."""
        fresh = {name: answer.models for name, answer in self.found.servers.items()}
        fresh |= {name: key.models for name, key in self.pasted.items() if key.models}
        listed = {name: [one["id"] for one in models] for name, models in fresh.items()}
        said = model_lists.known(self.home)
        said |= {name: {"models": models} for name, models in fresh.items()}
        logins = self.logins()
        wanted = {*self.found.keys, *self.found.servers, *self.pasted, *logins}
        return compose.candidates(self.profile, wanted, self.found.clouds, said, listed, logins)

    def logins(self) -> set[str]:
        """The providers that the Claude login opens: Anthropic, where it has no key."""
        if not self.found.login:
            return set()
        if self.profile:
            own = self.profile.providers.items()
            return {name for name, one in own if one.auth == "subscription"}
        return {"anthropic"} - {*self.found.keys, *self.pasted}

    def answer(
        self, there: Sequence[Candidate], taken: list[Candidate]
    ) -> list[Candidate] | str | None:
        """What to do: these models, a key (empty to ask for it), or None to quit."""
        while True:
            if self.screen.asks:
                self.screen.tell(text_init.question(there, taken, self.ref is not None))
            answer = self.screen.line("> ") or ""
            if init_key.owner(answer, self.providers):
                self.screen.took("")
                return answer
            word = answer.lower()
            chosen = compose.choose(word, there)
            fixed: dict[str, list[Candidate] | str | None] = {
                **dict.fromkeys(("", "y", "yes"), taken),
                **dict.fromkeys(("n", "no")),
                "k": "",
            }
            if word in fixed or chosen:
                self.screen.took(word)
                return fixed.get(word, chosen)
            self.screen.took("")
            self.screen.tell(["not in the list: type numbers from it, such as 2 1"])

    def preview(self, taken: Sequence[Candidate]) -> list[str]:
        """What will be written."""
        if self.ref is None:
            return text_init.profile(*self.new_profile(taken), taken)
        lines = [entry(one.name, one.value) for one in taken]
        return text_init.additions(self.ref.file, lines) if lines else []

    def new_profile(self, taken: Sequence[Candidate]) -> tuple[Path, str]:
        """The file of a new profile and its text: a ready-made one without models."""
        if taken:
            name, text = write.FIRST, compose.profile_text(taken, self.found.port)
        else:
            name, text = write.ready_made()
        return write.new_file(self.home, name, self.environ), text

    def take_key(self, given: str = "") -> None:
        """Ask for a key, or take one that was given."""
        key = init_key.ask(self.screen, self.providers, given)
        if key is None:
            return
        self.pasted[key.provider] = key
        if not any(one.provider == key.provider for one in self.candidates()):
            self.screen.tell(text_init.no_models(self.providers[key.provider], key.provider))

    def write(self, chosen: Sequence[Candidate]) -> write.Done:
        """Store the keys and write the profile."""
        for name, pasted in self.pasted.items():
            lines, _ = store(self.home, self.providers[name].key or "", pasted.key)
            self.screen.tell(lines)
        if self.ref:
            added = {one.name: one.value for one in chosen}
            return write.extend(self.home, self.ref, added, self.environ)
        file, text = self.new_profile(chosen)
        return write.write(self.home, file, text.encode(), self.environ)
