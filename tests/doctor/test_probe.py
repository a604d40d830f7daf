"""Live checks of models through a real gateway; each fake upstream breaks one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmswitch.doctor import probe as probes
from llmswitch.doctor.cures import cure_of
from llmswitch.doctor.messages_api import (
    AnswerError,
    Endpoint,
    Json,
    assembled,
    fault_of,
    one_line,
    upstream_words,
)
from llmswitch.doctor.probe import PROBES, Cell, Target, other_of, probe, run, stream
from llmswitch.doctor.requests import estimate, form_of
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.render.menu import Row, make_rows
from tests.conftest import Mission, free_port
from tests.doctor.conftest import FAKE_KEY
from tests.upstream import Behaviour, FakeUpstream, Tool, Usage, signature

pytestmark = [pytest.mark.xdist_group("probe"), pytest.mark.timeout(300)]

PROFILE = """
models:
  healthy: fake/healthy
  other: fake/other
  no-tools: fake/no-tools
  talker: fake/talker
  guesser: fake/guesser
  deaf: fake/deaf
  thoughtless: fake/thoughtless
  no-stream: fake/no-stream
  one-piece: fake/one-piece
  strict: fake/strict
  no-system: {{model: fake/no-system, behaves_as: claude-opus-4-8}}
  jealous: fake/jealous
  forgiven: fake/forgiven
  disordered: fake/disordered
  forgetful: fake/forgetful
  mute: fake/mute
  silent: fake/silent
  trickle: fake/trickle
  failing: {{model: fake/failing, fallbacks: [healthy]}}
  down: gone/down
  chat: mine/chat
  no-effort: {{model: mine/no-effort, label: No effort, drop: [user]}}
  chat-only: only/chat-only
  claude: an/claude-opus-4-5-20251101
  left-out: {{model: fake/x, keys: [NOT_SET]}}
providers:
  fake: {{dialect: messages, base_url: "{fake}", key: FAKE_KEY}}
  gone: {{dialect: messages, base_url: "http://127.0.0.1:{closed}", key: null}}
  mine: {{dialect: chat, base_url: "{fake}/v1", key: FAKE_KEY}}
  only: {{dialect: messages, base_url: "{only}", key: FAKE_KEY}}
  an: {{dialect: anthropic, base_url: "{fake}", key: FAKE_KEY}}
gateway: {{port: {port}}}
"""
READ = Tool("read_note", {"name": "todo"})
HEALTHY = Behaviour(reply="yes", tool=READ, thinking="hm", caches=True, usage=Usage(input=5000))
NOT_PERMITTED = "Extra inputs are not permitted"


def refuses(name: str, said: str) -> Callable[[Json], str | None]:
    """A server that does not take a field."""
    return lambda body: said if body.get(name) else None


def refuses_system(body: Json) -> str | None:
    """A server that knows the roles of old."""
    roles = {message["role"] for message in body["messages"]}
    return "messages.1.role: 'system' is not allowed here" if "system" in roles else None


def refuses_foreign_thinking(body: Json) -> str | None:
    """A model that takes back its own thoughts only."""
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block.get("type") == "thinking" and block["signature"] != signature(body["model"]):
                return "this model did not think that"
    return None


def refuses_foreign_signature(body: Json) -> str | None:
    """The same in Anthropic's words."""
    refused = refuses_foreign_thinking(body)
    return "messages.1.content.0: Invalid `signature` in `thinking` block" if refused else None


