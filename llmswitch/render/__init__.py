"""From a profile to text: LiteLLM's configuration, Claude Code's settings, the menu, units."""
