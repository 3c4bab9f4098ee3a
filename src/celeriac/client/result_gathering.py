"""Waiting for the ends of many tasks at once: what one `get()` waits for, and how threads wait for it."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from celeriac import exceptions
from celeriac.client.result_base import ResultBase
from celeriac.client.task_result import TaskResult
from celeriac.core.states import PROPAGATE_STATES, READY_STATES

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result import AsyncResult
    from celeriac.client.result_waiter import Hearer, ResultWaiter


class End(NamedTuple):
    """How a task has ended."""

    task_id: str
    status: str
    document: bytes


class Gathering:
    """The ends that somebody waits for: told of each, it says what is complete. It knows no clock, no thread and no connection.

    `members` are results of tasks, or of groups, which are complete with the last task in them.  A failure among `ancestors`, the
    oldest of which stands first, or with `stop_at_failure` among the members, ends the waiting at once.
    """

    def __init__(
        self,
        owner: ResultBase[Any],
        members: Sequence[ResultBase[Any]],
        ancestors: Sequence[TaskResult[Any]] = (),
        *,
        stop_at_failure: bool = False,
    ) -> None:
        self._owner = owner
        self._members = members
        self._ancestors = ancestors
        self._stop_at_failure = stop_at_failure
        self._member_failed = self._ancestor_failed = False
        self._waited_for: dict[str, list[tuple[AsyncResult[Any], int]]] = {}
        """Task id -> its results, each with the place of the member that it belongs to."""
        self._tasks_left = [0] * len(members)
        self._complete: deque[int] = deque()
        self._members_left = len(members)
        for place, member in enumerate(members):
            for task in leaves([member]):
                state = task._known_state()
                if state is None:
                    self._waited_for.setdefault(task.id, []).append((cast("AsyncResult[Any]", task), place))
                    self._tasks_left[place] += 1
                else:
                    self._member_failed |= state in PROPAGATE_STATES
            self._look_whether_complete(place)
        self._older: dict[str, list[AsyncResult[Any]]] = {}
        for task in ancestors:
            state = task._known_state()
            if state is None:
                self._older.setdefault(task.id, []).append(cast("AsyncResult[Any]", task))
            else:
                self._ancestor_failed |= state in PROPAGATE_STATES

    @property
    def over(self) -> bool:
        """True when there is nothing to wait for any more."""
        return self._members_left == 0 or (self._stop_at_failure and self._failed)

    @property
    def _failed(self) -> bool:
        """True when a member has failed, or an ancestor without which the missing ones will not be; as far as is known."""
        return self._member_failed or (self._ancestor_failed and self._members_left > 0)

    def missing(self) -> list[AsyncResult[Any]]:
        """Return the members' tasks that have not ended, as far as is known."""
        return [results[0][0] for results in self._waited_for.values()]

    def watched(self) -> list[AsyncResult[Any]]:
        """Return all that is to be heard of: what is missing, and the ancestors of which nothing is known."""
        return [*self.missing(), *(results[0] for results in self._older.values())]

    def doubtful(self) -> list[AsyncResult[Any]]:
        """Return what is to be looked up before a failure is raised: what failed before it, or succeeded all the same."""
        if not self._failed:
            return []
        return [result for result in self.watched() if not (self._member_failed and result.id in self._waited_for)]

    def take(self, end: End) -> None:
        """Take the end of a task; one that nobody waits for does no harm."""
        failure = end.status in PROPAGATE_STATES
        for result, place in self._waited_for.pop(end.task_id, ()):
            result._take(end.status, end.document)
            self._tasks_left[place] -= 1
            self._member_failed |= failure
            self._look_whether_complete(place)
        for result in self._older.pop(end.task_id, ()):
            if failure:  # the values of ancestors are nobody's business here
                result._take(end.status, end.document)
                self._ancestor_failed = True

    def news(self) -> Iterator[int]:
        """Give the places of the members that are complete since this was last asked, and are worth going on with."""
        while self._complete and not (self._stop_at_failure and self._failed):
            yield self._complete.popleft()

    def raise_failure(self) -> None:
        """Raise the error of the oldest ancestor that failed, else that of the first member that did.

        Does nothing if none has failed, or if all members succeeded whatever their ancestors did.
        """
        if not self._failed:
            return
        for task in self._ancestors:
            if task._known_state() in PROPAGATE_STATES:
                task._conclude(True, f"It was raised by task {task.id}, on which this result depends.")
        for task in leaves(self._members):
            if task._known_state() in PROPAGATE_STATES:
                task._conclude(True, place_of(self._owner, task))

    def raise_timeout(self, timeout_s: float) -> NoReturn:
        """Raise the error that says what has not ended."""
        missing = self.missing()
        if isinstance(self._owner, TaskResult):
            what = f"task {missing[0].id}"
        else:
            what = (
                f"{self._members_left} of {len(self._members)} members of {_shown(self._owner)}, task {missing[0].id} the"
                " first of them,"
            )
        raise exceptions.TimeoutError(f"{what} had not ended after {timeout_s:g} s")

    def _look_whether_complete(self, place: int) -> None:
        if self._tasks_left[place] == 0:
            self._members_left -= 1
            self._complete.append(place)


