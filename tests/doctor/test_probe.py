"""Live checks of models through a real gateway; each fake upstream breaks one thing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmswitch.cli import text
from llmswitch.doctor.cures import cure_of
from llmswitch.doctor.messages_api import (
    AnswerError,
    Door,
    Json,
    assembled,
    fault_of,
    one_line,
    upstream_words,
)
from llmswitch.doctor.probe import (
    PROBES,
    Cell,
    Result,
    Target,
    data,
    other_of,
    probe,
    run,
    stream,
)
from llmswitch.doctor.requests import estimate, form_of
from llmswitch.profile.load import load_profile, parse_profile
from llmswitch.render.menu import Row, make_rows
from tests.conftest import User, free_port, make_user
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
  slow: fake/slow
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
KEY = "fake-key-of-the-provider"
READ = Tool("read_note", {"name": "todo"})
HEALTHY = Behaviour(reply="yes", tool=READ, thinking="hm", caches=True, usage=Usage(input=5000))


def refuses_tools(body: Json) -> str | None:
    """A model without tools."""
    return "this model does not support tools" if body.get("tools") else None


def refuses_streams(body: Json) -> str | None:
    """A server without streams."""
    return "stream is not supported" if body.get("stream") else None


def refuses_field(name: str) -> Callable[[Json], str | None]:
    """A server that does not know a field."""
    return lambda body: f"{name}: Extra inputs are not permitted" if name in body else None


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
    "no-tools": replace(HEALTHY, refuse=refuses_tools),
    "talker": replace(HEALTHY, tool=None),
    "guesser": replace(HEALTHY, tool=Tool("read_note", {"title": "todo"})),
    "deaf": replace(HEALTHY, deaf=True),
    "thoughtless": replace(HEALTHY, refuse=refuses_field("thinking")),
    "no-stream": replace(HEALTHY, refuse=refuses_streams),
    "one-piece": replace(HEALTHY, whole=True),
    "strict": replace(HEALTHY, refuse=refuses_field("context_management")),
    "no-effort": replace(HEALTHY, refuse=refuses_field("reasoning_effort")),
    "no-system": replace(HEALTHY, refuse=refuses_system),
    "jealous": replace(HEALTHY, refuse=refuses_foreign_thinking),
    "disordered": replace(HEALTHY, disordered=True),
    "slow": replace(HEALTHY, first_after=0.3),
    "forgetful": replace(HEALTHY, caches=False),
    "mute": replace(HEALTHY, reply=" "),
    "trickle": Behaviour(events=6, delay=0.2),
    "silent": Behaviour(events=2, delay=1.5),
    "failing": Behaviour(status=401, error=f"wrong key {KEY}, Bearer abc or sk-proj-12345678"),
}


@dataclass
class Bench:
    """A running gateway, and the models behind it."""

    user: User
    fake: FakeUpstream
    only: FakeUpstream
    port: int
    file: Path

    @property
    def rows(self) -> dict[str, Row]:
        """The models of the profile as it stands."""
        rows = make_rows(load_profile(self.file), {"FAKE_KEY"})
        return {row.name: row for row in rows}

    def target(self, model: str, other: str = "other", **changes: Any) -> Target:
        """A model to check."""
        rows = self.rows
        door = Door("127.0.0.1", self.port, self.user.gateway_key(), time.monotonic, secrets=(KEY,))
        limits = {name: changes.pop(name) for name in ("timeout", "clock") if name in changes}
        target = Target(door._replace(**limits), rows[model], rows.get(other), mark="abc")
        return target._replace(**changes)

    def check(self, model: str, **changes: Any) -> dict[str, Cell]:
        """The checks of a model that have something to say, but for the time of a good stream."""
        cells = probe(self.target(model, **changes)).cells
        assert list(cells) == [name for name, _ in PROBES]
        return {name: cell for name, cell in cells.items() if cell.level != "ok"}

    def apply(self, cure: str) -> None:
        """Put the printed line into the profile, and have the gateway take it over."""
        before = self.file.read_text()
        profile = yaml.safe_load(before)
        for section, changed in yaml.safe_load(cure).items():
            profile[section] |= changed
        self.file.write_text(yaml.safe_dump(profile, sort_keys=False))
        done = self.user.run("up")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway with a model for each thing that can break."""
    user = make_user(tmp_path_factory.mktemp("probe"))
    user.keys = {"FAKE_KEY": KEY}
    with (
        FakeUpstream("fake") as fake,
        FakeUpstream("only", dialects=["/chat/completions"]) as only,
    ):
        fake.behave(HEALTHY)
        only.behave(HEALTHY)
        for model, behaviour in BEHAVIOURS.items():
            fake.behave(behaviour, model)
        port = free_port()
        file = user.write_profile(
            PROFILE.format(fake=fake.url, only=only.url, port=port, closed=free_port())
        )
        bench = Bench(user, fake, only, port, file)
        done = user.run("up")
        assert done.returncode == 0, done.stderr
        yield bench
        user.run("down")
        user.stop_everything()


