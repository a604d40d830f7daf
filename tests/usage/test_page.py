"""`usage --html`: one page, looked at with a real browser."""

from __future__ import annotations

import html
import os
import re
import shutil
import socketserver
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmswitch.usage import summary
from llmswitch.usage.page import render
from tests.command import run_here
from tests.conftest import User
from tests.usage.test_summary import ALWAYS, DAY, DAY_OF_WORK, HOSTILE, NOON, PLAIN, used, write

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None and "CI" not in os.environ, reason="no Chromium on PATH"
)


@contextmanager
def recorder() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that serves nothing and remembers who came."""
    seen: list[bytes] = []

    class Remember(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            seen.append(self.rfile.readline())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Remember) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], seen
        server.shutdown()


def browse(page: Path, folder: Path) -> tuple[str, str, list[bytes]]:
    """The document as a browser made it of the page, what its console said, what it asked for."""
    assert BROWSER, "CI installs a Chromium"
    with recorder() as (port, seen):
        done = subprocess.run(
            [
                BROWSER,
                *["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"],
                *["--disable-background-networking", "--disable-component-update"],
                *f"--proxy-server=127.0.0.1:{port} --proxy-bypass-list=<-loopback>".split(),
                *("--enable-logging=stderr", f"--user-data-dir={folder / 'browser'}"),
                page.as_uri(),
            ],
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console, seen


def words(document: str) -> str:
    """What a person sees of a document: its text, one space between any two pieces."""
    body = document.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


@needs_browser
def test_the_browser_shows_what_the_ledger_holds(user: User) -> None:
    """Every section, from the totals to the sessions, without a script and without a request."""
    now = time.time()
    used(user, [one._replace(ended=one.ended - NOON + now - 60) for one in DAY_OF_WORK])
    page = user.home / "usage.html"
    done = run_here(user, "usage", "--since", "7d", "--html", str(page))
    assert (done.returncode, done.stdout) == (0, f"wrote {page}\n"), done.stderr
    assert stat.S_IMODE(page.stat().st_mode) == 0o600

    document, console, asked = browse(page, user.root)
    assert (console, asked) == ("", [])
    assert "<script" not in document
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in document
    seen = words(document)
    assert seen.startswith("Usage of work ")
    last = time.strftime("%Y-%m-%d", time.localtime(now - 60))
    for said in (
        (
            "cost $1.00 + 1 request of unknown price requests 4 failed tries 1 refused requests 0 "
            "tokens 1.1k"
        ),
        "input from the prompt cache 63% saved by the prompt cache $0.50",
        "answers from the response cache 1 saved by the response cache $0.75",
        f"{last}; the highest is {last}: $0.50 + 1 request of unknown price, 650 tokens",
        (
            "Tokens by kind input 300 read from the prompt cache 600 "
            "written to the prompt cache 50 output 110"
        ),
        (
            "The same tokens on other models (actual) $1.00 + 1 request of unknown price "
            "glm $0.0007 opus $0.0048 free unknown"
        ),
        "Fallbacks asked failed served by requests opus opus glm 1",
        (
            "By model model requests failed tokens cached cost by tokens "
            "opus 4 1 820 75% $1.00 glm 1 0 240 0% unknown"
        ),
        "By provider provider requests failed tokens cached cost by tokens anthropic 4 1 820 ",
        "By session session requests failed tokens cached cost by tokens s1 2 1 ",
        "By client client requests failed tokens cached cost by tokens gateway 3 1 ",
        "By agent agent requests failed tokens cached cost by tokens (main conversation) 4 1 ",
        "By key key requests failed tokens cached cost by tokens ANTHROPIC_API_KEY 4 1 ",
    ):
        assert said in seen
    days = re.findall(r'height="([\d.]+)"><title>', document)
    assert sorted(map(float, days)) == [100.9, 160.0]


@needs_browser
def test_the_browser_that_looks_would_see_a_request_and_an_error(tmp_path: Path) -> None:
    """The test above is only as good as this."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://elsewhere.invalid/x.png'><script>console.error('oh')</script>"
    )
    _, console, asked = browse(page, tmp_path)
    assert "oh" in console
    assert any(line.startswith(b"GET http://elsewhere.invalid/x.png ") for line in asked)


