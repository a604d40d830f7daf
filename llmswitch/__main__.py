"""The `llmswitch` command, also as `python -m llmswitch`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command. The status line, which has no time, goes past everything that others need."""
    if sys.argv[1:2] == ["statusline"] and not {"-h", "--help"} & set(sys.argv):
        from llmswitch.claude import statusline

        statusline.main(sys.argv[2:])
        return
    from llmswitch.cli import app

    app.main()


if __name__ == "__main__":
    main()
