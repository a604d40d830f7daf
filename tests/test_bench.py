"""What `make bench` compares, and that its pages say what was measured."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import disk, pages
from bench.compare import KINDS, Effort, measure_compared
from bench.lines import Line
from bench.load import load
from bench.plot import plot
from bench.rivals import FLASK, NONE, OURS, PLAIN, ROUTER, contenders, node, router_folder
from bench.rows import CONTENDERS, Goal, Row
from bench.stage import NATIVE, UPSTREAM_NAMES, Stage, staged
from bench.wire import NotMeasuredError, Target, send
from tests import clients
from tests.conftest import CHECKOUT, KEYS
from tests.upstream import Behaviour, FakeUpstream, Json

pytestmark = pytest.mark.timeout(240)  # it may have to wait for npm

ROW = Row(
    "added, small",
    "ms",
    {
        NONE: [[0.001]],
        OURS: [[0.002, 0.004], [0.003]],
        PLAIN: [[0.004]],
        ROUTER: [[0.03]],
    },
    [Goal(PLAIN, 0.65), Goal(ROUTER, 1)],
    added=True,
    plotted=True,
)
RATE = Row("requests per second", "/s", {NONE: [[4000]], OURS: [[100, 300]], FLASK: [[400]]})
LINE = Line("memory grown", "MB", [[2e6]])
FACTS = {"machine": "2 cores", "versions": "llmswitch 1", "took": "1 s"}


@pytest.fixture
def router() -> None:
    """claude-code-router can run here."""
    try:
        node()
    except NotMeasuredError as error:
        pytest.skip(str(error))
    try:
        router_folder()
    except NotMeasuredError as error:
        clients.unavailable(str(error))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage without its provider."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.mark.soak
@pytest.mark.usefixtures("router")
def test_the_rivals_pass_on_what_they_are_sent(stage: Stage) -> None:
    """The Flask proxy and claude-code-router send a native request on as it is, under the model's
    own name and with the provider's key; the latter sends the other as Chat Completions.
    """
    _, _, *rivals = contenders(stage)
    with FakeUpstream(port=stage.straight.port) as upstream:
        upstream.behave(Behaviour(events=20))
        upstream.behave(Behaviour(events=300), NATIVE[1])
        upstream.behave(Behaviour(events=300), "qwen3-long")
        received: dict[str, list[tuple[str, str, Json]]] = {}
        for rival in rivals:
            rival.start()
            upstream.clear()
            with (
                closing(HTTPConnection("127.0.0.1", rival.target.port)) as connection,
                ExitStack() as running,
            ):
                running.callback(rival.stop)
                for kind in KINDS:
                    if kind.model in rival.models:
                        answer = send(connection, rival.target, kind.body(rival.target))
                        assert kind.is_answered_by(answer), (rival.name, kind, answer)
                        assert 0 < answer.first <= answer.last
            received[rival.name] = [
                (request.path, request.headers.get("x-api-key", ""), request.body or {})
                for request in upstream.requests
            ]
    native = [kind for kind in KINDS if kind.model in NATIVE]
    sent = [
        ("/api/anthropic/v1/messages", KEYS["ZAI_API_KEY"], json.loads(kind.body(stage.straight)))
        for kind in native
    ]
    assert received[FLASK] == sent
    assert received[ROUTER][: len(native)] == sent
    for kind, (path, _, body) in zip(
        KINDS[len(native) :], received[ROUTER][len(native) :], strict=True
    ):
        assert path == "/v1/chat/completions"
        assert (body["model"], body["stream"]) == (UPSTREAM_NAMES[kind.model], kind.stream)
        assert body["messages"][-1]["content"][0]["text"] == kind.text


@pytest.mark.soak
@pytest.mark.usefixtures("router")
def test_everything_is_compared_and_written_down(tmp_path: Path) -> None:
    """A run with hardly a request: every contender has every figure that it can have, and the three
    pages agree.
    """
    effort = Effort(1, 1, 1, 0.1, 9, 0.1)
    with staged() as stage:
        rows = measure_compared(stage, effort, lambda _: None)
        ports = [stage.ours.port, stage.theirs.port, *stage.spare_ports]
    assert not [port for port in ports if _is_open(port)]

    everyone = set(CONTENDERS)
    for row in rows:
        can = everyone - {FLASK} if "translated" in row.what else everyone
        if row.unit == "MB" or row.what.startswith("CPU"):
            can = can - {NONE}
        if row.what == "of which llmswitch itself":
            can = {OURS}
        assert set(row.samples) == can, row.what

    for file in (pages.PERFORMANCE, pages.PLOT):
        (tmp_path / file).parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / pages.PERFORMANCE, tmp_path / pages.PERFORMANCE)
    pages.write(FACTS, [*rows, LINE], tmp_path)
    results = (tmp_path / pages.RESULTS).read_text(encoding="utf-8")
    written = (tmp_path / pages.PERFORMANCE).read_text(encoding="utf-8")
    assert pages.part_of(written) == pages.part_for(results)
    before = (CHECKOUT / pages.PERFORMANCE).read_text(encoding="utf-8")
    assert _without_part(written) == _without_part(before)
    titles = [row.what for row in rows] + [LINE.what]
    assert not [title for title in titles if f"\n| {title} | " not in results]
    _agree((tmp_path / pages.PLOT).read_text(encoding="utf-8"), results)


def _is_open(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return False
    return True


def _without_part(performance: str) -> str:
    return performance.replace(pages.part_of(performance), "")


def _agree(svg: str, results: str) -> None:
    """Every value that the plot shows is that of its row and column in the table."""
    table = results.partition("## Compared\n\n")[2].partition("\n\n")[0]
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table.splitlines())
    cells = {(row[1], name): cell for row in rows for name, cell in zip(head, row, strict=True)}
    title = name = ""
    values = 0
    for kind, text in re.findall(r'<text class="(\w+)".*?>(.*?)</text>', svg):
        if kind == "title":
            title = unescape(text)
        elif kind == "name":
            name = text
        else:
            assert re.sub(r" \(.*", "", cells[title, name]) == text
            values += 1
    assert values


def test_the_manual_shows_the_results() -> None:
    """The page about performance, and the plot, are of the run on the page of figures."""
    part = pages.part_of((CHECKOUT / pages.PERFORMANCE).read_text(encoding="utf-8"))
    written = CHECKOUT / pages.RESULTS
    if not written.exists():
        assert part == ""
        return
    results = written.read_text(encoding="utf-8")
    assert part == pages.part_for(results)
    _agree((CHECKOUT / pages.PLOT).read_text(encoding="utf-8"), results)


def test_the_page_of_results() -> None:
    """Facts, goals met and not, every contender's median with its spread, and our own lines."""
    page = pages.page(FACTS, [ROW, RATE, LINE])
    assert page.startswith(
        """\
# Results of `make bench`

- machine: 2 cores
- versions: llmswitch 1
- took: 1 s

## Goals

| goal | llmswitch | the other | ratio | met |
| --- | --- | --- | --- | --- |
| added, small ≤ 0.65 of plain LiteLLM | +3.00 ms | +4.00 ms | 0.75 | NO |
| added, small ≤ claude-code-router | +3.00 ms | +30 ms | 0.10 | yes |

## Compared

| what | no gateway | llmswitch | plain LiteLLM | Flask proxy | claude-code-router |
| --- | --- | --- | --- | --- | --- |
| added, small | 1.00 ms | +3.00 ms (2.00..4.00) | +4.00 ms |  | +30 ms |
| requests per second | 4000 /s | 200 /s (100..300) |  | 400 /s |  |

## llmswitch by itself

| what | ours | theirs | ratio or difference | goal | met |
| --- | --- | --- | --- | --- | --- |
| memory grown | 2.00 MB (2.00..2.00) |  |  |  |  |

Medians; in brackets"""
    )
    assert pages.part_for(page) == (
        """\
![Bars of what is measured, llmswitch and four others](../assets/benchmark.svg)

On 2 cores; llmswitch 1. The goals that llmswitch is held to, met or not:

| goal | llmswitch | the other | ratio | met |
| --- | --- | --- | --- | --- |
| added, small ≤ 0.65 of plain LiteLLM | +3.00 ms | +4.00 ms | 0.75 | NO |
| added, small ≤ claude-code-router | +3.00 ms | +30 ms | 0.10 | yes |

[All figures](benchmark.md), with their spread and how they were taken.
"""
    )


