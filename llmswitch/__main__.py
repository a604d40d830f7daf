"""`python -m llmswitch`: the same as the `llmswitch` command."""

from llmswitch.cli import main

main()
