"""The client as a child of the wrapper, which stands between it and the shell and is not noticed.

Standard library only: the wrapper imports this on every start.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llmswitch.claude.program import cannot_run


def run_as_child(claude: Path, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the client: its terminal, its signals, its stops; returns its exit code, negative for a
    signal.
    """
    typed = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP}
    ended = {signal.SIGTERM, signal.SIGHUP}
    ignored = {number for number in typed | ended if signal.getsignal(number) is signal.SIG_IGN}
    ended -= ignored  # by `nohup`, say: then by the client too
    passed = (typed | ended | {signal.SIGPIPE}) - ignored
    # Keys are the client's to answer. It sends Ctrl-Z's signal on to the whole group (2.1.197 and
    # 2.1.330): were we stopped by that too, and by its stop below, `fg` would be needed twice.
    for number in typed:
        signal.signal(number, signal.SIG_IGN)
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, ended)  # until there is whom to pass it to
    try:
        pid = os.posix_spawn(
            claude, [str(claude), *arguments], environ, setsigmask=waiting, setsigdef=passed
        )
    except OSError as error:
        raise cannot_run(claude, error) from error

    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in ended:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):  # Ctrl-Z: the shell waits for us, so stop with it
            os.kill(os.getpid(), signal.SIGSTOP)
            # `fg` wakes the client too. Told so twice, it would draw and read its screen twice.
            changed, later = _wait_a_second(pid)
            if not changed:
                os.kill(pid, signal.SIGCONT)
            if not changed or os.WIFCONTINUED(later):
                continue
            status = later
        for number in ended:  # what is left to do takes no time, and must be done
            signal.signal(number, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(status)


def _wait_a_second(pid: int) -> tuple[int, int]:
    """As os.waitpid, for a child that goes on or ends; (0, 0) where it does neither."""
    for _ in range(20):
        changed, status = os.waitpid(pid, os.WNOHANG | os.WCONTINUED)
        if changed:
            return changed, status
        time.sleep(0.05)
    return 0, 0
