"""What a remote control command knows of the worker that it runs in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.worker.crew import Crew
    from celeriac.worker.entry import Entry
    from celeriac.worker.events.worker import WorkerEvents
    from celeriac.worker.limits import LimitBook
    from celeriac.worker.pool import Pool
    from celeriac.worker.revoker import Revoker
    from celeriac.worker.subscriptions import Subscriptions
    from celeriac.worker.time_limits import TimeLimits


class Parts(Struct, eq=False):
    """The parts of a core that built-in commands look at and change, in its own event loop."""

    events: WorkerEvents
    pool: Pool
    crew: Crew
    entries: Mapping[tuple[str, int], Entry]
    """Everything that this worker has claimed."""
    revoker: Revoker
    rates: LimitBook
    time_limits: TimeLimits
    subscriptions: Subscriptions
    upcoming: Callable[[int], Awaitable[list[Message]]]
    """Tells what is delayed for the queues consumed."""
    prefetch_count: Callable[[], int]
    """How many messages it may have at once."""
    started_at: float
    """Monotonic seconds."""
    stop: Callable[[], None]
    """Begins a warm shutdown."""


class ControlState:
    """What a command gets first: the app and the name of the node.

    Commands of a program run in threads, so they may block, and use nothing of the worker's own.
    """

    tset = set

    def __init__(self, app: Celeriac, hostname: str, parts: Parts, *, for_all: bool = True) -> None:
        """`for_all`: the request is for every worker, not for some that were named."""
        self.app = app
        self.hostname = hostname
        self._parts = parts
        self._for_all = for_all

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"a remote control command knows state.app and state.hostname; there is no state.{name} here, because a worker has no"
                " consumer or pool in Celery's sense"
            )


def parts_of(state: ControlState) -> Parts:
    """Return the core's parts, for the commands that are built in."""
    return state._parts


def is_for_all(state: ControlState) -> bool:
    """Tell whether the request is for every worker."""
    return state._for_all
