"""The result of a task that was run on the spot."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from celeriac import exceptions
from celeriac.client.result_base import Callback, Recipe, ResultBase
from celeriac.client.result_gathering import decisive_ancestors
from celeriac.client.task_result import TaskResult
from celeriac.core import states
from celeriac.wire.result_meta import ResultMeta

R = TypeVar("R")


class EagerResult(TaskResult[R]):
    """A result that was there from the beginning; `apply()` returns it.

    Args:
        id: the task's.
        ret_value: what the task returned, or the exception.
        state: how it ended.
        traceback: of a failure, as text.
        name: the task's.
    """

    __slots__ = ("_children", "_done")

    def __init__(
        self, id: str, ret_value: R | BaseException, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(id)
        self._done = ResultMeta(status=state, result=ret_value, traceback=traceback, name=name, task_id=id)
        self._children: list[ResultBase[Any]] = []

    @classmethod
    def of(cls, meta: ResultMeta, children: Sequence[ResultBase[Any]] = ()) -> EagerResult[Any]:
        """Return the result that would be stored as `meta`; `children` are results of what the task has sent."""
        result: EagerResult[Any] = cls(meta.task_id, meta.result, meta.status)
        result._done = meta
        result._children = list(children)
        return result

    @property
    def children(self) -> list[ResultBase[Any]]:
        """Results of what the task has sent, its callbacks included."""
        return self._children

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *_celerys: Any,
        callback: Callback | None = None,
        follow_parents: bool = True,
        **_ignored: Any,
    ) -> R:
        """Return what the task returned, or raise what it raised; None when it was ignored or rejected.

        Takes what `AsyncResult.get` takes; there is nothing to wait for.  As there, what failed before it is raised first, unless
        `follow_parents` is false.
        """
        if propagate and follow_parents and self._done.status in states.PROPAGATE_STATES:
            for ancestor in decisive_ancestors(self):
                ancestor._conclude(propagate)
        value = self._conclude(propagate)
        if callback is not None:
            callback(self.id, value)
        result: R = value
        return result

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> R:
        """As `get`."""
        return self.get(timeout, propagate, **options)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def ready(self) -> bool:
        """Always true: it has ended."""
        return True

    @property
    def ignored(self) -> bool:
        """Always false: the value is there."""
        return False

    @property
    def was_duplicate(self) -> bool:
        """Always false: it was run."""
        return False

    @property
    def supports_native_join(self) -> bool:
        """Always false: there is nothing to wait for."""
        return False

    @property
    def backend(self) -> None:
        """None: it is stored nowhere."""
        return

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Call `callback` with this result, at once and here; `on_error` is called with what it raises, if it is given."""
        try:
            callback(self)
        except Exception as error:
            if on_error is None:
                raise
            on_error(error)

    def forget(self) -> None:
        """Do nothing: it is stored nowhere."""

    def resume(self) -> EagerResult[R]:
        """Raise `NotResumable`: nothing is kept of what ran on the spot."""
        raise exceptions.NotResumable(f"task {self.id} was run on the spot: call it again")

    def revoke(self, *_args: Any, **_kwargs: Any) -> None:
        """Make this a revoked result: `state` is REVOKED and `get` raises `TaskRevokedError`, as if a worker had dropped the task."""
        self._done.status, self._done.traceback = states.REVOKED, None
        self._done.result = exceptions.TaskRevokedError("revoked")

    def terminate(self, *_args: Any, **_kwargs: Any) -> None:
        """As `revoke`."""
        self.revoke()

    def revoke_by_stamped_headers(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: it has ended, and bears no stamps."""

    def __copy__(self) -> EagerResult[R]:
        copied: EagerResult[R] = EagerResult.of(replace(self._done), self._children)
        copied.parent = self.parent
        return copied

    def _recipe(self) -> Recipe:
        return EagerResult.of, (self._done, self._children)

    def _meta(self) -> ResultMeta:
        return self._done

    def _known_state(self) -> str:
        return self._done.status

    def _conclude(self, propagate: bool, note: str = "") -> Any:
        value = self._done.result
        if self._done.status in states.PROPAGATE_STATES:
            if propagate:
                if note and f"\n{note}" not in getattr(value, "__notes__", ()):
                    value.add_note(f"\n{note}")
                raise value
        elif self._done.status != states.SUCCESS:
            return None
        return value
