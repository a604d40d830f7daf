"""The life of the gateway's process: start, reload, stop, state, lease, log, service."""
