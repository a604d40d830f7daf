"""The tests of llmswitch, and the harness they run on."""