BEHAVIOURS = {
    "forgiven": replace(HEALTHY, refuse=refuses_foreign_signature),
    "no-tools": replace(HEALTHY, refuse=refuses("tools", "no tools here")),
    "talker": replace(HEALTHY, tool=None),
    "guesser": replace(HEALTHY, tool=Tool("read_note", {"title": "todo"})),
    "deaf": replace(HEALTHY, deaf=True),
    "thoughtless": replace(HEALTHY, refuse=refuses("thinking", f"thinking: {NOT_PERMITTED}")),
    "no-stream": replace(HEALTHY, refuse=refuses("stream", "stream is not supported")),
    "one-piece": replace(HEALTHY, whole=True),
    "strict": replace(
        HEALTHY, refuse=refuses("context_management", f"context_management: {NOT_PERMITTED}")
    ),
    "no-effort": replace(
        HEALTHY, refuse=refuses("reasoning_effort", f"reasoning_effort: {NOT_PERMITTED}")
    ),
    "no-system": replace(HEALTHY, refuse=refuses_system),
    "jealous": replace(HEALTHY, refuse=refuses_foreign_thinking),
    "disordered": replace(HEALTHY, disordered=True),
    "forgetful": replace(HEALTHY, caches=False),
    "mute": replace(HEALTHY, reply=" "),
    "trickle": Behaviour(events=6, delay=0.2),
    "silent": Behaviour(events=2, delay=1.5),
    "failing": Behaviour(status=401, error=f"wrong key {FAKE_KEY}, Bearer abc or sk-proj-12345678"),
}


@dataclass
class Bench:
    """A running gateway, and the models behind it."""

    mission: Mission
    fake: FakeUpstream
    only: FakeUpstream
    file: Path

    @property
    def rows(self) -> dict[str, Row]:
        """The models of the profile as it stands."""
        rows = make_rows(load_profile(self.file), {"FAKE_KEY"})
        return {row.name: row for row in rows}

    def target(self, model: str, other: str = "other", **limits: Any) -> Target:
        """A model to check."""
        key = self.mission.user.gateway_key()
        endpoint = Endpoint("127.0.0.1", self.mission.port, key, secrets=(FAKE_KEY,))
        rows = self.rows
        return Target(endpoint._replace(**limits), rows[model], rows.get(other), mark="abc")

    def check(self, model: str, other: str = "other", **limits: Any) -> dict[str, Cell]:
        """The checks of a model that have something to say."""
        cells = probe(self.target(model, other, **limits), quiet).cells
        assert list(cells) == [name for name, _ in PROBES]
        return {name: cell for name, cell in cells.items() if cell.level != "ok"}

    def up(self) -> None:
        """Have the gateway take the profile over."""
        done = self.mission.user.run("up", timeout=200)
        assert done.returncode == 0, done.stderr

    def apply(self, cures: list[str]) -> None:
        """Put the printed lines into the profile."""
        profile = yaml.safe_load(self.file.read_text())
        for cure in cures:
            for section, changed in yaml.safe_load(cure).items():
                profile[section] |= changed
        self.file.write_text(yaml.safe_dump(profile, sort_keys=False))
        self.up()


def quiet(_text: str) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def bench(asked: Mission) -> Iterator[Bench]:
    """A gateway with a model for each thing that can break."""
    with (
        FakeUpstream("fake") as fake,
        FakeUpstream("only", dialects=["/chat/completions"]) as only,
    ):
        fake.behave(HEALTHY)
        only.behave(HEALTHY)
        for model, behaviour in BEHAVIOURS.items():
            fake.behave(behaviour, model)
        urls = {"fake": fake.url, "only": only.url, "closed": free_port(), "port": asked.port}
        bench = Bench(asked, fake, only, asked.user.write_profile(PROFILE.format(**urls)))
        bench.up()
        yield bench


def test_all_is_well_with_a_healthy_model(bench: Bench) -> None:
    """Every cell is ok, and says what was measured; of Anthropic's own dialect too."""
    cells = probe(bench.target("healthy"), quiet).cells
    seconds = cells["stream"].seconds
    assert cells == {
        "answer": Cell("ok"),
        "stream": Cell("ok", f"{seconds:g} s to the first token", seconds=seconds),
        "tools": Cell("ok"),
        "client body": Cell("ok"),
        "count": Cell("ok", "estimated, not counted by the provider"),
        "cache": Cell("ok", "5000 tokens read from the cache"),
        "A-B-A": Cell("ok"),
    }
    assert bench.check("claude") == {}