@needs_browser
def test_names_that_a_client_made_up_are_text(user: User) -> None:
    """Nothing of them becomes a tag, and nothing runs."""
    names = [
        *HOSTILE,
        "</title><img src=http://elsewhere.invalid/ onerror=alert(1)>",
        '"><svg onload=1>',
    ]
    used(user, [
        PLAIN._replace(request=name, session=name, agent=name, asked=name, client=name,
                       key=name, ended=time.time(), fallback_from=name, model=name, provider=name)
        for name in names
    ])  # fmt: skip
    page = user.home / "usage.html"
    assert run_here(user, "usage", "--html", str(page)).returncode == 0
    document, console, asked = browse(page, user.root)
    assert (console, asked) == ("", [])
    assert not re.search(r"<(script|img)|<[^>]*\son\w+=", document)
    assert "<script>alert(1)</script>" in words(document.replace("&lt;", "\1").replace(
        "&gt;", "\2")).replace("\1", "<").replace("\2", ">")  # fmt: skip


def test_a_file_that_is_no_page_of_ours_stays(user: User) -> None:
    """A page is replaced by a newer one, and nothing else is."""
    used(user, [PLAIN._replace(ended=time.time())])
    page = user.home / "usage.html"
    for text in ("my notes", "", "Generated by llmswitch, said someone"):
        page.write_text(text)
        done = run_here(user, "usage", "--html", str(page))
        said = "~/usage.html already exists and was not written by llmswitch"
        assert (done.returncode, done.stderr) == (1, f"{said}\n-> choose another file\n")
        assert page.read_text() == text
    page.unlink()
    for _ in range(2):
        assert run_here(user, "usage", "--html", str(page)).returncode == 0
    page.unlink()
    page.symlink_to("elsewhere")
    assert run_here(user, "usage", "--html", str(page)).returncode == 1
    done = run_here(user, "usage", "--html", str(user.home))
    assert done.stderr.startswith("~ already exists")


def test_days_without_usage_have_their_place(tmp_path: Path) -> None:
    """A gap in the chart is a gap in time; years of them are left out."""
    file = write(tmp_path / "l.db", [PLAIN, PLAIN._replace(ended=NOON - 3 * DAY, cost=1.0)])
    page = render(summary.read(file, ALWAYS, summary.BY), "work", [], [])
    assert re.findall(r'x="(\d+)" y="([\d.]+)" .*<title>(.*)</title>', page) == [
        ("0", "0.0", "2026-11-21: $1.00, 410 tokens"),
        ("22", "160.0", "2026-11-22: nothing"),
        ("44", "160.0", "2026-11-23: nothing"),
        ("66", "80.0", "2026-11-24: $0.50, 410 tokens"),
    ]
    file = write(tmp_path / "l.db", [PLAIN._replace(ended=1.0)])
    page = render(summary.read(file, ALWAYS, summary.BY), "work", [], [])
    assert page.count("<title>1970-01-01") == 1
    assert page.count("<title>2026") == 2


def test_a_page_of_nothing(user: User) -> None:
    """Before the first request there is a page, of zeros."""
    user.write_profile("models: {opus: anthropic/claude-opus-4-5}")
    page = user.home / "usage.html"
    assert run_here(user, "usage", "--html", str(page)).returncode == 0
    assert "cost $0.00 requests 0 failed tries 0 refused requests 0 tokens 0" in words(
        page.read_text()
    )


def test_one_form_at_a_time(user: User) -> None:
    """JSON, CSV and a page exclude each other."""
    user.write_profile("models: {opus: anthropic/claude-opus-4-5}")
    for pair in ("--json", "--csv"), ("--csv", "--html=x"), ("--html=x", "--json"):
        done = run_here(user, "usage", *pair)
        assert done.returncode == 2
        assert "use only one of --json, --csv and --html" in " ".join(done.stderr.split())
