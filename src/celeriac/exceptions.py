"""Every error that Celeriac raises, under Celery's names where Celery has one.

One root (`CeleriacError`) and few families: what a task says about itself (`TaskPredicate`), what went wrong with a task
(`TaskError` and the worker's verdicts), what went wrong with the way there (`OperationalError`) and what was set up wrongly
(`ImproperlyConfigured`).  Each message says what happened to which thing and what to do about it.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AlreadyRegistered",
    "ArgumentError",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "BackendUnavailable",
    "BadMessage",
    "BrokerFull",
    "BrokerUnavailable",
    "CeleriacError",
    "CeleryError",
    "ChordError",
    "ContentDisallowed",
    "CoordinationUnavailable",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTask",
    "EncodeError",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "MessageTooLarge",
    "NotRegistered",
    "OperationalError",
    "ParseException",
    "PartlySent",
    "PublishBufferFull",
    "PublishTimeout",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SchedulingError",
    "SecurityError",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskFailed",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "Unroutable",
    "WorkerLostError",
]


class CeleriacError(Exception):
    """The root of all errors that Celeriac itself raises."""


CeleryError = CeleriacError
"""Celery's name of the root, so that `except CeleryError` goes on working."""


class ImproperlyConfigured(CeleriacError):
    """A setting, an option or a URL is wrong; the message names it and what it may be."""


class DuplicateNodenameWarning(UserWarning):
    """Several workers answered under one name: replies, events and queues of theirs get mixed up."""


# -- what a task says about itself ------------------------------------------------------------------------------------


class TaskPredicate(CeleriacError):
    """The root of what a task raises to steer its own end rather than to fail."""


class Ignore(TaskPredicate):
    """Raised in a task: end it without storing any state."""


class Reject(TaskPredicate):
    """Raised in a task: do not count it as done; `requeue` gives it back, else it is parked with `reason`."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __str__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class Retry(TaskPredicate):
    """Raised by `Task.retry`: the task is to run again at `when` (a datetime, or seconds from now)."""

    def __init__(
        self, message: str | None = None, exc: BaseException | str | None = None, when: Any = None, **_kwargs: Any
    ) -> None:
        self.message = message
        self.exc = exc
        self.when = when
        # What the next run is to be like, for whoever runs the task; None keeps what was.
        self.when_s: float | None = None
        """Unix seconds; None leaves the time to the task's policy."""
        self.args_override: tuple[Any, ...] | None = None
        self.kwargs_override: dict[str, Any] | None = None
        self.max_retries: int | None = None
        self.options: dict[str, Any] = {}
        super().__init__(message, exc if isinstance(exc, str) else repr(exc) if exc else None, when)

    def humanize(self) -> str:
        """Say when the task runs again, in words."""
        if self.when is None:
            return "later"
        return f"in {self.when}s" if isinstance(self.when, int | float) else f"at {self.when}"

    def __str__(self) -> str:
        why = f": {self.exc!r}" if self.exc else ""
        return self.message or f"Retry {self.humanize()}{why}"


# -- what went wrong with a task --------------------------------------------------------------------------------------


class TaskError(CeleriacError):
    """The root of what is wrong with a task or its call."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is known here; import the module that defines it, or correct the name."""

    def __init__(self, name: str = "", hint: str = "import the module that defines it (include=)") -> None:
        self.name = name
        self.hint = hint
        super().__init__(name)  # the name alone, as Celery has it: this is what travels in results

    def __str__(self) -> str:
        return f"no task {self.name!r} is registered: {self.hint}"


class AlreadyRegistered(TaskError):
    """Two different functions ask for one task name."""


class ArgumentError(TypeError, TaskError):
    """The arguments of a call do not fit the task's signature, or are no plain data; the parameter is named."""


class DuplicateTask(TaskError):
    """A call of a unique task was refused, because another with the same key, `existing_id`, waits or runs."""

    def __init__(self, message: str = "", existing_id: str = "") -> None:
        self.existing_id = existing_id
        super().__init__(message, existing_id)

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidTaskError(TaskError):
    """A task was defined in a way that cannot work."""


class MaxRetriesExceededError(TaskError):
    """A task asked for another retry after its last one."""

    def __init__(self, *args: Any, task_args: Any = (), task_kwargs: Any = None) -> None:
        self.task_args = task_args
        self.task_kwargs = task_kwargs or {}
        super().__init__(*args)


class TaskRevokedError(CeleriacError):
    """The task was revoked before or while it ran, or had expired when its turn came."""


