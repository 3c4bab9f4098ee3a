"""The queues that a running worker consumes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac.core.queues import Queue
from celeriac.core.urls import mask
from celeriac.exceptions import OperationalError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.ports import Consumer
    from celeriac.worker.link import Link

logger = logging.getLogger("celeriac.worker")


class Subscriptions:
    """Knows the queues, and has the consumer read others while it runs."""

    def __init__(self, app: Celeriac, consumer: Consumer, link: Link, names: Sequence[str]) -> None:
        self._app = app
        self._consumer = consumer
        self._link = link
        self._names = list(dict.fromkeys(names))
        self.consumed = tuple(self._names)
        """What the broker lets us consume: with these a lost connection is made anew, whatever else was asked for."""
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Names or aliases of the queues, in their order."""
        return tuple(self._names)

    def queues(self) -> list[Queue]:
        """Return the queues."""
        table = self._app.amqp.table
        return [table.get(name) or table.missing(name) for name in self._names]

    def add(self, name: str, exchange: str | None, kind: str | None, routing_key: str | None, **options: Any) -> None:
        """Begin to consume one more queue, soon; one that nobody has declared is declared as told. Idempotent.

        Raises `ImproperlyConfigured` or `TypeError` for options that can't be, `QueueNotFound` for a queue that is not declared while
        `task_create_missing_queues` is off.
        """
        table = self._app.amqp.table
        given = {
            "exchange": exchange,
            "exchange_type": kind if exchange else None,
            "routing_key": routing_key,
            **options,
        }
        told = {key: value for key, value in given.items() if value is not None}
        if table.get(name) is None and told:
            self._app.amqp.queues.add(name, **told)
        table.find(name)
        if name not in self._names:
            self._names.append(name)
            self._apply()

    def cancel(self, name: str) -> None:
        """Consume a queue no more, soon: what was claimed of it is finished. Idempotent.

        Without the last one the worker finishes what it has, and waits for another one.
        """
        if name in self._names:
            self._names.remove(name)
            self._apply()

    def _apply(self) -> None:
        task = asyncio.get_running_loop().create_task(self._consume(), name="celeriac-queues")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _consume(self) -> None:
        async with self._changing:
            while not await self._tried(self.names):
                pass

    async def _tried(self, names: Sequence[str]) -> bool:
        """Consume these queues; False when those that are new were refused, and are left out from now on."""
        try:
            await self._link.call(lambda: self._consumer.consume(names), refusals=1)
        except Exception as error:  # whatever is wrong with a queue, the others go on being consumed
            is_defect = not isinstance(error, OperationalError)
            logger.error("the queues could not be changed: %s", mask(str(error)), exc_info=is_defect)
            refused = set(names).difference(self.consumed)
            self._names = [name for name in self._names if name not in refused]
            return not refused
        self.consumed = tuple(names)
        logger.info("consuming %s", ", ".join(names) or "no queue any more")
        return True

    async def close(self) -> None:
        """Change nothing more."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
