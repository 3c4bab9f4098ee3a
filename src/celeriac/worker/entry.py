"""What the core knows of one claimed message while it is its own."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from msgspec import Struct

from celeriac.core.effects import Settlement
from celeriac.core.message import Delivery, Message
from celeriac.core.outcome import Ending
from celeriac.core.policy import Policy
from celeriac.worker.time_limits import Limits

NAME_MAX: Final = 1024
INDEX_END: Final = 2**31


class Entry(Struct, eq=False):
    """A claimed message on its way through the worker.

    It is in exactly one place: held by dispatch, given to an executor, or with the settler.
    """

    delivery: Delivery
    message: Message
    key: tuple[str, int]
    """What makes two deliveries the same run of the same task: `run_key` of the message as it came."""
    kind: str
    """The kind of executor it needs."""
    policy: Policy
    crashes: int
    held_since: float
    """Monotonic seconds, when it was claimed or taken back: for giving back what finds no slot."""
    ending: Ending | None = None
    """Set when it is over already and an executor only has to conclude it."""
    kill_at: float = inf
    """Monotonic seconds, when its executor is killed if the task has not ended, because it was told to."""
    older_tags: list[Any] = []
    """Tags of the same message from before a connection was lost and it was delivered again."""
    started_at: float = 0.0
    """Monotonic seconds, as far as the core can tell."""
    on_settled: Callable[[], None] | None = None
    """Called once the end of this run is settled, or the message is lost to us."""
    concluding: bool = False
    """It was over when an executor was given it: what that may die of is the conclusion."""
    conclusions: int = 0
    """How many executors have ended while they concluded it."""
    quiet: bool = False
    """Concluding it may have ended an executor: no handler, listener or errback of the program is called the next time."""
    acknowledged: bool = False
    """The broker has been told that it is done with, before it ran: nothing brings it back."""

    limits: Limits | None = None
    """Time limits of its task that were set while the worker runs."""
    tells: bool = False
    """Its executor was asked to say how it ends, for those who listen to events."""

    held_up: Settlement | None = None
    """What its own end leads to, while a chord is concluded that was complete with it: both are settled at once."""

    @property
    def time_limit_s(self) -> float | None:
        """The hard limit of this very run, in seconds."""
        return self.policy.time_limit_s

    @property
    def names(self) -> tuple[str, str]:
        """Name and id of the task, for logs."""
        return self.message.task, self.message.id


def may_be_in_chord(message: Message) -> bool:
    """Tell whether a message that is to be parked unopened belongs to a group, and so perhaps to a chord's header."""
    names = (message.headers.get(name) for name in ("group", "id", "task"))
    return all(isinstance(name, str) and 0 < len(name) <= NAME_MAX for name in names)


def without_content(message: Message) -> Message:
    """Return a message with no more than what tells its chord of its end; the broker parks the message as it came."""
    headers = {name: message.headers[name] for name in ("id", "task", "group")}
    index, ignored = message.headers.get("group_index"), message.headers.get("ignore_result")
    if isinstance(index, int) and 0 <= index < INDEX_END:
        headers["group_index"] = index
    headers["ignore_result"] = ignored is True
    reply_to = message.properties.get("reply_to")
    return Message(message.queue, headers, b"", {"reply_to": reply_to} if isinstance(reply_to, str) else {})


def run_key(message: Message) -> tuple[str, int]:
    """Return what makes two messages the same run of the same task; an exchange may have put one into several queues."""
    return f"{message.queue} {message.id}", message.headers.get("retries") or 0
