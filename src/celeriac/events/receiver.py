"""Receiving events: Celery's name."""

from __future__ import annotations

from celeriac.client.events.receiver import Receiver as EventReceiver

__all__ = ["EventReceiver"]
