"""A home and a shell that would send the session elsewhere: it goes to the gateway all the same, no
provider sees what is not its own, and every file of the user's is left as it was.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import clients
from tests.conftest import Mission
from tests.ready_made import OPUS, ROWS, SONNET
from tests.seat import Seat, ask, choose, files_below, leave, open_menu, take_seat
from tests.terminal import INPUT_BOX

pytestmark = [pytest.mark.xdist_group("hostile-home"), pytest.mark.timeout(900)]

Fetch = Callable[[], Path]
both = pytest.mark.parametrize(
    "client",
    [
        pytest.param(clients.newest, id="newest"),
        pytest.param(clients.oldest, id="oldest", marks=pytest.mark.soak),
    ],
)
LABELS = [*(row.label for row in ROWS.values()), "Qwen3"]
ASKED = {
    SONNET.label: ("anthropic", SONNET.model.id),
    "GLM-4.5 Air": ("zai", "GLM-4.5-Air"),
}
"""Who is asked for what when a row is picked; Default depends on the client."""
SECRETS = {
    "in settings.json": "sk-users-token-in-settings",
    "exported token": "sk-users-exported-token",
    "login": "sk-ant-oat01-users-login",
    "header": "users-secret-header",
    "helper": "sk-users-helper-key",
    "key": "sk-ant-api03-users-own",
}

SETTINGS = """{
\t"model" :   "%(model)s",  \t
  "zeta": "ünïcode ☃ \\u00e9",
\t"env": {"ANTHROPIC_BASE_URL": "%(elsewhere)s", "ANTHROPIC_AUTH_TOKEN": "%(token)s",
\t\t"ANTHROPIC_MODEL": "users-model", "ANTHROPIC_DEFAULT_OPUS_MODEL": "users-opus",
\t\t"CLAUDE_CODE_SUBAGENT_MODEL": "users-agent", "HTTPS_PROXY": "%(elsewhere)s", "OWN": "kept"},
  "apiKeyHelper": "%(helper)s",
  "availableModels": ["haiku", "users-model"],  "enforceAvailableModels": true,
\t"modelPicker": {"replaceBuiltInOptions": true, "options": [{"model": "users-row", "label": "U"}]},
  "fallbackModel": ["users-fallback"],
  "alpha": [1, 1.50, {}],   "permissions": {"allow": []}
}


"""


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """A server where nothing of the session may arrive: its URL, and what it received."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.settimeout(2)
                        if said := connection.recv(65536):  # some are opened and given up
                            received.append(said)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", received
        server.shutdown(socket.SHUT_RDWR)


