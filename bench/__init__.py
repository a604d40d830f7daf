"""The numbers of llmswitch against plain LiteLLM and plain Claude Code: `python -m bench`."""
