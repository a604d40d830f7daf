"""All that is known of Claude Code: find it, its session, its settings, its wrappers."""
