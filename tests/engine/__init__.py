"""The tests of what runs inside LiteLLM."""