REFUSED = "HTTP 400"
NO_CACHE = Cell("info", "no tokens were read from a cache, or the provider does not report them")
BROKEN: dict[str, tuple[str, Cell]] = {
    "no-tools": ("tools", Cell("error", REFUSED, "no tools here")),
    "talker": ("tools", Cell("error", probes.NO_CALL, "yes")),
    "guesser": ("tools", Cell("error", "the tool call does not fit the tool's schema")),
    "deaf": ("tools", Cell("warning", "the answer does not use the tool's result")),
    "thoughtless": (
        "client body",
        Cell("error", REFUSED, f"thinking: {NOT_PERMITTED}",
             "models: {thoughtless: {model: fake/thoughtless, drop: [thinking]}}"),
    ),
    "no-stream": ("stream", Cell("error", REFUSED, "stream is not supported")),
    "one-piece": ("stream", Cell("error", "the answer came in one piece, not as a stream")),
    "disordered": ("stream", Cell("error", "the stream has content_block_delta 0 out of order")),
    "strict": (
        "client body",
        Cell("error", REFUSED, f"context_management: {NOT_PERMITTED}",
             "models: {strict: {model: fake/strict, drop: [context_management]}}"),
    ),
    "no-system": (
        "client body",
        Cell("error", REFUSED, "messages.1.role: 'system' is not allowed here",
             "models: {no-system: {model: fake/no-system, behaves_as: claude-sonnet-4-5}}"),
    ),
    "forgetful": ("cache", NO_CACHE),
    "chat": ("cache", NO_CACHE),  # cache marks are not passed on in this dialect
    "jealous": ("A-B-A", Cell("error", REFUSED, "this model did not think that")),
}  # fmt: skip


@pytest.mark.parametrize("model", BROKEN)
def test_what_is_broken_is_the_one_cell_that_turns(bench: Bench, model: str) -> None:
    """With the upstream's own words, and the line of the profile where one cures it."""
    name, cell = BROKEN[model]
    assert bench.check(model) == {name: cell}


def test_the_engine_cures_a_signature_that_is_refused_in_anthropics_words(bench: Bench) -> None:
    """LiteLLM asks again without the thinking: two requests, the second of which is answered."""
    bench.fake.clear()
    assert bench.check("forgiven") == {}
    refused, answered = (request.body or {} for request in bench.fake.requests[-2:])
    assert refuses_foreign_signature(refused)
    assert not refuses_foreign_signature(answered)


def test_a_slow_first_token_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower than the limit; the stream is fine else."""
    assert stream(bench.target("silent")).level == "ok"
    monkeypatch.setattr(probes, "_SLOW", 0.0)
    assert stream(bench.target("silent")).level == "warning"


SKIPPED = dict.fromkeys([name for name, _ in PROBES][1:], Cell("skipped", "no plain answer"))


def only_answer(cell: Cell) -> dict[str, Cell]:
    """A model that does not answer."""
    return {"answer": cell, **SKIPPED}


def test_a_dead_model_costs_one_request(bench: Bench) -> None:
    """The rest is skipped, no fallback answers in its place, and no key is in what was said."""
    bench.fake.clear()
    said = "wrong key REDACTED, Bearer [key] or REDACTED"
    assert bench.check("failing") == only_answer(Cell("error", "HTTP 401", said))
    assert [(request.body or {})["model"] for request in bench.fake.requests] == ["failing"]
    assert FAKE_KEY not in str(bench.check("failing"))


def test_no_answer(bench: Bench) -> None:
    """An upstream that is down, one that is silent, an empty answer, a gateway that is gone."""
    found = bench.check("down")
    words = found["answer"].words or ""
    assert found == only_answer(Cell("error", "HTTP 502", words))
    where = (bench.rows["down"].provider.base_url or "").removeprefix("http://")
    assert words.startswith(f"no connection: Cannot connect to host {where} [")
    late = Cell("error", "no answer within 0.5 s")
    assert bench.check("silent", timeout=0.5) == only_answer(late)
    mute = Cell("error", "the answer has no text (stop_reason end_turn)")
    assert bench.check("mute") == only_answer(mute)
    port = free_port()
    gone = Cell("failed", f"the gateway does not answer on 127.0.0.1:{port}")
    assert bench.check("healthy", port=port) == only_answer(gone)


def test_a_stream_that_trickles(bench: Bench) -> None:
    """The limit is for the whole of an answer, not for each of its pieces."""
    with pytest.raises(AnswerError) as caught:
        stream(bench.target("trickle", timeout=0.5))
    assert (caught.value.note, caught.value.words) == ("no answer within 0.5 s", None)


def test_no_check_is_begun_after_the_last_word(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is interrupted asks nothing more."""
    bench.fake.clear()
    monkeypatch.setattr(probes, "_AT_ONCE", 1)

    def interrupted(text: str) -> None:
        if text == "healthy: stream":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run([bench.target(name) for name in ("healthy", "other")], interrupted)
    asked = [(request.body or {})["model"] for request in bench.fake.requests]
    assert asked in (["healthy"], ["healthy", "other"])


