"""Results of many tasks, read together: one waiter, one batch of questions to the backend, however many there are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, TypeVar, cast, overload

from msgspec import UNSET
from msgspec.structs import asdict

from celeriac import exceptions
from celeriac.client import left_out
from celeriac.client.current import get_current_app
from celeriac.client.joining import assert_will_not_block
from celeriac.client.progress import Progress
from celeriac.client.result import AsyncResult, forget
from celeriac.client.result_base import Callback, Recipe, ResultBase
from celeriac.client.result_callbacks import call_when_over
from celeriac.client.result_gathering import (
    Gathering,
    decisive_ancestors,
    ends_of,
    follow,
    leaves,
    place_of,
    wait,
)
from celeriac.client.task_result import TaskResult
from celeriac.core import states

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

R = TypeVar("R")

SHOWN_MEMBERS: Final = 20
_SUCCEEDED: Final = frozenset({states.SUCCESS, states.IGNORED})
"""What nobody will ever hear of stands in nobody's way."""


class ResultSet(ResultBase[list[R]]):
    """Results of several tasks, in an order; it may be changed.

    Members are results of tasks, and of groups.  In eager mode they are `EagerResult`s.  A member whose result is not kept
    (`ignore_result`) counts as one that has ended, with None.

    Args:
        results: the members.
        app: theirs, unless there are none.
    """

    __slots__ = ("_app", "results")

    def __init__(
        self, results: Iterable[ResultBase[R]] = (), app: Celeriac | None = None, ready_barrier: Any = None
    ) -> None:
        self.parent = None
        self.results = cast("list[AsyncResult[R]]", list(results))  # what most of them are, for type checkers
        self._app = app

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain("a set of results", name, left_out.OF_RESULTS)

    @property
    def app(self) -> Celeriac:
        """The app of the members."""
        if self._app is None:
            self._app = next((task.app for task in leaves(self.results) if isinstance(task, AsyncResult)), None)
        return self._app or get_current_app()

    @property
    def children(self) -> list[ResultBase[Any]]:
        """The members."""
        return cast("list[ResultBase[Any]]", self.results)

    # -- waiting ------------------------------------------------------------------------------------------------------

    @overload
    def get(
        self,
        timeout: float | None = ...,
        propagate: Literal[True] = ...,
        interval: float = ...,
        callback: Callback | None = ...,
        no_ack: bool = ...,
        on_message: Callable[[Any], object] | None = ...,
        disable_sync_subtasks: bool = ...,
        on_interval: Callable[[], object] | None = ...,
    ) -> list[R]: ...
    @overload
    def get(
        self,
        timeout: float | None,
        propagate: bool,
        interval: float = ...,
        callback: Callback | None = ...,
        no_ack: bool = ...,
        on_message: Callable[[Any], object] | None = ...,
        disable_sync_subtasks: bool = ...,
        on_interval: Callable[[], object] | None = ...,
    ) -> list[R | BaseException]: ...
    @overload
    def get(
        self,
        timeout: float | None = ...,
        *,
        propagate: bool,
        interval: float = ...,
        callback: Callback | None = ...,
        no_ack: bool = ...,
        on_message: Callable[[Any], object] | None = ...,
        disable_sync_subtasks: bool = ...,
        on_interval: Callable[[], object] | None = ...,
    ) -> list[R | BaseException]: ...
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Wait until all members have ended and return their values, in their order.

        Args:
            timeout: seconds for all together; None waits for ever (but not for a backend that is away for good).
            propagate: raise the error of a member that fails, as soon as one does; its place is named in a note.  False puts
                exceptions among the values.
            callback: is called with id and value of each member as it comes; then an empty list is returned.
            disable_sync_subtasks: False allows waiting inside a task, where it can block all workers.
            interval, no_ack, on_message, on_interval: accepted for Celery's sake; nothing is polled.

        Raises:
            celeriac.exceptions.TimeoutError: some had not ended after `timeout` seconds; it says how many.
            TaskRevokedError: one was revoked, or had expired.
            BackendUnavailable: the results can't be reached.
            RuntimeError: called inside a task.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        gathering = self._gathering(propagate)
        members = list(self.results)
        if callback is None:
            wait(gathering, timeout)
        else:
            for place in follow(gathering, timeout):
                callback(members[place].id, _value_of(members[place], propagate))
        if propagate:
            gathering.raise_failure()
        return [] if callback is not None else [_value_of(member, propagate) for member in members]

    join = get
    join_native = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[R]:
        """As `get`, without blocking the event loop. `await results` is the same."""
        if disable_sync_subtasks:
            assert_will_not_block()
        from celeriac.client.result_awaiting import afollow, await_all  # with asyncio, which most programs do not need

        gathering = self._gathering(propagate)
        members = list(self.results)
        if callback is None:
            await await_all(gathering, timeout)
        else:
            async for place in afollow(gathering, timeout):
                callback(members[place].id, _value_of(members[place], propagate))
        if propagate:
            gathering.raise_failure()
        return [] if callback is not None else [_value_of(member, propagate) for member in members]

    ajoin = aget

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    def as_completed(self, timeout: float | None = None) -> Iterator[AsyncResult[R]]:
        """Give the members as they end, whether they succeeded or failed; `get` of each returns, or raises, at once.

        `timeout`: seconds for all together.  Raises as `get`.  The twin for coroutines is `async for member in results`.
        """
        assert_will_not_block()
        members = list(self.results)
        for place in follow(self._gathering(propagate=False), timeout):
            yield members[place]

    async def __aiter__(self) -> AsyncIterator[AsyncResult[R]]:
        from celeriac.client.result_awaiting import afollow  # as above

        assert_will_not_block()
        members = list(self.results)
        async with contextlib.aclosing(afollow(self._gathering(propagate=False), None)) as places:  # type: ignore[type-var]
            async for place in places:
                yield members[place]

    def iterate(self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5) -> Iterator[R]:
        """Give the members' values as they come. Arguments and errors are those of `get`."""
        assert_will_not_block()
        gathering = self._gathering(propagate)
        members = list(self.results)
        for place in follow(gathering, timeout):
            yield _value_of(members[place], propagate)
        if propagate:
            gathering.raise_failure()

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Give `(id, record)` of the members as they end; instead of a record, the list of a nested group's members.

        A record is a dict with `status`, `result`, `traceback`, `children`, `date_done`, `task_id` and what else is stored.
        Arguments and errors are those of `get`; as in Celery, it may be called inside a task.
        """
        members = list(self.results)
        for place in follow(self._gathering(propagate=False), timeout):
            member: ResultBase[Any] = members[place]
            yield member.id, _record_of(member) if isinstance(member, TaskResult) else list(member.children)

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Have `callback` called with these results when all have ended, as `AsyncResult.then`."""
        call_when_over(self.app, self, self._gathering(propagate=False), callback, on_error)

    @property
    def supports_native_join(self) -> bool:
        """Always true: `join` and `join_native` are the same."""
        return True

    # -- looking ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Tell whether all members have ended. As all that follow, one question to the backend, whatever their number."""
        self._look()
        return all(task._known_state() is not None for task in leaves(self.results))

    def waiting(self) -> bool:
        """Tell whether some member has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Tell whether all members have returned."""
        self._look()
        return all(_succeeded(member) for member in self.results)

    def failed(self) -> bool:
        """Tell whether some member has failed."""
        self._look()
        return any(task._known_state() == states.FAILURE for task in leaves(self.results))

    def completed_count(self) -> int:
        """Return how many members have returned; a nested group counts as one."""
        self._look()
        return sum(_succeeded(member) for member in self.results)

    def progress(self) -> Progress:
        """Return how many of the tasks, those in nested groups included, have ended: it is shown as `37/50`.

        Blocking; one question to the backend.  Raises `BackendUnavailable`.
        """
        self._look()
        known = [task._known_state() for task in leaves(self.results)]
        ended = [state for state in known if state not in (None, states.IGNORED)]
        failed = sum(state in states.PROPAGATE_STATES for state in ended)
        return Progress(len(ended), sum(state != states.IGNORED for state in known), failed)

    async def aprogress(self) -> Progress:
        """As `progress`, without blocking the event loop."""
        import asyncio  # as above

        return await asyncio.to_thread(self.progress)

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the error of the first member that has failed; `callback` gets id and value of those before it."""
        self._look()
        for task in leaves(self.results):
            state = task._known_state()
            value = None
            if state is not None:
                fails = propagate and state in states.PROPAGATE_STATES
                value = task._conclude(propagate, place_of(self, task) if fails else "")
            if callback is not None:
                callback(task.id, value)

    maybe_reraise = maybe_throw

    # -- other things to do -------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Delete the results of all members, and of their parents, from the backend. Idempotent."""
        tasks = list(leaves(self.results))
        forget([*tasks, *(older for task in tasks for older in leaves(task.ancestors()))])

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Have no worker run any of these tasks, those in nested groups included. Arguments as of `AsyncResult.revoke`."""
        by_app: dict[Celeriac, list[str]] = {}
        for task in leaves(self.results):
            if isinstance(task, AsyncResult):
                by_app.setdefault(task.app, []).append(task.id)
            else:
                task.revoke()
        for app, ids in by_app.items():
            app.control.revoke(ids, terminate=terminate, signal=signal)
        if wait and all(app.backend.stores for app in by_app):
            with contextlib.suppress(exceptions.TimeoutError):
                self.get(1.0 if timeout is None else timeout, propagate=False, disable_sync_subtasks=False)

    def terminate(self, signal: str | int | None = None, *, wait: bool = False, timeout: float | None = None) -> None:
        """As `revoke` with `terminate=True`."""
        self.revoke(terminate=True, signal=signal, wait=wait, timeout=timeout)

    # -- being a collection -------------------------------------------------------------------------------------------

    def add(self, result: ResultBase[R]) -> None:
        """Add a member at the end, unless it is one already."""
        if result not in self.results:
            self.results.append(cast("AsyncResult[R]", result))

    def update(self, results: Iterable[ResultBase[R]]) -> None:
        """Add those that are no members yet."""
        known = {result.id for result in self.results}
        for result in results:
            if result.id not in known:
                known.add(result.id)
                self.results.append(cast("AsyncResult[R]", result))

    def remove(self, result: ResultBase[R] | str) -> None:
        """Remove a member, given itself or its id. Raises `KeyError` when it is none."""
        try:
            del self.results[self.index(result)]
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: ResultBase[R] | str) -> None:
        """Remove a member, given itself or its id, if it is one."""
        with contextlib.suppress(KeyError):
            self.remove(result)

    def clear(self) -> None:
        """Remove all members."""
        self.results.clear()

    def index(self, result: ResultBase[R] | str) -> int:
        """Return the place of a member, given itself or its id. Raises `ValueError` when it is none."""
        return cast("list[Any]", self.results).index(result)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return iter(self.results)

    def __contains__(self, result: object) -> bool:
        return result in self.results

    @overload
    def __getitem__(self, place: SupportsIndex) -> AsyncResult[R]: ...
    @overload
    def __getitem__(self, place: slice) -> list[AsyncResult[R]]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        return self.results[place]

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{self._shown_members()}]>"

    def _shown_members(self) -> str:
        shown = [member.id for member in self.results[:SHOWN_MEMBERS]]
        more = len(self.results) - len(shown)
        return ", ".join([*shown, f"and {more} more"] if more else shown)

    def _recipe(self) -> Recipe:
        return type(self), (self.results,)

    # -- what is known of it ------------------------------------------------------------------------------------------

    def _gathering(self, propagate: bool) -> Gathering:
        return Gathering(self, list(self.results), _ancestors(self) if propagate else (), stop_at_failure=propagate)

    def _look(self) -> None:
        """Ask for all members that are not known to have ended, and remember those that have."""
        unknown = [
            task for task in leaves(self.results) if isinstance(task, AsyncResult) and task._known_state() is None
        ]
        found = {end.task_id: end for end in ends_of(unknown)}
        for task in unknown:
            if task.id in found:
                task._take(found[task.id].status, found[task.id].document)


def _ancestors(owner: ResultSet[Any]) -> list[TaskResult[Any]]:
    """Return the results without which a set, or a group in it, comes to nothing."""
    found = decisive_ancestors(owner)
    for member in cast("Sequence[ResultBase[Any]]", owner.results):
        if isinstance(member, ResultSet):
            found += _ancestors(member)
    return found


def _succeeded(member: ResultBase[Any]) -> bool:
    return all(task._known_state() in _SUCCEEDED for task in leaves([member]))


def _value_of(member: ResultBase[Any], propagate: bool) -> Any:
    """Return the value of a member that is complete; of a group the list of its members'."""
    if isinstance(member, TaskResult):
        return member._conclude(propagate)
    return [_value_of(inner, propagate) for inner in member.children]


def _record_of(member: TaskResult[Any]) -> dict[str, Any]:
    meta = asdict(member._meta())
    stamps = meta.pop("stamps")
    left = {name: value for name, value in meta.items() if value is not UNSET}
    for name in ("group_id", "parent_id"):
        if left[name] is None:
            del left[name]
    return {**left, **stamps}
