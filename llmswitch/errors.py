"""The one kind of error a user sees: what is wrong and where, and the line that cures it."""

from __future__ import annotations

import errno


class LlmswitchError(Exception):
    """Something that a user can cure.

    `message` is one sentence (several lines where several things are wrong at once),
    `hint` is one line that cures it, often a command.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ProfileError(LlmswitchError):
    """A profile that cannot be used: one line for each mistake, in the order of the file."""


def as_text(error: LlmswitchError | OSError) -> str:
    """An error as a terminal shows it: the sentence, and the line that cures it.

    Raises an OSError again that is of no file: nobody can cure that.
    """
    if isinstance(error, OSError):
        if error.filename is None:
            raise error
        error = of_file(error)
    return f"{error.message}\n-> {error.hint}\n"


def of_file(error: OSError) -> LlmswitchError:
    """What is said of a file that cannot be used."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    cure = "make room on that disk" if full else "make it writable"
    return LlmswitchError(
        f"{error.filename} cannot be used: {error.strerror}",
        f"{cure}, or set LLMSWITCH_HOME to another folder",
    )
