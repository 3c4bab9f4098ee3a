"""The base class of tasks, where Celery's programs import it from."""

from __future__ import annotations

from celeriac.client.context import Request
from celeriac.client.task import Task

Context = Request
"""Celery's name for the class of `self.request`."""

__all__ = ["Context", "Request", "Task"]