def test_all_is_well_with_a_healthy_model(bench: Bench) -> None:
    """Every cell is ok, and says what was measured."""
    cells = probe(bench.target("healthy", clock=lambda: 0.0)).cells
    assert cells == {
        "answer": Cell("ok"),
        "stream": Cell("ok", "0 s to the first token", seconds=0.0),
        "tools": Cell("ok"),
        "client body": Cell("ok"),
        "count": Cell("ok", "estimated, not counted by the provider"),
        "cache": Cell("ok", "5000 tokens read from the cache"),
        "A-B-A": Cell("ok"),
    }


@pytest.mark.parametrize("model", ["healthy", "claude"])
def test_native_dialects_pass_every_check(bench: Bench, model: str) -> None:
    """Anthropic itself and an Anthropic-compatible host."""
    assert bench.check(model) == {}


def test_chat_completions_pass_but_do_not_tell_of_a_cache(bench: Bench) -> None:
    """Cache marks are not passed on in this dialect; that is no error."""
    assert bench.check("chat") == {
        "cache": Cell("info", "nothing was read from a cache, or the provider does not say so")
    }


BROKEN: dict[str, tuple[str, Cell]] = {
    "no-tools": ("tools", Cell("error", "answered 400", "this model does not support tools")),
    "talker": (
        "tools",
        Cell("error", "the model did not call the tool that it was told to", "yes"),
    ),
    "guesser": (
        "tools",
        Cell("error", "the tool call is not one that the tool's schema allows"),
    ),
    "deaf": ("tools", Cell("warning", "the answer does not use the result of the tool")),
    "thoughtless": (
        "client body",
        Cell(
            "error",
            "answered 400",
            "thinking: Extra inputs are not permitted",
            "models: {thoughtless: {model: fake/thoughtless, drop: [thinking]}}",
        ),
    ),
    "no-stream": ("stream", Cell("error", "answered 400", "stream is not supported")),
    "one-piece": (
        "stream",
        Cell("error", "the answer came in one piece, though a stream was asked for"),
    ),
    "disordered": ("stream", Cell("error", "the stream has content_block_delta 0 out of order")),
    "strict": (
        "client body",
        Cell(
            "error",
            "answered 400",
            "context_management: Extra inputs are not permitted",
            "models: {strict: {model: fake/strict, drop: [context_management]}}",
        ),
    ),
    "no-system": (
        "client body",
        Cell(
            "error",
            "answered 400",
            "messages.1.role: 'system' is not allowed here",
            "models: {no-system: {model: fake/no-system, behaves_as: claude-sonnet-4-5}}",
        ),
    ),
    "forgetful": (
        "cache",
        Cell("info", "nothing was read from a cache, or the provider does not say so"),
    ),
    "jealous": (
        "A-B-A",
        Cell("error", "answered 400", "this model did not think that"),
    ),
}


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


