"""Keys for other programs and machines: what they open, whose usage it is, and how they end."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from llmswitch.engine.keys import _KEYS
from llmswitch.errors import LlmswitchError
from llmswitch.ledger import NO_CLIENT
from llmswitch.paths import find_home
from llmswitch.usage.clients import Client, add, all_clients, remove
from tests.command import json_here, run_here
from tests.conftest import Mission, User, lasting_mission
from tests.gateways import Gateway, wait_for
from tests.seat import files_below
from tests.upstream import Behaviour, Usage

pytestmark = [pytest.mark.xdist_group("clients"), pytest.mark.timeout(300)]

WRONG_KEY = "llmswitch: this is not the gateway's key, nor a client's"
NOW = 1_764_000_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mission]:
    """A running gateway whose profile names two clients, one of them with a budget."""
    for mission in lasting_mission(tmp_path_factory.mktemp("clients")):
        mission.write(
            "clients: [ci, tablet]\nbudgets: [{usd: 1, per: day, client: ci}]\n"
            "litellm: {router_settings: {num_retries: 0}}\n"
        )
        done = mission.user.run("up")
        assert done.returncode == 0, done.stderr
        yield mission


@pytest.fixture
def mission(shared: Mission) -> Mission:
    """The same without a client, its upstreams still untouched by this test."""
    (shared.user.state / "clients.json").unlink(missing_ok=True)
    for upstream in shared.upstreams:
        upstream.clear()
    return shared


def gateway(mission: Mission, key: str | None = None) -> Gateway:
    """The gateway for someone with this key; with its own without one."""
    return Gateway(mission.url, key or mission.user.gateway_key())


def new_key(mission: Mission, name: str) -> str:
    """What `client add` shows."""
    made: str = json_here(mission.user, "client", "add", name)["key"]
    return made


def senders(mission: Mission, number: int, after: int = 0) -> list[str]:
    """Whose the rows of the ledger are, once there are so many since the row `after`; those of who
    came without a valid key are left out.
    """
    file = mission.user.state / "ledger" / "work.db"
    found: list[str] = []

    def read() -> bool:
        with closing(sqlite3.connect(file)) as ledger:
            rows = ledger.execute("SELECT client FROM tries WHERE id > ? ORDER BY id", (after,))
            found[:] = [client for (client,) in rows if client != NO_CLIENT]
        return len(found) >= number

    wait_for(read)
    return found


def last_row(mission: Mission) -> int:
    """The number of the ledger's last row, after all that was asked is written."""
    state = gateway(mission).send("GET", "/llmswitch/state").json()
    assert state["ledger"]["trouble"] is None
    wait_for(
        lambda: not gateway(mission).send("GET", "/llmswitch/state").json()["ledger"]["waiting"]
    )
    file = mission.user.state / "ledger" / "work.db"
    if not file.exists():  # nothing was asked yet
        return 0
    with closing(sqlite3.connect(file)) as ledger:
        number: int = ledger.execute("SELECT COALESCE(MAX(id), 0) FROM tries").fetchone()[0]
    return number


# ------------------------------------------------------------------ the file


def test_a_key_is_shown_once_and_only_its_digest_is_kept(user: User) -> None:
    """`client add` prints the key; no file of the user's has it, and the one with its digest is
    the user's alone.
    """
    done = run_here(user, "client", "add", "laptop")
    assert (done.returncode, done.stderr) == (0, "")
    first, key, *last = done.stdout.splitlines()
    assert first == "the key of laptop, which cannot be shown again:"
    assert re.fullmatch(r"  sk-llmswitch-[\w-]{43}", key)
    assert last == [
        "it works with every gateway of this installation; Claude Code takes it as",
        "ANTHROPIC_AUTH_TOKEN",
    ]
    assert not [
        name for name, data in files_below(user.root).items() if key.strip().encode() in data
    ]
    file = user.state / "clients.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(json.loads(file.read_text())) == ["laptop"]
    assert list(json.loads(file.read_text())["laptop"]) == ["sha256", "made"]


