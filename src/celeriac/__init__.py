"""Celeriac: a distributed task queue with Celery's API and wire formats."""

from __future__ import annotations

from celeriac.client.app import Celeriac, Celery
from celeriac.client.result import AsyncResult
from celeriac.client.signature import Signature
from celeriac.client.task import Task

__version__ = "0.1.0"

__all__ = ["AsyncResult", "Celeriac", "Celery", "Signature", "Task", "__version__"]
