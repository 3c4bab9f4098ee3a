"""Which message goes to which executor, and when it is taken back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from celeriac.core.settings import Settings
from celeriac.worker.entry import Entry
from celeriac.worker.executor.frames import FrameError
from celeriac.worker.handle import Handle
from celeriac.worker.pool import Pool


class Dispatch:
    """Duties: 1. hold claimed messages in order; 2. give them to executors with a free slot, and ahead of one only as much
    short work as it will take in a moment; 3. take back what waits behind a long task; 4. give back to the broker what finds no
    slot in time; 5. say how many more messages are wanted.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        *,
        may_start: Callable[[], bool],
        holds: Callable[[Any], bool],
        give_back: Callable[[Entry], None],
        forget: Callable[[Entry], None],
        park: Callable[[Entry, str], None],
        begun: Callable[[Entry], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`begun` is told of what is acknowledged early and has just been given to a free slot; `may_start` tells whether anything may be begun now, `holds` whether a message is still ours, by its tag.

        What is not ours any more is given to `forget` instead of an executor, what no executor can be given to `park`.
        """
        self._pool = pool
        self._window_s = settings.worker_prefetch_window_s
        self._ahead_max = 0 if settings.worker_disable_prefetch else settings.worker_prefetch_max
        # Celery's multiplier counts the running task, too; its 0 (and our None) sets no limit.
        self._slot_ahead_max = (settings.worker_prefetch_multiplier or self._ahead_max + 1) - 1
        self._hold_s = settings.worker_prefetch_hold_s
        self._may_start = may_start
        self._holds = holds
        self._park = park
        self._give_back = give_back
        self._forget = forget
        self._begun = begun
        self._monotonic = monotonic
        self._held: dict[str, deque[Entry]] = {kind: deque() for kind in pool.kinds}
        self._paused_until = 0.0
        self.wanted = asyncio.Event()
        """Set when capacity may have grown."""
        self._work = asyncio.Event()

    # -- in -----------------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take a claimed message."""
        self._work.set()
        self._held[entry.kind].append(entry)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Take messages that an executor had but did not begin, to be given out next, in their order."""
        now = self._monotonic()
        for entry in reversed(list(entries)):
            entry.held_since = now
            self._held[entry.kind].appendleft(entry)

    async def wait_for_work(self) -> None:
        """Wait until the next message is taken."""
        self._work.clear()
        await self._work.wait()

    # -- out ----------------------------------------------------------------------------------------------------------

    def slot_freed(self) -> None:
        """Note that a task has ended: whatever found no slot before may find one now."""
        self._paused_until = 0.0

    def pump(self) -> None:
        """Give out what can be given out."""
        now = self._monotonic()
        if self._may_start():
            for kind, held in self._held.items():
                if held:
                    self._fill(kind, held, now)
        self.wanted.set()

    def _fill(self, kind: str, held: deque[Entry], now: float) -> None:
        handles = [handle for handle in self._pool.by_kind[kind] if handle.ready and not handle.retiring]
        # First every free slot, then ahead: no message waits behind another while a slot is free.
        for handle in sorted(handles, key=lambda handle: handle.load):
            while held and handle.free_slots > 0 and self._give(held, handle, now):
                pass
        # In turn, so that they begin in about the order in which they came.
        takers = deque((handle, self._allowance(handle, now) - len(handle.waiting)) for handle in handles if held)
        # What is acknowledged as it begins is given to free slots only: ahead of one it would be neither here nor there.
        while held and takers and held[0].policy.acks_late:
            handle, ahead = takers.popleft()
            if ahead > 0 and self._give(held, handle, now):
                takers.append((handle, ahead - 1))

    def _give(self, held: deque[Entry], handle: Handle, now: float) -> bool:
        """Give the first held message to an executor; False when it can take no more."""
        entry = held.popleft()
        if not (entry.acknowledged or self._holds(entry.delivery.tag)):
            self._forget(entry)
            return True
        try:
            given = handle.give(entry, now)
        except FrameError as error:
            self._park(entry, str(error))
            return True
        if not given:
            held.appendleft(entry)
        elif not entry.policy.acks_late and entry.ending is None:
            self._begun(entry)
        return given

    def _allowance(self, handle: Handle, now: float) -> int:
        return handle.allowance(now, self._window_s, min(self._ahead_max, handle.slots * self._slot_ahead_max))

    def capacity(self) -> int:
        """How many messages should be claimed now; 0 while it is better to wait for more room."""
        now = self._monotonic()
        if now < self._paused_until:
            return 0
        room = total = 0
        starving = False
        for kind, handles in self._pool.by_kind.items():
            room -= len(self._held[kind])
            for handle in handles:
                if handle.retiring or not handle.ready:
                    continue
                allowance = self._allowance(handle, now)
                room += handle.free_slots + allowance - len(handle.waiting)
                total += handle.slots + allowance
                starving = starving or not handle.waiting
        # Claims are cheap per message only when they are large: wait until half is gone, but never let an executor starve.
        return max(0, room) if starving or room * 2 >= total else 0

    def load(self, kind: str) -> tuple[int, int]:
        """Return how many executors of a kind run something, and how many messages for it are claimed and not begun."""
        handles = self._pool.by_kind.get(kind, [])
        waiting = len(self._held.get(kind, ())) + sum(len(handle.waiting) for handle in handles)
        return sum(bool(handle.running) for handle in handles), waiting

    def reach(self) -> int:
        """Return how many messages the worker may have at once, as it runs now."""
        now = self._monotonic()
        handles = [handle for handles in self._pool.by_kind.values() for handle in handles if not handle.retiring]
        return sum(handle.slots + self._allowance(handle, now) for handle in handles)

    # -- back ---------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Take back what waits behind long tasks, and give back what has been held too long. Called often."""
        now = self._monotonic()
        for handles in self._pool.by_kind.values():
            for handle in handles:
                if handle.waiting and len(handle.waiting) > self._allowance(handle, now):
                    self.put_back(handle.recall())
        self.pump()
        for held in self._held.values():
            self._give_back_old(held, now)

    def _give_back_old(self, held: deque[Entry], now: float) -> None:
        """Give back what has found no slot in time; what only has to be concluded stays."""
        if not held or now - held[0].held_since <= self._hold_s:
            return
        kept: deque[Entry] = deque()
        while held:
            entry = held.pop()  # from the end, so that the broker's queue gets them back in their order
            if entry.ending is None and now - entry.held_since > self._hold_s:
                self._give_back(entry)
                self._paused_until = now + self._hold_s
            else:
                kept.appendleft(entry)
        held.extend(kept)

    def recall(self) -> None:
        """Take back everything that no executor has begun, to be given out again as far as it is still ours."""
        for handle in self._pool.handles:
            self.put_back(handle.recall())

    def drain(self) -> list[Entry]:
        """Take everything back that no executor has begun."""
        entries: list[Entry] = []
        for handle in self._pool.handles:
            entries += handle.recall()
        for held in self._held.values():
            entries += held
            held.clear()
        return entries
