"""A clock that stands still until the test moves it: what is due runs, and nobody sleeps."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.client.app import Celeriac
from celeriac.client.clock import SYSTEM_TIME
from celeriac.client.context import running_request
from celeriac.exceptions import ImproperlyConfigured
from celeriac.testing.loops import VirtualLoop
from celeriac.testing.stillness import PATIENCE_S, Stillness
from celeriac.testing.waits import Waits

START: Final = datetime(2030, 1, 1, tzinfo=UTC)


class Watcher(Protocol):
    """Something that does what is due when the clock has moved."""

    def next_at(self) -> float:
        """Return the monotonic time at which it wants to look, infinite when nothing is to come."""

    def clock_moved(self) -> None:
        """Look now. Thread-safe, does not wait."""


class VirtualClock:
    """A clock for tests: the time of an app's tasks, moved by `advance`.

    It is put into an app with `install`, before anything is sent; the app needs the memory broker.  Its workers are
    `TestWorker`s (`celeriac_worker` of the pytest plugin is one).  `advance` stops at each moment at which something is due and
    waits, really and without polling the time, until nothing can go on by itself; so a test sees the same on any machine.

    Args:
        start: what the clock shows at first, 1 January 2030 UTC if not given.
        patience_s: real seconds after which waiting for the end of a task is an error.

    Thread-safe; but it is moved by one thread at a time, and never by a task.
    """

    def __init__(self, start: datetime | None = None, *, patience_s: float = PATIENCE_S) -> None:
        begin = START if start is None else start
        self._start = (begin if begin.tzinfo else begin.replace(tzinfo=UTC)).timestamp()
        self._now = self._start
        self.patience_s = patience_s
        self.stillness = Stillness()
        self.waits = Waits(self.stillness, self.monotonic)
        self._apps: list[Celeriac] = []
        self._watchers: list[Watcher] = []
        self._loops: list[VirtualLoop] = []
        self._moving = threading.RLock()

    # -- reading ------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Return Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that the clock was moved by."""
        return self._now - self._start

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    # -- putting in place ---------------------------------------------------------------------------------------------

    def install(self, app: Celeriac) -> None:
        """Make this the clock of an app and of everything it opens from now on. Idempotent.

        Raises `ImproperlyConfigured` for a broker other than `memory://`: a server has its own clock.
        """
        if app.time_source is self:
            return
        if not app.locations.broker.startswith("memory:"):
            raise ImproperlyConfigured(
                f"a virtual clock needs broker_url='memory://', and the app has {app.locations.broker.partition(':')[0]}:"
                " a server goes by its own clock"
            )
        app.close()  # what is open goes by another clock
        app.time_source = self
        self._apps.append(app)

    def remove(self, app: Celeriac) -> None:
        """Give an app the system's time back. Idempotent."""
        if app.time_source is self:
            self._apps.remove(app)
            app.close()
            app.time_source = SYSTEM_TIME

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        for app in list(self._apps):
            self.remove(app)

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher look whenever the clock has moved."""
        with self.stillness.lock:
            self._watchers = [*self._watchers, watcher]

    def unwatch(self, watcher: Watcher) -> None:
        """Leave it alone again. Idempotent."""
        with self.stillness.lock:
            self._watchers = [other for other in self._watchers if other is not watcher]

    def new_loop(self) -> VirtualLoop:
        """Return a new event loop that goes by this clock."""
        loop = VirtualLoop(self.stillness, self.monotonic)
        with self.stillness.lock:
            self._loops = [*(other for other in self._loops if other.is_alive()), loop]
        return loop

    # -- moving -------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float | timedelta) -> None:
        """Move the clock on and let happen what is due on the way, each thing at its time; blocks until all of it is done.

        Raises `AssertionError` when something goes on for more than `patience_s` real seconds, `RuntimeError` inside a task.
        """
        step_s = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if step_s < 0:
            raise ValueError(f"a clock can't be moved back (by {step_s:g} s)")
        self._advance_to(self._now + step_s)

    def advance_to(self, moment: datetime | float) -> None:
        """Move the clock on to a moment (a datetime, UTC if it has no zone, or Unix seconds); else as `advance`."""
        if isinstance(moment, datetime):
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if moment < self._now:
            raise ValueError(f"a clock can't be moved back (from {self._now} to {moment})")
        self._advance_to(moment)

    def advance_to_next(self) -> float | None:
        """Move the clock to the next moment at which something is due, and return how many seconds that took; None: nothing is.

        Retries, ETAs, limits and sleeps count as due.  Else as `advance`.
        """
        self.run_until_idle()
        due = self._next_due()
        if due == math.inf:
            return None
        step_s = due - self._now
        self._advance_to(due)
        return step_s

    def run_until_idle(self) -> None:
        """Wait until nothing can go on by itself at the present time. Raises as `advance`."""
        running = running_request()
        if running is not None and not running.is_eager:
            raise RuntimeError(
                f"task {running.task}[{running.id}] can't move the clock that it runs by; to wait, use clock.sleep()"
            )
        for watcher in self._watchers:
            watcher.clock_moved()
        self.stillness.wait(self.patience_s)

    def _advance_to(self, target: float) -> None:
        with self._moving:
            self.run_until_idle()
            while (due := self._next_due()) <= target:
                self._jump(due)
                self.run_until_idle()
            self._jump(target)
            self.run_until_idle()

    def _next_due(self) -> float:
        """Return when (Unix seconds) something happens next by itself, infinite when nothing does; everything is still."""
        moments = [self.waits.next_at(), *(watcher.next_at() for watcher in self._watchers)]
        moments += [loop.next_at for loop in self._loops if loop.next_at is not None and loop.is_alive()]
        times = [self._as_time(moment) for moment in moments]
        times += [due for broker in self._brokers() if (due := broker.next_due()) is not None]
        # What is over and has not happened though everything is still waits for something else.
        return min((moment for moment in times if moment > self._now), default=math.inf)

    def _as_time(self, monotonic: float) -> float:
        """Return the Unix seconds at which `monotonic()` is not below this."""
        moment = self._start + monotonic
        while moment - self._start < monotonic and moment < math.inf:
            moment = math.nextafter(moment, math.inf)
        return moment

    def _jump(self, moment: float) -> None:
        with self.stillness.lock:
            self._now = max(self._now, moment)
        self.waits.clock_moved()
        for broker in self._brokers():
            broker.wake()
        for loop in self._loops:
            loop.clock_moved()

    def _brokers(self) -> Iterator[MemoryBroker]:
        for app in self._apps:
            broker = app.broker
            if isinstance(broker, MemoryBroker):
                yield broker

    # -- waiting, in tasks --------------------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Sleep by this clock: in a worker's task until the test has moved it so far; anywhere else it moves the clock itself.

        A program under test gets it as `monkeypatch.setattr("time.sleep", clock.sleep)`.
        """
        if self._is_moved_by_caller():
            self.advance(seconds)
        else:
            self.waits.park(self.monotonic() + max(0.0, seconds))

    def wait(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Wait in a task for an event that the test sets, at most `timeout` seconds by this clock; return whether it was set."""
        if self._is_moved_by_caller():
            if not event.is_set() and timeout is not None:
                self.advance(timeout)
            return event.wait(self.patience_s) if timeout is None else event.is_set()
        self.waits.park(math.inf if timeout is None else self.monotonic() + timeout, event)
        return event.is_set()

    @staticmethod
    def _is_moved_by_caller() -> bool:
        running = running_request()
        return running is None or running.is_eager

    @contextmanager
    def installed(self, *apps: Celeriac) -> Iterator[VirtualClock]:
        """Be the clock of these apps for the length of a `with` block."""
        with contextlib.ExitStack() as stack:
            for app in apps:
                self.install(app)
                stack.callback(self.remove, app)
            yield self