def test_no_other_model_to_switch_to(bench: Bench) -> None:
    """The last check needs two models, and says when it is the other that fails."""
    alone = Cell("skipped", "there is no other model to switch to")
    assert bench.check("healthy", other="") == {"A-B-A": alone}
    said = "jealous did not continue the conversation: HTTP 400"
    theirs = Cell("skipped", said, "this model did not think that")
    assert bench.check("healthy", other="jealous") == {"A-B-A": theirs}


def test_the_conversation_goes_back_with_all_that_was_said(bench: Bench) -> None:
    """The last request of A-B-A holds what both models thought, called and said."""
    bench.fake.clear()
    assert bench.check("healthy") == {}
    last = bench.fake.requests[-1].body or {}
    assert last["model"] == "healthy"
    kinds = [
        (message["role"], [block["type"] for block in message["content"]])
        for message in last["messages"][1:]
    ]
    assert kinds == [
        ("assistant", ["thinking", "tool_use"]),
        ("user", ["tool_result", "text"]),
        ("assistant", ["thinking", "text"]),
        ("user", ["text"]),
    ]
    blocks = [block for message in last["messages"][1:] for block in message["content"]]
    signed = [block["signature"] for block in blocks if block["type"] == "thinking"]
    assert signed == [signature("healthy"), signature("other")]


def test_the_lines_that_are_shown_cure(bench: Bench) -> None:
    """Put into the profile, each makes the cell ok that it stands below."""
    cure = f"providers: {{only: {{dialect: chat, base_url: '{bench.only.url}/v1', key: FAKE_KEY}}}}"
    refused = Cell("error", "HTTP 404", "no such route: POST /v1/messages", cure)
    assert bench.check("chat-only") == only_answer(refused)
    translated = (
        "models: {no-effort: {model: mine/no-effort, label: No effort, "
        "drop: [user, reasoning_effort]}}"
    )
    said = f"reasoning_effort: {NOT_PERMITTED}"
    assert bench.check("no-effort")["client body"] == Cell("error", REFUSED, said, translated)
    before = bench.file.read_text()
    others = [BROKEN[name][1].cure or "" for name in ("strict", "no-system")]
    try:
        bench.apply([cure, translated, *others])
        assert set(bench.check("chat-only")) == set(bench.check("no-effort")) == {"cache"}
        assert bench.check("strict") == {}
        assert bench.check("no-system") == {}
    finally:
        bench.file.write_text(before)
        bench.up()


# ------------------------------------------------------------------ without a gateway

