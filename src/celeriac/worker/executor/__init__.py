"""Executors: what runs in the processes that run tasks. They never touch the broker but to publish what a task sends."""