class TaskFailed(TaskError):
    """A task failed with an exception whose class is not known in this process."""

    def __init__(self, exc_type: str = "Exception", message: str = "") -> None:
        self.exc_type = exc_type
        self.message = message
        super().__init__(exc_type, message)

    def __str__(self) -> str:
        return f"{self.exc_type}: {self.message}" if self.message else self.exc_type


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task when its soft time limit (seconds) has passed; catch it to clean up.

    It is no `CeleriacError`: a task's own `except CeleriacError` must not swallow it by accident.
    """

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args!r}"


class Terminated(Exception):
    """Raised inside a task that runs in a thread when it is terminated; left uncaught, the task ends as revoked.

    It is no `CeleriacError`, for the same reason.
    """


class TimeLimitExceeded(Exception):
    """The hard time limit (seconds) passed and the process that ran the task was killed."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args!r}"


class WorkerLostError(Exception):
    """The process that ran the task went away before it could report."""


class TimeoutError(CeleriacError):  # noqa: A001 - Celery's name
    """A result was not there within the time that the caller was ready to wait."""


# -- messages ---------------------------------------------------------------------------------------------------------


class EncodeError(CeleriacError):
    """A value cannot be written by the chosen serializer."""


class DecodeError(CeleriacError):
    """Bytes cannot be read by the serializer that they name."""


class ContentDisallowed(DecodeError):
    """A content type arrived that `accept_content` does not list."""


class SecurityError(DecodeError):
    """A signature is missing, does not hold, or was made with a key or certificate that is not trusted."""


class BadMessage(DecodeError):
    """A message breaks the protocol; the text says where. It is parked, never dropped."""


class MessageTooLarge(EncodeError):
    """A message is over `task_message_max_bytes`; pass a reference to the data instead of the data."""


# -- the way there ----------------------------------------------------------------------------------------------------


class OperationalError(CeleriacError):
    """Broker or backend could not do what was asked, for a reason outside the program."""


class BrokerUnavailable(OperationalError):
    """The broker cannot be reached, or went away."""


class BrokerFull(BrokerUnavailable):
    """The broker is there, and has no room: nothing was sent, and nothing is tried again, because room is not made by waiting."""


class PublishTimeout(BrokerUnavailable):
    """A message was not confirmed within the publishing deadline; whether it arrived is not known."""


class PublishBufferFull(BrokerUnavailable):
    """The broker is away, and the buffer of this process (`publish_buffer_max`) takes no more: nothing was sent."""


class Unroutable(OperationalError):
    """No queue is bound to the exchange for the routing key of a message: that message was not sent, all others were.

    `ids` names the tasks.  A broadcast, and any other fanout exchange, may have no queue.
    """

    def __init__(self, message: str = "", ids: Any = ()) -> None:
        self.ids = frozenset(ids)
        super().__init__(message)


class PartlySent(CeleriacError):
    """Of many calls that were sent at once some were accepted before sending came to an end; `__cause__` says why it did.

    It is no `OperationalError`: who does everything again because of one would have the accepted calls run twice.
    """

    def __init__(self, message: str = "", accepted: Any = (), unsure: Any = (), rest: Any = ()) -> None:
        self.accepted = list(accepted)
        """Results of the calls that the broker has, in their order."""
        self.unsure = list(unsure)
        """Results of the calls of which it is not known whether the broker has them, in their order."""
        self.rest = rest
        """An iterator of the calls that are neither, as they were given; of a workflow it is empty."""
        super().__init__(message)


class BackendError(CeleriacError):
    """A result could not be stored or read."""


class BackendUnavailable(BackendError, OperationalError):
    """The result backend cannot be reached, or went away."""


class BackendGetMetaError(BackendError):
    """A result could not be read."""


class BackendStoreError(BackendError):
    """A result could not be stored."""


class IncompleteStream(TaskError):
    """Results were asked for that are not there yet."""


class NotResumable(TaskError):
    """There is no failed step of a chain to go on from."""


class ChordError(BackendError):
    """A member of a chord's header failed, so its body cannot run."""


class CoordinationUnavailable(OperationalError):
    """The place where limits and unique tasks are agreed on (`coordination_url`) cannot be reached; nothing was sent."""


class QueueNotFound(CeleriacError):
    """No queue of this name is configured, and `task_create_missing_queues` is off."""


class ParseException(CeleriacError, ValueError):
    """A schedule can't be read: its text or its numbers mean nothing."""


class SchedulingError(CeleriacError):
    """What a schedule asks for can't be done."""
