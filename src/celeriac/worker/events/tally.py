"""How many tasks a worker has run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.entry import Entry


class Tally:
    """Counts tasks that have ended, by name: registered ones only, for strangers could send names without end."""

    def __init__(self, app: Celeriac) -> None:
        self._tasks = app.tasks
        self.by_task: dict[str, int] = {}
        self.total = 0

    def count(self, entry: Entry) -> None:
        """Count one."""
        self.total += 1
        name = entry.message.task
        try:
            self.by_task[name] += 1
        except KeyError:
            if name in self._tasks:
                self.by_task[name] = 1
