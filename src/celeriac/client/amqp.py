"""`app.amqp`: the queues that an app declares, those that its worker consumes, and its routes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from celeriac.client import routes
from celeriac.core.priorities import HIGHEST, First, from_wire, to_wire
from celeriac.core.queues import Exchange, Queue, QueueTable, as_queue
from celeriac.exceptions import QueueNotFound

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.calls import Defaults
    from celeriac.client.routes import Routers
    from celeriac.core.settings import Settings

logger = logging.getLogger("celeriac")

_SETTINGS: Final = (
    "task_queues",
    "task_default_queue",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "task_create_missing_queues",
    "task_create_missing_queue_type",
    "task_create_missing_queue_exchange_type",
    "task_queue_max_priority",
    "task_default_queue_type",
)
"""What the table is made from."""
NAMES_MAX: Final = 1000
"""For so many names of tasks it is remembered where they go."""


class Queues(Mapping[str, Queue]):
    """The queues of an app by name, with Celery's methods; a missing one is made when it is asked for.

    `consume_from` are those that a worker of this process consumes: all of `task_queues`, unless some are chosen.
    """

    def __init__(self, amqp: AMQP) -> None:
        self._amqp = amqp
        self._chosen: dict[str, Queue] | None = None

    def __getitem__(self, name: str) -> Queue:
        try:
            return self._amqp.table.find(name)
        except QueueNotFound as error:
            raise KeyError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._amqp.table.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([queue.name for queue in self._amqp.table])

    def __len__(self) -> int:
        return len(self._amqp.table)

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues that a worker consumes, by name."""
        if self._chosen is not None:
            return self._chosen
        table = self._amqp.table
        return {name: table.find(name) for name in table.listed}

    def add(self, queue: Queue | str | Any, **options: Any) -> Queue:
        """Declare a queue: a `Queue`, or a name with its options. Raises `ImproperlyConfigured`."""
        return self._amqp.declare(Queue.from_dict(queue, **options) if isinstance(queue, str) else as_queue(queue))

    def select(self, include: str | Iterable[str] | None) -> None:
        """Consume only these queues. Raises `QueueNotFound`."""
        if include:
            names = [include] if isinstance(include, str) else list(include)
            found = [self._amqp.table.find(name) for name in names]
            self._chosen = {queue.name: queue for queue in found}

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Do not consume these queues."""
        if exclude:
            names = [exclude] if isinstance(exclude, str) else list(exclude)
            known = {name: self._amqp.table.get(name) for name in names}
            left_out = {queue.name if queue is not None else name for name, queue in known.items()}
            self._chosen = {name: queue for name, queue in self.consume_from.items() if name not in left_out}

    def select_add(self, queue: Queue | str | Any, **options: Any) -> Queue:
        """Declare a queue and consume it too."""
        added = self.add(queue, **options)
        self._chosen = {**self.consume_from, added.name: added}
        return added

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """Return the queues consumed as lines for people."""
        lines = [
            f".> {queue.name:<16} exchange={queue.exchange or ''}({queue.exchange.type if queue.exchange else 'direct'})"
            f" key={queue.routing_key}"
            for _, queue in sorted(self.consume_from.items())
        ]
        space = " " * indent
        return ("\n" + space).join(lines) if not indent_first else "\n".join(space + line for line in lines)


class Router:
    """`app.amqp.router`: where a call would go, as Celery's router tells it."""

    def __init__(self, amqp: AMQP) -> None:
        self._amqp = amqp

    def route(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """Return the options of a call with those of its route; `queue` is the `Queue` itself.

        Raises `QueueNotFound`, and what a router raises.
        """
        found = routes.ask(self._amqp.routes, name, args, kwargs or {}, options, task_type)
        merged = routes.with_route(found, options)
        if "queue" not in merged and "exchange" not in merged:
            merged["queue"] = self._amqp.table.default_queue
        if isinstance(merged.get("queue"), str):
            merged["queue"] = self._amqp.table.find(merged["queue"])
        return merged


class AMQP:
    """What an app knows of queues and routes; `app.amqp`, with Celery's names. Thread-safe for calls."""

    def __init__(self, app: Celeriac, table: QueueTable) -> None:
        self._app = app
        self._table = table
        self._settings: Settings | None = None
        self._added: list[Queue] = []
        self._routers: Routers = []
        self._routers_of: Settings | None = None
        self._warned: set[str] = set()
        self._defaults: dict[str, Defaults] = {}
        self._of_calls: list[int] = []
        """The numbers of messages as those of calls."""
        self._defaults_of: Settings | None = None
        self._first: First | None = None
        self._first_of: Settings | None = None
        self.queues = Queues(self)
        self.router = Router(self)

    @property
    def table(self) -> QueueTable:
        """The table that the broker looks at, too. Raises `ImproperlyConfigured`."""
        settings = self._app.settings
        if settings is not self._settings:
            before, self._settings = self._settings, settings
            if before is None or any(getattr(before, name) != getattr(settings, name) for name in _SETTINGS):
                self._table.load(settings)
                for queue in self._added:
                    self._table.add(queue)
        return self._table

    def declare(self, queue: Queue) -> Queue:
        """Declare one more queue, beside those of the settings."""
        declared = self.table.add(queue)
        self._added.append(queue)
        self._defaults_of = None
        for task in self._app.tasks.values():  # what was worked out before may be another way now
            task.__dict__.pop("_defaults", None)
        return declared

    @property
    def routes(self) -> Routers:
        """The prepared routers. Raises `ImproperlyConfigured`."""
        settings = self._app.settings
        if self._routers_of is not settings:
            self._routers = routes.prepare(settings.task_routes)
            self._routers_of = settings
        return self._routers

    @property
    def defaults(self) -> dict[str, Defaults]:
        """What calls by name start from, as far as it has been worked out for the current settings."""
        settings = self._app.settings
        if self._defaults_of is not settings or len(self._defaults) > NAMES_MAX:
            self._defaults, self._defaults_of = {}, settings
        return self._defaults

    def flush_routes(self) -> None:
        """Prepare the routers anew."""
        self._routers_of = self._defaults_of = None

    @property
    def default_queue(self) -> Queue:
        """The queue of calls that name none."""
        return self.table.find(self.table.default_queue)

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        return self.table.default_exchange

    def to_wire(self, priority: int, queue: str) -> int:
        """Return the number for the message of a call with this priority; says once when its queue cannot heed it."""
        first = self._urgent_first()
        if first == "high" and priority:
            self._check_levels(queue)
        return to_wire(priority, first, self._app.settings.task_priority_direction)

    def from_wire(self, number: int) -> int:
        """Return the priority as calls have it."""
        self._urgent_first()
        return self._of_calls[number] if 0 <= number <= HIGHEST else number

    def _urgent_first(self) -> First:
        settings = self._app.settings
        if self._first is None or self._first_of is not settings:
            first = self._app.broker.urgent_first
            self._of_calls = [from_wire(n, first, settings.task_priority_direction) for n in range(HIGHEST + 1)]
            self._first, self._first_of = first, settings
        return self._first

    def _check_levels(self, queue: str) -> None:
        if not queue or queue in self._warned:
            return
        self._warned.add(queue)
        declared = self.table.get(queue) or self.table.missing(queue)
        if "x-max-priority" not in declared.arguments():
            logger.warning(
                "a call has a priority, but queue %r of RabbitMQ is not declared with any: set max_priority for it in"
                " task_queues, or task_queue_max_priority for all (queues that exist already have to be deleted first)",
                queue,
            )
