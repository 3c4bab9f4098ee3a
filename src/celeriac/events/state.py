"""The cluster as its events show it: Celery's names."""

from __future__ import annotations

from celeriac.client.events.cluster_task import Task
from celeriac.client.events.cluster_worker import (
    HEARTBEAT_DRIFT_MAX,
    HEARTBEAT_EXPIRE_WINDOW,
    Worker,
    heartbeat_expires,
)
from celeriac.client.events.state import State

__all__ = ["HEARTBEAT_DRIFT_MAX", "HEARTBEAT_EXPIRE_WINDOW", "State", "Task", "Worker", "heartbeat_expires"]
