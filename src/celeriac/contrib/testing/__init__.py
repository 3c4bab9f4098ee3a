"""Celery's helpers for tests, under Celery's names."""