def test_a_slow_first_token_is_a_warning(bench: Bench) -> None:
    """Slower than the limit, which is an argument; the stream is fine else."""
    found = bench.check("slow", slow=0.2)
    seconds = found["stream"].seconds
    assert seconds is not None
    assert 0.3 <= seconds < 5
    assert found == {
        "stream": Cell("warning", f"{seconds:g} s to the first token", seconds=seconds)
    }
    assert stream(bench.target("slow")).level == "ok"


SKIPPED = dict.fromkeys([name for name, _ in PROBES][1:], Cell("skipped", "no plain answer"))


def only_answer(cell: Cell) -> dict[str, Cell]:
    """A model that does not answer."""
    return {"answer": cell, **SKIPPED}


def test_a_dead_model_costs_one_request(bench: Bench) -> None:
    """The rest is skipped, no fallback answers in its place, and no key is in what was said."""
    bench.fake.clear()
    assert bench.check("failing") == only_answer(
        Cell("error", "answered 401", "wrong key REDACTED, Bearer [key] or REDACTED")
    )
    assert [(request.body or {})["model"] for request in bench.fake.requests] == ["failing"]


def test_an_upstream_that_is_down(bench: Bench) -> None:
    """It says where nobody listens."""
    found = bench.check("down")
    words = found["answer"].words or ""
    assert found == only_answer(Cell("error", "answered 502", words))
    where = (bench.rows["down"].provider.base_url or "").removeprefix("http://")
    assert words.startswith(f"no connection: Cannot connect to host {where} [")


def test_no_answer_in_time(bench: Bench) -> None:
    """The limit is an argument and stands in the message."""
    found = bench.check("silent", timeout=0.5)
    assert found == only_answer(Cell("error", "no answer within 0.5 s"))


def test_a_stream_that_trickles(bench: Bench) -> None:
    """The limit is for the whole of an answer, not for each of its pieces."""
    with pytest.raises(AnswerError) as caught:
        stream(bench.target("trickle", timeout=0.5))
    assert (caught.value.note, caught.value.words) == ("no answer within 0.5 s", None)


def test_no_check_is_begun_after_the_last_word(bench: Bench) -> None:
    """What is interrupted asks nothing more."""
    bench.fake.clear()

    def interrupted(text: str) -> None:
        if text == "healthy: stream":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run([bench.target(name) for name in ("healthy", "other")], interrupted, at_once=1)
    asked = [(request.body or {})["model"] for request in bench.fake.requests]
    assert asked in (["healthy"], ["healthy", "other"])


def test_an_answer_without_text(bench: Bench) -> None:
    """An empty answer is none."""
    found = bench.check("mute")
    assert found == only_answer(Cell("error", "the answer has no text (stop_reason end_turn)"))


def test_a_gateway_that_is_gone(bench: Bench) -> None:
    """That the gateway does not answer is no fault of the model."""
    target = bench.target("healthy")
    port = free_port()
    gone = target._replace(door=target.door._replace(port=port))
    assert probe(gone).cells == only_answer(
        Cell("failed", f"the gateway does not answer on 127.0.0.1:{port}")
    )


def test_no_other_model_to_switch_to(bench: Bench) -> None:
    """The last check needs two models, and says when it is the other that fails."""
    assert bench.check("healthy", other="") == {
        "A-B-A": Cell("skipped", "there is no other model to switch to")
    }
    assert bench.check("healthy", other="jealous") == {
        "A-B-A": Cell(
            "skipped",
            "jealous did not go on with the conversation: answered 400",
            "this model did not think that",
        )
    }


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
    signed = [
        block["signature"]
        for message in last["messages"][1:]
        for block in message["content"]
        if block["type"] == "thinking"
    ]
    assert signed == [signature("healthy"), signature("other")]


