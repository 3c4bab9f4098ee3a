"""Events of a cluster: Celery's names for what `app.events` is made of."""

from __future__ import annotations

from celeriac.client.events.dispatcher import Dispatcher as EventDispatcher
from celeriac.client.events.event import Event, group_from
from celeriac.client.events.receiver import Receiver as EventReceiver

__all__ = ["Event", "EventDispatcher", "EventReceiver", "group_from"]
