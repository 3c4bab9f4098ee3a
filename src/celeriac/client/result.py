"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from celeriac import exceptions
from celeriac.client.context import running_request
from celeriac.client.result_base import ResultBase
from celeriac.core import states
from celeriac.exceptions import ImproperlyConfigured
from celeriac.wire.result_meta import ResultMeta, decode

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

R = TypeVar("R")
Callback = Callable[[str, Any], object]

PENDING: Final = ResultMeta(status=states.PENDING, task_id="")


class AsyncResult(ResultBase[R]):
    """The result of a task by its id. It is looked up when asked for; a ready result is remembered."""

    __slots__ = ("_document", "app", "ignored")

    def __init__(
        self,
        id: str,
        backend: None = None,
        task_name: str | None = None,
        app: Celeriac | None = None,
        parent: ResultBase[Any] | None = None,
        *,
        ignored: bool = False,
    ) -> None:
        if app is None:
            raise TypeError("AsyncResult needs to know its app: use app.AsyncResult(id), or AsyncResult(id, app=app)")
        super().__init__(id, parent)
        self.app = app
        self.ignored = ignored
        """True when the task was called with `ignore_result`: then `get()` returns None at once."""
        self._document: bytes | None = None

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
            callback: is called with the id and the value.
            disable_sync_subtasks: False allows waiting inside a task, where it can block all workers.
            interval, no_ack, follow_parents, on_message, on_interval: accepted for Celery's sake; nothing is polled.

        Raises:
            celeriac.exceptions.TimeoutError: the task had not ended after `timeout` seconds.
            TaskRevokedError: it was revoked, or had expired.
            BackendUnavailable: the results can't be reached.
            RuntimeError: called inside a task.
        """
        if self.ignored:
            return None
        self._check_place(disable_sync_subtasks)
        document = self._document or self._fetch()
        if document is None or decode(document).status not in states.READY_STATES:
            document = self._wait(timeout)
        self._document = document
        return self._conclude(document, propagate, callback)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """As `get`, without blocking the event loop. `await result` is the same."""
        if self.ignored:
            return None  # type: ignore[return-value]  # as Celery does
        self._check_place(disable_sync_subtasks)
        document = self._document
        if document is None:
            self._require_backend()
            waiter = self.app._waiter
            future = waiter.expect(self.id)
            try:
                async with asyncio.timeout(timeout):
                    document = await asyncio.wrap_future(future)
            except TimeoutError:
                raise self._timed_out(timeout) from None
            finally:
                waiter.give_up(self.id, future)
            self._document = document
        value: R = self._conclude(document, propagate, callback)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    # -- other things to do -------------------------------------------------------------------------------------------

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of the tasks that this task has sent."""
        return [AsyncResult(task_id, app=self.app) for task_id in _ids_in(self._meta().children or ())]

    def forget(self) -> None:
        """Delete the result from the backend. Idempotent."""
        self._document = None
        self.app._reader.forget([self.id])

    def revoke(
        self, connection: None = None, terminate: bool = False, signal: str | None = None, wait: bool = False
    ) -> None:
        """Have workers drop this task; `terminate` also ends it when it runs. See `app.control.revoke`."""
        self.app.control.revoke(self.id, terminate=terminate, signal=signal or "SIGTERM")

    def __reduce__(self) -> str:
        raise TypeError(f"a result can't be pickled; pass its id ({self.id}) and use app.AsyncResult(id)")

    def _meta(self) -> ResultMeta:
        document = self._document or self._fetch()
        return PENDING if document is None else decode(document)

    def _fetch(self) -> bytes | None:
        """Return the document as it is now; a ready one is kept."""
        if self.ignored:
            return None
        self._require_backend()
        document = self.app._reader.fetch([self.id]).get(self.id)
        if document is not None and decode(document).status in states.READY_STATES:
            self._document = document
        return document

    def _wait(self, timeout_s: float | None) -> bytes:
        waiter = self.app._waiter
        future = waiter.expect(self.id)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            raise self._timed_out(timeout_s) from None
        finally:
            waiter.give_up(self.id, future)

    def _require_backend(self) -> None:
        if not self.app.backend.stores:
            raise ImproperlyConfigured(
                f"the result of task {self.id} is not kept anywhere: the app has no result backend; give it one, such as"
                " Celeriac(..., backend='redis://localhost/1')"
            )

    def _check_place(self, disable_sync_subtasks: bool) -> None:
        running = running_request()
        if disable_sync_subtasks and running is not None and not running.is_eager:
            raise RuntimeError(
                f"task {running.task}[{running.id}] waits for the result of another task: when all slots are taken by tasks"
                " that wait, nothing moves any more. Let the other task call the next one (link=), or pass"
                " disable_sync_subtasks=False if you are sure"
            )

    def _timed_out(self, timeout_s: float | None) -> exceptions.TimeoutError:
        return exceptions.TimeoutError(
            f"task {self.id} had not ended after {timeout_s:g} s" if timeout_s is not None else ""
        )

    def _conclude(self, document: bytes, propagate: bool, callback: Callback | None) -> Any:
        # Decoded anew each time: an exception that was raised is marked by where it went.
        meta = decode(document)
        value = meta.result
        if propagate and meta.status in states.PROPAGATE_STATES:
            assert isinstance(value, BaseException)
            if meta.traceback:
                value.add_note(f"\nIn the worker, task {self.id}:\n{meta.traceback.rstrip()}")
            raise value
        if callback is not None:
            callback(self.id, value)
        return value


class EagerResult(ResultBase[R]):
    """The result of a task that was run on the spot."""

    __slots__ = ("_done", "children")

    def __init__(self, meta: ResultMeta, children: Sequence[ResultBase[Any]] = ()) -> None:
        super().__init__(meta.task_id)
        self._done = meta
        self.children = list(children)

    def get(self, timeout: float | None = None, propagate: bool = True, **_ignored: Any) -> R:
        """Return what the task returned, or raise what it raised."""
        value = self._done.result
        if propagate and self._done.status in states.PROPAGATE_STATES:
            raise value
        result: R = value
        return result

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True, **_ignored: Any) -> R:
        """As `get`."""
        return self.get(timeout, propagate)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    @property
    def ignored(self) -> bool:
        """Always false: the value is there."""
        return False

    def forget(self) -> None:
        """Do nothing: it is stored nowhere."""

    def revoke(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: it has ended."""

    def _meta(self) -> ResultMeta:
        return self._done


def _ids_in(tuples: Sequence[Any]) -> list[str]:
    """Return the task ids in result tuples `[[id, parent], members]`; of a group those of its members."""
    ids = []
    for item in tuples:
        if not isinstance(item, list | tuple) or len(item) != 2:
            continue  # some other program's idea of a child
        head, members = item
        if members is None:
            ids.append(head[0] if isinstance(head, list | tuple) else head)
        else:
            ids.extend(_ids_in(members))
    return ids