def test_the_matrix(bench: Bench) -> None:
    """A row for each model in the order given, a line for each cell not ok, its cure."""
    names = ["healthy", "no-tools", "disordered", "strict", "forgetful", "failing", "jealous"]
    results = run([bench.target(name, clock=lambda: 0.0) for name in names])
    assert text.matrix(results) == [
        "MODEL       answer  stream  tools  client body  count  cache  A-B-A",
        "healthy     ok      ok 0 s  ok     ok           ok     ok     ok",
        "no-tools    ok      ok 0 s  ERROR  ok           ok     ok     ok",
        "disordered  ok      ERROR   ok     ok           ok     ok     ok",
        "strict      ok      ok 0 s  ok     ERROR        ok     ok     ok",
        "forgetful   ok      ok 0 s  ok     ok           ok     info   ok",
        "failing     ERROR   -       -      -            -      -      -",
        "jealous     ok      ok 0 s  ok     ok           ok     ok     ERROR",
        "",
        "no-tools, tools: answered 400: this model does not support tools",
        "disordered, stream: the stream has content_block_delta 0 out of order",
        "strict, client body: answered 400: context_management: Extra inputs are not permitted",
        "  -> in the profile: models: {strict: {model: fake/strict, drop: [context_management]}}",
        "forgetful, cache: nothing was read from a cache, or the provider does not say so",
        "failing, answer: answered 401: wrong key REDACTED, Bearer [key] or REDACTED",
        "jealous, A-B-A: answered 400: this model did not think that",
    ]
    assert bench.user.gateway_key() not in str(results) + str(data(results))
    assert KEY not in str(results)


def test_the_lines_that_are_shown_cure(bench: Bench) -> None:
    """Put into the profile, each makes the cell ok that it stands below."""
    found = bench.check("chat-only")
    cure = f"providers: {{only: {{dialect: chat, base_url: '{bench.only.url}/v1', key: FAKE_KEY}}}}"
    assert found == only_answer(
        Cell("error", "answered 404", "no such route: POST /v1/messages", cure)
    )
    translated = bench.check("no-effort")["client body"]
    assert translated == Cell(
        "error",
        "answered 400",
        "reasoning_effort: Extra inputs are not permitted",
        "models: {no-effort: {model: mine/no-effort, label: No effort, "
        "drop: [user, reasoning_effort]}}",
    )
    before = bench.file.read_text()
    others = (BROKEN[name][1].cure for name in ("strict", "no-system"))
    try:
        for line in (cure, translated.cure, *others):
            assert line is not None
            bench.apply(line)
        assert set(bench.check("chat-only")) == set(bench.check("no-effort")) == {"cache"}
        assert bench.check("strict") == {}
        assert bench.check("no-system") == {}
    finally:
        bench.file.write_text(before)
        assert bench.user.run("up").returncode == 0


# ------------------------------------------------------------------ without a gateway

