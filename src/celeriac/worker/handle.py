"""One executor as its core sees it."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from celeriac.worker.entry import Entry
from celeriac.worker.executor.frames import Job, Report, ReportReader, encode_job, receive_job, send_job

if TYPE_CHECKING:
    from celeriac.worker.events.tasks import TaskEvents

logger = logging.getLogger("celeriac.worker")

READ_BYTES: Final = 256 * 1024
RUNTIME_WEIGHT: Final = 0.1
"""How much the latest runtime counts in the mean of an executor."""


class Body(Protocol):
    """The process or thread behind a handle."""

    @property
    def pid(self) -> int:
        """Process id, for logs."""

    def kill(self) -> None:
        """End it now, whatever it does."""


class Handle:
    """Duties: 1. give jobs to one executor, never more than it may have; 2. know which of them run and which wait;
    3. take back those that wait; 4. cut its reports from the stream.

    Jobs are taken in the order in which they were sent, so those that run are the first `slots` of those not done.
    """

    def __init__(
        self,
        number: int,
        kind: str,
        slots: int,
        jobs: socket.socket,
        taken: socket.socket,
        *,
        max_tasks: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        events: TaskEvents | None = None,
    ) -> None:
        """`max_tasks`: how many jobs it may have in its whole life; None: without a limit.  `events` are told what has begun."""
        self.number = number
        self.kind = kind
        self.slots = slots
        self.body: Body | None = None
        self.ready = False
        """The executor has reported that it takes jobs."""
        self.retiring = False
        self.killed = False
        """The core itself ends it: what it runs did not crash it."""
        self.running: dict[int, Entry] = {}
        self.waiting: deque[tuple[int, Entry]] = deque()
        self.mean_runtime_s: float | None = None
        self.tasks_done = 0
        self.killed_for: Entry | None = None
        """The task because of which the core itself killed the executor."""
        self._jobs = jobs
        """Our end: what we send."""
        self._taken = taken
        """A second descriptor of the executor's end: reading from it takes a job back."""
        self._reader = ReportReader()
        self._max_tasks = math.inf if max_tasks is None else max_tasks
        self._monotonic = monotonic
        self._events = events
        self._last_number = 0
        self._closed = False
        self._said = False
        jobs.setblocking(False)

    # -- giving -------------------------------------------------------------------------------------------------------

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.running) + len(self.waiting)

    @property
    def _budget(self) -> float:
        """How many more jobs it may be given before it has to be replaced."""
        return self._max_tasks - self.tasks_done - self.load

    @property
    def free_slots(self) -> int:
        """How many more jobs would begin at once."""
        if self.retiring or not self.ready:
            return 0
        free = self.slots - len(self.running)
        return free if self._max_tasks == math.inf else int(min(free, self._budget))

    def allowance(self, now: float, window_s: float, limit: int) -> int:
        """How many jobs it may have waiting: as many as it will take within `window_s`, judged by what it ran lately."""
        if self.retiring or not self.ready or self.mean_runtime_s is None or window_s <= 0:
            return 0
        slowest = max((now - entry.started_at for entry in self.running.values()), default=0.0)
        # An executor whose oldest task already outlasts the window has proved that what waits behind it would wait.
        if slowest > window_s:
            return 0
        wanted = min(limit, int(self.slots * window_s / max(self.mean_runtime_s, 1e-6)))
        return int(min(wanted, len(self.waiting) + self._budget))

    def is_busy_beyond(self, moment_s: float) -> bool:
        """Tell whether it is about to end at least one job in a moment, and will have more to do after it."""
        if self.retiring or self.mean_runtime_s is None or not self.waiting:
            return False
        each_s = self.mean_runtime_s / self.slots
        return each_s <= moment_s and len(self.waiting) * each_s >= 1.5 * moment_s

    def give(self, entry: Entry, now: float) -> bool:
        """Send a job; False when it can take none now. Raises `FrameError` for a message that no executor can be given."""
        number = self._last_number + 1
        redelivered = bool(entry.older_tags or entry.delivery.losses)
        tells = self._events is not None and self._events.on and self._events.wants(entry.message)
        job = Job(number, entry.message, redelivered, entry.ending, entry.quiet, tells, entry.limits)
        try:
            send_job(self._jobs, encode_job(job))
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return False  # it is dying; its end will be told
        except OSError as error:  # a large job needs a file: no room for it, or no descriptor
            if not self._said:
                self._said = True
                logger.error("a large message waits, because no file could be made for it: %s", error)
            return False
        self._last_number = number
        entry.concluding = entry.ending is not None
        entry.tells = tells
        if len(self.running) < self.slots:
            self._begin(number, entry, now)
        else:
            self.waiting.append((number, entry))
        return True

    def _begin(self, number: int, entry: Entry, now: float) -> None:
        entry.started_at = now
        self.running[number] = entry
        if entry.tells and not entry.concluding and self._events is not None:
            self._events.started(entry)

    def recall(self) -> list[Entry]:
        """Take back every job that the executor has not taken, in order; none any more once the sockets are closed."""
        recalled: dict[int, Entry] = {}
        waiting = dict(self.waiting)
        while not self._closed:
            try:
                # Not the socket's own flag: the executor shares it and may want to block.
                job = receive_job(self._taken, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                break
            if job is None:
                break
            entry = waiting.pop(job.number, None) or self.running.pop(job.number, None)
            if entry is not None:
                recalled[job.number] = entry
        # What was neither taken back nor reported done is running, whatever we thought.
        now = self._monotonic()
        self.waiting.clear()
        for number, entry in waiting.items():
            self._begin(number, entry, now)
        return [recalled[number] for number in sorted(recalled)]

    # -- hearing ------------------------------------------------------------------------------------------------------

    def read(self, reports: socket.socket) -> list[Report] | None:
        """Return the reports that have arrived; None at the end of the stream."""
        try:
            data = reports.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        return self._reader.feed(data) if data else None

    def finish(self, number: int, runtime_s: float, now: float) -> Entry | None:
        """Note that a job is done; the next one that waits begins. None when the job is not known any more."""
        entry = self.running.pop(number, None)
        if entry is None:
            for position, (waiting_number, waiting_entry) in enumerate(self.waiting):
                if waiting_number == number:  # more ran at once than we thought
                    del self.waiting[position]
                    entry = waiting_entry
                    break
            else:
                return None
        self.tasks_done += 1
        mean = self.mean_runtime_s
        self.mean_runtime_s = runtime_s if mean is None else mean + RUNTIME_WEIGHT * (runtime_s - mean)
        while self.waiting and len(self.running) < self.slots:
            next_number, next_entry = self.waiting.popleft()
            self._begin(next_number, next_entry, now)
        return entry

    def knows(self, number: int) -> bool:
        """Tell whether a job is still its own."""
        return number in self.running or any(number == waiting for waiting, _ in self.waiting)

    # -- ending -------------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Let the executor end by itself once it has done what it runs. Recall first."""
        self.retiring = True
        self.close()

    def kill(self) -> None:
        """End the executor now."""
        self.retiring = self.killed = True
        if self.body is not None:
            self.body.kill()

    def close(self) -> None:
        """Close the job sockets: the executor sees the end of its work. Idempotent."""
        self._closed = True
        for sock in (self._jobs, self._taken):
            with contextlib.suppress(OSError):
                sock.close()

    @property
    def pid(self) -> int:
        """Process id, 0 before it is known."""
        return self.body.pid if self.body is not None else 0
