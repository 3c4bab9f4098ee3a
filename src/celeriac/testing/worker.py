"""The worker for tests: in threads of the test's process, and a test can wait until it has nothing left to do."""

from __future__ import annotations

import asyncio
import math
import sys
import traceback
import weakref
from collections.abc import Callable
from typing import Any, Final

from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.client.app import Celeriac
from celeriac.exceptions import ImproperlyConfigured
from celeriac.testing.clock import VirtualClock
from celeriac.testing.executors import WatchedSpawner
from celeriac.testing.forking import TestForkSpawner
from celeriac.testing.loops import WatchedLoop
from celeriac.testing.stillness import PATIENCE_S, Stillness
from celeriac.worker.handle import Handle
from celeriac.worker.spawner import Spawner
from celeriac.worker.worker import EmbeddedWorker

STOP_PATIENCE_S: Final = 5.0
"""How long a worker that stops waits to see whether its tasks end by themselves."""
LATER_S: Final = 1e-6
"""How far beyond a limit the clock goes for the worker to find it passed."""

_running: Final[weakref.WeakSet[TestWorker]] = weakref.WeakSet()
"""The workers of this process, for helpers that are told of their app only."""


def workers_of(app: Celeriac) -> list[TestWorker]:
    """Return the workers of an app that run in this process."""
    return [worker for worker in _running if worker.app is app]


