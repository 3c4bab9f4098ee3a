"""Queues, exchanges and bindings as a program declares them, with kombu's names, and the table of all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any, Final

from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound

EXCHANGE_TYPES: Final = ("direct", "topic", "fanout")
PRIVATE_MARK: Final = ".bcast."
"""Stands between the name of a broadcast and the worker's, in the name of that worker's own queue."""

MISSING_MAX: Final = 1000
"""So many queues that nobody has declared are remembered."""

_ARGUMENTS: Final = {
    "expires": ("x-expires", 1000),
    "message_ttl": ("x-message-ttl", 1000),
    "max_length": ("x-max-length", 1),
    "max_length_bytes": ("x-max-length-bytes", 1),
    "max_priority": ("x-max-priority", 1),
}
"""Option -> RabbitMQ's argument, and its units in one of ours."""
QUEUE_FLAGS: Final = (
    "queue_arguments", "binding_arguments", "consumer_arguments", "durable", "exclusive", "auto_delete", "no_ack", "no_declare",
    *_ARGUMENTS,
)  # fmt: skip
QUEUE_OPTIONS: Final = ("name", "exchange", "exchange_type", "routing_key", "bindings", "alias", *QUEUE_FLAGS)


class Exchange:
    """Where messages are sent that go to queues by their routing key.

    Args:
        name: empty for the default exchange, which knows every queue by its name.
        type: `direct` (the key is equal), `topic` (a pattern of words, with `*` and `#`) or `fanout` (all queues).
        durable, auto_delete, arguments: as RabbitMQ has them.
        delivery_mode: for messages that do not say: 1 or 2, `transient` or `persistent`.
        no_declare, passive: use it as it is, and never make it.

    Raises `ImproperlyConfigured` for a type that there is not.
    """

    def __init__(
        self,
        name: str = "",
        type: str = "direct",
        channel: Any = None,
        *,
        durable: bool = True,
        auto_delete: bool = False,
        delivery_mode: int | str | None = None,
        arguments: Mapping[str, Any] | None = None,
        no_declare: bool = False,
        passive: bool = False,
    ) -> None:
        if type not in EXCHANGE_TYPES:
            raise ImproperlyConfigured(f"exchange {name!r}: there is no type {type!r}; use {', '.join(EXCHANGE_TYPES)}")
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.delivery_mode = {"transient": 1, "persistent": 2}.get(delivery_mode, delivery_mode)  # type: ignore[arg-type]
        self.arguments = dict(arguments or {})
        self.no_declare = no_declare
        self.passive = passive

    def as_dict(self) -> dict[str, Any]:
        """Return all options, as remote control shows them."""
        return dict(vars(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exchange) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Exchange({self.name!r}, type={self.type!r})"


class binding:  # noqa: N801 - kombu's name
    """One way into a queue: an exchange and a routing key; a queue may have several."""

    def __init__(
        self,
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        unbind_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.exchange = as_exchange(exchange) or Exchange()
        self.routing_key = routing_key
        self.arguments = dict(arguments or {})
        self.unbind_arguments = dict(unbind_arguments or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, binding) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.exchange.name, self.routing_key))

    def __repr__(self) -> str:
        return f"binding({self.exchange!r}, {self.routing_key!r})"


