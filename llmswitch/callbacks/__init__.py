"""The only code of llmswitch that runs inside gunicorn and LiteLLM. Nothing of the CLI imports it."""
