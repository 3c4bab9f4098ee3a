"""Which queues a worker consumes, and how many tasks of each it runs at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.exceptions import ImproperlyConfigured


class Chosen(Struct, frozen=True):
    """What a worker consumes."""

    names: tuple[str, ...]
    concurrency: dict[str, int]
    """Queue -> most tasks of it at once."""


def choose_queues(app: Celeriac, include: Sequence[str], exclude: Sequence[str]) -> Chosen:
    """Return the queues to consume: those of `include` (`name`, or `name:most`), else those of the app; without `exclude`.

    Raises `QueueNotFound` for a queue that is not in `task_queues` while `task_create_missing_queues` is off, and
    `ImproperlyConfigured` when nothing is left.
    """
    limits = dict(app.settings.worker_queue_concurrency)
    names = []
    for entry in include:
        name, colon, most = entry.rpartition(":")
        if colon and name and most.isdecimal() and app.amqp.table.get(entry) is None:
            if int(most) < 1:
                raise ImproperlyConfigured(f"-Q {entry}: at least one task of a queue has to run at a time")
            limits[name] = int(most)
            names.append(name)
        else:
            names.append(entry)
    queues = app.amqp.queues
    queues.select(names)
    queues.deselect(exclude)
    chosen = tuple(queues.consume_from)
    if not chosen:
        raise ImproperlyConfigured(f"a worker needs a queue, and -X {','.join(exclude)} leaves none")
    aliases = {queue.alias: queue.name for queue in queues.consume_from.values() if queue.alias}
    return Chosen(chosen, {aliases.get(name, name): most for name, most in limits.items()})
