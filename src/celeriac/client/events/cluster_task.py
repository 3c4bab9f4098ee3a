"""A task as its events show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.core import states

if TYPE_CHECKING:
    from celeriac.client.events.cluster_worker import Worker
    from celeriac.client.events.state import State

STATE_OF: Final[Mapping[str, str]] = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}
"""What a task is after an event."""
_ORDER: Final = (
    states.PENDING,
    states.RETRY,
    states.REJECTED,
    states.RECEIVED,
    states.STARTED,
    states.REVOKED,
    "",  # a program's own states
    states.FAILURE,
    states.SUCCESS,
)
"""Which state comes after which, for events that arrive in another order."""
_OF_RECEIVED: Final = frozenset({"name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"})
"""What an event `task-received` tells even if it comes late."""
_OF_INFO: Final = (
    "args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception", "exchange", "routing_key", "root_id", "parent_id",
)  # fmt: skip
_NOT_TOLD: Final = frozenset({"type", "state", "worker", "client", "children", "cluster_state", *STATE_OF})
"""What no event may set by its fields: it follows from events."""


class Task:
    """What is known of one task; Celery's names of it. `received`, `started` and the like: when that was, Unix seconds."""

    name: str | None = None
    state: str = states.PENDING
    clock: int = 0
    timestamp: float | None = None
    """Of the event that made its state."""
    received: float | None = None
    sent: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    args: str | None = None
    kwargs: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    worker: Worker | None = None
    result: str | None = None
    exception: str | None = None
    traceback: str | None = None
    runtime: float | None = None
    exchange: str | None = None
    routing_key: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    client: str | None = None
    """Who sent it, as far as clients tell."""

    def __init__(self, uuid: str, cluster_state: State | None = None) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state

    def event(
        self,
        type: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take an event; `type` is what stands behind `task-`."""
        told = dict(fields or {})
        state = STATE_OF.get(type)
        if state is not None:
            setattr(self, type, timestamp)
        else:
            state = type.upper()
        if states.RETRY not in (state, self.state) and _place(state) < _place(self.state):
            # It came late: what it says is news, but not when that was.
            kept = _OF_RECEIVED if type == "received" else told.keys() - {"clock", "timestamp"}
            told = {name: told[name] for name in told.keys() & kept}
        else:
            self.state, self.timestamp = state, timestamp
            told.pop("timestamp", None)
        for name, value in told.items():
            if name not in _NOT_TOLD and not name.startswith("_") and name not in _OWN:
                setattr(self, name, value)

    @property
    def id(self) -> str:
        """Its id."""
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Who told of it last: its worker, or the client."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in states.READY_STATES

    @property
    def parent(self) -> Task | None:
        """The task that sent it, if it is known."""
        return self._other(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The task with which the workflow began, if it is known."""
        return self._other(self.root_id)

    @property
    def children(self) -> set[Task]:
        """The tasks that it sent, as far as they are known."""
        if self.cluster_state is None:
            return set()
        return {task for task in list(self.cluster_state.tasks.values()) if task.parent_id == self.uuid}

    def _other(self, uuid: str | None) -> Task | None:
        return None if uuid is None or self.cluster_state is None else self.cluster_state.tasks.get(uuid)

    def info(self, fields: Sequence[str] | None = None, extra: Sequence[str] = ()) -> dict[str, Any]:
        """Return what is to be shown of it; only what is known."""
        names = [*(_OF_INFO if fields is None else fields), *extra]
        return {name: value for name in names if (value := getattr(self, name, None)) is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return all that is known of it as plain data but for `worker`."""
        names = ("uuid", "name", "state", *STATE_OF, *_OF_INFO, "worker", "timestamp", "traceback", "clock", "client")
        found = {name: getattr(self, name) for name in dict.fromkeys(names)}
        return {**found, "parent": self.parent_id, "root": self.root_id, "children": [one.id for one in self.children]}

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"


_OWN: Final = frozenset(name for name, value in vars(Task).items() if callable(value) or isinstance(value, property))


def _place(state: str) -> int:
    return _ORDER.index(state if state in _ORDER else "")
