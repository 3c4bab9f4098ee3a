"""Decisions, pure: no clock, no randomness, no I/O; time and chance come in as arguments."""
