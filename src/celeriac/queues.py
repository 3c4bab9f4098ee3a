"""Queues and exchanges to declare in `task_queues`, under the names that programs import from kombu."""

from __future__ import annotations

from celeriac.core.queues import Broadcast, Exchange, Queue, binding

__all__ = ["Broadcast", "Exchange", "Queue", "binding"]
