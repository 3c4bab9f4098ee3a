"""What follows from a task's end: the vocabulary between `decide`, the settler and the brokers."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from celeriac.core.message import Message
from celeriac.core.workflow import ChordOpening, Part


class Ack(Struct, tag="ack", array_like=True, frozen=True):
    """The message is done with."""


class Requeue(Struct, tag="requeue", array_like=True, frozen=True):
    """Give the message back unchanged and uncounted, to the head of its queue."""


class Dead(Struct, tag="dead", array_like=True, frozen=True):
    """Park the message in the dead-letter queue."""

    reason: str


Verdict = Ack | Requeue | Dead

ACK = Ack()
REQUEUE = Requeue()


class Record(Struct, array_like=True):
    """A result ready to be stored: Celery's result document, already encoded."""

    id: str
    state: str
    payload: bytes
    """The JSON document."""
    expires_s: float | None
    """How long it is kept; None for ever."""
    reply_to: str = ""
    """The caller's reply queue, for backends that send results instead of storing them."""


class Settlement(Struct):
    """One delivery's end. Brokers apply it as a whole or, when the lease is lost, not at all.

    The order is fixed: join chords, publish follow-ups, store results, settle the message.
    """

    tag: Any
    verdict: Verdict
    publish: list[Message] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    parts: list[Part] = []
    """Of chords that this end belongs to.  One that completes its chord holds up everything else, unless that is in `closes`."""
    closes: list[str] = []
    """Group ids of chords whose body is in `publish`, or has failed for good."""


class Lost(Struct, frozen=True):
    """Answer to a settlement that changed nothing, because the message is not ours any more."""

    tag: Any


class Follows(Struct, array_like=True):
    """Everything that one end leads to, written out: what an executor reports and the settler carries out."""

    publish: list[Message] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    openings: list[ChordOpening] = field(default_factory=list)
    """Chords whose header is among `publish`: their sizes are set before."""
    parts: list[Part] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    """Group ids of chords that are over with this."""


class Invoke(Struct):
    """A follow-up call that `decide` asks for: a signature, with values put before its arguments."""

    signature: dict[str, Any]
    prepend: tuple[Any, ...]
    parent_id: str
    root_id: str
    chain: list[dict[str, Any]] | None = None
    """What is left of the chain after this step, last step first, as it travels on the wire."""
    error: BaseException | None = None
    """Set for an errback: what the task failed with."""
    traceback: str | None = None
    """With `error`: its traceback as text."""
    failed: dict[str, Any] | None = None
    """With `error`: the signature of what failed without having run, where that is not the task itself."""
    same_task: bool = False
    """It is the task itself, under its own id and with its own place in the workflow: nothing is added to its signature."""


class Again(Struct):
    """The same task once more: a retry."""

    retries: int
    not_before: float
    args: tuple[Any, ...] | None = None
    """None keeps the arguments."""
    kwargs: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Keep(Struct):
    """A state to store, for the task itself or for one that will never run because of it."""

    state: str
    result: Any
    traceback: str | None = None
    id: str = ""
    """Empty: the task itself."""


class Join(Struct):
    """A chord is told how one of its members has ended."""

    group_id: str
    member_id: str
    index: int | None
    state: str
    result: Any
    body: dict[str, Any] | None = None
    """The signature of the chord's body, unless it is the one in the task's own message."""


class Effects(Struct):
    """Everything that `decide` wants done about one outcome."""

    verdict: Verdict
    keep: Keep | None = None
    invoke: list[Invoke] = field(default_factory=list)
    again: Again | None = None
    foregone: list[Keep] = []
    """What is stored for tasks that will never run now."""
    joins: list[Join] = []
    closes: list[str] = []
    """Group ids of chords that are over with this."""
