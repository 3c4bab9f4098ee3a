"""What is told of tasks, where in the worker it becomes known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.worker.events import described
from celeriac.worker.events.sender import EventSender

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.worker.entry import Entry


class TaskEvents:
    """Tells of each task that it was received, has begun and has ended, while `on`; else of none.

    Whoever has something to tell looks at `on` first, so that events which are off cost nothing.
    """

    def __init__(self, app: Celeriac, sender: EventSender) -> None:
        self._tasks = app.tasks
        self._sender = sender
        self.on = app.settings.worker_send_task_events

    def wants(self, message: Message) -> bool:
        """Tell whether events of this task are sent; `send_events=False` has none."""
        if not self.on:
            return False
        task = self._tasks.get(message.task)
        return task is None or task.send_events

    def received(self, message: Message) -> None:
        """Tell that a task has come."""
        if self.wants(message):
            self._sender.tell(described.received(message))

    def started(self, entry: Entry) -> None:
        """Tell that a task has begun; of one that nobody knows here only its end is told."""
        if entry.message.task in self._tasks:
            self._sender.tell(described.started(entry.message))

    def ended(self, event: described.Event | None) -> None:
        """Tell how a task has ended, as its executor says."""
        if event is not None and self.on:
            self._sender.tell(event)

    def given_up(self, entry: Entry, reason: str) -> None:
        """Tell that a task has failed of which no executor could tell."""
        if self.wants(entry.message):
            self._sender.tell(described.given_up(entry.message, reason))
