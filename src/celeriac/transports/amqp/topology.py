"""Queues and exchanges, made as Celery makes them; and publishing, which makes the missing ones.

Everything here is a `Script`: a generator that yields what it wants done and is sent what came of it, so that the blocking and
the asynchronous driver run the same steps.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.errors import NOT_FOUND, ChannelError
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


class Topology:
    """What is known to exist, seen over one connection; made anew with each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._delay_levels_exist = False
        self._delayed_queues: set[str] = set()

    # -- queues -------------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of queues that we create: exactly those that Celery gives for the same settings."""
        if self._settings.task_default_queue_type == "quorum":
            return {"x-queue-type": "quorum"}
        maximum = self._settings.task_queue_max_priority
        return {"x-max-priority": maximum} if maximum else {}

    def look(self, queue: str) -> Script[int | None]:
        """Return how many messages are ready in a queue, None when there is no such queue."""
        try:
            answers = yield Calls([methods.queue_declare(queue, passive=True)])
        except ChannelError as error:
            if error.code != NOT_FOUND:
                raise
            return None
        return methods.read_queue_declared(answers[0].arguments)[1]

    def ensure_queue(self, queue: str) -> Script[None]:
        """Create a queue, bound as Celery does it; one that exists, of whatever kind, is used as it is."""
        if (yield from self.look(queue)) is not None:
            return
        yield Calls([methods.queue_declare(queue, arguments=self.arguments())])
        if queue.endswith(DEAD_SUFFIX):
            return
        try:
            yield Calls([methods.exchange_declare(queue, "direct", passive=True)])
        except ChannelError as error:
            if error.code != NOT_FOUND:
                raise
            yield Calls([methods.exchange_declare(queue, "direct")])
        yield Calls([methods.queue_bind(queue, queue, queue)])

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
                calls.append(methods.queue_declare(name, arguments=delay.level_arguments(level)))
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

        Raises `BrokerUnavailable` when RabbitMQ refused all of them, `PublishTimeout` when only a part.
        """
        for queue in {publish.queue for publish in publishes if publish.delayed}:
            yield from self.ensure_delay(queue)
        try:
            batch: Batch = yield Send(publishes)
        except ChannelError as error:
            if error.code != NOT_FOUND:
                raise
            # A named exchange, or the delay levels, are not there (any more); nothing of a batch that met it is certain.
            self.forget()
            yield from self._ensure_exchanges(publishes)
            batch = yield Send(publishes)
        refused = batch.refused
        if batch.returned:
            for queue in {publish.queue for publish in batch.returned}:
                yield from self.ensure_queue(queue)
            for exchange, key, queue in {(p.exchange, p.routing_key, p.queue) for p in batch.returned if p.exchange}:
                yield Calls([methods.queue_bind(queue, exchange, key)])
            again: Batch = yield Send(batch.returned)
            refused = refused + again.refused
            if again.returned:
                lost = again.returned[0]
                raise OperationalError(
                    f"RabbitMQ cannot route a message to queue {lost.queue!r}"
                    f" (exchange {lost.exchange!r}, routing key {lost.routing_key!r}), although the queue was just declared"
                )
        if refused:
            text = f"RabbitMQ refused {len(refused)} of {len(publishes)} messages (queue full, or its quorum lost)"
            raise (BrokerUnavailable if len(refused) == len(publishes) else PublishTimeout)(text)

    def _ensure_exchanges(self, publishes: Sequence[Publish]) -> Script[None]:
        for queue in {publish.queue for publish in publishes if publish.delayed}:
            yield from self.ensure_delay(queue)
        for exchange in {p.exchange for p in publishes if p.exchange and not p.delayed}:
            try:
                yield Calls([methods.exchange_declare(exchange, "direct", passive=True)])
            except ChannelError as error:
                if error.code != NOT_FOUND:
                    raise
                yield Calls([methods.exchange_declare(exchange, "direct")])
