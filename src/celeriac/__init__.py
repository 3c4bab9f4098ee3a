"""Celeriac: a distributed task queue with Celery's API and wire formats."""

from __future__ import annotations

from celeriac.client.app import Celeriac, Celery
from celeriac.client.canvas.chain import chain
from celeriac.client.canvas.chord import chord
from celeriac.client.canvas.group import group
from celeriac.client.canvas.maps import chunks, xmap, xstarmap
from celeriac.client.canvas.signature import Signature, maybe_signature, signature
from celeriac.client.current import current_app, current_task
from celeriac.client.result import AsyncResult
from celeriac.client.shared import shared_task
from celeriac.client.task import Task
from celeriac.core.unique import Unique

__version__ = "0.5.0"

__all__ = [
    "AsyncResult",
    "Celeriac",
    "Celery",
    "Signature",
    "Task",
    "Unique",
    "__version__",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "xmap",
    "xstarmap",
]