def test_the_plot_has_a_bar_for_each_gateway() -> None:
    """Bars are as long as their medians, the longest fills its panel; other rows are not drawn."""
    svg = plot([ROW, RATE])
    tree = ElementTree.fromstring(svg)  # noqa: S314  our own
    space = "{http://www.w3.org/2000/svg}"
    widths = [int(bar.attrib["width"]) for bar in tree.iter(f"{space}rect")]
    assert widths == [20, 27, 200]
    texts = [text.text for text in tree.iter(f"{space}text")]
    assert texts == [
        "added, small",
        *("llmswitch", "+3.00 ms", "plain LiteLLM", "+4.00 ms"),
        *("claude-code-router", "+30 ms"),
    ]


def test_a_load_is_as_many_requests_as_wanted() -> None:
    """So many requests reach the provider, also over connections that close, and an answer that is
    an error is not counted but told.
    """
    with FakeUpstream() as upstream:
        target = Target(upstream.port, "any")
        for stream in (False, True):
            upstream.clear()
            done = load(target, target.body("m", stream=stream), 3, number=20)
            assert (done.answered, len(upstream.requests)) == (20, 20)
        assert load(target, target.body("m", stream=False), 3, seconds=0.2).answered > 3
        upstream.behave(Behaviour(status=500))
        with pytest.raises(NotMeasuredError, match=r"was answered b'http/1\.1 500"):
            load(target, target.body("m", stream=False), 3, number=20)


def test_an_old_node_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """claude-code-router fails with a traceback on Node 18, and nothing runs without one."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    wanted = re.escape("claude-code-router needs npm and Node 20 or newer")
    with pytest.raises(NotMeasuredError, match=wanted):
        node()
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.20.8\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(NotMeasuredError, match=wanted):
        node()
    (tmp_path / "node").write_text("#!/bin/sh\necho v20.0.0\n")
    assert node() == str(tmp_path / "node")


def test_the_size_on_disk_is_that_of_all_that_is_needed() -> None:
    """A package and what it needs, each once, and more with an extra."""
    flask = disk.of_requirements("flask")
    assert flask > disk.of_requirements("werkzeug") > 0
    assert disk.of_requirements("flask", "werkzeug", "flask") == flask
    engine = disk.of_requirements("litellm[proxy]")
    assert disk.of_requirements("litellm") < engine < disk.of_requirements("llmswitch")
    assert disk.of_llmswitch() > 300_000


def test_only_a_whole_run_is_written_down() -> None:
    """`--write` with a part of the measurements is refused before anything is measured."""
    command = [sys.executable, "-m", "bench", "--only", "start", "--write"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--write without --only" in done.stderr
