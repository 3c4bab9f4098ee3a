"""The seams: what a broker and a result backend are to everyone above them.

All operations take batches; times are Unix seconds as float.  Clients are synchronous and the core is asynchronous, so each
side has operations of its own and nothing is written twice.  Implementations raise `BrokerUnavailable` or
`BackendUnavailable` when the server cannot be reached, and after that must work again by themselves as soon as it can: each
call may try to connect once.  None of them retries in a loop; the callers do, by their own deadlines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from celeriac.core.boards import Move
from celeriac.core.effects import Lost, Record, Settlement
from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.message import DeadLetter, Delayed, Delivery, Message, QueueDepth, Revocation
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Completed, Part

Conclude = Callable[[Sequence[Message]], Sequence[Message | None]]
"""What becomes of messages that are taken out of their delay."""

Published = Callable[[Collection[Any]], Awaitable[None]]
"""Is told of claims, by their tags, whose follow-ups the broker has, and which are not acknowledged yet."""


class Producer(Protocol):
    """Sends messages; used by clients and by tasks that call other tasks. Thread-safe, blocking."""

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send all messages and return when the broker has taken every one of them.

        A message with `not_before` in the future is kept by the broker until then.  Queues that do not exist are created.
        A message without a queue goes to every queue that is bound to its exchange for its routing key, in one step; where there
        is none and the exchange is no fanout, raises `Unroutable` when all other messages have been sent.
        Raises `BrokerUnavailable` when nothing was sent for certain, `PublishTimeout` when the deadline `timeout_s` (over
        everything: connect, send, confirm) passed and the outcome is not known.  Repeating a publish may double a message.
        """

    def close(self) -> None:
        """Close the connection; idempotent."""


class OnceProducer(Producer, Protocol):
    """A producer whose broker keeps boards, too: Redis, the SQLite file, the memory."""

    def publish_once(self, board: str, move: Move, messages: Sequence[Message], timeout_s: float) -> bool:
        """Make a move on a board and send the messages, in one step; False: something else stands there, and nothing was done.

        Raises as `publish`; `Unroutable` when all has been done but for those messages.
        """


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

    def withdraw_delayed(self, revocations: Sequence[Revocation], conclude: Conclude, timeout_s: float) -> int:
        """Take what is revoked out of its delay, for about `timeout_s` at most, and return how many messages it was.

        `conclude` is given messages that were found, before any is taken, and says for each what is to take its place, due at
        once; None: nothing.  A broker that cannot look into its delay returns 0.
        """

    def close(self) -> None:
        """Close the connection; idempotent."""


