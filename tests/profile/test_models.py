"""`providers` and `models`: what is known, what providers say themselves, edits of the profile."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from llmswitch.profile import model_lists
from llmswitch.profile.providers import Provider, catalogue_data
from tests.command import json_here, run_here
from tests.conftest import User, free_port
from tests.upstream import FakeUpstream

NO_LIST = "but not with a list of models"
CATALOGUE = {name: Provider.model_validate(data) for name, data in catalogue_data().items()}


class Lists(HTTPServer):
    """A provider that answers GETs as told, by path, and remembers what it was asked with."""

    answers: dict[str, tuple[int, Any]]
    asked: list[tuple[str, str | None]]
    open: bool

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Lists

    def do_GET(self) -> None:
        key = self.headers.get("x-api-key") or self.headers.get("authorization")
        self.server.asked.append((self.path, key))
        status, body = self.server.answers.get(self.path, (404, {}))
        if key is None and not self.server.open:
            status, body = 401, {}
        self.send_response(status)
        if status == 302:
            self.send_header("location", body)
        self.end_headers()
        self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def lists(answers: dict[str, tuple[int, Any]], *, to_anyone: bool = False) -> Iterator[Lists]:
    """A provider that runs for a while."""
    server = Lists(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.open = answers, [], to_anyone
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ------------------------------------------------------------------ what a provider says


SHAPES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "Anthropic's": (
        {"data": [{"type": "model", "id": "claude-x", "max_input_tokens": 200000}]},
        [{"id": "claude-x", "context": 200000}],
    ),
    "OpenAI's": (
        {"object": "list", "data": [{"id": "gpt-x", "object": "model"}]},
        [{"id": "gpt-x"}],
    ),
    "Ollama's": (
        {"models": [{"name": "qwen3:8b", "model": "qwen3:8b"}]},
        [{"id": "qwen3:8b"}],
    ),
    "Together's": ([{"id": "zai-org/GLM", "context_length": 0}], [{"id": "zai-org/GLM"}]),
    "OpenRouter's": (
        {"data": [
            {"id": "a/b", "context_length": 131072, "pricing": {
                "prompt": "0.00000027", "completion": "0.0000011",
                "input_cache_read": "0.00000003", "image": "0",
            }},
            {"id": "auto", "pricing": {"prompt": "-1", "completion": "-1"}},
            {"id": "odd", "pricing": {"prompt": "free", "completion": None}},
        ]},
        [
            {"id": "a/b", "context": 131072,
             "price": {"input": 0.27, "output": 1.1, "cache_read": 0.03}},
            {"id": "auto"},
            {"id": "odd"},
        ],
    ),
    "Gemini's": ({"data": [{"id": "models/gemini-x"}]}, [{"id": "gemini-x"}]),
    "with names that are none": (
        {"data": [{"id": "a b"}, {"id": "\u001b[2J"}, {"id": 5}, {"id": ""}, {"id": "ok"}]},
        [{"id": "ok"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "models"), SHAPES.values(), ids=SHAPES)
def test_the_shapes_of_lists_are_read(said: Any, models: list[dict[str, Any]]) -> None:
    """With the context window and the price in USD per million tokens, where they are told."""
    with lists({"/v1/models": (200, said)}) as server:
        provider = Provider(dialect="messages", base_url=server.url)
        assert model_lists.ask_models(provider, "k") == model_lists.Answer(models)


def test_each_dialect_is_asked_at_its_own_path_with_its_own_header() -> None:
    """Anthropic takes x-api-key, all others a Bearer token."""
    for dialect, base, asked in (
        ("anthropic", "", ("/v1/models?limit=1000", "k")),
        ("messages", "/api/anthropic", ("/api/anthropic/v1/models", "Bearer k")),
        ("chat", "/v1", ("/v1/models", "Bearer k")),
        ("responses", "/v1", ("/v1/models", "Bearer k")),
    ):
        with lists({}) as server:
            provider = Provider.model_validate({"dialect": dialect, "base_url": server.url + base})
            model_lists.ask_models(provider, "k")
            assert server.asked == [asked]


def test_a_list_elsewhere_is_asked_only_at_the_providers_own_host() -> None:
    """The catalogue knows another URL for the list; a profile with another `base_url` is asked
    below that, so that its key stays there.
    """
    with lists({"/tags": (200, {"models": [{"name": "a"}]})}) as server:
        own = Provider(dialect="chat", base_url=f"{server.url}/v1", models_url=f"{server.url}/tags")
        assert model_lists.ask_models(own, "k").models == [{"id": "a"}]
        moved = CATALOGUE["deepseek"].model_copy(update={"base_url": f"{server.url}/x"})
        assert moved.models_url == "https://api.deepseek.com/models"
        model_lists.ask_models(moved, "k")
        assert server.asked == [("/tags", "Bearer k"), ("/x/v1/models", "Bearer k")]


def test_what_goes_wrong_is_told_and_no_redirect_is_followed() -> None:
    """A refused key, a redirect, nothing there, an error, no list, silence, nobody."""
    with lists({}) as thief:
        answers = {
            "/a/v1/models": (401, {}),
            "/b/v1/models": (302, f"{thief.url}/v1/models"),
            "/d/v1/models": (500, "the key k is bad"),
            "/e/v1/models": (200, "<html>"),
            "/f/v1/models": (200, {"data": ["x"]}),
        }
        with lists(answers) as server:
            host = f"127.0.0.1:{server.server_port}"
            for path, trouble in {
                "a": f"refuses the key: {host} answers 401",
                "b": f"answers 302 at {host}; redirects are not followed, to protect the key",
                "c": f"answers 404: there is nothing at {server.url}/c/v1/models",
                "d": f"answers 500 at {host}",
                "e": f"answers at {server.url}/e/v1/models, {NO_LIST}",
                "f": f"answers at {server.url}/f/v1/models, {NO_LIST}",
            }.items():
                provider = Provider(dialect="messages", base_url=f"{server.url}/{path}")
                answer = model_lists.ask_models(provider, "k")
                assert answer == model_lists.Answer([], trouble, refused=path == "a")
        assert thief.asked == []
    gone = Provider(dialect="messages", base_url=server.url)
    said = model_lists.ask_models(gone, "k").trouble
    assert said == f"cannot be reached at {host}"
    said = model_lists.ask_models(gone, "k\u00e9y").trouble
    assert said == "cannot be asked: the key contains characters that no key has"
    assert model_lists.ask_models(Provider(dialect="litellm"), "k").trouble == (
        "has no known list of models"
    )


def test_a_silent_provider_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given eight seconds (here a fraction)."""
    monkeypatch.setattr(model_lists, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        provider = Provider(dialect="messages", base_url=f"http://127.0.0.1:{port}")
        said = model_lists.ask_models(provider, "k").trouble
    assert said == f"did not answer at 127.0.0.1:{port} within 0.2 s"


def test_a_key_is_proved_only_by_what_not_everyone_may_ask() -> None:
    """A list that is open to anyone proves nothing, unless the catalogue knows what does."""
    found = {"/v1/models": (200, {"data": [{"id": "a"}]}), "/key": (200, {"data": {}})}
    with lists(found) as server:
        provider = Provider(dialect="messages", base_url=server.url)
        assert model_lists.check_key(provider, "k").trouble is None
        assert server.asked == [("/v1/models", "Bearer k"), ("/v1/models", None)]
    with lists(found, to_anyone=True) as server:
        provider = Provider(dialect="messages", base_url=server.url)
        assert model_lists.check_key(provider, "k").trouble == (
            "lists its models to anyone, which proves nothing about the key"
        )
        server.asked.clear()
        better = provider.model_copy(update={"key_url": f"{server.url}/key"})
        assert model_lists.check_key(better, "k") == model_lists.Answer([])
        assert server.asked == [("/key", "Bearer k")]
        server.answers["/key"] = (401, {})
        assert model_lists.check_key(better, "k").refused


# ------------------------------------------------------------------ the commands

PROFILE = """\
models:
  glm: zai/glm-4.7   # mine
  own: {{model: mine/qwen3, keys: [MINE_A, MINE_B]}}
  local: box/loaded
providers:
  zai: {{base_url: "{zai}/api/anthropic"}}
  mine: {{dialect: chat, base_url: "{mine}/v1", key: MINE_A}}
  deepseek: {{base_url: "{dead}"}}
  box: {{dialect: messages, base_url: "{box}", key: null}}
"""


def test_providers_says_which_keys_are_set_and_shows_none(user: User) -> None:
    """Name, dialect, variable, page and number of models; with and without a profile."""
    user.keys = {"ZAI_API_KEY": "own-zai-secret", "XAI_API_KEY": " "}
    found = {row["name"]: row for row in json_here(user, "providers")["providers"]}
    assert list(found) == list(CATALOGUE)
    zai = found["zai"]
    assert (zai["dialect"], zai["key"], zai["key_set"], zai["models"]) == (
        "messages", "ZAI_API_KEY", True, 6
    )  # fmt: skip
    assert zai["key_page"] == "https://z.ai/manage-apikey/apikey-list"
    assert found["xai"]["key_set"] is False
    assert found["ollama"]["key_set"] is None
    user.write_profile(
        "models: {q: mine/q}\nproviders: {mine: {dialect: chat, base_url: http://h, key: K}}"
    )
    done = run_here(user, "providers")
    assert "own-zai" not in done.stdout
    lines = {line.split()[0]: line.split(maxsplit=3)[3] for line in done.stdout.splitlines()[1:]}
    assert lines["zai"] == "ZAI_API_KEY is set"
    assert lines["mine"] == "K is not set"
    assert lines["ollama"] == "needs none"
    assert lines["kimi-code"] == ("KIMI_API_KEY is not set: https://www.kimi.com/code/console")


def test_models_says_what_each_costs_and_what_it_lacks(user: User) -> None:
    """Context, price, key, and what the profile calls it; of one provider, or with a text."""
    user.keys = {"ZAI_API_KEY": "own"}
    user.write_profile("models: {glm: zai/glm-4.7, two: zai/glm-4.7, beta: zai/glm-beta}\n")
    rows = {row["model"]: row for row in json_here(user, "models", "--provider", "zai")["models"]}
    assert list(rows) == [
        *(f"zai/{one.id}" for one in CATALOGUE["zai"].models),
        "zai/glm-beta",
    ]
    assert rows["zai/glm-4.7"] == {
        "model": "zai/glm-4.7",
        "label": "GLM-4.7",
        "retires": None,
        "auth": "key",
        "context": 200000,
        "price": {"input": 0.6, "output": 2.2, "cache_read": 0.11, "cache_write": 0.0},
        "key_set": True,
        "keys": ["ZAI_API_KEY"],
        "in_profile": ["glm", "two"],
    }
    assert rows["zai/glm-beta"]["price"] is None
    (opus,) = json_here(user, "models", "--search", "opus-4-5")["models"]
    assert (opus["label"], opus["retires"]) == ("Claude Opus 4.5", "2027-01-22")
    done = run_here(user, "models", "--search", "KIMI")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "MODEL",
        "moonshot/kimi-k3",
        "moonshot/kimi-k2.7-code",
        "kimi-code/kimi-for-coding",
    ]
    assert run_here(user, "models", "--search", "nothing-like-it").stdout == (
        "no known model matches; ask the providers: llmswitch models --refresh\n"
    )
    done = run_here(user, "models", "--provider", "zia")
    assert (done.returncode, done.stderr) == (
        1, "there is no provider 'zia'; did you mean `zai`?\n-> llmswitch providers\n"
    )  # fmt: skip


