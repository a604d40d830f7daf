"""Prints a provider's key for Claude Code, which asks for it as its `apiKeyHelper`.

    python -m llmswitch.claude.key_helper CONFIG STATE VARIABLE...

The first of these variables that is set: in the environment, else what `key set` has kept. So the
key of a direct wrapper is in no file that is generated, no argument, and no variable that the
client hands on. Standard library only, but where the system's keyring has the key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmswitch.errors import LlmswitchError, as_text
from llmswitch.paths import Home
from llmswitch.profile.secrets import find_key, inside_name, known_keys, missing_reason


def main(arguments: Sequence[str]) -> int:
    """Print the key; without one say so, and fail."""
    config, state, *names = arguments
    try:
        key = find(Home(Path(config), Path(state)), names, os.environ)
    except LlmswitchError as error:
        sys.stderr.write(as_text(error))
        return 1
    sys.stdout.write(key + "\n")
    return 0


def find(home: Home, names: Sequence[str], environ: Mapping[str, str]) -> str:
    """The first of these keys that is set."""
    known = known_keys(environ, home)
    for name in names:
        # The client is told that some variables are empty; the wrapper carries those past it.
        if key := find_key(inside_name(name), environ) or known.values.get(name):
            return key
        if name in known.hidden:
            from llmswitch.profile.keys import kept_keys  # loads much, for the keyring alone

            if key := kept_keys(home).get(name):
                return key
    raise LlmswitchError(missing_reason(names), f"llmswitch key set {names[0]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
