"""The pages of the manual, README.md among them, and what they show.

What stands under `<!-- shows: COMMAND -->` is what the program prints, and a test compares it; what
stands under `<!-- checked: … -->` is read by one. After a change that is meant, `REWRITE_MANUAL=1`
writes what is shown instead of comparing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.conftest import CHECKOUT

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
MENU = CHECKOUT / "docs/assets/model-menu.svg"
_BLOCK = re.compile(r"<!-- (shows|checked): (.*?) -->\n```\w*\n(.*?)```", re.DOTALL)
_SHOWN = re.compile(r"(<!-- shows: ([^\n]*) -->\n```\n(?:\$ [^\n]*\n)?)(.*?)(?=```)", re.DOTALL)


def page(name: str) -> str:
    """The text of a page of docs/, or of README.md."""
    folder = CHECKOUT if name == "README.md" else CHECKOUT / "docs"
    return (folder / name).read_text(encoding="utf-8")


def _blocks() -> dict[str, str]:
    texts = [file.read_text(encoding="utf-8") for file in PAGES]
    found = [(title, block) for text in texts for _, title, block in _BLOCK.findall(text)]
    titles = [title for title, _ in found]
    assert len(titles) == len(set(titles)), "something is shown twice"
    return dict(found)


BLOCKS = _blocks()


def shown(title: str) -> str:
    """What the manual shows under a title, without the command."""
    lines = BLOCKS[title].splitlines()
    return "\n".join(line for line in lines if not line.startswith("$ ")).strip("\n")


def assert_shown(title: str, printed: str) -> None:
    """The manual shows just this under a title."""
    if os.environ.get("REWRITE_MANUAL") == "1":
        _rewrite(title, printed)
    else:
        assert printed == shown(title)


def assert_picture(file: Path, drawn: str) -> None:
    """The manual has just this picture."""
    if os.environ.get("REWRITE_MANUAL") == "1":
        file.write_text(drawn, encoding="utf-8")
    else:
        assert drawn == file.read_text(encoding="utf-8")


def _rewrite(title: str, printed: str) -> None:
    for file in PAGES:
        text = file.read_text(encoding="utf-8")
        new = _SHOWN.sub(
            lambda found: found[1] + (f"{printed}\n" if found[2] == title else found[3]), text
        )
        if new != text:
            file.write_text(new, encoding="utf-8")