def test_a_client_that_has_a_key_gets_no_second_one(user: User) -> None:
    """The key that is in use stays as it is; the cure makes a new one."""
    first = json_here(user, "client", "add", "ci")["key"]
    before = (user.state / "clients.json").read_bytes()
    done = run_here(user, "client", "add", "ci")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ci already has a key, which cannot be shown again\n"
        "-> for a new one: llmswitch client remove ci && llmswitch client add ci\n"
    )
    assert (user.state / "clients.json").read_bytes() == before
    assert (
        run_here(user, "client", "remove", "ci").stdout
        == "removed ci: its next request is refused\n"
    )
    assert json_here(user, "client", "add", "ci")["key"] != first


def test_names_that_no_client_can_have_or_that_no_client_has(user: User) -> None:
    """That of the gateway's own key, and what is unfit for a header; whoever mistypes a name to
    remove must not believe that its key is gone.
    """
    rule = "it must be a name of letters, digits and . _ -"
    for command, name, said, cure in (
        (
            "add",
            "gateway",
            "'gateway' is reserved for the gateway's own key",
            "choose another name",
        ),
        ("add", "a b", f"invalid client name 'a b': {rule}", "llmswitch client add laptop"),
        ("remove", "laptop", "there is no client 'laptop'", "llmswitch client list"),
    ):
        done = run_here(user, "client", command, name)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{said}\n-> {cure}\n")
        assert not (user.state / "clients.json").exists()
    run_here(user, "client", "add", "laptop")
    assert run_here(user, "client", "remove", "labtop").stderr == (
        "there is no client 'labtop'; there are: laptop\n-> llmswitch client list\n"
    )


def test_many_commands_at_once_lose_nobody(tmp_path: Path) -> None:
    """Twenty clients are added side by side, and every other one is removed; the rest is there."""
    home = find_home({"LLMSWITCH_HOME": str(tmp_path)})

    def one(number: int) -> None:
        add(home, f"c{number:02}", NOW + number)
        if number % 2:
            remove(home, f"c{number:02}")

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(20)))
    assert all_clients(home) == [Client(f"c{even:02}", NOW + even) for even in range(0, 20, 2)]


