"""What is wrong, and what cures it: local checks, live checks, the issue report."""
