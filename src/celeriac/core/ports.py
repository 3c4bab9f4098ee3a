"""The seams: what a broker and a result backend are to everyone above them.

All operations take batches; times are Unix seconds as float.  Clients are synchronous and the core is asynchronous, so each
side has operations of its own and nothing is written twice.  Implementations raise `BrokerUnavailable` or
`BackendUnavailable` when the server cannot be reached, and after that must work again by themselves as soon as it can: each
call may try to connect once.  None of them retries in a loop; the callers do, by their own deadlines.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from celeriac.core.effects import Lost, Record, Settlement
from celeriac.core.message import DeadLetter, Delivery, Message, QueueDepth, Revocation


class Producer(Protocol):
    """Sends messages; used by clients and by tasks that call other tasks. Thread-safe, blocking."""

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send all messages and return when the broker has taken every one of them.

        A message with `not_before` in the future is kept by the broker until then.  Queues that do not exist are created.
        Raises `BrokerUnavailable` when nothing was sent for certain, `PublishTimeout` when the deadline `timeout_s` (over
        everything: connect, send, confirm) passed and the outcome is not known.  Repeating a publish may double a message.
        """

    def close(self) -> None:
        """Close the connection; idempotent."""


class Admin(Protocol):
    """Looks into a broker and tidies it; used by the command line. Blocking, not thread-safe."""

    def declare(self, queues: Collection[str]) -> None:
        """Create the queues that do not exist. Idempotent."""

    def queues(self) -> list[str]:
        """Name the queues that the broker knows of, as far as it can tell."""

    def depths(self, queues: Collection[str]) -> list[QueueDepth]:
        """Count what waits in each queue. The cost does not grow with the queues' length."""

    def purge(self, queue: str) -> int:
        """Delete what is ready and delayed in a queue (not what is claimed or parked) and return how many there were."""

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return the parked messages of a queue, newest first, at most `limit`."""

    def dead_retry(self, queue: str, ids: Collection[str]) -> int:
        """Put parked messages back to the head of their queue, their counts of crashes and losses reset; return how many."""

    def dead_purge(self, queue: str, ids: Collection[str]) -> int:
        """Delete parked messages and return how many there were."""

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations where every worker finds them, also one that starts later. Idempotent."""

    def close(self) -> None:
        """Close the connection; idempotent."""


class Consumer(Protocol):
    """One worker's side of a broker: claims messages under a lease and settles them. Used in one event loop only.

    `open` gives it an identity; every claim belongs to that identity until it is settled, or the lease runs out and another
    worker takes it over.
    """

    async def open(self, owner: str, queues: Sequence[str]) -> None:
        """Connect, create missing queues, and take the lease. `owner` is unique per start of a worker.

        Called again after a failure: it reconnects and keeps the identity.  Returns normally even if the lease was lost in
        between; `heartbeat` tells that.
        """

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, by priority, queues taking turns; wait up to `wait_s` for the first one.

        Returns an empty list when the time passed, or earlier if it likes.  Cancelling a waiting `claim` loses nothing.
        """

    async def settle(self, batch: Sequence[Settlement]) -> list[Lost]:
        """Publish the follow-ups, store the records if `stores_records`, then settle; return those no longer ours.

        What is lost has had no effect where the broker can promise it.  Idempotent in that a repeat after an unknown outcome
        reports `Lost` for what had been done.
        """

    def holds(self, tag: Any) -> bool:
        """Tell whether a claim may still be ours, as far as is known without asking; what is not must not be started."""

    stores_records: bool
    """True when `settle` itself stores the records, atomically with the rest (broker and backend are one Redis)."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """As `Producer.publish`, from the worker's own connection."""

    async def heartbeat(self) -> bool:
        """Renew the lease; False when it had run out and the claims belong to others now (a new lease is taken then)."""

    async def maintain(self) -> float:
        """Do the housekeeping that any worker does for all: due delays, expired leases, old dead letters.

        Returns the seconds until it wants to be called again.  Safe to be run by many workers at once.
        """

    async def revocations(self) -> list[Revocation]:
        """Return the revocations in force that this consumer has not returned before."""

    async def release(self) -> None:
        """Give up the lease and return every claim that is left, unchanged and uncounted. Idempotent."""

    async def close(self) -> None:
        """Close the connections; idempotent."""


class ResultReader(Protocol):
    """Reads results; used by clients. Thread-safe, blocking."""

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""

    def store(self, records: Sequence[Record]) -> None:
        """Store records from a client (eager results, a revoke of a task that nobody runs)."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""

    def close(self) -> None:
        """Close the connection; idempotent."""


class ResultListener(Protocol):
    """Tells when results arrive; runs in the client's background event loop, and in that loop only."""

    reply_to: str | None
    """The reply queue to put into messages, for backends that send results; None for those that store them."""

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Connect; `deliver(id, document)` is called in the loop for every state of every watched task that becomes known.

        Called again after a failure: it reconnects and watches again what was watched.
        """

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those that already have a result."""

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the connection is lost."""

    async def close(self) -> None:
        """Close the connection; idempotent."""


class ResultWriter(Protocol):
    """Stores results; used by the core. Runs in one event loop."""

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records; a stored SUCCESS is not overwritten. Idempotent."""

    async def close(self) -> None:
        """Close the connection; idempotent."""


class Broker(Protocol):
    """What a broker URL opens: the factory of the three sides, which share nothing but the URL and the options."""

    durable: bool
    """False for the memory broker."""

    def producer(self) -> Producer: ...

    def admin(self) -> Admin: ...

    def consumer(self) -> Consumer: ...

    def shown_url(self) -> str:
        """Return the URL with the password masked."""


class Backend(Protocol):
    """What a backend URL opens."""

    stores: bool
    """False when results are neither stored nor sent (the disabled backend)."""

    def reader(self) -> ResultReader: ...

    def listener(self) -> ResultListener: ...

    def writer(self) -> ResultWriter: ...

    def shown_url(self) -> str:
        """Return the URL with the password masked."""
