"""What can be asked of the result of one task, once its document is at hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from msgspec import UNSET

from celeriac.client.result_base import Callback, ResultBase
from celeriac.core import states
from celeriac.wire.result_meta import ResultMeta

R = TypeVar("R")


class TaskResult(ResultBase[R]):
    """What results of sent and of eagerly run tasks have in common."""

    __slots__ = ()

    def __init__(self, task_id: str, parent: ResultBase[Any] | None = None) -> None:
        self.id = task_id
        self.parent = parent

    def _meta(self) -> ResultMeta:
        """Return what is known of the task now."""
        raise NotImplementedError

    def _known_state(self) -> str | None:
        """Return how the task ended, as far as that is known without asking; IGNORED where nobody will ever know."""
        raise NotImplementedError

    def _conclude(self, propagate: bool, note: str = "") -> Any:
        """Return the value of a task that has ended, or raise what it raised, with `note` added; else return that."""
        raise NotImplementedError

    @property
    def task_id(self) -> str:
        """The id."""
        return self.id

    @property
    def state(self) -> str:
        """The task's state now: PENDING (or unknown), STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or one of its own."""
        return self._meta().status

    @property
    def status(self) -> str:
        """Another name of `state`."""
        return self.state

    @property
    def result(self) -> R | BaseException | Any:
        """The value, or the exception, or the meta of a state of the task's own; None while there is none."""
        return self._meta().result

    @property
    def info(self) -> R | BaseException | Any:
        """Another name of `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The traceback of a task that failed, as text."""
        return self._meta().traceback

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        text = self._meta().date_done
        return datetime.fromisoformat(text) if text else None

    def ready(self) -> bool:
        """Tell whether the task has ended."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Tell whether the task has returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task has failed."""
        return self.state == states.FAILURE

    def throw(self, *_args: Any, **_kwargs: Any) -> None:
        """Raise what the task failed with; nothing when it has not. Arguments are accepted for Celery's sake."""
        self.maybe_throw()

    def maybe_throw(self, propagate: bool = True, callback: Callback | None = None) -> Any:
        """Raise what the task failed with, else return its value or None; `callback` gets id and value."""
        meta = self._meta()
        if propagate and meta.status in states.PROPAGATE_STATES and isinstance(meta.result, BaseException):
            raise meta.result
        if callback is not None:
            callback(self.id, meta.result)
        return meta.result

    maybe_reraise = maybe_throw

    def exists(self) -> bool:
        """Tell whether the backend knows anything of the task."""
        return self.state != states.PENDING

    # What `result_extended` stores besides.

    @property
    def name(self) -> str | None:
        """The task's name; needs `result_extended`."""
        return self._meta().name or None

    @property
    def args(self) -> Any:
        """The call's positional arguments; needs `result_extended`."""
        return _or_none(self._meta().args)

    @property
    def kwargs(self) -> Any:
        """The call's keyword arguments; needs `result_extended`."""
        return _or_none(self._meta().kwargs)

    @property
    def worker(self) -> str | None:
        """The node that ran the task; needs `result_extended`."""
        return self._meta().worker or None

    @property
    def retries(self) -> int | None:
        """How often the task was retried; needs `result_extended`."""
        retries = self._meta().retries
        return retries if isinstance(retries, int) else None

    @property
    def queue(self) -> str | None:
        """The queue that the task came from; needs `result_extended`."""
        return self._meta().queue or None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TaskResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    __hash__ = ResultBase.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


def _or_none(value: Any) -> Any:
    return None if value is UNSET else value