def make_hostile(seat: Seat, url: str, model: str) -> Path:
    """Fill the home and the shell with everything that could lead the session astray; returns the
    file that the user's key helper writes when it is called.
    """
    called = seat.home / "helper-was-called"
    helper = seat.home / "helper.sh"
    helper.write_text(f'#!/bin/sh\necho x >> "{called}"\necho {SECRETS["helper"]}\n')
    helper.chmod(0o755)
    names = {"model": model, "elsewhere": url, "token": SECRETS["in settings.json"]}
    seat.settings.write_text(SETTINGS % {**names, "helper": helper}, encoding="utf-8")
    folder = seat.home / ".claude"
    (folder / "CLAUDE.md").write_text("my own notes\r\n\ttabs")
    (folder / "agents").mkdir()
    (folder / "agents" / "mine.md").write_text("---\nname: mine\ndescription: d\n---\nDo it.\n")
    (folder / "settings.local.json").write_text('{"own":1}')
    seat.more |= {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_USE_VERTEX": "1",
        "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD": "1",
        "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
        "ANTHROPIC_UNIX_SOCKET": "/nowhere/socket",
        "ANTHROPIC_API_KEY": SECRETS["key"],
        "ANTHROPIC_AUTH_TOKEN": SECRETS["exported token"],
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_MODEL": "users-model",
        "CLAUDE_CODE_OAUTH_TOKEN": SECRETS["login"],
        # The gateway would take the second for the key of another.
        "ANTHROPIC_CUSTOM_HEADERS": f"x-own: {SECRETS['header']}\nx-litellm-api-key: users-key",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    return called


@both
@pytest.mark.parametrize(
    ("way", "label", "own"),
    [
        ("number", SONNET.label, "users-model"),
        ("enter", "GLM-4.5 Air", "opus"),
        ("number", "Default (recommended)", "users-model"),
    ],
    ids=["number", "enter", "default"],
)
def test_a_hostile_home(
    client: Fetch, way: str, label: str, own: str, running_mission: Mission, tmp_path: Path
) -> None:
    """The menu is the profile's, every request goes to the gateway and on to its provider, no
    provider receives a credential or a header of the user's, the key helper is not called; and
    after a pick with a number, with Enter or of Default, everything below ~/.claude that was there
    before is byte-identical, also where the user's own default is a name of the menu too.
    """
    seat = take_seat(running_mission, client(), tmp_path)
    with elsewhere() as (url, received):
        called = make_hostile(seat, url, own)
        before = files_below(seat.home / ".claude")
        with seat.open() as terminal:
            terminal.wait_for(INPUT_BOX)
            assert "⚠" not in terminal.wait_idle(1), "a warning, of two credentials say"
            ask(terminal, running_mission, "word-first")
            rows = open_menu(terminal)
            labels = [row.label.partition(" · ")[0] for row in rows]
            rows_of = [name for name in LABELS if client is clients.newest or name != "Qwen3"]
            assert sorted(labels) == sorted(["Default (recommended)", *rows_of])
            if way == "number":
                choose(terminal, str(rows[labels.index(label)].number))
            else:
                cursor = next(at for at, row in enumerate(rows) if row.selected)
                down = labels.index(label) - cursor
                terminal.send(("\x1b[B" if down > 0 else "\x1b[A") * abs(down))
                terminal.wait_idle(0.3)
                choose(terminal, "\r")
            saved = json.loads(seat.settings.read_text()).get("model")
            assert saved != own, "the client saved no pick, so nothing is tested"
            asked = ask(terminal, running_mission, "word-second")
            older = seat.claude == clients.oldest()
            by_default = ("anthropic", OPUS.model.id) if older else ("zai", "glm-4.7")
            assert (asked.upstream, asked.model) == ASKED.get(label, by_default)
            assert leave(terminal) == 0
            assert "llmswitch" not in terminal.text(), "a warning"
        after = files_below(seat.home / ".claude")
        assert {name: after.get(name) for name in before} == before
    assert not called.exists(), "the user's key helper was run"
    # The client's own traffic goes where the user's proxy is; what it says to models does not.
    assert [said for said in received if not said.startswith(b"CONNECT ")] == []
    assert not [said for said in received if b"127.0.0.1" in said or b"users" in said]
    for upstream in running_mission.upstreams:
        for request in upstream.requests:
            seen = json.dumps([request.headers, request.body])
            theirs = {name for name, secret in SECRETS.items() if secret in seen}
            # It is the profile's key for that provider too.
            assert theirs == ({"key"} if upstream.name == "anthropic" else set())
            assert "users-" not in seen.replace(SECRETS["key"], "")


@both
def test_without_a_settings_file_there_is_none_after(
    client: Fetch, running_mission: Mission, tmp_path: Path
) -> None:
    """A home without settings.json has none after a session in which a model was picked, nor after
    one in which Default was.
    """
    seat = take_seat(running_mission, client(), tmp_path)
    for key, kept in (("3", {"sonnet", "opus", "fable"}), ("1", {""})):
        with seat.open() as terminal:
            open_menu(terminal)
            choose(terminal, key)
            assert seat.settings.exists()
            assert leave(terminal) == 0
        assert not seat.settings.exists()
        assert seat.pick in kept
