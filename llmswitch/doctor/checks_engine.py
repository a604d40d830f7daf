"""The check of the LiteLLM that is installed: its version, and what a malicious release has left.

Files are looked at and nothing is imported: what such a release leaves runs when Python does.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmswitch.doctor.facts import Facts, Verdict
from llmswitch.engine_versions import (
    MALICIOUS,
    REQUIREMENT,
    SAFE_FROM,
    TESTED,
    is_supported,
    numbers,
)

_INSTALL = f"pip install '{REQUIREMENT}'"
# The vendor's notices name them: the first is of 1.82.7 and 1.82.8, the others are of 1.107.0. A
# sitecustomize.py is common, and theirs only where one of these stands beside it.
_LEFT = ("litellm_init.pth", "cook.pth", *(f"litellm-{one}.dist-info" for one in MALICIOUS))
_LEFT_AMONG_PACKAGES = "cook.py"  # elsewhere it may be anybody's
_THEIRS_BESIDE = "sitecustomize.py"
_SENT = "remote_code_loader.lock"  # in the temporary folder, once 1.107.0 has sent something
_PACKAGES = ("site-packages", "dist-packages")


def check_engine(facts: Facts) -> Verdict:
    """LiteLLM in the supported range, and nothing of a release that is known to be bad."""
    if malicious := _malicious(facts):
        return malicious
    try:
        found = version("litellm")
    except PackageNotFoundError:
        return Verdict("error", "LiteLLM is not installed", _INSTALL)
    if numbers(found) < numbers(SAFE_FROM):
        return Verdict("error", f"LiteLLM {found} has known vulnerabilities", _INSTALL)
    if not is_supported(found):
        said = f"{TESTED.oldest} to {TESTED.newest} are tested, what is below {TESTED.below} may do"
        return Verdict("warning", f"LiteLLM {found} is unsupported: {said}", _INSTALL)
    return Verdict("ok", f"LiteLLM {found}")


def _malicious(facts: Facts) -> Verdict | None:
    left = [file for folder in _folders(facts) for file in _left_in(folder)]
    sent = [folder / _SENT for folder in _temporary(facts) if (folder / _SENT).exists()]
    if not left and not sent:
        return None
    found = [*sent, *left]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    gone = "went out" if sent else "may have gone out"
    deleted = " && ".join(
        f"cd {shlex.quote(str(folder))} && rm -rf "
        + " ".join(file.name for file in found if file.parent == folder)
        for folder in dict.fromkeys(file.parent for file in found)
    )
    environment = "end the processes that it began (ps ax), make this environment anew, "
    return Verdict(
        "error",
        f"{found[0]} is of a malicious LiteLLM{more}; keys and files of this machine {gone}",
        f"{deleted}    (from the shell: it runs whenever Python does; then "
        f"{environment if left else ''}change every key that this machine has)",
    )


def _folders(facts: Facts) -> list[Path]:
    """Where this Python looks for packages, and where that of the running gateway does."""
    found = {Path(folder) for folder in sys.path if folder}
    if facts.running is not None and facts.running.pid:
        import psutil

        with suppress(psutil.Error, IndexError):
            python = Path(psutil.Process(facts.running.pid).cmdline()[0])
            found |= set(python.parent.parent.glob("lib/python*/site-packages"))
    return sorted(found)


def _left_in(folder: Path) -> Iterator[Path]:
    names = [*_LEFT, *([_LEFT_AMONG_PACKAGES] if folder.name in _PACKAGES else [])]
    found = [folder / name for name in names if (folder / name).exists()]
    yield from found
    if found and (beside := folder / _THEIRS_BESIDE).exists():
        yield beside


def _temporary(facts: Facts) -> list[Path]:
    usual = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - where it is left
    return sorted({Path(facts.environ.get("TMPDIR") or "/tmp"), *map(Path, usual)})  # noqa: S108
