"""A message as every layer sees it: headers read, body unopened."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Message(Struct, array_like=True):
    """One task message, on its way out or as it stood in a broker.

    `body` stays bytes: only an executor opens it.  `array_like` makes the struct its own frame between core and executor.
    """

    queue: str
    """The queue it goes to, or came from. Empty: the exchange decides."""
    headers: dict[str, Any]
    """Celery's task headers (protocol 2); for protocol 1 those that its body tells, made at the boundary."""
    body: bytes
    properties: dict[str, Any] = field(default_factory=dict)
    """AMQP properties by Celery's names: correlation_id, reply_to, delivery_mode, priority, expiration..."""
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    exchange: str = ""
    routing_key: str | None = None
    """None: the queue's own name, as for every direct queue.  With a queue, exchange and key only tell how it came there."""
    not_before: float | None = None
    """Unix seconds before which the broker must not hand it out; from the delay it goes to the head of its queue."""

    @property
    def id(self) -> str:
        """The task's id."""
        task_id: str = self.headers["id"]
        return task_id

    @property
    def task(self) -> str:
        """The task's name."""
        name: str = self.headers["task"]
        return name

    @property
    def priority(self) -> int:
        """The number that the caller gave, 0 if none."""
        return self.properties.get("priority") or 0


class Delivery(Struct):
    """A message claimed from a broker: ours until it is settled or the lease is lost."""

    tag: Any
    """The broker's handle for settling; opaque to everyone else."""
    queue: str
    message: Message | None
    """None when the bytes are no message at all; then `problem` says why."""
    problem: str | None = None
    raw: bytes = b""
    """What stood in the queue, kept only for a message that could not be read, to park it unchanged."""
    losses: int = 0
    """How often it went down with a whole worker (as far as the broker can count)."""
    redelivered: bool = False
    """It was handed out before, by a broker that tells: RabbitMQ."""
    kept_until: float | None = None
    """When the broker's delay let go of it, Unix seconds by the broker's clock, without the fraction; None where it is not told."""

    def was_kept_until(self, at: float) -> bool:
        """Tell whether the broker's delay has kept it until a time (Unix seconds), by the broker's clock."""
        return self.kept_until is not None and at < self.kept_until + 1.0


class Revocation(Struct):
    """A wish that a task should not run, or should stop; it is kept until `expires_at` (Unix seconds)."""

    id: str
    expires_at: float
    terminate: bool = False
    signal: str = "SIGTERM"
    signature: str = ""
    """Of whoever wishes it, where that is asked for."""


class Delayed(Struct, frozen=True):
    """What has to be known of a message to find it in the broker's delay."""

    queue: str
    task_id: str
    due: float
    """Its `not_before`, to the last bit."""


class QueueDepth(Struct):
    """What waits in one queue."""

    queue: str
    ready: int
    delayed: int | None
    """None where the broker cannot tell; so with `claimed`."""
    claimed: int | None
    dead: int
    oldest_age_s: float | None = None
    """Age of the message that is next, where the broker can tell."""


class DeadLetter(Struct):
    """A parked message and why it stands there."""

    id: str
    """Handle for retry and purge: unique in the broker."""
    queue: str
    reason: str
    parked_at: float
    """Unix seconds."""
    message: Message | None
    raw: bytes = b""