class Queue:
    """A queue, and how messages come to it.

    Args:
        name: its name.
        exchange: an `Exchange` or the name of a direct one; a list of `binding` for several ways. None: the default exchange of
            the settings (`task_default_exchange`).
        routing_key: the key, or the pattern for a topic exchange. Empty: the queue's name; `task_default_routing_key` where
            the exchange is a topic one.
        bindings: further ways into it.
        alias: another name for it, in `-Q` and in calls.
        queue_arguments: RabbitMQ's `x-...` arguments.
        expires, message_ttl: seconds; max_length: messages; max_length_bytes: bytes; max_priority: the highest number. All of
            them RabbitMQ's: other brokers say in the log that they do nothing.
        durable, exclusive, auto_delete, binding_arguments, consumer_arguments: as RabbitMQ has them.
        no_ack: accepted and ignored: what a worker claims is always acknowledged.
        no_declare: use it as it is, and never make it.

    Raises `ImproperlyConfigured` for a wrong value, `TypeError` for an option that does not exist.
    """

    is_broadcast = False
    kind: str | None = None
    """RabbitMQ: `classic` or `quorum`, by the settings; None: as `task_default_queue_type`."""
    source: Any = None
    """The object that a call gave, for one that was declared so."""

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | str | Iterable[binding] | None = None,
        routing_key: str = "",
        channel: Any = None,
        bindings: Iterable[binding] | None = None,
        on_declared: Any = None,
        *,
        queue_arguments: Mapping[str, Any] | None = None,
        binding_arguments: Mapping[str, Any] | None = None,
        consumer_arguments: Mapping[str, Any] | None = None,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        no_ack: bool = False,
        alias: str | None = None,
        no_declare: bool = False,
        expires: float | None = None,
        message_ttl: float | None = None,
        max_length: int | None = None,
        max_length_bytes: int | None = None,
        max_priority: int | None = None,
        **unknown: Any,
    ) -> None:
        for option in unknown:
            near = difflib.get_close_matches(option, QUEUE_OPTIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"queue {name!r}: unknown option {option!r}{hint}")
        if not name or not isinstance(name, str):
            raise ImproperlyConfigured(f"a queue needs a name, and {name!r} is none")
        ways = list(bindings or ())
        if exchange is not None and not isinstance(exchange, Exchange | str):
            ways += list(exchange)
            exchange = None
        self.name = name
        self.exchange: Exchange | None = as_exchange(exchange)
        self.routing_key = routing_key or ""
        self.bindings = ways
        self.queue_arguments = dict(queue_arguments or {})
        self.binding_arguments = dict(binding_arguments or {})
        self.consumer_arguments = dict(consumer_arguments or {})
        self.durable = durable
        self.exclusive = exclusive
        self.auto_delete = auto_delete or exclusive
        self.no_ack = no_ack
        self.alias = alias
        self.no_declare = no_declare
        self.expires = _positive(name, "expires", expires)
        self.message_ttl = _positive(name, "message_ttl", message_ttl)
        self.max_length = _positive(name, "max_length", max_length)
        self.max_length_bytes = _positive(name, "max_length_bytes", max_length_bytes)
        self.max_priority = _positive(name, "max_priority", max_priority)
        if self.max_priority is not None and self.max_priority > 255:
            raise ImproperlyConfigured(f"queue {name!r}: max_priority = {max_priority!r} must be at most 255")

    @classmethod
    def from_dict(cls, queue: str, **options: Any) -> Queue:
        """Return the queue of an entry of `task_queues` written as a dict; `binding_key` is an older name of `routing_key`."""
        given = dict(options)
        kind = given.pop("exchange_type", None)
        exchange = given.pop("exchange", None)
        binding_key = given.pop("binding_key", None)
        given["routing_key"] = given.get("routing_key") or binding_key or queue
        if kind is not None and not isinstance(exchange, Exchange):
            exchange = Exchange(exchange or queue, kind)
        return cls(queue, exchange, **given)

    def arguments(self) -> dict[str, Any]:
        """Return all of RabbitMQ's arguments that the options ask for."""
        found = dict(self.queue_arguments)
        for option, (argument, units) in _ARGUMENTS.items():
            value = getattr(self, option)
            if value is not None:
                found.setdefault(argument, int(value * units))
        return found

    @property
    def ways(self) -> list[tuple[Exchange, str]]:
        """Every exchange and key by which messages come here, beside the queue's own name."""
        found = [(way.exchange, way.routing_key) for way in self.bindings if way.exchange.name]
        if self.exchange is not None and self.exchange.name:
            found.insert(0, (self.exchange, self.routing_key))
        return found

    @property
    def is_routed(self) -> bool:
        """Whether a message for this queue goes by its exchange, and so perhaps to others too."""
        return self.exchange is not None and bool(self.exchange.name) and self.exchange.type != "direct"

    def as_dict(self, recurse: bool = False) -> dict[str, Any]:
        """Return all options, as remote control shows them; `recurse` the exchange's too."""
        found = {name: value for name, value in vars(self).items() if name not in ("source", "kind")}
        if recurse and self.exchange is not None:
            found["exchange"] = self.exchange.as_dict()
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.exchange!r}, {self.routing_key!r})"


