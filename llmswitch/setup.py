"""`llmswitch init`: the first profile of a user, copied from a ready-made one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import LlmswitchError
from llmswitch.paths import PROFILE_NAME, Home, data_folder, write_private
from llmswitch.profile import load_profile


class Done(NamedTuple):
    """What `init` left: the profile's name and file, and whether it was there before."""

    name: str
    file: Path
    was_there: bool


def init(home: Home, source: str) -> Done:
    """Copy a ready-made profile, or a file, to the user's profiles and make it the default.

    A profile of that name that is there already is kept as it is.
    """
    is_file = "/" in source or source.endswith((".yaml", ".yml"))
    origin = Path(source).expanduser() if is_file else data_folder("profiles") / f"{source}.yaml"
    if origin.is_file() and not PROFILE_NAME.fullmatch(origin.stem):
        raise LlmswitchError(
            f"{source!r} has a name that no profile can have",
            "rename the file: letters, digits and . _ -",
        )
    if not origin.is_file():
        ready_made = ", ".join(sorted(file.stem for file in data_folder("profiles").glob("*.yaml")))
        raise LlmswitchError(
            f"there is no profile {source!r} to start from",
            f"llmswitch init --from NAME, with one of: {ready_made}; or --from FILE.yaml",
        )
    load_profile(origin, source)  # a profile that is not valid is refused here, with its mistakes
    file = home.profiles / f"{origin.stem}.yaml"
    was_there = file.exists() or file.is_symlink()
    if not was_there:
        write_private(file, origin.read_bytes())
    write_private(home.default_profile, f"{origin.stem}\n")
    return Done(origin.stem, file, was_there)