def test_refresh_asks_each_provider_with_its_own_key_alone(user: User) -> None:
    """Those whose key is set, and what the profile uses without one; who fails is told, and what
    the others say is kept in a private file and known from then on.
    """
    dead = f"127.0.0.1:{free_port()}"
    with FakeUpstream("zai", ["glm-9"]) as zai, FakeUpstream("mine", ["qwen3", "qwen4"]) as mine:
        box = {"/v1/models": (200, {"data": [{"id": "phi", "max_model_len": 32768}]})}
        with lists(box, to_anyone=True) as local:
            user.write_profile(
                PROFILE.format(zai=zai.url, mine=mine.url, box=local.url, dead=f"http://{dead}")
            )
            user.keys = {
                "ZAI_API_KEY": "own-zai", "MINE_B": "own-mine", "DEEPSEEK_API_KEY": "own-deep",
                "HTTP_PROXY": f"http://{dead}", "HTTPS_PROXY": f"http://{dead}",
            }  # fmt: skip
            done = run_here(user, "models", "--refresh")
            assert done.returncode == 0
            assert done.stdout == (
                f"zai lists 1\ndeepseek cannot be reached at {dead}\nmine lists 2\nbox lists 1\n"
            )
            assert local.asked == [("/v1/models", None)]
        assert [request.headers.get("authorization") for request in zai.requests] == [
            "Bearer own-zai"
        ]
        assert [request.path for request in zai.requests] == ["/api/anthropic/v1/models"]
        (request,) = mine.requests
        assert request.headers["authorization"] == "Bearer own-mine"
        assert "own-zai" not in json.dumps(request.headers)
        mine.clear()
        assert json_here(user, "models", "--refresh", "--provider", "zai") == {
            "providers": {"zai": {"models": ["glm-9"], "trouble": None}}
        }
        assert mine.requests == []
    rows = {row["model"]: row for row in json_here(user, "models")["models"]}
    assert {"zai/glm-9", "zai/glm-5.3", "mine/qwen4"} <= rows.keys()
    assert rows["box/phi"]["context"] == 32768
    file = user.state / "known-models.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "own-" not in file.read_text()
    file.write_text("{broken")
    assert run_here(user, "models").returncode == 0


