"""What the gateway's processes write to their standard error and output, and the size of the file
that it goes to. The master loads this before it imports LiteLLM.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import glogging

from llmswitch.run_files import LOG, OLD_LOG

LARGEST = 10_000_000  # bytes
_SELDOM = 60.0  # seconds
_OUTPUT, _ERRORS = 1, 2
_LITELLM = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")


class Logger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own log, on standard error as ever."""

    def setup(self, cfg: Any) -> None:
        """Before anything else is written. LiteLLM prints its banner, and advice on its own
        settings, on standard output.
        """
        super().setup(cfg)
        if not _is_verbose():
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), _OUTPUT)
            warnings.showwarning = lambda *_, **__: None
        elif isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # else it comes late, or never


def be_quiet() -> None:
    """From when a worker serves: that a request failed is in the ledger, without the upstream's
    words. Until then LiteLLM says why it cannot start.
    """
    if not _is_verbose():
        for name in _LITELLM:
            logging.getLogger(name).addFilter(_OfCache())


class _OfCache(logging.Filter):
    """Lets through that the cache fails, which is in no row of the ledger; not LiteLLM's words of
    it, which hold answers, and not for every request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = -_SELDOM

    def filter(self, record: logging.LogRecord) -> bool:
        if Path(record.pathname).parent.name != "caching" or record.levelno < logging.ERROR:
            return False
        if record.created - self.told < _SELDOM:
            return False
        self.told = record.created
        record.msg = "Redis, which is to cache answers, fails; `llmswitch restart -v` logs how"
        record.args = record.exc_info = record.exc_text = None
        return True


def _is_verbose() -> bool:
    return "LLMSWITCH_VERBOSE" in os.environ


def limit_log() -> None:
    """Where the log is larger than LARGEST, copy it to OLD_LOG and empty it: every process appends
    to the same file. Called every second. A journal, a terminal or a file of the user's is left.
    """
    with suppress(OSError):
        errors = os.fstat(_ERRORS)
        if errors.st_size > LARGEST and os.path.samestat(errors, LOG.stat()):
            shutil.copyfile(LOG, OLD_LOG)
            os.truncate(LOG, 0)