START: Json = {"type": "message_start", "message": {"usage": {"input_tokens": 3}}}
OPEN: Json = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
SAY: Json = {"type": "content_block_delta", "index": 0, "delta": {"text": "yes"}}
CLOSE: Json = {"type": "content_block_stop", "index": 0}
END: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
STOP: Json = {"type": "message_stop"}
SECOND = [{**event, "index": 1} for event in (OPEN, SAY, CLOSE)]
STREAMS: dict[str, tuple[list[Json], str | None]] = {
    "one block": ([START, OPEN, SAY, CLOSE, END, STOP], None),
    "two blocks": ([START, OPEN, SAY, CLOSE, *SECOND, END, STOP], None),
    "pings": ([START, {"type": "ping"}, OPEN, SAY, CLOSE, END, {"type": "ping"}, STOP], None),
    "nothing": ([], "the stream ends without message_stop"),
    "no end": ([START, OPEN, SAY, CLOSE, END], "the stream ends without message_stop"),
    "no start": (
        [OPEN, SAY, CLOSE, END, STOP],
        "the stream has content_block_start 0 out of order",
    ),
    "two starts": ([START, START], "the stream has message_start out of order"),
    "a delta too late": (
        [START, OPEN, CLOSE, SAY, END, STOP],
        "the stream has content_block_delta 0 out of order",
    ),
    "a wrong index": (
        [START, *SECOND, END, STOP],
        "the stream has content_block_start 1 out of order",
    ),
    "a block in a block": (
        [START, OPEN, *SECOND, CLOSE, END, STOP],
        "the stream has content_block_start 1 out of order",
    ),
    "an end in a block": (
        [START, OPEN, SAY, END, CLOSE, STOP],
        "the stream has message_delta out of order",
    ),
    "no reason to stop": (
        [START, OPEN, SAY, CLOSE, {"type": "message_delta", "delta": {}}, STOP],
        "the stream has message_stop out of order",
    ),
    "more after the end": (
        [START, OPEN, SAY, CLOSE, END, STOP, END],
        "the stream has message_delta out of order",
    ),
}


@pytest.mark.parametrize(("events", "fault"), STREAMS.values(), ids=STREAMS)
def test_the_order_of_a_streams_events(events: list[Json], fault: str | None) -> None:
    """Anthropic's, to the letter."""
    assert fault_of(events) == fault


def test_a_malformed_stream_is_put_together_as_far_as_it_goes() -> None:
    """What is no object, no number and no text raises nothing."""
    odd: list[Json] = [
        {"type": "message_start", "message": 1},
        {"type": "content_block_start", "index": [], "content_block": "x"},
        {"type": "content_block_delta", "index": [], "delta": {"text": 5, "partial_json": 6}},
        {"type": "message_delta", "delta": [], "usage": "none"},
        {},
    ]
    message = assembled(odd, None)
    assert (message.text, message.calls, message.usage) == ("5", [], {})
    assert message.fault == "the stream has content_block_start [] out of order"


WORDS = {
    "behind a label": ("Z.ai: messages.0: too long", "messages.0: too long"),
    "before a cure": ("Z.ai: no such key -> llmswitch key check zai", "no such key"),
    "in two lines": ("My server: a plain\nsentence {here}", "a plain sentence {here}"),
    "without a label": ("nothing is here", "nothing is here"),
    "our own": (
        "llmswitch: the profile has no model 'x'",
        "llmswitch: the profile has no model 'x'",
    ),
}


@pytest.mark.parametrize(("message", "words"), WORDS.values(), ids=WORDS)
def test_the_upstreams_own_words(message: str, words: str) -> None:
    """Without what the gateway puts around them."""
    assert upstream_words(message, ()) == words


def test_foreign_text_is_one_short_line_without_secrets() -> None:
    """No escape reaches the terminal, no key the screen."""
    assert one_line("a\x1b[2Jb\n\tc", ()) == "a [2Jb c"
    assert one_line("key own-1 of own-12", ("own-1", "", "own-12")) == "key [key] of [key]"
    assert one_line("sk-ant-api03-abc, Bearer xyz", ()) == "[key], Bearer [key]"
    assert one_line("x" * 400, ()) == "x" * 297 + "..."


def test_the_form_of_a_request_goes_by_the_claude_model() -> None:
    """As Claude Code 2.1.330 was seen to write it; of the 5.5 models, 2.1.332."""
    names = ("claude-sonnet-4-5", "claude-opus-4-5-20251101", "claude-opus-4-7", "claude-opus-5-5",
             "claude-sonnet-5-5")  # fmt: skip
    seen = {
        name: (form.thinking, form.effort, form.system_message, form.max_tokens)
        for name in (None, *names)
        for form in [form_of(name)]
    }
    assert seen == {
        None: ("adaptive", True, True, 32000),
        "claude-sonnet-4-5": ("budget", False, False, 32000),
        "claude-opus-4-5-20251101": ("budget", True, False, 32000),
        "claude-opus-4-7": ("adaptive", True, False, 64000),
        "claude-opus-5-5": ("adaptive", True, True, 128_000),
        "claude-sonnet-5-5": ("adaptive", True, True, 128_000),
    }


