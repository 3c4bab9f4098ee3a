"""The event `task-sent`: a client tells what it has sent, where `task_send_sent_event` asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celeriac.exceptions import CeleriacError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message


def tell_sent(app: Celeriac, message: Message) -> None:
    """Tell that a message was sent, if its task has events. Never waits, and never fails the call."""
    task = app.tasks.get(message.task)
    if task is not None and not task.send_events:
        return
    # With asyncio, which most programs do not need.
    from celeriac.client.events.event import Event, anon_nodename, hours_west
    from celeriac.client.letters import letters_of

    said = message.headers.get
    event = Event(
        "task-sent",
        uuid=message.id,
        root_id=said("root_id"),
        parent_id=said("parent_id"),
        name=message.task,
        args=said("argsrepr"),
        kwargs=said("kwargsrepr"),
        retries=said("retries") or 0,
        eta=said("eta"),
        expires=said("expires"),
        queue=message.queue or None,
        exchange=message.exchange,
        routing_key=message.routing_key or message.queue,
        hostname=anon_nodename(),
        utcoffset=hours_west(),
        pid=os.getpid(),
        clock=app.clock.forward(),
        timestamp=app.time_source.time(),
    )
    try:
        letters_of(app).events.tell(event)
    except CeleriacError:
        pass  # a header that is no plain data; the call itself was sent