START: Json = {"type": "message_start", "message": {"usage": {"input_tokens": 3}}}
OPEN: Json = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
SAY: Json = {"type": "content_block_delta", "index": 0, "delta": {"text": "yes"}}
CLOSE: Json = {"type": "content_block_stop", "index": 0}
END: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
STOP: Json = {"type": "message_stop"}
SECOND = [{**event, "index": 1} for event in (OPEN, SAY, CLOSE)]
PING: Json = {"type": "ping"}
NO_END = "the stream ends without message_stop"
STREAMS: dict[str, tuple[list[Json], str | None]] = {
    "one block": ([START, OPEN, SAY, CLOSE, END, STOP], None),
    "two blocks": ([START, OPEN, SAY, CLOSE, *SECOND, END, STOP], None),
    "pings": ([START, PING, OPEN, SAY, CLOSE, END, PING, STOP], None),
    "nothing": ([], NO_END),
    "no end": ([START, OPEN, SAY, CLOSE, END], NO_END),
    "no start": ([OPEN, SAY, CLOSE, END, STOP], "content_block_start 0"),
    "two starts": ([START, START], "message_start"),
    "a delta too late": ([START, OPEN, CLOSE, SAY, END, STOP], "content_block_delta 0"),
    "a wrong index": ([START, *SECOND, END, STOP], "content_block_start 1"),
    "a block in a block": ([START, OPEN, *SECOND, CLOSE, END, STOP], "content_block_start 1"),
    "an end in a block": ([START, OPEN, SAY, END, CLOSE, STOP], "message_delta"),
    "no reason to stop": (
        [START, OPEN, SAY, CLOSE, {"type": "message_delta", "delta": {}}, STOP],
        "message_stop",
    ),
    "more after the end": ([START, OPEN, SAY, CLOSE, END, STOP, END], "message_delta"),
}


@pytest.mark.parametrize(("events", "fault"), STREAMS.values(), ids=STREAMS)
def test_the_order_of_a_streams_events(events: list[Json], fault: str | None) -> None:
    """Anthropic's, to the letter."""
    in_order = fault in (None, NO_END)
    assert fault_of(events) == (fault if in_order else f"the stream has {fault} out of order")


def test_a_malformed_stream_is_put_together_as_far_as_it_goes() -> None:
    """What is no object, no number and no text raises nothing."""
    odd: list[Json] = [
        {"type": "message_start", "message": 1},
        {"type": "content_block_start", "index": [], "content_block": "x"},
        {"type": "content_block_delta", "index": [], "delta": {"text": 5, "partial_json": 6}},
        {"type": "message_delta", "delta": [], "usage": "none"},
        {"type": []},
        {},
    ]
    message = assembled(odd, None)
    assert (message.text, message.calls, message.usage) == ("5", [], {})
    assert message.fault == "the stream has content_block_start [] out of order"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Z.ai: messages.0: too long", "messages.0: too long"),
        ("Z.ai: no such key -> llmswitch key check zai", "no such key"),
        ("nothing is here", "nothing is here"),
        ("llmswitch: the profile has no model 'x'", "llmswitch: the profile has no model 'x'"),
    ],
)
def test_the_upstreams_own_words(message: str, words: str) -> None:
    """Without what the gateway puts around them."""
    assert upstream_words(message) == words


def test_foreign_text_is_one_short_line_without_secrets() -> None:
    """No escape reaches the terminal, no key the screen."""
    assert one_line("a\x1b[2Jb\n\tc", ()) == "a [2Jb c"
    assert one_line("key own-1 of own-12", ("own-1", "", "own-12")) == "key [key] of [key]"
    assert one_line("sk-ant-api03-abc, Bearer xyz", ()) == "[key], Bearer [key]"
    assert one_line("x" * 400, ()) == "x" * 297 + "..."


def test_the_form_of_a_request_goes_by_the_claude_model() -> None:
    """As Claude Code 2.1.330 was seen to write it; of the 5.5 models, 2.1.332."""
    seen = {
        None: ("adaptive", True, True, 32000),
        "claude-sonnet-4-5": ("budget", False, False, 32000),
        "claude-opus-4-5-20251101": ("budget", True, False, 32000),
        "claude-opus-4-7": ("adaptive", True, False, 64000),
        "claude-opus-5-5": ("adaptive", True, True, 128_000),
        "claude-sonnet-5-5": ("adaptive", True, True, 128_000),
    }
    assert {name: tuple(form_of(name)) for name in seen} == seen


