"""What `render` shows: every file that `up` and `claude-multi` would write for a profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

from llmswitch.claude.program import ask_version, find_claude, menu_support
from llmswitch.errors import LlmswitchError
from llmswitch.health import url_of
from llmswitch.paths import ProfileRef, find_home
from llmswitch.profile.secrets import known_keys
from llmswitch.render.claude_settings import MenuSupport, make_settings
from llmswitch.render.plan import render
from llmswitch.run_files import CONFIG, GUNICORN


def rendered(ref: ProfileRef, environ: Mapping[str, str]) -> dict[str, str]:
    """The text of each file by its name. Writes nothing and holds no secret: the gateway's key
    comes into the client's settings only when a session starts.
    """
    known = known_keys(environ, find_home(environ))
    files = render(ref, known.values, known.hidden)
    support: MenuSupport = "picker"  # of the newest client, if there is none here
    with suppress(LlmswitchError):
        support = menu_support(ask_version(find_claude(environ)))
    gateway = files.profile.gateway
    settings = make_settings(files.menu, support, url_of(gateway.host, gateway.port))
    return {
        str(CONFIG): files.config,
        str(GUNICORN): files.conf,
        "claude-settings.json": json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
    }
