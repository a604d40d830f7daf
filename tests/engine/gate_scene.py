"""A session of the real Claude Code whose requests are seen on both sides of the gate."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import Mission, start_mission
from tests.pass_through import Passed, PassThrough

# Runs in the gateway, named as a callback in the profile: writes down what LiteLLM makes of each
# request before its router is asked.
SAW = """
import json
from pathlib import Path

from litellm.integrations.custom_logger import CustomLogger

_FILE = Path(__file__).with_name("saw.jsonl")


class _Saw(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        headers = data["proxy_server_request"]["headers"]
        with _FILE.open("a") as stream:
            print(json.dumps({"headers": headers, "data": data}, default=repr), file=stream)


hook = _Saw()
"""
# Stands in for `claude`: the same session, but it looks for the gateway at the pass-through.
DIVERTED = """
    #!{python}
    import os, sys
    from pathlib import Path

    def divert(text):
        return text.replace({gateway!r}, {through!r})

    arguments = sys.argv[1:]
    if "--settings" in arguments:
        at = arguments.index("--settings") + 1
        settings = Path(arguments[at])
        diverted = Path(__file__).with_name(settings.name)
        diverted.write_text(divert(settings.read_text()))
        arguments[at] = str(diverted)
    env = {{name: divert(value) for name, value in os.environ.items()}}
    os.execve({claude!r}, [{claude!r}, *arguments], env)
"""


@dataclass
class Scene:
    """A mission whose gateway runs behind a pass-through."""

    mission: Mission
    through: PassThrough
    begun: tuple[int, int, int] = field(default=(0, 0, 0))

    def claude(self, client: Path, folder: Path) -> Path:
        """That client, diverted."""
        shim = folder / "claude"
        folder.mkdir(parents=True)
        gateway, through = self.mission.url, self.through.url
        text = DIVERTED.format(
            python=sys.executable, gateway=gateway, through=through, claude=str(client)
        )
        shim.write_text(textwrap.dedent(text).lstrip())
        shim.chmod(0o755)
        return shim

    def begin(self) -> None:
        """Look from now on."""
        self.begun = len(self.through.passed), len(self._saw()), self._log.stat().st_size

    @property
    def requests(self) -> list[Passed]:
        """What the client has asked since then."""
        return self.through.passed[self.begun[0] :]

    @property
    def messages(self) -> list[Passed]:
        """Its POSTs of messages among them."""
        return [one for one in self.requests if one.path == "/v1/messages"]

    @property
    def saw(self) -> list[dict[str, Any]]:
        """What LiteLLM made of them: `data` and `headers`."""
        return self._saw()[self.begun[1] :]

    @property
    def log(self) -> str:
        """What the gateway's log says since then."""
        return self._log.read_bytes()[self.begun[2] :].decode()

    @property
    def _log(self) -> Path:
        return self.mission.user.run_folder() / "gateway.log"

    def _saw(self) -> list[dict[str, Any]]:
        file = self.mission.user.run_folder() / "saw.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def open_scene(root: Path) -> Iterator[Scene]:
    """A scene below `root`."""
    for mission in start_mission(root):
        run = mission.user.run_folder()
        run.mkdir(parents=True)
        for folder in (run, *run.parents[:2]):
            folder.chmod(0o700)
        (run / "saw.py").write_text(SAW)
        mission.write("litellm: {litellm_settings: {callbacks: [saw.hook]}}")
        with PassThrough(mission.url) as through:
            done = mission.user.run("up")
            assert done.returncode == 0, done.stderr
            yield Scene(mission, through)
            mission.user.run("down")
