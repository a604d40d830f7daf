"""A thin configuration layer over LiteLLM for people who use Claude Code."""

__version__ = "0.1.0"
