"""Unique tasks: what the option says, what makes two calls the same, and every rule about who holds a key.

A key is held by one call, its holder; at most one more, the follower, waits for it.  `apply_step` is pure: it sees what stands under
a key and one step of a caller or a worker, and returns what stands there afterwards.  Stores that can't run Python have the
same rules in their own language (`unique.lua`) and pass the same tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from celeriac.exceptions import ArgumentError, ImproperlyConfigured

UNIQUE: Final = "celeriac_unique"
"""Header of ours: the key that a message's call holds, for workers."""

Until = Literal["started", "done", "window"]
OnConflict = Literal["drop", "replace", "queue", "raise"]
Phase = Literal["queued", "running", "ended"]
LONGEST_S: Final = 1e9
"""A key is held no longer than some thirty years."""
Seconds = Annotated[float, Meta(ge=0, le=LONGEST_S)]

_UNTIL: Final = ("started", "done")
_ON_CONFLICT: Final = ("drop", "replace", "queue", "raise")


class Unique(Struct, frozen=True, kw_only=True):
    """How a task is unique: `@app.task(unique=Unique(by="order_id"))`; `unique=True` is `Unique()`.

    Raises `ImproperlyConfigured` for a value that can't be meant.
    """

    by: str | Sequence[str] | Callable[..., Any] | None = None
    """What makes two calls the same: parameters by name, or a function of the arguments; None: all arguments."""
    until: Literal["started", "done"] | float | timedelta = "done"
    """How long a call keeps its key: until it starts, until it has ended, or so many seconds from the call."""
    window_s: float | timedelta | None = None
    """Seconds from the call for which the key is kept at least, even when the task ends sooner."""
    on_conflict: OnConflict = "drop"
    """What becomes of a second call."""

    def __post_init__(self) -> None:
        until, window_s = self.until, self.window_s
        if isinstance(window_s, timedelta):
            window_s = window_s.total_seconds()
        if isinstance(until, timedelta):
            until = until.total_seconds()
        if isinstance(until, bool) or not (until in _UNTIL or isinstance(until, int | float)):
            raise ImproperlyConfigured(f"Unique(until={until!r}): 'started', 'done' or a number of seconds is wanted")
        for name, value in (("until", until), ("window_s", window_s)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if (number and not 0 < cast("float", value) < math.inf) or (
                name == "window_s" and not (value is None or number)
            ):
                raise ImproperlyConfigured(f"Unique({name}={value!r}): seconds above 0 are wanted")
        if not isinstance(until, str) and window_s is not None:
            raise ImproperlyConfigured("Unique(): give seconds as until= or as window_s=, not both")
        if self.on_conflict not in _ON_CONFLICT:
            raise ImproperlyConfigured(
                f"Unique(on_conflict={self.on_conflict!r}): it is one of {', '.join(map(repr, _ON_CONFLICT))}"
            )
        by = (self.by,) if isinstance(self.by, str) else self.by
        if by is not None and not callable(by):
            by = tuple(by)
            if not by or not all(isinstance(name, str) for name in by):
                raise ImproperlyConfigured(f"Unique(by={self.by!r}): names of parameters, or a function, are wanted")
        force_setattr(self, "by", by)
        force_setattr(self, "until", until)
        force_setattr(self, "window_s", None if window_s is None else float(window_s))

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters of `by`; None when it is a function or not given."""
        return None if self.by is None or callable(self.by) else tuple(self.by)

    @property
    def mode(self) -> Until:
        """What ends the hold: the start, the end, or the clock alone."""
        return self.until if isinstance(self.until, str) else "window"

    @property
    def kept_s(self) -> float:
        """Seconds for which the key is kept at least; 0: as long as the call lives."""
        return (
            float(cast("float", self.window_s or 0.0))
            if isinstance(self.until, str)
            else float(cast("float", self.until))
        )


def as_unique(task_name: str, value: Any) -> Unique | None:
    """Return what the option `unique=` means; None: not unique. Raises `ImproperlyConfigured`."""
    if value is None or value is False:
        return None
    if value is True:
        return Unique()
    if isinstance(value, Unique):
        return value
    raise ImproperlyConfigured(f"task {task_name!r}: unique={value!r}: True, False or celeriac.Unique(...) is wanted")


def make_key(task_name: str, parts: Any) -> str:
    """Return the key of a call: the task's name and a digest of what makes it the same as another.

    Raises `ArgumentError` when that is no plain data.
    """
    try:
        text = msgspec.json.encode(parts, enc_hook=_plain, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(
            f"calling {task_name!r}: no unique key can be made of its arguments: {error}; choose plain ones with"
            " unique=Unique(by=...)"
        ) from None
    import hashlib  # OpenSSL: 3 ms and 4 MB that programs without it do not need

    return f"{task_name}:{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"a {type(value).__qualname__} is no plain data")


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """What the header `celeriac_unique` says."""

    key: Annotated[str, Meta(min_length=1, max_length=400, pattern=r"^[^\ud800-\udfff]+$")]
    until: Until
    on_conflict: OnConflict
    expires_s: Seconds
    """How long the key is held for a call that waits."""
    window_s: Seconds = 0.0


# -- steps ------------------------------------------------------------------------------------------------------------


class Take(Struct, frozen=True):
    """A caller wants the key, to send a call."""

    key: str
    id: str
    hold_s: float
    window_s: float
    on_conflict: OnConflict


class Undo(Struct, frozen=True):
    """A caller could not send the call for which it took the key; `replaced` gets back what it lost by that."""

    key: str
    id: str
    replaced: str = ""


class Arrive(Struct, frozen=True):
    """A worker has claimed the message of a call: may it run?"""

    key: str
    id: str
    until: Until
    on_conflict: OnConflict
    hold_s: float
    """For how long the key is the call's at least, if it may run."""
    wait_s: float
    """For how long it is reserved, if the call has to wait."""
    window_s: float = 0.0


class Hold(Struct, frozen=True):
    """Keep the key for so many seconds from now at least; `exactly`: and no longer; `anew`: even if it has run out.

    What runs holds its key anew.  What only waits must not: by the time this is made it may have ended elsewhere.
    """

    key: str
    id: str
    hold_s: float
    exactly: bool = False
    anew: bool = False


class Release(Struct, frozen=True):
    """The call has come to its end."""

    key: str
    id: str


Step = Take | Undo | Arrive | Hold | Release

Verdict = Literal["taken", "replaced", "follows", "duplicate", "run", "wait", "gone", "done"]


class Answer(Struct, frozen=True):
    """What came of a step.

    To `Take`: `taken`; `replaced` (taken from the call `id`, which will not run); `follows` (will run after the holder; `id` is
    the follower that it replaced, if any); `duplicate` of `id`.  To `Arrive`: `run`, `wait` for `id`, `gone` for the sake of
    `id`.  To all others `done`.
    """

    verdict: Verdict
    id: str = ""


class Lock(Struct, frozen=True):
    """What stands under a key. Times are Unix seconds of the store."""

    holder: str
    until: float
    phase: Phase = "queued"
    window_until: float = 0.0
    follower: str = ""
    follower_until: float = 0.0


class After(Struct, frozen=True):
    """What a step leaves behind."""

    lock: Lock | None
    answer: Answer
    replaced: str = ""
    """A call that must not run any more, because `answer` put another in its place."""
    restored: str = ""
    """A call that may run again after all."""


DONE: Final = Answer("done")
RUN: Final = Answer("run")


def apply_step(lock: Lock | None, step: Step, now: float, replaced_by: str = "") -> After:
    """Return what follows from a step; `now` is the store's clock in Unix seconds.

    `replaced_by` is the call that took the place of the one that arrives, or that `Undo` wants to restore, if any did.
    """
    lock = _current(lock, now)
    match step:
        case Take():
            return _take(lock, step, now)
        case Undo():
            return _undo(lock, step, step.replaced if replaced_by else "")
        case Arrive():
            return After(lock, Answer("gone", replaced_by)) if replaced_by else _arrive(lock, step, now)
        case Hold():
            return After(_held(lock, step, now), DONE)
        case Release():
            return After(_released(lock, step.id, now), DONE, restored=step.id)


def _current(lock: Lock | None, now: float) -> Lock | None:
    """Leave out what has run out."""
    if lock is None:
        return None
    if lock.follower and lock.follower_until <= now:
        lock = replace(lock, follower="", follower_until=0.0)
    return _next(lock) if lock.until <= now else lock


def _next(lock: Lock) -> Lock | None:
    return Lock(lock.follower, lock.follower_until) if lock.follower else None


def _take(lock: Lock | None, step: Take, now: float) -> After:
    until = now + max(step.hold_s, step.window_s)
    window_until = now + step.window_s if step.window_s else 0.0
    if lock is None:
        return After(Lock(step.id, until, window_until=window_until), Answer("taken"))
    if lock.holder == step.id and lock.phase != "ended":  # the same call, sent again
        return After(replace(lock, until=max(lock.until, until)), Answer("taken"))
    if lock.follower == step.id:
        return After(replace(lock, follower_until=max(lock.follower_until, until)), Answer("follows"))
    match step.on_conflict:
        case "replace" if lock.phase == "queued" and not lock.follower:
            taken = Lock(step.id, until, window_until=max(window_until, lock.window_until))
            return After(taken, Answer("replaced", lock.holder), replaced=lock.holder)
        case "replace":
            follows = replace(lock, follower=step.id, follower_until=max(until, lock.until + step.hold_s))
            return After(follows, Answer("follows", lock.follower), replaced=lock.follower)
        case "queue" if not lock.follower:
            follows = replace(lock, follower=step.id, follower_until=max(until, lock.until + step.hold_s))
            return After(follows, Answer("follows"))
        case "queue":
            return After(lock, Answer("duplicate", lock.follower))
    return After(lock, Answer("duplicate", lock.holder))


def _undo(lock: Lock | None, step: Undo, restored: str) -> After:
    if lock is not None and lock.holder == step.id:
        lock = replace(lock, holder=restored) if restored else _next(lock)
    elif lock is not None and lock.follower == step.id:
        lock = replace(lock, follower=restored, follower_until=lock.follower_until if restored else 0.0)
    else:
        restored = ""
    return After(lock, DONE, restored=restored)


def _arrive(lock: Lock | None, step: Arrive, now: float) -> After:
    if lock is not None and lock.follower == step.id:
        kept = replace(lock, follower_until=max(lock.follower_until, now + step.wait_s))
        return After(kept, Answer("wait", lock.holder))
    mine = lock is not None and lock.holder == step.id
    if step.until == "started":
        # Given back at the start, so there is nothing to hold for a run that comes again.
        return After(_released(lock, step.id, now), RUN)
    if step.until == "window":
        if lock is None or not mine:
            return After(lock, RUN)  # its window is over
        # Of a follower the window begins only now.
        window_until = lock.window_until or now + step.window_s
        return After(replace(lock, phase="running", until=window_until, window_until=window_until), RUN)
    if lock is None or mine:
        window_until = lock.window_until if lock is not None else 0.0
        until = max(lock.until if lock is not None else 0.0, now + step.hold_s)
        follower = (lock.follower, lock.follower_until) if lock is not None else ("", 0.0)
        return After(Lock(step.id, until, "running", window_until, *follower), RUN)
    if step.on_conflict in ("queue", "replace") and not lock.follower:
        waits = replace(lock, follower=step.id, follower_until=max(now + step.wait_s, lock.until + step.hold_s))
        return After(waits, Answer("wait", lock.holder))
    return After(lock, Answer("gone", lock.follower or lock.holder))


def _held(lock: Lock | None, step: Hold, now: float) -> Lock | None:
    until = now + step.hold_s
    if lock is None:
        return Lock(step.id, until, "running") if step.anew else None
    if lock.holder == step.id and lock.phase != "ended":
        return replace(lock, until=max(until, lock.window_until if step.exactly else lock.until))
    if lock.follower == step.id and not step.exactly:
        return replace(lock, follower_until=max(until, lock.follower_until))
    return lock


def _released(lock: Lock | None, task_id: str, now: float) -> Lock | None:
    if lock is None:
        return None
    if lock.follower == task_id:
        return replace(lock, follower="", follower_until=0.0)
    if lock.holder != task_id:
        return lock
    if lock.window_until > now:
        return replace(lock, phase="ended", until=lock.window_until)
    return _next(lock)