ON_MESSAGES = "models: {a: {model: zai/glm-4.7}}\n"
ON_CHAT = "models: {a: {model: m/x}}\nproviders: {m: {dialect: chat, base_url: 'http://h/v1'}}\n"
NEW_FORM = "models: {a: {model: zai/glm-4.7, behaves_as: claude-opus-4-8}}\n"
DROP = "models: {{a: {{model: {model}, drop: [{field}]}}}}"
REFUSALS: dict[str, tuple[str, int, str, str | None]] = {
    "a field": (
        ON_MESSAGES,
        400,
        "context_management: Extra inputs are not permitted",
        DROP.format(model="zai/glm-4.7", field="context_management"),
    ),
    "a field in quotes": (
        ON_MESSAGES,
        422,
        "unknown parameter 'metadata'",
        DROP.format(model="zai/glm-4.7", field="metadata"),
    ),
    "no field but a word": (ON_MESSAGES, 400, "no metadata service for thinking models", None),
    "a field of another dialect": (ON_MESSAGES, 400, "reasoning_effort: not permitted", None),
    "a translated field": (
        ON_CHAT,
        400,
        "Unrecognized request argument supplied: user",
        DROP.format(model="m/x", field="user"),
    ),
    "a field that is not sent": (ON_CHAT, 400, "context_management: not permitted", None),
    "adaptive thinking": (
        NEW_FORM,
        400,
        "thinking.type: Input tag 'adaptive' does not match any of the expected tags",
        "models: {a: {model: zai/glm-4.7, behaves_as: claude-sonnet-4-5}}",
    ),
    "adaptive thinking that is not sent": (ON_MESSAGES, 400, "no adaptive mode", None),
    "no such route": (
        ON_MESSAGES,
        404,
        "Not Found",
        (
            "providers: {zai: {label: Z.ai, dialect: chat, "
            "base_url: 'https://api.z.ai/api/anthropic/v1', key: ZAI_API_KEY, prices: zai/}}"
        ),
    ),
    "no such model": (ON_MESSAGES, 404, "glm-4.7 does not exist", None),
    "no such model by any name": (ON_MESSAGES, 404, "Model not found", None),
    "no such route of Chat Completions": (ON_CHAT, 404, "Not Found", None),
    "a wrong key": (ON_MESSAGES, 401, "context_management: wrong key", None),
}


@pytest.mark.parametrize(("profile", "status", "words", "cure"), REFUSALS.values(), ids=REFUSALS)
def test_a_cure_is_given_where_one_exists(
    profile: str, status: int, words: str, cure: str | None
) -> None:
    """And only for a field that is sent, to the dialect that it is sent in."""
    [row] = make_rows(parse_profile(profile, "p.yaml"), {"ZAI_API_KEY"})
    assert cure_of(row, AnswerError(f"answered {status}", words, status)) == cure


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


def test_results_as_data() -> None:
    """What `--json` shows."""
    cell = Cell("error", "answered 400", "no", "models: {a: {model: b/c}}")
    assert data([Result("a", {"answer": Cell("ok"), "tools": cell})]) == [
        {
            "model": "a",
            "checks": [
                {
                    "name": "answer",
                    "level": "ok",
                    "note": "",
                    "words": None,
                    "cure": None,
                    "seconds": None,
                },
                {
                    "name": "tools",
                    "level": "error",
                    "note": "answered 400",
                    "words": "no",
                    "cure": "models: {a: {model: b/c}}",
                    "seconds": None,
                },
            ],
        }
    ]
