"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from celeriac import exceptions
from celeriac.client import result_tuples, resuming
from celeriac.client.current import get_current_app
from celeriac.client.joining import assert_will_not_block
from celeriac.client.result_base import Callback, Recipe, ResultBase
from celeriac.client.result_callbacks import call_when_over
from celeriac.client.result_gathering import Gathering, decisive_ancestors, leaves, wait
from celeriac.client.result_status import status_of
from celeriac.client.task_result import TaskResult
from celeriac.core import states
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured, SecurityError
from celeriac.wire.result_meta import ResultMeta, decode

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_siblings import Siblings

R = TypeVar("R")

PENDING: Final = ResultMeta(status=states.PENDING, task_id="")


class AsyncResult(TaskResult[R]):
    """The result of a task by its id. It is looked up when asked for; a ready result is remembered.

    It can be pickled, and belongs to the current app where it is read.

    Args:
        id: the task's.
        backend: accepted for Celery's sake; it must be the app's.
        task_name: accepted for Celery's sake.
        app: where the result is looked for; the current app if not given.
        parent: the result of what came before.
        ignored: the task was called with `ignore_result`.

    Raises `ImproperlyConfigured` when there is no app.
    """

    __slots__ = ("_document", "_siblings", "_state", "app", "ignored", "was_duplicate")

    def __init__(
        self,
        id: str,
        backend: Any = None,
        task_name: str | None = None,
        app: Celeriac | None = None,
        parent: ResultBase[Any] | None = None,
        *,
        ignored: bool = False,
    ) -> None:
        super().__init__(id, parent)
        self.app = app or get_current_app()
        check_backend(self.app, backend)
        self.ignored = ignored
        """True when the task was called with `ignore_result`: then `get()` returns None at once."""
        self.was_duplicate = False
        """True when nothing was sent, because a unique task has this call already; the id is that call's."""
        self._document: bytes | None = None
        self._state: str | None = None
        """Of the document, which is one of an ended task."""
        self._siblings: tuple[Siblings, int] | None = None
        """Those sent together with it, and its place among them."""

    # -- waiting ------------------------------------------------------------------------------------------------------

    @overload
    def get(
        self,
        timeout: float | None = ...,
        propagate: Literal[True] = ...,
        interval: float = ...,
        no_ack: bool = ...,
        follow_parents: bool = ...,
        callback: Callback | None = ...,
        on_message: Callable[[Any], object] | None = ...,
        on_interval: Callable[[], object] | None = ...,
        disable_sync_subtasks: bool = ...,
    ) -> R: ...
    @overload
    def get(
        self,
        timeout: float | None,
        propagate: bool,
        interval: float = ...,
        no_ack: bool = ...,
        follow_parents: bool = ...,
        callback: Callback | None = ...,
        on_message: Callable[[Any], object] | None = ...,
        on_interval: Callable[[], object] | None = ...,
        disable_sync_subtasks: bool = ...,
    ) -> R | BaseException: ...
    @overload
    def get(
        self,
        timeout: float | None = ...,
        *,
        propagate: bool,
        interval: float = ...,
        no_ack: bool = ...,
        follow_parents: bool = ...,
        callback: Callback | None = ...,
        on_message: Callable[[Any], object] | None = ...,
        on_interval: Callable[[], object] | None = ...,
        disable_sync_subtasks: bool = ...,
    ) -> R | BaseException: ...
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callback | None = None,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R | BaseException | Any:
        """Wait until the task has ended and return what it returned, or raise what it raised.

        Args:
            timeout: seconds; None waits for ever (but not for a backend that is away for good).
            propagate: False returns the exception instead of raising it.
            follow_parents: when a parent fails, raise its error, without waiting any longer. False looks at this task alone,
                which is less work where the parent is a group of many thousands.
            callback: is called with the id and the value.
            disable_sync_subtasks: False allows waiting inside a task, where it can block all workers.
            interval, no_ack, on_message, on_interval: accepted for Celery's sake; nothing is polled.

        Raises:
            celeriac.exceptions.TimeoutError: the task had not ended after `timeout` seconds.
            TaskRevokedError: it was revoked, or had expired.
            BackendUnavailable: the results can't be reached.
            RuntimeError: called inside a task.
        """
        if self.ignored:
            return None
        if disable_sync_subtasks:
            assert_will_not_block()
        if self.parent is None and self._is_at_hand():
            return self._conclude_and_tell(propagate, callback)
        gathering = self._gathering(propagate, follow_parents)
        wait(gathering, timeout)
        return self._concluded(gathering, propagate, callback)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        follow_parents: bool = True,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """As `get`, without blocking the event loop. `await result` is the same."""
        if self.ignored:
            return None  # type: ignore[return-value]  # as Celery does
        if disable_sync_subtasks:
            assert_will_not_block()
        if self.parent is None and await self._is_at_hand_or_next():
            known: R = self._conclude_and_tell(propagate, callback)
            return known
        from celeriac.client.result_awaiting import await_all  # with asyncio, which most programs do not need

        gathering = self._gathering(propagate, follow_parents)
        await await_all(gathering, timeout)
        value: R = self._concluded(gathering, propagate, callback)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def then(
        self,
        callback: Callable[[AsyncResult[R]], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Have `callback` called with this result when the task has ended, whether it succeeded or failed.

        It is called in a thread that does nothing else but such calls, one at a time, in the process that asked for it; what it
        raises goes to `on_error`, and without one into the log.  `on_error` also hears of a backend that stays away.  `weak` is
        accepted for Celery's sake: until it is called, the callback is kept.  Does not block.
        """
        call_when_over(self.app, self, self._gathering(propagate=False, follow_parents=False), callback, on_error)

    @property
    def supports_native_join(self) -> bool:
        """Always true: waiting never polls, whatever the backend."""
        return True

    # -- other things to do -------------------------------------------------------------------------------------------

    @property
    def children(self) -> list[ResultBase[Any]]:
        """The results of what this task has sent: tasks, and groups of tasks."""
        children: list[ResultBase[Any]] = []
        for written in self._meta().children or ():
            try:
                children.append(result_tuples.from_tuple(self.app, written))
            except ValueError:
                pass  # some other program's idea of a child
        return children

    def forget(self) -> None:
        """Delete the result, and those of its parents, from the backend. Idempotent."""
        forget([self, *leaves(self.ancestors())])

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Have no worker run this task; `terminate` also ends it when it runs. See `app.control.revoke`.

        With `wait`, return when it has ended, at the latest after `timeout` seconds (1 if not given).  `connection` is accepted
        for Celery's sake.
        """
        self.app.control.revoke(self.id, terminate=terminate, signal=signal)
        if wait:
            self._wait_for_end(timeout)

    def terminate(self, signal: str | int | None = None, *, wait: bool = False, timeout: float | None = None) -> None:
        """As `revoke` with `terminate=True`."""
        self.revoke(terminate=True, signal=signal, wait=wait, timeout=timeout)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Have no worker run any task that carries one of these stamps. See `app.control.revoke_by_stamped_headers`."""
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)
        if wait:
            self._wait_for_end(timeout)

    def _wait_for_end(self, timeout_s: float | None) -> None:
        if self.ignored or not self.app.backend.stores:
            return  # nobody will tell of it
        with contextlib.suppress(exceptions.TimeoutError):
            self.get(1.0 if timeout_s is None else timeout_s, propagate=False, disable_sync_subtasks=False)

    # -- being copied -------------------------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        copied = type(self)(self.id, app=self.app, parent=self.parent, ignored=self.ignored)
        copied.was_duplicate = self.was_duplicate
        return copied

    def __deepcopy__(self, _memo: Any) -> Self:
        return self.__copy__()  # of the same app: a result is a name for something that is elsewhere

    def _recipe(self) -> Recipe:
        return _restored, (type(self), self.id, self.ignored, self.was_duplicate)

    # -- what is known of it ------------------------------------------------------------------------------------------

    def _meta(self) -> ResultMeta:
        document = self._document or self._fetch()
        return PENDING if document is None else self._read(document)

    def _known_state(self) -> str | None:
        return states.IGNORED if self.ignored else self._state

    def _is_at_hand(self) -> bool:
        """Tell whether the document of the ended task is known, or is found with those of its siblings."""
        if self._document is None and self._siblings is not None:
            self._require_backend()
            siblings, place = self._siblings
            document = siblings.find(self.app, place)
            if document is not None and (status := self._status_in(document)) in states.READY_STATES:
                self._take(status, document)
        return self._document is not None

    async def _is_at_hand_or_next(self) -> bool:
        """As `_is_at_hand`, without blocking: the backend is asked in a thread, and only for the next of siblings read in order."""
        if self._document is None and self._siblings is not None:
            siblings, place = self._siblings
            if siblings.has_read(place):
                return self._is_at_hand()
            if siblings.is_next(place):
                import asyncio  # which most programs do not need

                with contextlib.suppress(BackendUnavailable):  # who waits for it is told if it stays away
                    return await asyncio.to_thread(self._is_at_hand)
        return self._document is not None

    def _take(self, status: str, document: bytes) -> None:
        """Remember the document of a task that has ended."""
        self._document, self._state = document, status  # in this order: other threads look at the state first

    def resume(self) -> Self:
        """Have a chain that failed go on from the step that failed; returns itself, which waits again.

        The results of the steps before it are kept, and not worked out again.  Asked of any result of the chain from that step on.

        Raises `NotResumable` when nothing of it has failed, or its failed step is not kept: it was a member of a chord, it is over
        `result_expires`, or `result_keep_failed_steps` is off.  Otherwise as `Task.apply_async`.  Blocking, thread-safe, not idempotent.
        """
        resuming.resume(self)
        result: ResultBase[Any] | None = self
        while result is not None:
            if isinstance(result, AsyncResult):
                result._unlearn()
            result = result.parent
        return self

    def _unlearn(self) -> None:
        """Forget what is remembered of the task's end, so that it is looked up again."""
        self._state = None
        self._document = None
        self._siblings = None

    def _status_in(self, document: bytes) -> str:
        content = self.app.content
        return self._read(document).status if content.signs_results else status_of(document, lambda: content.results)

    def _read(self, document: bytes) -> ResultMeta:
        content = self.app.content
        meta = decode(document, content.results)
        if meta.task_id != self.id and content.signs_results:
            raise SecurityError(
                f"what is stored as the result of task {self.id} was signed for task {meta.task_id!r:.80}"
            )
        return meta

    def _fetch(self) -> bytes | None:
        """Return the document as it is now; a ready one is kept."""
        if self.ignored:
            return None
        self._require_backend()
        document = self.app._reader.fetch([self.id]).get(self.id)
        if document is not None:
            status = self._read(document).status
            if status in states.READY_STATES:
                self._take(status, document)
        return document

    def _gathering(self, propagate: bool, follow_parents: bool) -> Gathering:
        ancestors = decisive_ancestors(self) if propagate and follow_parents and self.parent is not None else ()
        return Gathering(self, [self], ancestors, stop_at_failure=propagate)

    def _require_backend(self) -> None:
        if not self.app.backend.stores:
            raise ImproperlyConfigured(
                f"the result of task {self.id} is not kept anywhere: the app has no result backend; give it one, such as"
                " Celeriac(..., backend='redis://localhost/1')"
            )

    def _concluded(self, gathering: Gathering, propagate: bool, callback: Callback | None) -> Any:
        if propagate:
            gathering.raise_failure()
        return self._conclude_and_tell(propagate, callback)

    def _conclude_and_tell(self, propagate: bool, callback: Callback | None) -> Any:
        value = self._conclude(propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    def _conclude(self, propagate: bool, note: str = "") -> Any:
        if self.ignored:
            return None
        # Decoded anew each time: an exception that was raised is marked by where it went.
        assert self._document is not None
        meta = self._read(self._document)
        value = meta.result
        if propagate and meta.status in states.PROPAGATE_STATES:
            assert isinstance(value, BaseException)
            if meta.traceback:
                value.add_note(f"\nIn the worker, task {self.id}:\n{meta.traceback.rstrip()}")
            if note:
                value.add_note(f"\n{note}")
            raise value
        return value


def check_backend(app: Celeriac, backend: Any) -> None:
    """Raise `ImproperlyConfigured` when a result is to be read from a backend that is not its app's."""
    if backend is not None and backend is not app.backend:
        raise ImproperlyConfigured(
            f"results are read from their app's backend, not from {backend!r:.80}: give app= instead"
        )


def forget(results: Iterable[TaskResult[Any]]) -> None:
    """Delete results from their backends, each of which is asked once."""
    by_app: dict[Celeriac, list[str]] = {}
    for result in results:
        if isinstance(result, AsyncResult):
            result._unlearn()
            by_app.setdefault(result.app, []).append(result.id)
    for app, ids in by_app.items():
        app._reader.forget(ids)


def _restored(kind: type[AsyncResult[R]], task_id: str, ignored: bool, was_duplicate: bool) -> AsyncResult[R]:
    result = kind(task_id, ignored=ignored)
    result.was_duplicate = was_duplicate
    return result
