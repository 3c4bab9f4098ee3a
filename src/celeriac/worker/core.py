"""The core of a worker: everything but the tasks, in one event loop.

The way of a message: `Intake` claims it and looks at its headers, `Dispatch` holds it and gives it to an executor (`Pool`,
`Handle`), the executor runs it and reports what follows, `Settler` makes that so.  `Lease` keeps it ours meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from celeriac.client.app import Celeriac
from celeriac.core.effects import ACK, REQUEUE, Dead
from celeriac.core.headers import CRASHES
from celeriac.core.message import Revocation
from celeriac.core.outcome import Crashed, Revoked, TimedOut
from celeriac.core.retry import crash_delay_s
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.entry import Entry
from celeriac.worker.executor.frames import Done, Progress, Report
from celeriac.worker.handle import Handle
from celeriac.worker.intake import Intake
from celeriac.worker.lease import Lease
from celeriac.worker.link import Link
from celeriac.worker.pool import Death, Pool, Spawner
from celeriac.worker.revocations import Revocations
from celeriac.worker.settler import Settler

logger = logging.getLogger("celeriac.worker")

TICK_S = 0.02
"""How often what runs and waits is looked at: limits, recalls, give-backs."""
CANCEL_AGAIN_S = 1.0
"""After this long a loop that has not ended is cancelled once more."""
FLUSH_TIMEOUT_S = 5.0
"""How long a stopping worker tries to settle what is finished."""


class CoreOptions(Struct, frozen=True):
    """What one worker is to be."""

    hostname: str
    owner: str
    """Its identity for the broker: unique per start."""
    queues: tuple[str, ...]
    sizes: Mapping[str, tuple[int, int]]
    """Kind of executor -> (how many, slots of each); the default kind first."""


class Core:
    """Duties: 1. build the parts and run their loops; 2. take in what executors report and how they end; 3. enforce hard time
    limits and revocations; 4. stop without losing anything.
    """

    def __init__(self, app: Celeriac, options: CoreOptions, spawner: Spawner) -> None:
        settings = app.settings
        self._settings = settings
        self._options = options
        self._entries: dict[tuple[str, int], Entry] = {}
        self._consumer = app.broker.consumer()
        self._writer = app.backend.writer()
        self._link = Link(f"broker {app.broker.shown_url()}", self._open_consumer, self._link_lost)
        self._settler = Settler(self._consumer, self._writer, self._link)
        self._pool = Pool(
            spawner,
            options.sizes,
            max_tasks=settings.worker_max_tasks_per_child,
            max_memory_kib=settings.worker_max_memory_per_child,
            on_report=self._reported,
            on_death=self._died,
            on_ready=self._pump,
        )
        self._dispatch = Dispatch(
            self._pool,
            settings,
            may_start=lambda: not self._lease.in_doubt,
            holds=lambda entry: self._consumer.holds(entry.delivery.tag),
            give_back=self._give_back,
            forget=self._forget,
            park=self._park,
        )
        self._revocations = Revocations()
        self._lease = Lease(
            self._consumer,
            self._link,
            settings.worker_heartbeat_s,
            settings.worker_lease_s,
            on_lost=self._lease_lost,
            on_sure=self._pump,
            on_revocations=self._revoked,
        )
        self._intake = Intake(
            app,
            self._consumer,
            self._link,
            self._dispatch,
            self._settler,
            self._revocations,
            self._entries,
            self._pool.kinds,
            self._lease.nudge,
        )
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._stop_asked = asyncio.Event()
        self._changed = asyncio.Event()
        """Set when a task or an executor has ended, or the deadline has changed."""
        self._deadline = math.inf

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the executors, open the broker and begin to claim.

        Raises `ImproperlyConfigured` when the app can't be imported, `OperationalError` when the broker can't be reached.
        """
        # The executors first: importing a large app may take longer than a lease lasts.
        await self._pool.start()
        await self._link.open()
        self._revoked(await self._consumer.revocations())
        for name, loop in (
            ("intake", self._intake.run()),
            ("settler", self._settler.run()),
            ("renew", self._lease.renew()),
            ("maintain", self._lease.maintain()),
            ("watch", self._watch()),
        ):
            self._loops[name] = asyncio.create_task(loop, name=f"celeriac-{name}")

    async def wait(self) -> None:
        """Wait until a stop is asked for, or until one of the loops fails, which is a bug: then raise what it raised."""
        asked = asyncio.create_task(self._stop_asked.wait())
        done, _ = await asyncio.wait([asked, *self._loops.values()], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for loop in done:
            if not loop.cancelled() and (error := loop.exception()) is not None:
                raise error

    def request_stop(self, grace_s: float) -> None:
        """Begin to stop, or stop sooner than asked before: running tasks have `grace_s` seconds left. Idempotent."""
        self._deadline = min(self._deadline, time.monotonic() + grace_s)
        self._stop_asked.set()
        self._changed.set()

    async def stop(self) -> None:
        """Stop claiming, give back what has not begun, let running tasks end until the deadline, then give them back too."""
        self._stopping = True
        await self._cancel("intake")
        for entry in self._dispatch.drain():
            self._give_back(entry)
        await self._running_tasks_end()
        await self._cancel("watch")
        for handle in self._pool.handles:
            for entry in [*handle.recall(), *handle.running.values()]:
                logger.warning("task %s[%s] is given back unfinished", entry.message.task, entry.message.id)
                self._give_back(entry)
            if handle.running:
                handle.running.clear()
                handle.kill()  # those that run nothing end by themselves when their sockets are closed
        await self._pool.close()
        for entry in list(self._entries.values()):  # those that the death of an executor brought back meanwhile
            self._give_back(entry)
        await self._leave()

    async def _running_tasks_end(self) -> None:
        """Wait until nothing runs any more, or the deadline has come; it may be brought forward meanwhile."""
        while any(handle.running for handle in self._pool.handles):
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._settler.flush()
        except TimeoutError:
            logger.error("what was finished could not be settled in %g s; it will be run again", FLUSH_TIMEOUT_S)
        for name in list(self._loops):
            await self._cancel(name)
        await self._link.close()
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                if self._link.is_up:
                    await self._consumer.release()
                await self._consumer.close()
                await self._writer.close()
        except Exception as error:  # the broker is away: its lease ends by itself
            logger.warning("leaving the broker failed: %s", error)

    async def _cancel(self, name: str) -> None:
        loop = self._loops.pop(name, None)
        while loop is not None and not loop.done():
            # More than once, because a library may swallow a cancellation.
            loop.cancel()
            await asyncio.wait([loop], timeout=CANCEL_AGAIN_S)

    async def _open_consumer(self) -> None:
        await self._consumer.open(self._options.owner, self._options.queues)

    # -- what executors say -------------------------------------------------------------------------------------------

    def _reported(self, handle: Handle, report: Report) -> None:
        if isinstance(report, Done):
            self._done(handle, report)
        elif isinstance(report, Progress) and handle.knows(report.number) and not self._lease.in_doubt:
            # A state of a run that may belong to another worker by now must not cover what that one has stored.
            self._settler.store(report.record)

    def _done(self, handle: Handle, done: Done) -> None:
        entry = handle.finish(done.number, done.runtime_s, time.monotonic())
        if entry is None or self._entries.pop(entry.key, None) is None:
            return  # it was taken from this executor before it could report
        self._changed.set()
        self._settler.settle(entry, done.verdict, done.publish, done.records)
        if self._pool.note_done(handle):
            self._dispatch.put_back(self._pool.retire(handle))
        if handle.free_slots:
            self._dispatch.slot_freed()
        self._pump()

    def _pump(self) -> None:
        if not self._stopping:
            self._dispatch.pump()

    def _died(self, death: Death) -> None:
        """Give out again what an executor had not begun, and judge what it ran."""
        handle = death.handle
        self._changed.set()
        self._dispatch.put_back(death.waiting)
        if handle.killed:
            # Those with an ending are concluded by the next executor; their neighbours run again, uncounted.
            self._dispatch.put_back(sorted(death.running, key=lambda entry: entry.ending is None))
        else:
            for entry in death.running:
                self._crashed(entry, death)
        if not handle.ready and not handle.retiring:
            logger.error("executor %d ended with code %d before it was ready", handle.number, death.code)
        if self._stopping:
            for entry in self._dispatch.drain():
                self._give_back(entry)
        else:
            self._dispatch.pump()

    def _crashed(self, entry: Entry, death: Death) -> None:
        """Count a crash against the message that ran: it is tried again later, or concluded as failed at the limit."""
        how = f"killed by signal {-death.code}" if death.code < 0 else f"exit code {death.code}"
        what = f"task {entry.message.task}[{entry.message.id}]"
        if isinstance(entry.ending, Crashed):
            # Even concluding it kills an executor: park it without opening it again.
            self._drop(entry)
            self._settler.settle(entry, Dead(entry.ending.reason))
            return
        crashes = entry.crashes + 1
        limit = self._settings.task_crash_limit
        logger.error("%s: its executor (pid %d) died, %s; crash %d of %d", what, death.handle.pid, how, crashes, limit)
        if crashes >= limit:
            entry.crashes = crashes
            entry.ending = Crashed(f"its executor died {crashes} times, at last {how}", crashes)
            self._dispatch.put_back([entry])
            return
        again = replace(
            entry.message,
            headers={**entry.message.headers, CRASHES: crashes},
            not_before=time.time() + crash_delay_s(crashes),
        )
        self._drop(entry)
        self._settler.settle(entry, ACK, [again])

    # -- what only the core can see -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at limits and at what waits, until cancelled; while there is nothing, do not even look."""
        while True:
            if not self._entries:
                await self._dispatch.wait_for_work()
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for handle in self._pool.handles:
                if handle.killed_for is None:
                    self._enforce_limits(handle, now)
            self._dispatch.tick()

    def _enforce_limits(self, handle: Handle, now: float) -> None:
        for entry in handle.running.values():
            limit_s = entry.time_limit_s
            if limit_s is not None and entry.ending is None and now - entry.started_at > limit_s:
                entry.ending = TimedOut(limit_s)
                self._kill_for(handle, entry)
                return

    def _kill_for(self, handle: Handle, entry: Entry) -> None:
        """End an executor because of one task; its neighbours are given out again, uncounted."""
        handle.killed_for = entry
        handle.kill()

    def _revoked(self, revocations: Sequence[Revocation]) -> None:
        self._revocations.add(revocations, time.time())
        news = {revocation.id: revocation for revocation in revocations}
        if not any(entry.message.id in news for entry in self._entries.values()):
            return
        self._dispatch.recall()  # what waits in an executor can be marked only where no executor has it
        running: set[Entry] = set()
        for handle in self._pool.handles:
            running.update(handle.running.values())
            self._terminate(handle, news)
        for entry in self._entries.values():
            if entry.message.id in news and entry not in running and entry.ending is None:
                entry.ending = Revoked("revoked")
        self._pump()

    def _terminate(self, handle: Handle, news: Mapping[str, Revocation]) -> None:
        for entry in handle.running.values():
            revocation = news.get(entry.message.id)
            if revocation is not None and revocation.terminate and entry.ending is None:
                entry.ending = Revoked("terminated")
                self._kill_for(handle, entry)

    def _lease_lost(self) -> None:
        """Everything that was ours belongs to others now: end it, so that nothing of it runs twice for long."""
        self._settler.drop_all()
        if not self._entries:
            logger.info("the lease had run out, with nothing claimed under it")
            return
        logger.error("the lease was lost: %d tasks belong to other workers now and are ended here", len(self._entries))
        self._dispatch.drain()
        self._entries.clear()
        for handle in self._pool.handles:
            handle.running.clear()
        self._pool.kill_all()

    def _link_lost(self) -> None:
        """Start nothing that may belong to others by now; what runs goes on, and is settled when its message comes again."""
        self._dispatch.recall()

    def _forget(self, entry: Entry) -> None:
        """Let go of a message that is not ours any more and has not begun."""
        self._drop(entry)

    def _park(self, entry: Entry, reason: str) -> None:
        """Park a message that no executor can be given."""
        self._drop(entry)
        logger.error("task %s[%s] was parked: %s", entry.message.task, entry.message.id, reason)
        self._settler.settle(entry, Dead(reason))

    # -- giving back --------------------------------------------------------------------------------------------------

    def _give_back(self, entry: Entry) -> None:
        """Return a message unchanged and uncounted; one that was over already is settled as far as it can be."""
        if not self._drop(entry):
            return
        match entry.ending:
            case Crashed(reason=reason):
                self._settler.settle(entry, Dead(reason))
            case TimedOut(limit_s=limit_s):
                self._settler.settle(entry, Dead(f"over its hard time limit of {limit_s:g} s, and its worker stopped"))
            case Revoked(reason="terminated"):
                self._settler.settle(entry, ACK)
            case _:
                self._settler.settle(entry, REQUEUE)

    def _drop(self, entry: Entry) -> bool:
        return self._entries.pop(entry.key, None) is not None
