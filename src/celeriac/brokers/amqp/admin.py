"""The command line's side: counts, purging, dead letters, revocations."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from celeriac.brokers.amqp import parking, revoked
from celeriac.brokers.amqp.acks import ack_frames, nack_frames
from celeriac.brokers.amqp.consumer import RETURNS_ALLOWED
from celeriac.brokers.amqp.incoming import delivery_count
from celeriac.core.message import DeadLetter, QueueDepth, Revocation
from celeriac.core.ports import Conclude
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.blocking import BlockingConnection, DeadlinePassed, connection_name
from celeriac.transports.amqp.errors import ConnectionLost, QueueBeingMade
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.topology import Calls, Script, Topology

T = TypeVar("T")

WALK_CHANNEL: Final = 3
TIMEOUT_S: Final = 30.0
"""For one operation that looks at a few queues."""
WALK_TIMEOUT_S: Final = 300.0
"""For one that reads a whole dead-letter queue."""
_GETS: Final = 200
_BEING_MADE_PAUSE_S: Final = 0.1


class AmqpAdmin:
    """Looks into RabbitMQ over a connection of its own, opened when it is first needed and anew after a failure.

    Blocking; not thread-safe.
    """

    def __init__(self, nodes: Nodes, settings: Settings, queues: QueueTable) -> None:
        self._nodes = nodes
        self._queues = queues
        self._settings = settings
        self._connection: BlockingConnection | None = None
        self._topology = Topology(settings, queues)
        self._declared: set[str] = set()

    # -- the connection -----------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self, timeout_s: float) -> Generator[tuple[BlockingConnection, float]]:
        deadline = time.monotonic() + timeout_s
        try:
            connection = self._ready_connection(deadline)
            yield connection, deadline
        except DeadlinePassed:
            self._drop()
            raise BrokerUnavailable(f"{self._nodes.shown} did not answer within {timeout_s:g} s") from None
        except ConnectionLost:
            self._drop()
            raise

    def _ready_connection(self, deadline: float) -> BlockingConnection:
        connection = self._connection
        if connection is not None:
            if connection.check_alive(time.monotonic() + 1.0):
                return connection
            self._drop()
        self._topology = Topology(self._settings, self._queues)
        self._connection = BlockingConnection.open(
            self._nodes, deadline, self._settings.broker_connection_timeout, name=connection_name("admin")
        )
        return self._connection

    def _run(self, script: Callable[[], Script[T]]) -> T:
        return self._repeat(lambda connection, deadline: connection.run(script(), deadline), TIMEOUT_S)

    def _repeat(self, operation: Callable[[BlockingConnection, float], T], timeout_s: float) -> T:
        """Do something that may meet a queue which is only just being made, and then must be done again from its start."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                with self._connected(until - time.monotonic()) as (connection, deadline):
                    return operation(connection, deadline)
            except QueueBeingMade:
                if time.monotonic() + _BEING_MADE_PAUSE_S > until:
                    raise
                time.sleep(_BEING_MADE_PAUSE_S)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- queues -------------------------------------------------------------------------------------------------------

    def declare(self, queues: Collection[str]) -> None:
        """Create the queues that do not exist, of the type in the settings. Idempotent."""

        def script() -> Script[None]:
            for queue in queues:
                yield from self._topology.ensure_queue(queue)

        self._run(script)
        self._declared |= set(queues)

    def queues(self) -> list[str]:
        """Name the default queue and those declared here, as far as they exist: AMQP has no way to list queues."""

        def script() -> Script[list[str]]:
            known = sorted({queue.name for queue in self._queues} | self._declared)
            ready: dict[str, int | None] = {}
            for queue in known:
                ready[queue] = yield from self._topology.look(queue)
            return [queue for queue, count in ready.items() if count is not None]

        return self._run(script)

    def depths(self, queues: Collection[str]) -> list[QueueDepth]:
        """Count what is ready and what is dead in each queue.

        AMQP does not tell what is claimed, nor for which queue a delayed message waits: these are None, or 0 where nothing at
        all is delayed.
        """

        def script() -> Script[list[QueueDepth]]:
            delayed = yield from self._count_delayed()
            found = []
            for queue in queues:
                ready = yield from self._topology.look(queue)
                dead = yield from self._topology.look(parking.dead_queue(queue))
                found.append(QueueDepth(queue, ready or 0, None if delayed else 0, None, dead or 0))
            return found

        return self._run(script)

    def _count_delayed(self) -> Script[int]:
        """Count the messages that wait for any queue."""
        total = 0
        for level in range(delay.LEVELS):
            waiting = yield from self._topology.look(delay.level_name(level))
            if waiting is None:
                break  # all levels are made together
            total += waiting
        return total

    def purge(self, queue: str) -> int:
        """Delete what is ready in a queue and return how many there were; what is delayed stays (it cannot be told apart)."""

        def script() -> Script[int]:
            if (yield from self._topology.look(queue)) is None:
                return 0
            answers = yield Calls([methods.queue_purge(queue)])
            return methods.read_count(answers[0].arguments)

        return self._run(script)

    # -- dead letters -------------------------------------------------------------------------------------------------

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return the parked messages of a queue, newest first, at most `limit`. Reads the whole dead-letter queue."""
        found: deque[DeadLetter] = deque(maxlen=max(0, limit))
        self._walk(queue, lambda event: found.append(parking.describe(event, queue)), ids=None, retry=False)
        return sorted(found, key=lambda letter: letter.parked_at, reverse=True)

    def dead_retry(self, queue: str, ids: Collection[str]) -> int:
        """Put parked messages back into their queue (at its end), counts reset; return how many."""
        return self._walk(queue, lambda event: None, ids=frozenset(ids), retry=True)

    def dead_purge(self, queue: str, ids: Collection[str]) -> int:
        """Delete parked messages and return how many there were."""
        return self._walk(queue, lambda event: None, ids=frozenset(ids), retry=False)

    def _walk(
        self, queue: str, visit: Callable[[Delivered], object], *, ids: frozenset[str] | None, retry: bool
    ) -> int:
        """Take every dead letter of a queue once, remove those in `ids` (retried or deleted), give back the others."""
        dead = parking.dead_queue(queue)

        def walk(connection: BlockingConnection, deadline: float) -> int:
            hint = connection.run(self._topology.look(dead), deadline)
            if hint is None:
                return 0
            held: dict[int, Delivered] = {}
            try:
                # Until it is empty: the count is behind the truth when somebody has just given messages back.
                more = True
                while more:
                    gets = [methods.basic_get(dead)] * min(max(1, hint - len(held)), _GETS)
                    got = [x for x in connection.call(WALK_CHANNEL, gets, deadline) if isinstance(x, Delivered)]
                    for event in got:
                        held[event.delivery_tag] = event
                        visit(event)
                    more = len(got) == len(gets)
                return self._end_walk(connection, held, queue, ids or frozenset(), retry, deadline)
            except BaseException as error:
                self._drop()  # gives back all that is held
                if held and isinstance(error, QueueBeingMade):
                    raise ConnectionLost(str(error)) from None  # no message is visited, or retried, a second time
                raise

        return self._repeat(walk, WALK_TIMEOUT_S)

    def _end_walk(
        self,
        connection: BlockingConnection,
        held: dict[int, Delivered],
        queue: str,
        ids: frozenset[str],
        retry: bool,
        deadline: float,
    ) -> int:
        chosen = [tag for tag, event in held.items() if ids and parking.handle(event) in ids]
        removed = set(chosen)
        # Looking counts as a delivery, and RabbitMQ 4 drops what was delivered too often: those are published anew.
        tired = [t for t, event in held.items() if t not in removed and delivery_count(event) >= RETURNS_ALLOWED]
        copies = [parking.again(held[tag], parking.dead_queue(queue)) for tag in tired]
        if retry:
            copies += [parking.unpark(held[tag], queue) for tag in chosen]
        if copies:
            connection.run(self._topology.publish(copies), deadline)
        acked = sorted({*chosen, *tired})
        frames = ack_frames(WALK_CHANNEL, acked, held)
        rest = [tag for tag in held if tag not in removed and tag not in set(tired)]
        frames += nack_frames(WALK_CHANNEL, rest, rest)
        connection.settle(frames, deadline)
        if held:
            connection.call(WALK_CHANNEL, [methods.channel_close()], deadline)  # answered: all before it has arrived
        return len(chosen)

    # -- revocations --------------------------------------------------------------------------------------------------

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Write revocations into the stream that every worker reads. Idempotent."""

        def script() -> Script[None]:
            yield from self._topology.ensure_revoked_stream()
            yield from self._topology.publish([revoked.to_publish(revoked.Entry(item)) for item in revocations])

        self._run(script)

    def withdraw_delayed(self, revocations: Sequence[Revocation], conclude: Conclude, timeout_s: float) -> int:
        """Do nothing: RabbitMQ does not let anyone look into its delay; what is revoked is refused when it is due."""
        return 0
