"""Events as programs make them: Celery's names."""

from __future__ import annotations

from celeriac.client.events.event import Event, group_from

__all__ = ["Event", "group_from"]