class Consumer(Protocol):
    """One worker's side of a broker: claims messages under a lease and settles them. Used in one event loop only.

    `open` gives it an identity; every claim belongs to that identity until it is settled, or the lease runs out and another
    worker takes it over.
    """

    async def open(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int] | None = None) -> None:
        """Connect, create missing queues, and take the lease. `owner` is unique per start of a worker.

        `queues` are names or aliases.  Of a queue in `concurrency` never more than so many messages are claimed and not
        settled; others flow on meanwhile.  A broadcast among them is a queue of the owner's own, that lasts as long as its lease
        (RabbitMQ: its connection).

        Called again after a failure: it reconnects and keeps the identity.  Returns normally even if the lease was lost in
        between; `heartbeat` tells that.
        """

    async def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on, names or aliases, and from no other; create those that are missing.

        What was claimed before stays ours.  Without any, `claim` finds nothing until it is told of others.  Idempotent.
        """

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, by priority, queues taking turns; wait up to `wait_s` for the first one.

        Returns an empty list when the time passed, or earlier if it likes.  Cancelling a waiting `claim` loses nothing.
        """

    async def settle(self, batch: Sequence[Settlement], published: Published | None = None) -> list[Lost | Completed]:
        """Publish the follow-ups, store the records if `stores_records`, then settle; return those no longer ours.

        With `stores_records` it also joins the parts, before anything else, as `ResultWriter.join` does.  When one of them makes its
        chord complete and the group is not in `closes`, that is answered with `Completed`, and nothing else of the settlement is done:
        the message stays ours.  The groups in `closes` are closed with the rest.

        Where publishing and acknowledging are two steps, `published` is awaited between them.

        A message whose follow-up is unroutable is parked.  What is lost has had no effect where the broker can promise it.  Idempotent in that a repeat after an unknown outcome
        reports `Lost` for what had been done.
        """

    def holds(self, tag: Any) -> bool:
        """Tell whether a claim may still be ours, as far as is known without asking; what is not must not be started."""

    stores_records: bool
    """True when `settle` itself stores the records, atomically with the rest (broker and backend are one Redis)."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """As `Producer.publish`, from the worker's own connection."""

    hastens: bool
    """True when `hasten` can do it; else what is delayed comes when it is due."""

    ahead_s: float
    """Seconds by which the clock that ends delays is ahead of this machine's, as far as is known; negative: behind."""

    async def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Make delayed messages due now, to the heads of their queues, and return how many were found there. Idempotent."""

    async def upcoming(self, limit: int) -> list[Message]:
        """Return up to `limit` messages that are delayed for the queues consumed, those first that are due first, with `not_before`.

        What is very large may be left out.  A broker that cannot look into its delay returns none.
        """

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


class Messenger(Protocol):
    """Carries letters: events, requests to workers, and replies. At most once; in one event loop only.

    A letter is a `Message` without a queue, whose headers are the sender's and need no task id; its `exchange` tells the address.
    """

    async def open(self, mailboxes: Collection[Mailbox]) -> None:
        """Connect and listen at these mailboxes; when it returns, what is sent from now on arrives.

        Called again with others, or after a failure: it reconnects where it has to, and listens at these instead.
        """

    async def send(self, address: Address, letters: Sequence[Message]) -> None:
        """Send letters, each with its `routing_key`, in one round trip at most; what nobody listens for is dropped."""

    async def receive(self) -> list[Message]:
        """Wait for the next letters. Cancelling it loses nothing. Raises `BrokerUnavailable` when the connection is lost."""

    async def close(self) -> None:
        """Close the connection, and take away the mailboxes; idempotent."""


class ResultReader(Protocol):
    """Reads results; used by clients. Thread-safe, blocking."""

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""

    def store(self, records: Sequence[Record]) -> None:
        """Store records from a client (eager results, a revoke of a task that nobody runs)."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group, which says of which results it consists. Idempotent."""

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group."""

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group, not its results. Idempotent."""

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords, before any of their members is sent.

        Idempotent; a chord that is closed stays so, and parts that are in stay in.  Raises `ImproperlyConfigured` when this backend
        does not count (`Backend.counts_chords`).
        """

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest; with `group_ids` only these."""

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """As `ResultWriter.close_chords`."""

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

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """As `ResultReader.open_chords`."""

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords, and tell for each whether its member has to finish the chord.

        A member counts once, however often it comes.  The finisher is the member with which the chord was first seen complete; asking
        again it is told so again, until the chord is closed.  A part for a chord whose size is not known yet is kept.
        """

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget parts and sizes; that a chord is closed stays known for as long as its parts would have been kept. Idempotent."""

    async def chords(self, limit: int) -> list[ChordState]:
        """As `ResultReader.chords`."""

    async def close(self) -> None:
        """Close the connection; idempotent."""


class Broker(Protocol):
    """What a broker URL opens: the factory of the three sides, which share nothing but the URL and the options."""

    durable: bool
    """False for the memory broker."""
    urgent_first: First
    """Which priority numbers in messages it hands out first: RabbitMQ the high ones, all others the low ones."""
    queues: QueueTable
    """What the program has declared. The app and the broker share it: its sides look here when they have to make a queue."""

    def producer(self) -> Producer: ...

    def admin(self) -> Admin: ...

    def consumer(self) -> Consumer: ...

    def messenger(self) -> Messenger: ...

    def shown_url(self) -> str:
        """Return the URL with the password masked."""


class Backend(Protocol):
    """What a backend URL opens.

    Where it has an attribute `replies` that is False, its listeners have no reply queue, and callers need not make one to know.
    """

    stores: bool
    """False when results are neither stored nor sent (the disabled backend)."""
    counts_chords: bool
    """False when it can't tell the last member of a chord from the others: then the operations on chords raise."""

    def reader(self) -> ResultReader: ...

    def listener(self) -> ResultListener: ...

    def writer(self) -> ResultWriter: ...

    def shown_url(self) -> str:
        """Return the URL with the password masked."""
