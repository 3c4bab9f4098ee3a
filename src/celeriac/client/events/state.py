"""The cluster as its events show it: who works, and what has become of the tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from celeriac.client.events.cluster_task import Task as ClusterTask
from celeriac.client.events.cluster_worker import Worker as ClusterWorker

T = TypeVar("T")
Event = Mapping[str, Any]
Handler = Callable[[str, Event], Any]


class Recent(dict[str, T]):
    """A dict that keeps the newest `limit` entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: str, value: T) -> None:
        if key not in self and len(self) >= self.limit:
            del self[next(iter(self))]
        super().__setitem__(key, value)


class TasksBy:
    """The tasks of one type or worker: `state.tasks_by_type["add"]`, or by time: `state.tasks_by_type("add", limit=10)`."""

    def __init__(self, state: State, of: Callable[[ClusterTask], str | None]) -> None:
        self._state = state
        self._of = of

    def __getitem__(self, key: str) -> set[ClusterTask]:
        return {task for task in list(self._state.tasks.values()) if self._of(task) == key}

    def __call__(self, key: str, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, ClusterTask]]:
        by_time = self._state.tasks_by_time(reverse=reverse)
        return islice((pair for pair in by_time if self._of(pair[1]) == key), limit)

    def keys(self) -> set[str]:
        """Return the types, or workers, that there are tasks of."""
        return {key for task in list(self._state.tasks.values()) if (key := self._of(task)) is not None}

    def items(self) -> list[tuple[str, set[ClusterTask]]]:
        """Return them with their tasks."""
        return [(key, self[key]) for key in sorted(self.keys())]


class State:
    """Takes events, and tells what they amount to; Celery's interface. Thread-safe.

    Args:
        callback: called with the state and each event, before it is taken.
        max_workers_in_memory, max_tasks_in_memory: of more than that the oldest are forgotten.
        on_node_join, on_node_leave: called with a worker that comes, or says that it goes.
    """

    Worker: type[ClusterWorker] = ClusterWorker
    Task: type[ClusterTask] = ClusterTask

    def __init__(
        self,
        callback: Callable[[State, Event], object] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10_000,
        on_node_join: Callable[[ClusterWorker], object] | None = None,
        on_node_leave: Callable[[ClusterWorker], object] | None = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.workers: dict[str, ClusterWorker] = Recent(max_workers_in_memory)
        self.tasks: dict[str, ClusterTask] = Recent(max_tasks_in_memory)
        self.event_count = 0
        """Events taken."""
        self.task_count = 0
        """Tasks received by workers."""
        self.handlers: dict[str, Handler] = {}
        """Group -> function that takes its events: `(what stands behind the dash, event)`."""
        self.tasks_by_type: TasksBy = TasksBy(self, lambda task: task.name)
        self.tasks_by_worker: TasksBy = TasksBy(
            self, lambda task: None if task.worker is None else task.worker.hostname
        )
        self._lock = threading.RLock()

    # -- taking events ------------------------------------------------------------------------------------------------

    def event(self, event: Event) -> Any:
        """Take an event; returns `((worker or task, whether it is new), what stands behind the dash)`.

        None for one that is neither a worker's nor a task's, or does not say whose.
        """
        with self._lock:
            self.event_count += 1
            if self.event_callback is not None:
                self.event_callback(self, event)
            group, _, subject = event["type"].partition("-")
            if (handler := self.handlers.get(group)) is not None:
                return handler(subject, event), subject
            if group == "worker":
                return self._worker_event(subject, event)
            if group == "task":
                return self._task_event(subject, event)
            return None

    def _worker_event(self, subject: str, event: Event) -> Any:
        hostname = event.get("hostname")
        if not isinstance(hostname, str):
            return None
        is_offline = subject == "offline"
        worker = self.workers.get(hostname)
        is_new = worker is None and not is_offline
        if worker is None:
            worker = self.Worker(hostname)
            if is_new:
                self.workers[hostname] = worker
        worker.event(subject, event.get("timestamp"), event.get("local_received"), event)
        if self.on_node_join is not None and (is_new or subject == "online"):
            self.on_node_join(worker)
        if self.on_node_leave is not None and is_offline:
            self.on_node_leave(worker)
            self.workers.pop(hostname, None)
        return (worker, is_new), subject

    def _task_event(self, subject: str, event: Event) -> Any:
        uuid, hostname = event.get("uuid"), event.get("hostname")
        if not isinstance(uuid, str) or not isinstance(hostname, str):
            return None
        task, is_new = self.get_or_create_task(uuid)
        timestamp, received = event.get("timestamp"), event.get("local_received")
        if subject == "sent":
            task.client = hostname
        else:
            task.worker, _ = self.get_or_create_worker(hostname)
            task.worker.event(None, timestamp, received)
        if subject == "received":
            self.task_count += 1
        task.event(subject, timestamp, received, event)
        return (task, is_new), subject

    def get_or_create_worker(self, hostname: str, **fields: Any) -> tuple[ClusterWorker, bool]:
        """Return a worker, and whether it was not known."""
        worker = self.workers.get(hostname)
        if worker is not None:
            worker.update(fields)
            return worker, False
        worker = self.workers[hostname] = self.Worker(hostname, **fields)
        return worker, True

    def get_or_create_task(self, uuid: str) -> tuple[ClusterTask, bool]:
        """Return a task, and whether it was not known."""
        task = self.tasks.get(uuid)
        if task is not None:
            return task, False
        task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        return task, True

    # -- what they amount to ------------------------------------------------------------------------------------------

    def alive_workers(self) -> Iterator[ClusterWorker]:
        """Return the workers from which a heartbeat came in time."""
        return (worker for worker in list(self.workers.values()) if worker.alive)

    def task_types(self) -> list[str]:
        """Return the names of all tasks seen, sorted."""
        return sorted(self.tasks_by_type.keys())

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, ClusterTask]]:
        """Return tasks by their ids, those first that were seen first."""
        return islice(iter(list(self.tasks.items())), limit)

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, ClusterTask]]:
        """Return tasks by their ids, in the order of their last events; the latest first, unless `reverse` is False."""
        with self._lock:
            in_order = sorted(self.tasks.items(), key=_when, reverse=reverse)
        return islice(iter(in_order), limit)

    tasks_by_timestamp = tasks_by_time

    # -- at rest ------------------------------------------------------------------------------------------------------

    def freeze_while(self, function: Callable[..., T], *args: Any, clear_after: bool = False, **kwargs: Any) -> T:
        """Call a function while no event is taken, and return what it does; with `clear_after` forget everything then."""
        with self._lock:
            try:
                return function(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget the tasks that have ended; all of them, if `ready` is False."""
        with self._lock:
            for uuid, task in list(self.tasks.items()):
                if task.ready or not ready:
                    del self.tasks[uuid]

    def clear(self, ready: bool = True) -> None:
        """Forget workers and tasks (see `clear_tasks`), and begin to count anew."""
        with self._lock:
            self.workers.clear()
            self.clear_tasks(ready)
            self.event_count = 0
            self.task_count = 0

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"


def _when(pair: tuple[str, ClusterTask]) -> tuple[int, float, str]:
    task = pair[1]
    clock = task.clock if isinstance(task.clock, int) else 0
    timestamp = task.timestamp if isinstance(task.timestamp, int | float) else 0.0
    return clock, timestamp, task.origin or ""