ON_MESSAGES = "models: {a: {model: zai/glm-4.7}}\n"
ON_CHAT = "models: {a: {model: m/x}}\nproviders: {m: {dialect: chat, base_url: 'http://h/v1'}}\n"
NEW_FORM = "models: {a: {model: zai/glm-4.7, behaves_as: claude-opus-4-8}}\n"
DROP = "models: {{a: {{model: {}, drop: [{}]}}}}"
AS_CHAT = (
    "providers: {zai: {label: Z.ai, dialect: chat, "
    "base_url: 'https://api.z.ai/api/anthropic/v1', key: ZAI_API_KEY, prices: zai/}}"
)
OLD_FORM = "models: {a: {model: zai/glm-4.7, behaves_as: claude-sonnet-4-5}}"
REFUSALS = [
    (ON_MESSAGES, 400, "context_management: no", DROP.format("zai/glm-4.7", "context_management")),
    (ON_MESSAGES, 422, "unknown parameter 'metadata'", DROP.format("zai/glm-4.7", "metadata")),
    (ON_MESSAGES, 400, "no metadata service for thinking models", None),  # no field but a word
    (ON_MESSAGES, 400, "reasoning_effort: not permitted", None),  # a field of another dialect
    (ON_CHAT, 400, "Unrecognized request argument supplied: user", DROP.format("m/x", "user")),
    (ON_CHAT, 400, "context_management: not permitted", None),
    (NEW_FORM, 400, "thinking.type: Input tag 'adaptive' does not match any", OLD_FORM),
    (ON_MESSAGES, 400, "no adaptive mode", None),  # which is not sent
    (ON_MESSAGES, 404, "Not Found", AS_CHAT),
    (ON_MESSAGES, 404, "glm-4.7 does not exist", None),
    (ON_MESSAGES, 404, "Model not found", None),
    (ON_CHAT, 404, "Not Found", None),
    (ON_MESSAGES, 401, "context_management: wrong key", None),
]


@pytest.mark.parametrize(("profile", "status", "words", "cure"), REFUSALS)
def test_a_cure_is_given_where_one_exists(
    profile: str, status: int, words: str, cure: str | None
) -> None:
    """And only for a field that is sent, to the dialect that it is sent in."""
    [row] = make_rows(parse_profile(profile, "p.yaml"), {"ZAI_API_KEY"})
    assert cure_of(row, AnswerError(f"HTTP {status}", words, status)) == cure


PRICED = """
models:
  dear: {model: mine/a, price: {input: 10, output: 50, cache_write: 20}}
  cheap: {model: mine/b, price: {input: 1, output: 2}}
  odd: other/c
  free: {model: mine/d, price: {input: 0, output: 0}}
providers:
  mine: {dialect: chat, base_url: "http://127.0.0.1:9/v1"}
  other: {dialect: chat, base_url: "http://127.0.0.1:9/v1"}
"""


def test_what_it_will_cost() -> None:
    """From above, and a price that nobody knows is unknown, never 0."""
    dear, cheap, odd, free = make_rows(parse_profile(PRICED, "p.yaml"), set())
    assert [estimate([dear])[0], estimate([cheap])[0]] == pytest.approx([1.12, 0.0565])
    assert estimate([dear, cheap])[1] == []
    both, unknown = estimate([cheap, odd], [dear, odd])
    assert both == pytest.approx(26_000 * 1.25e-6 + 12_000 * 2e-6 + 3_000 * 20e-6 + 3_000 * 50e-6)
    assert unknown == ["odd"]
    assert estimate([odd]) == (None, ["odd"])
    assert estimate([free]) == (0, [])
    assert estimate([cheap], client=True)[0] == pytest.approx(0.0565 + 0.075 + 0.008)


def test_the_model_to_switch_to() -> None:
    """One of another provider where there is one, never one that cannot be served."""
    dear, cheap, odd, free = make_rows(parse_profile(PRICED, "p.yaml"), set())
    assert other_of(dear, [dear, cheap, odd, free]) == odd
    assert other_of(dear, [dear, cheap, odd._replace(reason="no key"), free]) == cheap
    assert other_of(dear, [dear]) is None