DAMAGED = {
    "empty": b"",
    "cut": b'{"ci": {"sha',
    "not text": b"\xff\xfe",
    "a list": b"[]",
    "no digest": b'{"ci": {"made": 1}}',
    "another digest": b'{"ci": {"sha256": "00", "made": 1}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    """Neither `add` nor `remove` writes over what it cannot read; the cure is a line to type."""
    home = find_home({"LLMSWITCH_HOME": str(tmp_path / "a b")})
    home.client_keys.parent.mkdir(parents=True)
    home.client_keys.write_bytes(DAMAGED[damage])
    for act in (lambda: add(home, "x", NOW), lambda: remove(home, "ci"), lambda: all_clients(home)):
        with pytest.raises(LlmswitchError) as caught:
            act()
        assert caught.value.message == f"the file {home.client_keys} is damaged"
        assert caught.value.hint == (
            "move it away and add the clients again: "
            f"mv '{home.client_keys}' '{home.client_keys}.old'"
        )
    assert home.client_keys.read_bytes() == DAMAGED[damage]


# ------------------------------------------------------------------ at the gateway


def test_a_clients_key_opens_the_gateway_in_every_form(mission: Mission) -> None:
    """Each header that LiteLLM takes a key from, with `Bearer` and without; a wrong key is 401."""
    key = new_key(mission, "laptop")
    after = last_row(mission)
    for header in _KEYS:
        for value in (key, f"Bearer {key}"):
            carried = {header.decode(): value}
            assert gateway(mission).ask("glm-4.7", headers=carried).said == "I am glm-4.7 at zai"
            answer = gateway(mission).ask("glm-4.7", headers={header.decode(): value[:-1]})
            assert (answer.status, answer.error["message"]) == (401, WRONG_KEY)
    assert senders(mission, 12, after) == ["laptop"] * 12


def test_each_client_has_its_own_usage_and_a_removed_one_is_out_at_once(mission: Mission) -> None:
    """Two clients and the gateway's own key side by side: each row has its sender. The request
    after `client remove` is refused without a reload, and the others go on.
    """
    laptop, tablet = (gateway(mission, new_key(mission, name)) for name in ("laptop", "tablet"))
    after = last_row(mission)
    with ThreadPoolExecutor(6) as pool:
        asked = [each for each in (laptop, tablet, gateway(mission)) for _ in range(5)]
        answers = list(pool.map(lambda each: each.ask("glm-4.7", stream=True).said, asked))
    assert answers == ["I am glm-4.7 at zai"] * 15
    assert sorted(senders(mission, 15, after)) == ["gateway"] * 5 + ["laptop"] * 5 + ["tablet"] * 5

    assert run_here(mission.user, "client", "remove", "laptop").returncode == 0
    answer = laptop.ask("glm-4.7")
    assert (answer.status, answer.error["message"]) == (401, WRONG_KEY)
    assert tablet.ask("glm-4.7").status == gateway(mission).ask("glm-4.7").status == 200

    again = gateway(mission, new_key(mission, "laptop"))
    assert (again.ask("glm-4.7").status, laptop.ask("glm-4.7").status) == (200, 401)


def test_a_clients_key_goes_nowhere(mission: Mission) -> None:
    """Neither to an upstream, in whatever header it came, nor into a log, the ledger or any other
    file; wrong keys do not either.
    """
    key = new_key(mission, "laptop")
    for header in _KEYS:
        for value in (key, f"{key}-wrong"):
            for model in ("opus", "glm-4.7", "qwen"):
                gateway(mission).ask(model, headers={header.decode(): value})
    gateway(mission, key).ask("glm-4.7", nonsense=1)
    last_row(mission)
    requests = [request for upstream in mission.upstreams for request in upstream.requests]
    assert len(requests) == 19
    assert not [request for request in requests if key in str(request)]
    kept = files_below(mission.user.root)
    log = mission.user.run_folder() / "gateway.log"
    assert str(log.relative_to(mission.user.root)) in kept
    assert not [name for name, data in kept.items() if key.encode() in data]


CLAIMS = {
    "x-litellm-end-user-id": "tablet",
    "x-litellm-customer-id": "tablet",
    "x-litellm-tags": "tablet",
    "x-litellm-spend-logs-metadata": '{"client": "tablet"}',
    "x-llmswitch-client": "tablet",
    "x-openwebui-user-email": "tablet",
}


def test_a_client_cannot_pass_for_another(mission: Mission) -> None:
    """What a request says of its sender counts for nothing: the key alone does."""
    laptop = new_key(mission, "laptop")
    new_key(mission, "tablet")
    after = last_row(mission)
    answer = gateway(mission).ask(
        "glm-4.7",
        headers={"authorization": f"Bearer {laptop}", **CLAIMS},
        user="tablet",
        metadata={"user_id": "tablet", "client": "tablet", "user_api_key_alias": "tablet"},
    )
    assert answer.status == 200, answer.text
    body = {
        "model": "qwen",
        "messages": [{"role": "user", "content": "hi"}],
        "user": "tablet",
        "metadata": {"client": "tablet", "user_api_key_end_user_id": "tablet"},
        "litellm_metadata": {"client": "tablet", "user_api_key_alias": "tablet"},
    }
    headers = {"authorization": f"Bearer {laptop}", **CLAIMS}
    response = gateway(mission).send("POST", "/v1/chat/completions", headers=headers, json=body)
    assert response.status_code == 200, response.text
    assert senders(mission, 2, after) == ["laptop", "laptop"]


def test_the_budget_of_a_client_stops_that_client_alone(mission: Mission) -> None:
    """The client ci has $1 a day; after an answer of $2.20 its next request is 429 with all that
    one needs to know, on every model, while others and the gateway's own key are answered.
    """
    ci, laptop = (gateway(mission, new_key(mission, name)) for name in ("ci", "laptop"))
    mission.zai.behave(Behaviour(usage=Usage(0, 1_000_000)), "glm-4.7")
    try:
        assert ci.ask("glm-4.7").status == laptop.ask("glm-4.7").status == 200
    finally:
        mission.zai.behave(Behaviour(), "glm-4.7")
    last_row(mission)
    for model in ("glm-4.7", "qwen"):
        answer = ci.ask(model)
        assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")
        assert re.fullmatch(
            r"llmswitch: budget client:ci/day: \$2\.20 of \$1\.00 spent, until "
            r"\d{4}-\d\d-\d\d 00:00; or: llmswitch budget raise client:ci/day USD --profile work",
            answer.error["message"],
        )
    assert laptop.ask("glm-4.7").status == gateway(mission).ask("glm-4.7").status == 200
    # What others have spent is not a client's business; the menu is.
    assert list(laptop.send("GET", "/llmswitch/state").json()) == ["menu"]


def test_without_a_sound_file_no_client_is_let_in(mission: Mission) -> None:
    """The clients are refused, the gateway's own key is not, and the log has no traceback; once
    the file is sound again, so is the client.
    """
    laptop = gateway(mission, new_key(mission, "laptop"))
    file = mission.user.state / "clients.json"
    log = mission.user.run_folder() / "gateway.log"
    sound, offset = file.read_bytes(), log.stat().st_size
    for damage in (None, *DAMAGED.values()):
        assert laptop.ask("glm-4.7").status == 200
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        assert (laptop.ask("glm-4.7").status, gateway(mission).ask("glm-4.7").status) == (401, 200)
        file.write_bytes(sound)
        os.utime(file, (NOW, NOW))
    assert laptop.ask("glm-4.7").status == 200
    assert "Traceback" not in log.read_text()[offset:]


def test_list_shows_use_and_cost_and_what_has_no_key(mission: Mission) -> None:
    """When the key was made, when it was last used, what this month cost; the profile's clients
    that have no key are named there and by `validate`.
    """
    assert run_here(mission.user, "client", "list").stdout.splitlines() == [
        "no client has a key    -> llmswitch client add NAME",
        "note: the client ci has no key yet; create it: llmswitch client add ci",
        "note: the client tablet has no key yet; create it: llmswitch client add tablet",
    ]
    ci, new = (gateway(mission, new_key(mission, name)) for name in ("tablet", "new"))
    mission.zai.behave(Behaviour(usage=Usage(1_000_000, 0)), "glm-4.7")
    try:
        cost = json_here(mission.user, "client", "list")["clients"][1]["month_usd"]
        assert ci.ask("glm-4.7").status == ci.ask("qwen").status == 200
    finally:
        mission.zai.behave(Behaviour(), "glm-4.7")
    last_row(mission)
    listed = json_here(mission.user, "client", "list")
    assert [row["name"] for row in listed["clients"]] == ["new", "tablet"]
    unused, used = listed["clients"]
    assert (unused["last_used"], unused["month_usd"], unused["month_unknown"]) == (None, 0, 0)
    assert used["month_usd"] == pytest.approx(cost + 0.6)
    assert used["month_unknown"] > 0  # nobody knows the price of qwen
    note = "the client ci has no key yet; create it: llmswitch client add ci"
    assert listed["notes"] == [note]
    lines = run_here(mission.user, "client", "list").stdout.splitlines()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert lines[0].split("  ")[0] == "CLIENT"
    assert re.fullmatch(rf"new +{when}  never +\$0\.00", lines[1])
    assert re.fullmatch(rf"tablet +{when}  {when}  \$\d\.\d+ and \d+ at an unknown price", lines[2])
    assert lines[3:] == [f"note: {note}"]
    assert note in json_here(mission.user, "validate")["notes"]

    after = last_row(mission)
    assert new.ask("nosuch").status == 404  # a refusal is a use of its key too, and costs nothing
    assert senders(mission, 1, after) == ["new"]
    refused = json_here(mission.user, "client", "list")["clients"][0]
    assert refused["last_used"] is not None
    assert refused["month_usd"] == 0


def test_validate_says_when_the_clients_cannot_be_read(mission: Mission) -> None:
    """A profile that names clients is valid, but none of them can come in."""
    file = mission.user.state / "clients.json"
    file.write_text("{")
    assert (
        f"the file {file} is damaged, so no client can connect"
        in (json_here(mission.user, "validate")["notes"])
    )
