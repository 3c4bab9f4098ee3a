"""The core of a worker: everything but the tasks, in one event loop.

The way of a message: `Intake` claims it and looks at its headers, `Dispatch` holds it and gives it to an executor (`Pool`,
`Handle`), the executor runs it and reports what follows, `Settler` makes that so.  `Lease` keeps it ours meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Mapping, Sequence

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.core.effects import ACK, REQUEUE, Dead, Follows
from celeriac.core.outcome import Joined, Unopened
from celeriac.worker.autoscale import Autoscaler
from celeriac.worker.casualties import Casualties
from celeriac.worker.control.server import ControlServer
from celeriac.worker.control.state import Parts
from celeriac.worker.control_filter import ControlFilter
from celeriac.worker.crew import Crew, Limits
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.entry import Entry, may_be_in_chord, without_content
from celeriac.worker.events.worker import WorkerEvents
from celeriac.worker.executor.frames import Done, Progress, Report
from celeriac.worker.gate import Gate
from celeriac.worker.handle import Handle
from celeriac.worker.health import Condition, condition_of
from celeriac.worker.intake import Intake
from celeriac.worker.lease import Lease
from celeriac.worker.link import Link
from celeriac.worker.overseer import Overseer
from celeriac.worker.pool import Death, Pool
from celeriac.worker.replays import guard_of
from celeriac.worker.revocations import Revocations
from celeriac.worker.revoker import Revoker
from celeriac.worker.settler import Settler
from celeriac.worker.spawner import Spawner
from celeriac.worker.subscriptions import Subscriptions
from celeriac.worker.sweeper import Sweeper
from celeriac.worker.time_limits import TimeLimits
from celeriac.worker.unique import UniqueKeeper

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
    queue_concurrency: Mapping[str, int] = {}
    """Queue -> most tasks of it at once."""
    grace_s: float = 0.0
    """How long running tasks have when remote control shuts the worker down."""
    autoscale: Limits | None = None
    """Between which numbers of process executors it chooses itself."""


class Core:
    """Duties: 1. build the parts and run their loops; 2. take in what executors report and how they end; 3. stop without losing
    anything.
    """

    def __init__(self, app: Celeriac, options: CoreOptions, spawner: Spawner) -> None:
        settings = app.settings
        self._settings = settings
        self._clock = app.time_source
        self._options = options
        self._entries: dict[tuple[str, int], Entry] = {}
        self._consumer = app.broker.consumer()
        self._writer = app.backend.writer()
        self._link = Link(f"broker {app.broker.shown_url()}", self._open_consumer, self._link_lost)
        self._subscriptions = Subscriptions(app, self._consumer, self._link, options.queues)
        self._unique = UniqueKeeper(app, self._entries)
        self._settler = Settler(
            self._consumer,
            self._writer,
            self._link,
            self._unique,
            self._completed,
            settings.worker_settle_buffer_max,
            settings.worker_settle_buffer_max_bytes,
        )
        self._sweeper = Sweeper(app, self._writer)
        self.events = WorkerEvents(app, options.hostname, lambda: len(self.running()))
        """What it tells whoever listens."""
        self._pool = Pool(
            spawner,
            options.sizes,
            max_tasks=settings.worker_max_tasks_per_child,
            max_memory_kib=settings.worker_max_memory_per_child,
            on_reports=self._reported,
            on_death=self._died,
            on_ready=self._pump,
            monotonic=self._clock.monotonic,
            events=self.events.tasks,
        )
        self._dispatch = Dispatch(
            self._pool,
            settings,
            may_start=lambda: not self._lease.in_doubt,
            holds=self._consumer.holds,
            give_back=self._give_back,
            forget=self._forget,
            park=self._park,
            begun=self._settler.acknowledge_early,
            monotonic=self._clock.monotonic,
        )
        self.crew = Crew(self._pool, self._dispatch.put_back, self._pump)
        """What changes the executors of the running worker."""
        self._autoscaler: Autoscaler | None = None
        if options.autoscale is not None:
            self.crew.limits = options.autoscale
            self._autoscaler = Autoscaler(app, self._queue_names, self.crew, self._dispatch, self._clock.monotonic)
        self._casualties = Casualties(app, self._settler, self.events.tasks, self._drop)
        self._gate = Gate(
            app,
            options.owner,
            self._consumer,
            self._link,
            self._dispatch,
            self._settler,
            self._entries,
            self._drop,
        )
        revocations = Revocations(settings.worker_revokes_max)
        self._overseer = Overseer(app, self._pool, self._dispatch, self._entries, revocations, self._pump)
        heeds = ControlFilter(app)
        self._revoker = Revoker(app, self._overseer, heeds, self._consumer.revocations)
        time_limits = TimeLimits(settings)
        self._lease = Lease(
            self._consumer,
            self._link,
            settings.worker_heartbeat_s,
            settings.worker_lease_s,
            on_lost=self._lease_lost,
            on_sure=self._pump,
            on_revocations=self._revoker.found,
        )
        self._intake = Intake(
            app,
            self._consumer,
            self._link,
            self._dispatch,
            self._settler,
            revocations,
            self._entries,
            self._pool.kinds,
            self._lease.nudge,
            options.hostname,
            self._unique,
            self._gate,
            self.events.tasks,
            time_limits,
        )
        parts = Parts(
            events=self.events,
            pool=self._pool,
            crew=self.crew,
            entries=self._entries,
            revoker=self._revoker,
            rates=self._gate.book,
            time_limits=time_limits,
            subscriptions=self._subscriptions,
            upcoming=self._consumer.upcoming,
            prefetch_count=self._dispatch.reach,
            started_at=time.monotonic(),
            stop=lambda: self.request_stop(options.grace_s),
        )
        self._control = ControlServer(app, options.hostname, parts, heeds)
        self._replays = guard_of(app)
        if self._replays is not None:
            self._intake.replays = self._replays
            self._settler.note_completed = self._replays.completed
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
        self._revoker.found(await self._consumer.revocations())
        await self._gate.renew()
        for name, loop in (
            ("intake", self._intake.run()),
            ("settler", self._settler.run()),
            ("unique", self._unique.answer()),
            ("unique keys", self._unique.keep()),
            ("gate", self._gate.run()),
            ("permits", self._gate.keep()),
            ("renew", self._lease.renew()),
            ("maintain", self._lease.maintain()),
            ("sweeper", self._sweeper.run()),
            ("watch", self._watch()),
            *self.events.loops(),
            *self._control.loops(),
        ):
            self._loops[name] = asyncio.create_task(loop, name=f"celeriac-{name}")
        if self._autoscaler is not None:
            self._loops["autoscale"] = asyncio.create_task(self._autoscaler.run(), name="celeriac-autoscale")
        if self._replays is not None:
            self._loops["replays"] = asyncio.create_task(self._replays.run(), name="celeriac-replays")
        await self._control.started()

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
        await self._cancel("unique")
        await self._cancel("autoscale")
        await self.crew.close()
        for entry in [*self._gate.drain(), *self._dispatch.drain()]:
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
        while True:
            concluding = any(entry.held_up is not None for entry in self._entries.values())
            if concluding or any(handle.running for handle in self._pool.handles):
                self._changed.clear()
                change: Awaitable[object] = self._changed.wait()
            elif self._settler.may_complete_chords:
                change = self._settler.flush()
            else:
                return
            try:
                async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                    await change
            except TimeoutError:
                if self._deadline <= time.monotonic():
                    return

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._settler.flush()
                await self._unique.flush()
                await self._gate.flush()
        except TimeoutError:
            logger.error("what was finished could not be settled in %g s; it will be run again", FLUSH_TIMEOUT_S)
        for name in list(self._loops):
            await self._cancel(name)
        await self._control.close()
        await self.events.close()
        await self._subscriptions.close()
        await self._revoker.close()
        await self._link.close()
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._gate.close()
                if self._replays is not None:
                    await self._replays.close()
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

    def _queue_names(self) -> list[str]:
        return [queue.name for queue in self._subscriptions.queues()]

    async def _open_consumer(self) -> None:
        # The queues of the start where none is left, for no broker is opened without any.
        names = self._subscriptions.consumed
        await self._consumer.open(self._options.owner, names or self._options.queues, self._options.queue_concurrency)
        if not names:
            await self._consumer.consume(())

    # -- what executors say -------------------------------------------------------------------------------------------

    def _reported(self, handle: Handle, reports: Sequence[Report]) -> None:
        """Take in what an executor has said; what an end means for the executor and for others is seen to once, after the last."""
        now = self._clock.monotonic()
        any_done = False
        for report in reports:
            if isinstance(report, Done):
                any_done |= self._done(handle, report, now)
            elif isinstance(report, Progress) and handle.knows(report.number) and not self._lease.in_doubt:
                # A state of a run that may belong to another worker by now must not cover what that one has stored.
                self._settler.store(report.record)
        if any_done:
            self._changed.set()
            self._ended(handle)

    def _done(self, handle: Handle, done: Done, now: float) -> bool:
        """Have a task's end settled; False when the task was taken from this executor before it could report."""
        entry = handle.finish(done.number, done.runtime_s, now)
        if entry is None or self._entries.pop(entry.key, None) is None:
            return False
        if entry.kill_at == math.inf or self._overseer.survived(handle, entry, done):
            self.events.ended(entry, done.event)
            self._settler.settle(entry, done.verdict, done.follows)
        else:
            self._entries[entry.key] = entry
            self._dispatch.put_back([entry])
        return True

    def _ended(self, handle: Handle) -> None:
        """Go on after tasks of an executor have ended: with another one if it has done enough, and with what waits."""
        if self._pool.note_done(handle):
            self._dispatch.put_back(self._pool.retire(handle))
        if handle.free_slots:
            self._dispatch.slot_freed()
        self._pump()

    def _completed(self, entry: Entry, joined: Joined) -> None:
        """Have an executor conclude a chord of which this task was the last member; then the task itself is settled."""
        if (known := self._entries.get(entry.key)) is not None:
            # The connection was lost, and it has come again as another entry. One of the two goes on, under the tag that is still ours:
            # it concludes the chord already, or will find that it completes it.
            entry.held_up = None
            if self._consumer.holds(entry.delivery.tag):
                known.older_tags = [*known.older_tags, known.delivery.tag]
                known.delivery = entry.delivery
            if entry.on_settled is not None:
                entry.on_settled()
            return
        entry.ending = joined
        entry.held_since = self._clock.monotonic()
        self._entries[entry.key] = entry
        self._dispatch.put_back([entry])
        self._dispatch.pump()  # also while the worker stops: it is the end of something that it has run
        self._changed.set()

    def _pump(self) -> None:
        if not self._stopping:
            self._dispatch.pump()

    def _died(self, death: Death) -> None:
        """Give out again what an executor had not begun, and judge what it ran."""
        handle = death.handle
        self._changed.set()
        self._dispatch.put_back(death.waiting)
        self._dispatch.put_back(self._casualties.judge(death))
        if not handle.ready and not handle.retiring:
            logger.error("executor %d ended with code %d before it was ready", handle.number, death.code)
        if self._stopping:
            for entry in self._dispatch.drain():
                self._give_back(entry)
        else:
            self._dispatch.pump()

    # -- what only the core can see -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at limits and at what waits, until cancelled; while there is nothing, do not even look."""
        while True:
            if not self._entries:
                await self._dispatch.wait_for_work()
            await asyncio.sleep(TICK_S)
            self.look()

    def look(self) -> None:
        """Look at limits and at what waits; every tick, and when a test's clock has moved."""
        self._overseer.look()
        self._dispatch.tick()

    def hurry(self) -> None:
        """Do now what would be done within a second: for tests that wait until nothing is left to do."""
        self.look()
        self._lease.nudge()

    def claimed_ids(self) -> list[str]:
        """Return the ids of the tasks that this worker has, running or not."""
        return [entry.message.id for entry in self._entries.values()]

    def condition(self) -> Condition:
        """Return how this worker is, without asking anybody; in the core's own loop, for an answer shows that it turns."""
        started = bool(self._loops) or self._stopping
        return condition_of(
            self._options.hostname,
            self._pool,
            self._link,
            self._lease,
            self._settings,
            started=started,
            stopping=self._stopping,
        )

    @property
    def handles(self) -> list[Handle]:
        """The executors, also those that are ending; only for use in the core's own thread, or while it stands still."""
        return self._pool.handles

    def running(self) -> list[Entry]:
        """Return what executors run now."""
        return [entry for handle in self._pool.handles for entry in handle.running.values() if not entry.concluding]

    def _lease_lost(self) -> None:
        """Everything that was ours belongs to others now: end it, so that nothing of it runs twice for long.

        What was acknowledged early is nobody's but ours: what has not begun begins later, what ran has failed.
        """
        unsettled = self._settler.drop_all()
        own = {key for key, entry in self._entries.items() if entry.acknowledged and key not in unsettled}
        self._unique.drop_all(own)
        self._gate.drop_all()
        if not self._entries:
            logger.info("the lease had run out, with nothing claimed under it")
            return
        lost = len(self._entries) - len(own)
        logger.error("the lease was lost: %d tasks belong to other workers now and are ended here", lost)
        kept = [entry for entry in self._dispatch.drain() if entry.key in own]
        for key in [key for key in self._entries if key not in own]:
            del self._entries[key]
        for handle in self._pool.handles:
            for number in [number for number, entry in handle.running.items() if entry.key not in own]:
                del handle.running[number]
        self._pool.kill_all()
        self._dispatch.put_back(kept)

    def _link_lost(self) -> None:
        """Start nothing that may belong to others by now; what runs goes on, and is settled when its message comes again."""
        self._settler.connection_lost()
        self._dispatch.recall()

    def _forget(self, entry: Entry) -> None:
        """Let go of a message that is not ours any more and has not begun."""
        self._unique.forget(entry.key)
        if self._drop(entry) and entry.on_settled is not None:
            entry.on_settled()

    def _park(self, entry: Entry, reason: str) -> None:
        """Park a message that no executor can be given."""
        if entry.ending is None and may_be_in_chord(entry.message):
            entry.message, entry.ending = without_content(entry.message), Unopened(reason)
            self._dispatch.put_back([entry])
            return
        self._drop(entry)
        logger.error("task %s[%s] was parked: %s", entry.message.task, entry.message.id, reason)
        self.events.tasks.given_up(entry, reason)
        self._settler.settle(entry, Dead(reason))

    # -- giving back --------------------------------------------------------------------------------------------------

    def _give_back(self, entry: Entry) -> None:
        """Return a message unchanged and uncounted; also one that is over: only an executor can tell all whom that concerns."""
        if not self._drop(entry):
            return
        entry.held_up = None
        if entry.acknowledged:
            self._give_back_acknowledged(entry)
        else:
            self._settler.settle(entry, REQUEUE)

    def _give_back_acknowledged(self, entry: Entry) -> None:
        """Send a message anew that was acknowledged for a run which never began; one that did run is lost, as was asked for."""
        if entry.started_at and any(entry in handle.running.values() for handle in self._pool.handles):
            logger.error("task %s[%s] was acknowledged early and is ended here", entry.message.task, entry.message.id)
        elif entry.ending is None:
            self._settler.settle(entry, ACK, Follows([entry.message]))
        else:
            logger.error("task %s[%s] was acknowledged early, and its end is told to nobody", *entry.names)

    def _drop(self, entry: Entry) -> bool:
        return self._entries.pop(entry.key, None) is not None
