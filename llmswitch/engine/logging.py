"""What the gateway's processes write to their standard error and output: what comes there, and the
file that it goes to, which is put aside when it has grown large.

The master loads this before it imports LiteLLM.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import glogging

from llmswitch.run_files import LOG, LOGS

LARGEST = 10_000_000  # bytes
_SELDOM = 60.0  # seconds
_OUTPUT, _ERRORS = 1, 2
_logging: list[int] = []  # those that go to the log: none under systemd, or in a terminal
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
        _logging[:] = [number for number in (_OUTPUT, _ERRORS) if _goes_to_log(number)]

    def reopen_files(self) -> None:
        """SIGUSR1, which the master passes on to the workers: the file was put aside. One that
        cannot be made now is no reason to stop a gateway.
        """
        with suppress(OSError):
            opened = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for number in _logging:
                os.dup2(opened, number)
            os.close(opened)


def be_quiet() -> None:
    """From when a worker serves: what LiteLLM says of a failed request is in the line of that
    request, without the upstream's words. Until then it says why it cannot start.
    """
    if not _is_verbose():
        for name in _LITELLM:
            logging.getLogger(name).addFilter(_OfCache())


class _OfCache(logging.Filter):
    """Lets through that the cache fails, which is in no request's line; not LiteLLM's words of it,
    which hold answers, and not for every request.
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


def _goes_to_log(number: int) -> bool:
    try:
        return os.path.samestat(os.fstat(number), LOG.stat())
    except OSError:
        return False


def tend(master: int) -> None:
    """Put the log aside when it is large, and have all processes go on with a new one; also when
    someone else has. Called every second.
    """
    if not _logging:
        return
    if os.fstat(_ERRORS).st_size > LARGEST:
        with suppress(OSError):  # one of two workers does it
            _put_aside()
    if not _goes_to_log(_ERRORS):
        with suppress(ProcessLookupError):
            os.kill(master, signal.SIGUSR1)


def _put_aside() -> None:
    with LOG.open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(log.fileno()), LOG.stat()):
            return
        for older, newer in zip(reversed(LOGS), reversed(LOGS[:-1]), strict=False):
            with suppress(FileNotFoundError):
                newer.replace(older)
