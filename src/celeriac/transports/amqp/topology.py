"""Queues and exchanges, made as Celery makes them; and publishing, which makes the missing ones.

Everything here is a `Script`: a generator that yields what it wants done and is sent what came of it, so that the blocking and
the asynchronous driver run the same steps.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from celeriac.core.queues import Exchange, Queue, QueueTable
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, ChannelError
from celeriac.transports.amqp.outbox import Batch, Publish
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.events import Answer, Delivered
from celeriac.transports.amqp.protocol.methods import Call

T = TypeVar("T")

REVOKED_STREAM: Final = "celeriac.revoked"
DEAD_SUFFIX: Final = ".dead"
_STREAM_BYTES: Final = 20_000_000
_STREAM_SEGMENT_BYTES: Final = 1_000_000


class Calls(Struct, frozen=True):
    """Requests written in one go; their answers are sent back as a list, in order."""

    calls: Sequence[Call]


class Send(Struct, frozen=True):
    """Messages to publish in one go; the finished `Batch` is sent back."""

    publishes: Sequence[Publish]


Step = Calls | Send
Reply = list[Answer | Delivered] | Batch
Script = Generator[Step, Any, T]
"""Driven by `run` of a driver; a `ChannelError` is thrown in where RabbitMQ refuses a request."""


class NoRoute(OperationalError):
    """No queue is bound for some messages; all others of the batch were sent."""

    def __init__(self, publishes: Sequence[Publish]) -> None:
        self.publishes = publishes
        first = publishes[0]
        super().__init__(f"no queue is bound to exchange {first.exchange!r} for routing key {first.routing_key!r}")

    def has(self, publish: Publish) -> bool:
        """Tell whether this very message is one of them."""
        return any(lost is publish for lost in self.publishes)


class Refused(BrokerUnavailable):
    """RabbitMQ would take none of the messages: their queue is full, has lost its quorum, or is only just being made."""


class PartlyRefused(PublishTimeout):
    """It would not take some messages; all others of the batch were sent, but those that no queue is bound for."""

    def __init__(self, text: str, refused: Sequence[Publish], lost: Sequence[Publish]) -> None:
        self.refused = refused
        self.lost = lost
        super().__init__(text)


class Topology:
    """What is known to exist, seen over one connection; made anew with each."""

    def __init__(self, settings: Settings, queues: QueueTable | None = None, owner: str = "") -> None:
        """`owner`: the worker that the connection is of; it alone may make queues that belong to a connection."""
        self._settings = settings
        self._queues = queues or QueueTable(settings)
        self._owner = owner
        self._delay_levels_exist = False
        self._delayed_queues: set[str] = set()

    # -- queues -------------------------------------------------------------------------------------------------------

    def arguments(self, queue: Queue) -> dict[str, Any]:
        """Return the arguments of a queue that we create: exactly those that Celery gives for the same settings."""
        found = queue.arguments()
        if "x-queue-type" in found:
            return found
        # A quorum queue has no priorities, outlives every connection, and is on disk.
        must_be_classic = "x-max-priority" in found or not queue.durable or queue.exclusive or queue.auto_delete
        if (queue.kind or self._settings.task_default_queue_type) == "quorum" and not must_be_classic:
            found["x-queue-type"] = "quorum"
        return found

    def look(self, queue: str) -> Script[int | None]:
        """Return how many messages are ready in a queue, None when there is no such queue.

        Raises `ChannelError` for one that is on a node that is down, a classic one of a cluster.
        """
        try:
            answers = yield Calls([methods.queue_declare(queue, passive=True)])
        except ChannelError as error:
            if error.code != NOT_FOUND or error.queue_is_away:
                raise
            return None
        return methods.read_queue_declared(answers[0].arguments)[1]

    def ensure_queue(self, queue: str) -> Script[None]:
        """Create a queue, bound as it was declared or as Celery does it; one that exists, of whatever kind, is used as it is."""
        declared = self._queues.get(queue) or self._queues.missing(queue)
        if declared.exclusive and not self._owner:
            return
        exists = (yield from self.look(declared.name)) is not None
        if exists and not any(exchange.type != "direct" for exchange, _ in declared.ways):
            return
        if not exists and not declared.no_declare:
            call = methods.queue_declare(
                declared.name,
                durable=declared.durable,
                exclusive=declared.exclusive,
                auto_delete=declared.auto_delete and not declared.is_broadcast,
                arguments=self.arguments(declared),
            )
            yield Calls([call])
        # What is sent to a broadcast goes to its workers' own queues.
        if not declared.is_broadcast and not queue.endswith(DEAD_SUFFIX):
            for exchange, key in declared.ways:
                yield from self._ensure_way(declared.name, exchange, key)

    def ensure_private(self, queue: str, exchange: str, key: str) -> Script[None]:
        """Create a worker's own queue of a broadcast, which goes with the connection."""
        # Not auto-delete: that would end it, with all that is in it, whenever its consumer starts anew.
        yield Calls([methods.queue_declare(queue, durable=False, exclusive=True)])
        way = self._queues.exchange(exchange) or Exchange(exchange, "fanout")
        yield from self._ensure_way(queue, way, key)

    def _ensure_way(self, queue: str, exchange: Exchange, key: str) -> Script[None]:
        if (yield from self._ensure_exchange(exchange)):
            yield Calls([methods.queue_bind(queue, exchange.name, key)])

    def _ensure_exchange(self, exchange: Exchange) -> Script[bool]:
        """Create an exchange; one that exists is used as it is. False: it is of another type, and nothing to bind to."""
        name = exchange.name
        try:
            yield Calls([methods.exchange_declare(name, exchange.type, passive=True)])
        except ChannelError as error:
            if error.code != NOT_FOUND:
                raise
        else:
            if self._queues.exchange(name) is not None:
                return True
        try:
            yield Calls(
                [
                    methods.exchange_declare(
                        name,
                        exchange.type,
                        durable=exchange.durable,
                        auto_delete=exchange.auto_delete,
                        arguments=exchange.arguments,
                    )
                ]
            )
        except ChannelError as error:
            if error.code == ACCESS_REFUSED:
                return True  # it may be used all the same
            if error.code != PRECONDITION_FAILED:
                raise
            return False
        return True

    def ensure_revoked_stream(self) -> Script[None]:
        """Create the stream of revocations."""
        if (yield from self.look(REVOKED_STREAM)) is not None:
            return
        arguments = {
            "x-queue-type": "stream",
            "x-max-age": f"{max(1, round(self._settings.task_revoke_expires_s))}s",
            "x-max-length-bytes": _STREAM_BYTES,
            # Age and length are looked at when a segment is full: small ones, so that it happens.
            "x-stream-max-segment-size-bytes": _STREAM_SEGMENT_BYTES,
        }
        yield Calls([methods.queue_declare(REVOKED_STREAM, arguments=arguments)])

    # -- delays -------------------------------------------------------------------------------------------------------

    def ensure_delay(self, queue: str) -> Script[None]:
        """Create the delay levels, and the way from their end to a queue."""
        if not self._delay_levels_exist:
            yield from self._ensure_levels()
            self._delay_levels_exist = True
        if queue not in self._delayed_queues:
            yield from self.ensure_queue(queue)
            yield Calls([methods.queue_bind(queue, delay.DELIVERY_EXCHANGE, delay.queue_pattern(queue))])
            self._delayed_queues.add(queue)

    def _ensure_levels(self) -> Script[None]:
        # Level 0 is made last. Where it exists all do, perhaps by Celery and with another queue type: used as they are.
        exist = (yield from self.look(delay.level_name(0))) is not None
        calls = []
        levels = range(delay.LEVELS - 1, -1, -1)
        calls += [methods.exchange_declare(delay.level_name(level), "topic") for level in levels]
        calls.append(methods.exchange_declare(delay.DELIVERY_EXCHANGE, "topic"))
        for level in levels:
            name = delay.level_name(level)
            following = delay.level_name(level - 1) if level else delay.DELIVERY_EXCHANGE
            if not exist:
                arguments = delay.level_arguments(level, self._settings.broker_native_delayed_delivery_queue_type)
                calls.append(methods.queue_declare(name, arguments=arguments))
            calls.append(methods.queue_bind(name, name, delay.wait_pattern(level)))
            calls.append(methods.exchange_bind(following, name, delay.pass_pattern(level)))
        yield Calls(calls)

    def forget(self) -> None:
        """Look at everything again: something that existed is gone."""
        self._delay_levels_exist = False
        self._delayed_queues.clear()

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, publishes: Sequence[Publish]) -> Script[None]:
        """Publish and have every message confirmed; what finds no queue is published again after making it.

        Raises `Refused` when RabbitMQ would take none of them, `PartlyRefused` when only a part, `NoRoute` for those
        that an exchange has no queue for, when all others are with their queues.
        """
        lost: list[Publish] = []
        for queue in {publish.queue for publish in publishes if publish.delayed}:
            yield from self.ensure_delay(queue)
        try:
            batch: Batch = yield Send(publishes)
        except ChannelError as error:
            if error.code != NOT_FOUND:
                raise
            # A named exchange, or the delay levels, are not there (any more); nothing of a batch that met it is certain.
            self.forget()
            unknown = yield from self._ensure_exchanges(publishes)
            lost = [publish for publish in publishes if not publish.queue and publish.exchange in unknown]
            publishes = [publish for publish in publishes if publish.queue or publish.exchange not in unknown]
            if not publishes:
                raise NoRoute(lost)
            batch = yield Send(publishes)
        refused = batch.refused
        if batch.returned:
            for queue in {publish.queue for publish in batch.returned if publish.queue}:
                yield from self.ensure_queue(queue)
            for exchange in {publish.exchange for publish in batch.returned if not publish.queue}:
                for declared in self._queues.bound_to(exchange):
                    if not declared.is_broadcast:
                        yield from self.ensure_queue(declared.name)
            again: Batch = yield Send(batch.returned)
            refused = refused + again.refused
            for publish in again.returned:
                if publish.queue:
                    raise OperationalError(
                        f"RabbitMQ cannot route a message to queue {publish.queue!r}"
                        f" (exchange {publish.exchange!r}, routing key {publish.routing_key!r}), although the queue was just"
                        " declared"
                    )
                if self._queues.type_of(publish.exchange) != "fanout":  # nobody has to hear a broadcast
                    lost.append(publish)
        if refused:
            text = f"RabbitMQ refused {len(refused)} of {len(publishes)} messages (queue full, or its quorum lost)"
            raise Refused(text) if len(refused) == len(publishes) else PartlyRefused(text, refused, lost)
        if lost:
            raise NoRoute(lost)

    def _ensure_exchanges(self, publishes: Sequence[Publish]) -> Script[set[str]]:
        """Create the exchanges that the program has declared; return those that do not exist and nobody has declared."""
        unknown = set()
        for queue in {publish.queue for publish in publishes if publish.delayed}:
            yield from self.ensure_delay(queue)
        for name in {p.exchange for p in publishes if not p.queue}:
            exchange = self._queues.exchange(name)
            if exchange is not None:
                yield from self._ensure_exchange(exchange)
                continue
            try:
                yield Calls([methods.exchange_declare(name, "direct", passive=True)])
            except ChannelError as error:
                if error.code != NOT_FOUND:
                    raise
                unknown.add(name)
        return unknown
