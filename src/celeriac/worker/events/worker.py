"""All that one worker tells, put together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from celeriac.worker.events.described import Event
from celeriac.worker.events.heart import Heart
from celeriac.worker.events.sender import EventSender
from celeriac.worker.events.tally import Tally
from celeriac.worker.events.tasks import TaskEvents

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.entry import Entry


class WorkerEvents:
    """The events of a worker and of its tasks, and the counts that they carry."""

    def __init__(self, app: Celeriac, hostname: str, active: Callable[[], int]) -> None:
        """`active` tells how many tasks run."""
        self.clock = app.clock
        self.tally = Tally(app)
        self._sender = EventSender(app, hostname, self.clock, app.broker.messenger())
        self.tasks = TaskEvents(app, self._sender)
        self.heart = Heart(app, self._sender, active, lambda: self.tally.total)

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what has to run for it, with names."""
        yield "events", self._sender.run()
        yield "heart", self.heart.run()

    def ended(self, entry: Entry, event: Event | None) -> None:
        """Count a task that has ended, and tell how, if its executor says so."""
        if entry.held_up is None:  # else it was told of before, and this is the end of the chord that it completed
            self.tally.count(entry)
        if event is not None:
            self.tasks.ended(event)

    async def close(self) -> None:
        """Say that the worker leaves, and disconnect. Call it when the loops have ended."""
        self.heart.stop()
        await self._sender.close()