class TestWorker(EmbeddedWorker):
    """A worker in a thread of the test's process.  Use it as a context manager.

    Its executors are threads too, so that a task sees what the test has set up: closures, monkeypatches, an SQLite database in
    memory.  It has one of each kind, whatever tasks are defined later.  With the memory broker `run_until_idle` waits for its
    work; with a `VirtualClock` in its app it goes by that.

    Args:
        app: the app whose tasks it runs.
        concurrency: how many synchronous tasks it runs at once.
        make_spawner: where executors come from, instead of threads: it gets the node name.
        patience_s: real seconds after which `run_until_idle` gives up.
        options: those of `WorkerOptions`: `queues`, `hostname`, `threads`, `async_concurrency`, `grace_s`.
    """

    __test__ = False

    def __init__(
        self,
        app: Celeriac,
        *,
        concurrency: int = 1,
        make_spawner: Callable[[str], Spawner] | None = None,
        patience_s: float = PATIENCE_S,
        **options: Any,
    ) -> None:
        clock = app.time_source if isinstance(app.time_source, VirtualClock) else None
        if clock is not None and make_spawner is not None:
            raise ImproperlyConfigured("a virtual clock needs the tasks in its own process: pool='threads' or 'solo'")
        self.app = app
        self.clock = clock
        self._patience_s = clock.patience_s if clock is not None else patience_s
        self._stillness = clock.stillness if clock is not None else Stillness()
        self._core_loop: WatchedLoop | None = None
        self._own_spawner = make_spawner
        self._spawner: Spawner | None = None
        self._changed_settings: dict[str, Any] = {}
        if make_spawner is None:
            options = {"threads": 4, "async_concurrency": app.settings.worker_async_concurrency} | options
        super().__init__(
            app,
            make_spawner=self._make_spawner,
            new_loop=self._make_core_loop,
            concurrency=concurrency,
            **options,
        )

    @property
    def hostname(self) -> str:
        """The worker's node name."""
        return self._worker.hostname

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that it takes tasks from."""
        return tuple(self._worker.queues)

    def start(self) -> None:
        """Start it and return once it claims messages; raises what kept it from starting."""
        if self._own_spawner is not None:
            self._spawner = self._own_spawner(self.hostname)
            if isinstance(self._spawner, TestForkSpawner):
                self._spawner.prepare()
        if self.clock is not None:
            # Ahead of a free slot nothing is given out: by a clock that stands still, no task proves long.
            self._changed_settings = {"worker_prefetch_window_s": self.app.settings.worker_prefetch_window_s}
            self.app.conf.worker_prefetch_window_s = 0
        super().start()
        _running.add(self)
        self._stillness.add(self)
        if self.clock is not None:
            self.clock.watch(self)

    def stop(self, grace_s: float | None = None) -> None:
        """Stop it and wait until it has; raises what it died of, if it did. Idempotent.

        Running tasks have `grace_s` seconds; those that only a virtual clock could move are given back at once.
        """
        if self.clock is not None:
            self.clock.unwatch(self)
            if grace_s is None and self._only_the_clock_helps():
                grace_s = 0.0
        self._stillness.remove(self)
        _running.discard(self)
        super().stop(grace_s)
        if self._changed_settings:
            self.app.conf.update(self._changed_settings)
            self._changed_settings = {}

    def run_until_idle(self) -> None:
        """Wait until the queues hold nothing that is due and every task that runs has ended, or waits for a virtual clock.

        Needs the memory broker, else it raises `ImproperlyConfigured`.  Raises `AssertionError` after `patience_s` real seconds.
        """
        if self.clock is not None:
            self.clock.run_until_idle()
            return
        if not isinstance(self.app.broker, MemoryBroker):
            raise ImproperlyConfigured(
                "run_until_idle() needs broker_url='memory://': what a server is at nobody can tell; wait for results instead"
            )
        self.clock_moved()
        self._stillness.wait(self._patience_s)

    def reload(self) -> None:
        """Make executors that are forks know what has changed in the test's process since the start, such as new tasks.

        Threads know it anyway.  Blocks until the new executors are forked; tasks that run are given out again.
        """
        spawner, loop, core = self._spawner, self._core_loop, self._worker.core
        if not isinstance(spawner, TestForkSpawner) or loop is None or core is None:
            return
        spawner.prepare()

        async def renew() -> None:
            for handle in core.handles:
                handle.retiring = True  # its end is no failed start
            await spawner.start_over()

        asyncio.run_coroutine_threadsafe(renew(), loop).result()

    def query_task(self, *ids: str) -> dict[str, str]:
        """Return which of these tasks it has, as `active` (running) or `reserved` (claimed, not begun)."""
        core, loop = self._worker.core, self._core_loop
        if core is None or loop is None or loop.is_closed():
            return {}

        async def look() -> dict[str, str]:
            running = {entry.message.id for handle in core.handles for entry in handle.running.values()}
            return {one: "active" if one in running else "reserved" for one in core.claimed_ids() if one in ids}

        return asyncio.run_coroutine_threadsafe(look(), loop).result()

    def left_behind(self) -> list[str]:
        """Return the names of executor threads that a stopped worker could not end."""
        return self._spawner.left_behind() if isinstance(self._spawner, WatchedSpawner) else []

    # -- as a part of what is to be still, and as a watcher of the clock ------------------------------------------------

    def is_still(self) -> bool:
        """Tell whether it can do nothing more by itself; with the lock held."""
        core = self._worker.core
        if self._error is not None:
            return True  # it died, which `stop` will tell
        if core is None or self._core_loop is None or not self._core_loop.is_still():
            return False
        return all(self._handle_is_still(handle) for handle in core.handles)

    def _handle_is_still(self, handle: Handle) -> bool:
        if not handle.ready:
            return False
        if not isinstance(self._spawner, WatchedSpawner):
            return not handle.running
        executor = self._spawner.executors.get(handle.number)
        return executor is not None and executor.is_still(handle)

    def describe(self) -> str:
        """Say what runs, and where its threads are."""
        core = self._worker.core
        lines = [f"worker {self.hostname}:"]
        frames = sys._current_frames()
        for handle in core.handles if core is not None else ():
            lines += [f"  task {entry.message.task}[{entry.message.id}] runs" for entry in handle.running.values()]
            executor = self._spawner.executors.get(handle.number) if isinstance(self._spawner, WatchedSpawner) else None
            if handle.running and executor is not None:
                for thread in executor.threads & frames.keys():
                    lines += ["".join(traceback.format_stack(frames[thread])[-4:]).rstrip()]
        return "\n".join(lines)

    def next_at(self) -> float:
        """Return when (monotonic) the next running task is over a limit that the core keeps."""
        core = self._worker.core
        ends = [
            min(entry.kill_at, math.inf if entry.time_limit_s is None else entry.started_at + entry.time_limit_s)
            for handle in (core.handles if core is not None else ())
            for entry in handle.running.values()
        ]
        return min(ends, default=math.inf) + LATER_S

    def clock_moved(self) -> None:
        """Have the core look at limits, and at what it would look at within a second."""
        core, loop = self._worker.core, self._core_loop
        if core is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(core.hurry)

    def _only_the_clock_helps(self) -> bool:
        """Tell whether what still runs waits for the clock, and so would never end."""
        try:
            self._stillness.wait(min(self._patience_s, STOP_PATIENCE_S))
        except AssertionError:
            return False  # then let it end by itself
        return True

    # -- parts --------------------------------------------------------------------------------------------------------

    def _make_core_loop(self) -> asyncio.AbstractEventLoop:
        self._core_loop = WatchedLoop(self._stillness)
        return self._core_loop

    def _make_spawner(self, hostname: str) -> Spawner:
        if self._spawner is None:
            clock = self.clock
            new_loop = clock.new_loop if clock is not None else lambda: WatchedLoop(self._stillness)
            self._spawner = WatchedSpawner(self.app, hostname, clock, new_loop)
        return self._spawner
