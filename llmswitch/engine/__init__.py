"""The only code of llmswitch that runs inside gunicorn and LiteLLM; the CLI imports none of it."""