def test_refresh_fails_when_nobody_answers(user: User) -> None:
    """Exit code 1; and without any key nothing is asked."""
    dead = f"127.0.0.1:{free_port()}"
    user.write_profile(f"models: {{a: zai/x}}\nproviders: {{zai: {{base_url: 'http://{dead}'}}}}")
    user.keys = {"ZAI_API_KEY": "own"}
    done = run_here(user, "models", "--refresh")
    assert (done.returncode, done.stdout) == (1, f"zai cannot be reached at {dead}\n")
    user.keys = {}
    done = run_here(user, "models", "--refresh")
    assert done.stdout == "no provider was asked: no key is set    -> llmswitch providers\n"
    assert done.returncode == 1
    done = run_here(user, "models", "--refresh", "--provider", "zai")
    assert done.stderr == (
        "ZAI_API_KEY is not set, so zai cannot be asked\n-> llmswitch key set ZAI_API_KEY\n"
    )


def test_a_model_is_added_and_removed_and_the_file_is_as_before(user: User) -> None:
    """The commands say what they did, what is still missing, and what is there already."""
    user.keys = {}
    before = "# mine\nmodels:\n    a:  zai/glm-4.7\t# why\n"
    file = user.write_profile(before)
    shown = str(file)
    done = run_here(user, "models", "add", "zai/glm-5.3")
    assert done.returncode == 0
    assert done.stdout == (
        f"added glm-5.3 (zai/glm-5.3) to {shown}\n"
        "note: left out until ZAI_API_KEY is set    "
        "(from https://z.ai/manage-apikey/apikey-list)\n-> llmswitch up\n"
    )
    assert file.read_text() == f"{before}    glm-5.3: zai/glm-5.3\n"
    done = run_here(user, "models", "add", "zai/glm-5.3")
    assert done.stdout == f"{shown} already has glm-5.3\n"
    done = run_here(user, "models", "add", "zhipu/glm-5.3")
    assert done.stderr == (
        f"{shown} has another model named glm-5.3: zai/glm-5.3\n"
        "-> llmswitch models add zhipu/glm-5.3 --name NAME\n"
    )
    done = run_here(
        user, "models", "add", "zhipu/glm-9", "--name", "new", env={"ZHIPU_API_KEY": "k"}
    )
    assert done.stdout == (
        f"added new (zhipu/glm-9) to {shown}\n"
        "note: zhipu is not known to have glm-9; check the spelling\n-> llmswitch up\n"
    )
    assert json_here(user, "models", "add", "zhipu/glm-9", "--name", "new")["added"] is False
    for name in ("new", "glm-5.3"):
        done = run_here(user, "models", "remove", name)
        assert done.stdout == f"removed {name} from {shown}\n-> llmswitch up\n"
    assert file.read_text() == before
    for wrong, said in {
        "glm-5.3": "'glm-5.3' must be provider/model, such as zai/glm-4.7\n-> llmswitch models\n",
        "zia/x": "there is no provider 'zia'; did you mean `zai`?\n-> llmswitch providers\n",
    }.items():
        done = run_here(user, "models", "add", wrong)
        assert (done.returncode, done.stderr) == (1, said)


def test_the_first_model_makes_an_empty_profile_valid(user: User) -> None:
    """What only the provider's own list knows is written down: the map has neither."""
    user.keys = {"OPENROUTER_API_KEY": "own"}
    file = user.write_profile("# empty\n")
    known = {"id": "v/m", "context": 5000, "price": {"input": 1.0, "output": 2.0}}
    user.state.mkdir()
    (user.state / "known-models.json").write_text(
        json.dumps({"openrouter": {"read": "2026-11-24", "models": [known]}})
    )
    assert run_here(user, "models", "add", "openrouter/v/m").returncode == 0
    assert file.read_text() == (
        "# empty\nmodels:\n  m: {model: openrouter/v/m, context: 5000, "
        "price: {input: 1.0, output: 2.0}}\n"
    )
    assert run_here(user, "validate").stdout.splitlines()[0] == f"{file} is valid: 1 model"
    file.write_text("models: {a: zia/x}\n")
    done = run_here(user, "models", "add", "openrouter/v/m")
    assert done.stderr.splitlines()[0] == (
        f"{file}:1: models.a.model has an unknown provider 'zia'; did you mean `zai`?"
    )
