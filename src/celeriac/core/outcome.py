"""How one run of a task can end."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from celeriac.core.workflow import EndedMember


class Succeeded(Struct, tag="succeeded"):
    """The task returned."""

    value: Any


class Failed(Struct, tag="failed"):
    """The task raised, and is not to be tried again by `autoretry_for`."""

    exc: BaseException
    traceback: str


class RetryAsked(Struct, tag="retry"):
    """The task asked for another run, or an exception that it retries for came out of it."""

    exc: BaseException
    traceback: str
    not_before: float | None = None
    """Unix seconds, when the task itself named a time; None leaves it to the policy."""
    max_retries: int | None = None
    """The limit of this very call of `retry()`; None takes the policy's."""
    automatic: bool = False
    """True for `autoretry_for`: the policy's back-off applies."""
    args: tuple[Any, ...] | None = None
    """New positional arguments for the next run; None keeps them."""
    kwargs: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """`queue` and `priority` for the next run."""


class Ignored(Struct, tag="ignored"):
    """The task raised `Ignore`."""


class Rejected(Struct, tag="rejected"):
    """The task raised `Reject`."""

    exc: BaseException
    traceback: str
    requeue: bool


class ReplacedBy(Struct, tag="replaced"):
    """Another task gives the result, under the same id."""

    signature: dict[str, Any]


class TimedOut(Struct, tag="timed-out"):
    """The hard limit passed; the executor was killed."""

    limit_s: float


class Crashed(Struct, tag="crashed"):
    """The executor died while it ran the task, for the last time that is allowed."""

    reason: str
    crashes: int
    parked: bool = True
    """False: the task has failed like any other, because its policy does not have it run again."""


class Revoked(Struct, tag="revoked"):
    """The task was revoked or had expired; it did not run, or was terminated while it ran."""

    reason: str
    """`revoked`, `expired` or `terminated`, Celery's words."""
    signum: int | None = None
    """Number of the signal that terminated it."""


class Unrunnable(Struct, tag="unrunnable"):
    """The message can't become a call: an unknown task, arguments that do not fit, a body that can't be read."""

    exc: BaseException
    reason: str


class Unopened(Struct, tag="unopened"):
    """The message is to be parked without being opened, but may be a member of a chord, which is to hear of it."""

    reason: str


class OldForm(Struct, tag="old-form"):
    """The message is of Celery's protocol 1, which has its headers in the body: it is to be opened and sent anew as protocol 2."""


class Joined(Struct, tag="joined"):
    """The task had ended before, and with it the last member of a chord's header: what is to be concluded is the chord."""

    group_id: str
    parts: list[bytes]
    structure: bytes | None = None
    body: bytes = b""
    """See `Part.body`."""
    problem: str = ""
    """Why its parts are not opened: the chord fails with that."""


class ChordEnded(Struct, tag="chord-ended"):
    """As `Joined`, opened."""

    group_id: str
    members: list[EndedMember]
    """In the order of the header."""
    body: dict[str, Any]
    """The signature that is to run now, if the members allow it."""
    error: BaseException | None = None
    """Why it can't run, whatever the members say."""


Outcome = (
    Succeeded
    | Failed
    | RetryAsked
    | Ignored
    | Rejected
    | ReplacedBy
    | TimedOut
    | Crashed
    | Revoked
    | Unrunnable
    | ChordEnded
)

Ending = TimedOut | Crashed | Revoked | Unopened | OldForm | Joined
"""Outcomes that the core finds, not the executor; they cross the boundary as a frame of their own."""
