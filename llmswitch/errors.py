"""The one kind of error a user sees: what is wrong and where, and the line that cures it."""

from __future__ import annotations


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
