"""Sending events: Celery's name."""

from __future__ import annotations

from celeriac.client.events.dispatcher import Dispatcher as EventDispatcher

__all__ = ["EventDispatcher"]
