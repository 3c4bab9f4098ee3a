"""Bytes and what they mean: Celery's formats, both ways. Pure functions, no input or output."""
