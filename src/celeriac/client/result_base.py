"""What can be asked of any result, once its document is at hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import UNSET

from celeriac.client.context import result_tuple
from celeriac.core import states
from celeriac.wire.result_meta import ResultMeta

R = TypeVar("R")


class ResultBase(Generic[R]):
    """What results of sent and of eagerly run tasks have in common."""

    __slots__ = ("__weakref__", "id", "parent")

    def __init__(self, task_id: str, parent: ResultBase[Any] | None = None) -> None:
        self.id = task_id
        self.parent = parent

    def _meta(self) -> ResultMeta:
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

    def as_tuple(self) -> list[Any]:
        """Return Celery's tuple form, which travels as plain data."""
        return result_tuple(self.id, self.parent.as_tuple() if self.parent is not None else None)

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
        if isinstance(other, ResultBase):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


def _or_none(value: Any) -> Any:
    return None if value is UNSET else value