def follow(gathering: Gathering, timeout_s: float | None) -> Iterator[int]:
    """Give the places of members as they become complete, until all are, or one has failed if that ends it. Blocking.

    Raises `celeriac.exceptions.TimeoutError` when not all are after `timeout_s` seconds, `BackendUnavailable`, and
    `ImproperlyConfigured` when results are kept nowhere.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for end in ends_of(gathering.missing()):
        gathering.take(end)
    yield from gathering.news()
    if not gathering.over:
        inbox = _Inbox()
        with listening(gathering.watched(), inbox):
            while not gathering.over:
                end_or_none = inbox.get(None if deadline is None else max(deadline - time.monotonic(), 0))
                if end_or_none is None:
                    gathering.raise_timeout(timeout_s or 0)
                gathering.take(end_or_none)
                yield from gathering.news()
    for end in ends_of(gathering.doubtful()):
        gathering.take(end)
    yield from gathering.news()


def wait(gathering: Gathering, timeout_s: float | None) -> None:
    """Wait until it is over. Raises as `follow`."""
    for _place in follow(gathering, timeout_s):
        pass


# -- what there is to wait for --------------------------------------------------------------------------------------------


def leaves(results: Iterable[ResultBase[Any]]) -> Iterator[TaskResult[Any]]:
    """Give the results of all tasks among these, those in groups included, in their order."""
    for result in results:
        if isinstance(result, TaskResult):
            yield result
        else:
            yield from leaves(result.children)


def decisive_ancestors(result: ResultBase[Any]) -> list[TaskResult[Any]]:
    """Return the results of the tasks without which `result` comes to nothing, the oldest first."""
    nodes = [node for node in reversed(list(result.ancestors())) if not node.may_fail]
    return list(leaves(nodes))


def place_of(owner: ResultBase[Any], task: TaskResult[Any]) -> str:
    """Say which member of which group a task is; nothing for a result that is in no group."""
    if isinstance(owner, TaskResult):
        return ""
    members = owner.children
    for place, member in enumerate(members, 1):
        if member is task:
            return f"It was raised by member {place} of {len(members)} of {_shown(owner)}, task {task.id}."
        inside = place_of(member, task)
        if inside:
            return inside
    return ""


def _shown(owner: ResultBase[Any]) -> str:
    group_id = getattr(owner, "id", None)
    return f"group {group_id}" if group_id is not None else "the result set"


# -- how it is heard of ---------------------------------------------------------------------------------------------------


def documents_of(results: Iterable[AsyncResult[Any]]) -> dict[str, bytes]:
    """Return what is stored about these tasks now, in one round trip for each app, which is one. Blocking.

    Raises `BackendUnavailable`, `ImproperlyConfigured` when results are kept nowhere.
    """
    found: dict[str, bytes] = {}
    for app, ids in _by_app(results).items():
        found |= app._reader.fetch(ids)
    return found


def ends_of(results: Sequence[AsyncResult[Any]]) -> list[End]:
    """Return the ends of those tasks that have ended. Raises as `documents_of`."""
    if not results:
        return []
    documents = documents_of(results)
    stored = [
        End(result.id, result._status_in(documents[result.id]), documents[result.id])
        for result in results
        if result.id in documents
    ]
    return [end for end in stored if end.status in READY_STATES]


def waiters_of(results: Iterable[AsyncResult[Any]]) -> list[tuple[ResultWaiter, list[str]]]:
    """Return who can tell of these tasks, each with their ids. Raises `ImproperlyConfigured` when results are kept nowhere."""
    return [(app._waiter, ids) for app, ids in _by_app(results).items()]


@contextmanager
def listening(results: Iterable[AsyncResult[Any]], hearer: Hearer) -> Iterator[None]:
    """Have a hearer told how these tasks end. Raises as `waiters_of`."""
    waiters = waiters_of(results)
    try:
        for waiter, ids in waiters:
            waiter.watch(ids, hearer)
        yield
    finally:
        for waiter, ids in waiters:
            waiter.unwatch(ids, hearer)


def _by_app(results: Iterable[AsyncResult[Any]]) -> dict[Celeriac, list[str]]:
    by_app: dict[Celeriac, dict[str, None]] = {}
    for result in results:
        if result.app not in by_app:
            result._require_backend()
        by_app.setdefault(result.app, {})[result.id] = None
    return {app: list(ids) for app, ids in by_app.items()}


class _Inbox:
    """Where a thread waits for what the waiter's thread tells it."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[End | Exception] = queue.SimpleQueue()

    def hear(self, task_id: str, status: str, document: bytes) -> None:
        self._news.put(End(task_id, status, document))

    def fail(self, error: Exception) -> None:
        self._news.put(error)

    def get(self, timeout_s: float | None) -> End | None:
        """Return the next end, None when there is none in time. Raises what was told to have failed."""
        try:
            told = self._news.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(told, Exception):
            raise told
        return told
