"""The check of the LiteLLM that is installed: its version, and what a malicious release has left.

Files are looked at and nothing is imported: what such a release leaves runs when Python does.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmswitch.doctor.context import Context, Verdict, first_of
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


def check_engine(context: Context) -> Verdict:
    """LiteLLM in the supported range, and nothing of a release that is known to be bad."""
    if malicious := _malicious(context):
        return malicious
    try:
        found = version("litellm")
    except PackageNotFoundError:
        return Verdict("error", "LiteLLM is not installed", _INSTALL)
    if numbers(found) < numbers(SAFE_FROM):
        return Verdict("error", f"LiteLLM {found} has known vulnerabilities", _INSTALL)
    if not is_supported(found):
        said = f"LiteLLM {found} is not supported; {TESTED.oldest} to {TESTED.newest} are tested"
        return Verdict("warning", said, _INSTALL)
    return Verdict("ok", f"LiteLLM {found}")


def _malicious(context: Context) -> Verdict | None:
    left = [file for folder in _folders(context) for file in _left_in(folder)]
    sent = [folder / _SENT for folder in _temporary(context) if (folder / _SENT).exists()]
    if not left and not sent:
        return None
    found = [*sent, *left]
    deleted = " && ".join(
        f"cd {shlex.quote(str(folder))} && rm -rf "
        + " ".join(file.name for file in found if file.parent == folder)
        for folder in dict.fromkeys(file.parent for file in found)
    )
    gone = "sent" if sent else "may have sent"
    rebuild = "end the processes that it started (ps ax), rebuild this Python environment, and "
    return Verdict(
        "error",
        f"{first_of(found)} is part of a malicious LiteLLM release, which {gone} keys and files "
        "of this machine to an attacker",
        f"{deleted}    (type it in a shell: the malware runs whenever Python starts; then "
        f"{rebuild if left else ''}change every key that is on this machine)",
    )


def _folders(context: Context) -> list[Path]:
    """Where this Python looks for packages, and where that of the running gateway does."""
    found = {Path(folder) for folder in sys.path if folder}
    if context.running is not None and context.running.pid:
        import psutil

        with suppress(psutil.Error, IndexError):
            python = Path(psutil.Process(context.running.pid).cmdline()[0])
            found |= set(python.parent.parent.glob("lib/python*/site-packages"))
    return sorted(found)


def _left_in(folder: Path) -> list[Path]:
    names = [*_LEFT, *([_LEFT_AMONG_PACKAGES] if folder.name in _PACKAGES else [])]
    found = [file for name in names if (file := folder / name).exists()]
    beside = folder / _THEIRS_BESIDE
    return [*found, beside] if found and beside.exists() else found


def _temporary(context: Context) -> set[Path]:
    own = context.environ.get("TMPDIR") or tempfile.gettempdir()
    return {Path(folder) for folder in (own, "/tmp", "/var/tmp")}  # noqa: S108 - where it is left