class Broadcast(Queue):
    """A queue whose messages every worker that consumes it runs once.

    Each such worker has a queue of its own, as long as it lives, behind a fanout exchange called `name`; a worker that starts
    later does not see what was sent before.  A broadcast that no worker hears is no error.

    Args:
        name: how calls and workers name it.
        queue, unique: accepted for kombu's sake: the workers' own queues are named by us.
    """

    is_broadcast = True

    def __init__(
        self,
        name: str | None = None,
        queue: str | None = None,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Exchange | str | None = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        own = name or alias or queue or ""
        if isinstance(exchange, str):
            exchange = Exchange(exchange, "fanout")
        super().__init__(own, exchange or Exchange(own, "fanout"), auto_delete=auto_delete, alias=alias, **options)


class QueueTable:
    """The queues and exchanges that a program has declared; a broker looks here when it has to make one that it meets.

    Reading is thread-safe beside one that adds: names are only ever replaced.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queues: dict[str, Queue] = {}
        self._names: dict[str, Queue] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._missing: dict[str, Queue] = {}
        """Those that were made up, not to be made up for each call."""
        self.listed: tuple[str, ...] = ()
        """The queues of `task_queues`, or the default queue where that is not set: what a worker consumes."""
        self.load(settings)

    def load(self, settings: Settings) -> None:
        """Begin anew with what the settings declare. Raises `ImproperlyConfigured`."""
        self._settings = settings
        self._queues, self._names, self._exchanges, self._missing = {}, {}, {}, {}
        declared = [as_queue(entry) for entry in _entries(settings.task_queues)]
        for queue in declared or [Queue(settings.task_default_queue)]:
            self.add(queue)
        self.listed = tuple(self._queues)

    def add(self, queue: Queue, source: Any = None) -> Queue:
        """Declare a queue, or declare it anew; what it leaves open is filled in from the settings.

        `source` is the object from which it was made, to be recognised by.
        """
        settings = self._settings
        queue = copy(queue)  # another app may have other defaults
        queue.source = source
        if queue.exchange is None and not queue.bindings:
            queue.exchange = self.default_exchange
        kind = queue.exchange.type if queue.exchange is not None else ""
        if not queue.routing_key and kind == "topic":
            queue.routing_key = self.default_routing_key
        elif not queue.routing_key and kind == "direct":
            is_default = queue.name == settings.task_default_queue
            queue.routing_key = self.default_routing_key if is_default else queue.name
        is_plain = not queue.is_broadcast and queue.queue_arguments.get("x-queue-type") in (None, "classic")
        if is_plain and queue.max_priority is None and settings.task_queue_max_priority:
            queue.max_priority = settings.task_queue_max_priority
        self._queues[queue.name] = queue
        self._names[queue.name] = queue
        if queue.alias:
            self._names[queue.alias] = queue
        for exchange, _ in queue.ways:
            self.add_exchange(exchange)
        return queue

    def add_exchange(self, exchange: Exchange) -> None:
        """Declare an exchange."""
        if exchange.name:
            self._exchanges[exchange.name] = exchange

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        settings = self._settings
        kind = settings.task_default_exchange_type
        if kind not in EXCHANGE_TYPES:
            raise ImproperlyConfigured(
                f"setting 'task_default_exchange_type' = {kind!r}: use one of {', '.join(EXCHANGE_TYPES)}"
            )
        return Exchange(settings.task_default_exchange or settings.task_default_queue, kind)

    @property
    def default_queue(self) -> str:
        """The queue of calls that name none."""
        return self._settings.task_default_queue

    @property
    def default_routing_key(self) -> str:
        """The key of what names none."""
        return self._settings.task_default_routing_key or self._settings.task_default_queue

    def get(self, name: str) -> Queue | None:
        """Return a declared queue by its name or alias; None: nobody has declared it."""
        return self._names.get(name)

    def find(self, name: str) -> Queue:
        """Return a queue by its name or alias, making up one that is missing.

        Raises `QueueNotFound` when it is missing and `task_create_missing_queues` is off.
        """
        found = self._names.get(name)
        if found is not None:
            return found
        if not self._settings.task_create_missing_queues and PRIVATE_MARK not in name:
            near = difflib.get_close_matches(name, self._names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise QueueNotFound(
                f"queue {name!r} is not in the setting task_queues, and task_create_missing_queues is off:"
                f" declare it there, or switch the latter on{hint}"
            )
        made = self._missing.get(name)
        if made is None:
            if len(self._missing) >= MISSING_MAX:
                self._missing = {}
            made = self._missing[name] = self.missing(name)
        return made

    def missing(self, name: str) -> Queue:
        """Return what a queue that nobody has declared is made as."""
        settings = self._settings
        kind = settings.task_create_missing_queue_exchange_type or "direct"
        if kind not in EXCHANGE_TYPES:
            raise ImproperlyConfigured(
                f"setting 'task_create_missing_queue_exchange_type' = {kind!r}: use one of {', '.join(EXCHANGE_TYPES)}"
            )
        queue = Queue(name, Exchange(name, kind), name)
        queue.kind = settings.task_create_missing_queue_type
        queue.max_priority = settings.task_queue_max_priority or None
        return queue

    def exchange(self, name: str) -> Exchange | None:
        """Return a declared exchange."""
        return self._exchanges.get(name)

    def bound_to(self, exchange: str) -> list[Queue]:
        """Return the declared queues of an exchange."""
        return [queue for queue in self._queues.values() if any(way.name == exchange for way, _ in queue.ways)]

    def type_of(self, exchange: str) -> str | None:
        """Return the type of an exchange; None: nobody has declared it."""
        found = self._exchanges.get(exchange)
        return found.type if found is not None else None

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))

    def __len__(self) -> int:
        return len(self._queues)


def as_exchange(value: Any) -> Exchange | None:
    """Return an exchange of ours for one of ours, of kombu's (by its attributes), or a direct one's name; None stays None."""
    if value is None or isinstance(value, Exchange):
        return value
    if isinstance(value, str):
        return Exchange(value)
    if not hasattr(value, "name") or not hasattr(value, "type"):
        raise ImproperlyConfigured(f"{value!r} is no exchange: give an Exchange, or a name")
    names = ("durable", "auto_delete", "delivery_mode", "arguments", "no_declare", "passive")
    options = {name: found for name in names if (found := getattr(value, name, None)) is not None}
    return Exchange(value.name or "", value.type or "direct", **options)


def as_queue(value: Any) -> Queue:
    """Return a queue of ours for one of ours, of kombu's (by its attributes), or a name. Raises `ImproperlyConfigured`."""
    if isinstance(value, Queue):
        return value
    if isinstance(value, str):
        return Queue(value)
    if not isinstance(getattr(value, "name", None), str) or not hasattr(value, "routing_key"):
        raise ImproperlyConfigured(f"task_queues: {value!r} is no queue: give a Queue, or a name")
    options = {name: found for name in QUEUE_FLAGS if (found := getattr(value, name, None)) is not None}
    exchange = as_exchange(getattr(value, "exchange", None))
    if type(value).__name__ == "Broadcast":
        return Broadcast(value.alias or (exchange.name if exchange else "") or value.name, exchange=exchange, **options)
    ways = [
        binding(as_exchange(way.exchange), way.routing_key or "", way.arguments)
        for way in getattr(value, "bindings", None) or ()
    ]
    if exchange is not None and not exchange.name:
        exchange = None
    return Queue(value.name, exchange, value.routing_key or "", bindings=ways, alias=value.alias, **options)


def private_queue(name: str, owner: str) -> str:
    """Return the name of one worker's own queue of a broadcast."""
    return f"{name}{PRIVATE_MARK}{owner}"


def public_queue(name: str) -> str:
    """Return the broadcast's name of a worker's own queue, any other queue's as it is."""
    return name.partition(PRIVATE_MARK)[0]


def _entries(declared: Any) -> Iterator[Any]:
    """Yield the entries of `task_queues`, whatever form it has."""
    if not declared:
        return
    if isinstance(declared, Mapping):
        for name, options in declared.items():
            if isinstance(options, Mapping):
                yield Queue.from_dict(name, **options)
            else:
                yield options if options is not None else name
    elif isinstance(declared, str):
        yield from (name.strip() for name in declared.split(",") if name.strip())
    else:
        try:
            entries = iter(declared)
        except TypeError:
            raise ImproperlyConfigured(f"task_queues = {declared!r}: a list of Queue, or a dict is wanted") from None
        yield from entries


def _positive(queue: str, option: str, value: Any) -> Any:
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or value <= 0):
        raise ImproperlyConfigured(f"queue {queue!r}: {option} = {value!r} must be a number above 0")
    return value
