"""The executors of one worker: how many of which kind, alive or being replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import psutil
from msgspec import Struct

from celeriac.worker.entry import Entry
from celeriac.worker.executor.frames import FrameError, Report, Started
from celeriac.worker.handle import Body, Handle
from celeriac.worker.spawner import Spawner

if TYPE_CHECKING:
    from celeriac.worker.events.tasks import TaskEvents

logger = logging.getLogger("celeriac.worker")

RESPAWN_PAUSE_S = 1.0
"""Pause before replacing an executor that ended before it had done anything, so that a broken start does not spin."""

LOOK_LATER_S: Final = 0.002
"""While executors are busy with short tasks for longer than this, their reports are looked at so often, and not as each comes.

As network cards do under load: with tasks of 0.3 ms that takes the core's time for each from 144 to 61 us, and Redis' from 43 to 16.
"""


class Death(Struct):
    """What an executor left behind."""

    handle: Handle
    code: int
    """Exit code; negative: killed by that signal."""
    running: list[Entry]
    waiting: list[Entry]


class Pool:
    """Duties: 1. keep the wanted number of executors of each kind, which may change; 2. pass on what they report; 3. say what a dead
    one left behind; 4. let those end that have done enough, or are too many.

    Reports wait in the kernel until they are read, so looking later loses none; an executor that reports more than fits there
    waits as long.
    """

    def __init__(
        self,
        spawner: Spawner,
        sizes: Mapping[str, tuple[int, int]],
        *,
        max_tasks: int | None,
        max_memory_kib: int | None,
        on_reports: Callable[[Handle, Sequence[Report]], None],
        on_death: Callable[[Death], None],
        on_ready: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        events: TaskEvents | None = None,
    ) -> None:
        """`sizes`: kind -> (executors, slots of each); `on_reports` is told what an executor has said since, all but that it is ready."""
        self._spawner = spawner
        self._sizes = dict(sizes)
        self._max_tasks = max_tasks
        self._max_memory_bytes = max_memory_kib * 1024 if max_memory_kib else None
        self._on_reports = on_reports
        self._on_death = on_death
        self._on_ready = on_ready
        self._monotonic = monotonic
        self._events = events
        self._handles: dict[int, Handle] = {}
        self._reports: dict[int, socket.socket] = {}
        self._looked_at_later: set[int] = set()
        """Executors whose reports do not wake us now."""
        self._short: set[str] = set()
        """Kinds of which some are missing for want of sockets, to be made later."""
        self._look: asyncio.TimerHandle | None = None
        self._last_number = 0
        self._closing = False
        self.by_kind: dict[str, list[Handle]] = {kind: [] for kind in self._sizes}

    async def start(self) -> None:
        """Start every executor."""
        self._loop = asyncio.get_running_loop()
        await self._spawner.start(self._spawned, self._exited, self._lost)
        for kind, (count, slots) in self._sizes.items():
            for _ in range(count):
                self._spawn(kind, slots)

    def size(self, kind: str) -> int:
        """Return how many executors of a kind are wanted; 0 for a kind that this worker does not have."""
        return self._sizes.get(kind, (0, 0))[0]

    def resize(self, kind: str, count: int) -> list[Entry]:
        """Have so many executors of a kind; return what those that are too many had not begun.

        They end after what they run; those go first that are ending anyway, then the idle ones.
        """
        before, slots = self._sizes[kind]
        self._sizes[kind] = (count, slots)
        if count > before:
            self._spawn_missing(kind)
        surplus = len(self.by_kind[kind]) - count
        if surplus <= 0:
            return []
        waiting: list[Entry] = []
        for handle in sorted(self.by_kind[kind], key=lambda handle: (not handle.retiring, handle.load))[:surplus]:
            self.by_kind[kind].remove(handle)
            waiting += self._let_end(handle)
        return waiting

    async def renew(self) -> list[Entry]:
        """Replace every executor by one that has imported the app anew; return what the old ones had not begun.

        A process that is busy is replaced when it ends, so that there are never more tasks at once than wanted; an executor with many
        slots at once, lest one long task keep all others waiting.  Raises `ImproperlyConfigured` when the app can't be imported, and
        then everything stays as it was.
        """
        await self._spawner.renew()
        waiting: list[Entry] = []
        for handle in [handle for siblings in self.by_kind.values() for handle in siblings]:
            if handle.slots > 1 or not handle.running:
                waiting += self.retire(handle)
            else:
                waiting += self._let_end(handle)
        return waiting

    @property
    def handles(self) -> list[Handle]:
        """All executors, also those that are ending."""
        return list(self._handles.values())

    @property
    def kinds(self) -> list[str]:
        """The kinds of executor that this worker has, the default one first."""
        return list(self._sizes)

    def note_done(self, handle: Handle) -> bool:
        """Tell whether an executor has done enough and should be retired (tasks, memory)."""
        if handle.retiring:
            return False
        if self._max_tasks is not None and handle.tasks_done >= self._max_tasks:
            return True
        if self._max_memory_bytes is not None and handle.pid:
            with contextlib.suppress(psutil.Error):
                return bool(psutil.Process(handle.pid).memory_info().rss > self._max_memory_bytes)
        return False

    def retire(self, handle: Handle) -> list[Entry]:
        """Let an executor end after what it runs, replace it, and return what it had not begun."""
        waiting = self._let_end(handle)
        self._replace(handle, 0.0)
        return waiting

    def _let_end(self, handle: Handle) -> list[Entry]:
        waiting = handle.recall()
        handle.retire()
        return waiting

    def send(self, handle: Handle, note: bytes) -> None:
        """Send a note to an executor, as far as it still hears."""
        reports = self._reports.get(handle.number)
        if reports is not None:
            with contextlib.suppress(
                OSError
            ):  # it is dying, or has not read for long: its end comes one way or the other
                reports.send(note)

    def kill_all(self) -> None:
        """End all executors now."""
        for handle in self.handles:
            handle.kill()

    async def close(self) -> None:
        """End everything."""
        self._closing = True
        for handle in self.handles:
            handle.retire()
        await self._spawner.close()
        if self._look is not None:
            self._look.cancel()
        for number in list(self._reports):
            self._stop_reading(number)
        self._handles.clear()

    # -- births -------------------------------------------------------------------------------------------------------

    def _spawn_missing(self, kind: str) -> None:
        """Make what is missing of a kind; where sockets run short, what there is goes on, and the rest follows when it can."""
        self._short.discard(kind)
        while not self._closing and len(self.by_kind[kind]) < self.size(kind) and kind not in self._short:
            self._spawn(kind, self._sizes[kind][1])

    def _spawn(self, kind: str, slots: int) -> None:
        if self._closing or len(self.by_kind[kind]) >= self.size(kind):  # fewer may be wanted since
            return
        try:
            (jobs, executor_jobs, taken), (reports, executor_reports) = _sockets()
        except OSError as error:
            if kind not in self._short:
                self._short.add(kind)
                self._loop.call_later(RESPAWN_PAUSE_S, self._spawn_missing, kind)
                logger.error("a %s executor can't be started yet, will go on trying: %s", kind, error.strerror)
            return
        self._last_number += 1
        number = self._last_number
        reports.setblocking(False)
        handle = Handle(
            number,
            kind,
            slots,
            jobs,
            taken,
            max_tasks=self._max_tasks,
            monotonic=self._monotonic,
            events=self._events,
        )
        self._handles[number] = handle
        self._reports[number] = reports
        self.by_kind[kind].append(handle)
        self._loop.add_reader(reports, self._read, number)
        self._spawner.spawn(number, kind, slots, executor_jobs, executor_reports)

    def _spawned(self, number: int, body: Body) -> None:
        handle = self._handles.get(number)
        if handle is None:
            return
        handle.body = body
        if handle.killed:  # before its process was known
            body.kill()

    def _lost(self, number: int) -> None:
        """An executor has ended through no fault of its task."""
        handle = self._handles.get(number)
        if handle is not None:
            handle.killed = True
            self._exited(number, -signal.SIGKILL)

    def _replace(self, handle: Handle, pause_s: float) -> None:
        siblings = self.by_kind[handle.kind]
        if handle in siblings:
            siblings.remove(handle)
            self._loop.call_later(pause_s, self._spawn, handle.kind, handle.slots)

    # -- reports and ends ---------------------------------------------------------------------------------------------

    def _read(self, number: int) -> None:
        handle = self._handles.get(number)
        try:
            reports = handle.read(self._reports[number]) if handle is not None else None
        except FrameError as error:
            logger.error("executor %d is ended: %s", number, error)
            reports = None
            if handle is not None and handle.body is not None:
                handle.body.kill()  # not by handle.kill(): the task that it ran is counted as having crashed it
        if handle is None or reports is None:
            self._stop_reading(number)
            return
        if reports and isinstance(reports[0], Started):
            handle.ready = True
            self._on_ready()
            del reports[0]
        if reports:
            self._on_reports(handle, reports)
        self._look_later_or_at_once(handle)

    def _look_later_or_at_once(self, handle: Handle) -> None:
        """Choose how the next reports of an executor are found: in a moment, together with those of others, or as they come."""
        number, sock = handle.number, self._reports.get(handle.number)
        if sock is None:
            return
        if handle.is_busy_beyond(LOOK_LATER_S):
            if number not in self._looked_at_later:
                self._looked_at_later.add(number)
                self._loop.remove_reader(sock)
            if self._look is None:
                self._look = self._loop.call_later(LOOK_LATER_S, self._look_at_all)
        elif number in self._looked_at_later:
            self._looked_at_later.discard(number)
            self._loop.add_reader(sock, self._read, number)

    def _look_at_all(self) -> None:
        self._look = None
        for number in list(self._looked_at_later):
            self._read(number)

    def _stop_reading(self, number: int) -> None:
        self._looked_at_later.discard(number)
        sock = self._reports.pop(number, None)
        if sock is not None:
            self._loop.remove_reader(sock)
            sock.close()

    def _exited(self, number: int, code: int) -> None:
        """An executor has ended: hear its last reports, then hand on what it leaves behind."""
        handle = self._handles.get(number)
        if handle is None:
            return
        while number in self._reports:
            before = self._reports[number]
            with contextlib.suppress(OSError):
                data_left = before.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                if data_left:
                    self._read(number)
                    continue
            self._stop_reading(number)
        del self._handles[number]
        waiting = handle.recall()
        handle.close()
        # One that dies before it has done anything, without a task to blame, would do so again at once.
        broken_start = not handle.retiring and not (handle.ready and (handle.tasks_done or handle.running))
        self._replace(handle, RESPAWN_PAUSE_S if broken_start else 0.0)
        self._on_death(Death(handle, code, list(handle.running.values()), waiting))


def _sockets() -> tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]:
    """Return our end for jobs, the executor's, and the latter once more; and both ends for reports. Raises `OSError`, with none left open."""
    with contextlib.ExitStack() as made:
        jobs = [made.enter_context(sock) for sock in socket.socketpair(socket.AF_UNIX, _packets())]
        jobs.append(made.enter_context(jobs[1].dup()))
        reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        made.pop_all()
    return tuple(jobs), reports


def _packets() -> socket.SocketKind:
    # macOS has no sequenced packets for local sockets; datagrams keep boundaries and order there just as well.
    return getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
