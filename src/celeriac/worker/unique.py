"""Keys of unique tasks in a worker: asked about when a message comes, kept while it runs, given back when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.client.unique import read_mark, unique_store
from celeriac.coordination.location import coordination_url
from celeriac.core.effects import Ack, Dead, Settlement
from celeriac.core.headers import read_id
from celeriac.core.message import Message
from celeriac.core.unique import RUN, UNIQUE, Answer, Arrive, Hold, Mark, Release, Step
from celeriac.exceptions import CeleriacError
from celeriac.worker.entry import Entry

logger = logging.getLogger("celeriac.worker")

LEASES: Final = 3
"""So many leases long a key is held for what runs, and after the end of a worker that could not give it back."""
ASKED_MAX: Final = 1000
"""While so many messages wait for an answer, nothing more is claimed."""
ASK_S: Final = 2.0
"""How long a message waits for an answer about its key."""
SHORTEN_S: Final = 1.0
"""How long a settlement waits for its keys to be shortened."""
AGAIN_S: Final = 1.0
"""Pause before the next try, when keys could not be given back."""
STEPS_MAX: Final = 100_000
"""So many steps wait while the store is away; older ones are left to the holds' own ends."""

Key = tuple[str, int]


class Pending(Protocol):
    """A settlement as the settler keeps it."""

    settlement: Settlement
    key: Key | None
    newer_tags: list[Any]
    held: Any
    """What the keeper has noted of it; else None."""


class _Held(Struct):
    """A call with a key that this worker has claimed."""

    mark: Mark
    id: str
    runs: bool = False
    """The store has said that it may; so its key is kept alive from here."""
    given_back: bool = False
    """Its end changes nothing any more: it was unique until its start, or for a time."""
    early: bool = False
    """Its message is acknowledged as it begins: that is not its end."""
    is_asked: bool = False
    """The store has not said yet whether it may run."""


def check_unique_tasks(app: Celeriac) -> None:
    """Raise `ImproperlyConfigured` when a task is unique and there is no place to keep its keys."""
    for task in app.tasks.values():
        if task.unique:
            coordination_url(app.settings, app.locations.broker, f"task {task.name!r}, which is unique,")


class UniqueKeeper:
    """Duties: 1. ask whether a claimed call may run, has to wait, or was replaced; 2. keep the keys of what runs;
    3. shorten them before the end is settled, so that a crash in between blocks nobody for long; 4. give them back
    afterwards, however long the store is away.

    No task waits for a store that is away: it runs.
    """

    def __init__(self, app: Celeriac, entries: Mapping[Key, Entry]) -> None:
        """`entries`: everything this worker has claimed and not yet settled."""
        self._app = app
        self._entries = entries
        self._hold_s = LEASES * app.settings.worker_lease_s
        self.held: dict[Key, _Held] = {}
        """What is claimed and has a key; empty where nothing is unique, which is all that other tasks pay."""
        self._arrivals: list[tuple[Entry, _Held, Callable[[Entry, Answer], None]]] = []
        self._arrived = asyncio.Event()
        self._steps: list[Step] = []
        self._to_do = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._threads: ThreadPoolExecutor | None = None
        self._away = False
        self._epoch = 0
        """Counts the leases that were lost."""
        self.room = asyncio.Event()
        """Clear while too many messages wait for an answer."""
        self.room.set()

    # -- what the worker tells ----------------------------------------------------------------------------------------

    def claim(self, entry: Entry, mark: Mark) -> None:
        """Take note of a claimed call; its end will give the key back."""
        self.held[entry.key] = _Held(mark, entry.message.id)
        if len(self.held) == 1:
            self._to_do.set()  # the loop may sleep until something is held

    def ask(self, entry: Entry, judge: Callable[[Entry, Answer], None]) -> None:
        """Have `judge` called with the store's answer to the question whether a claimed call may run."""
        held = self.held[entry.key]
        held.is_asked = True
        self._arrivals.append((entry, held, judge))
        self._arrived.set()
        if len(self._arrivals) >= ASKED_MAX:
            self.room.clear()

    def forget(self, key: Key) -> None:
        """Leave a call to whoever claims it next, unless that is us: then its message has come again."""
        held = self.held.get(key)
        if held is not None and not held.is_asked:
            del self.held[key]

    def begun_early(self, key: Key) -> None:
        """Take note that the next settlement of a call is not its end: it is acknowledged as it begins."""
        held = self.held.get(key)
        if held is not None:
            held.early = True

    def ended_early(self, key: Key, follow_ups: Sequence[Message]) -> None:
        """Take note of the end of a call that was acknowledged before."""
        held = self.held.pop(key, None)
        if held is None or held.given_back:
            return
        if _goes_on(held, follow_ups):
            _pass_on(held, follow_ups)
        else:
            self._do(Release(held.mark.key, held.id))

    def parked(self, message: Message | None) -> None:
        """Give back the key of a message that was parked unread."""
        mark = read_mark(message.headers) if message is not None else None
        if message is not None and mark is not None and (task_id := read_id(message.headers)) is not None:
            self._do(Release(mark.key, task_id))

    def drop_all(self, own: Collection[Key] = ()) -> None:
        """Forget what is claimed: the lease is lost, and the keys are those of other workers now; all but those of `own` runs."""
        self._epoch += 1
        self.held = {key: held for key, held in self.held.items() if key in own}
        self._arrivals.clear()
        self.room.set()

    # -- around a settlement ------------------------------------------------------------------------------------------

    async def shorten(self, batch: Sequence[Pending]) -> None:
        """Before a batch is settled: let no key outlast this worker by much, should it end before it gives them back."""
        steps: list[Step] = []
        for pending in batch:
            held = pending.held = self.held.get(pending.key) if pending.key is not None else None
            if held is None or held.given_back:
                continue
            if _ends(held, pending.settlement):
                steps.append(Hold(held.mark.key, held.id, self._hold_s, exactly=True))
            else:
                _pass_on(held, pending.settlement.publish)
        if steps and not self._away:
            await self._apply(steps, SHORTEN_S)

    def settled(self, batch: Sequence[Pending], lost: set[Any]) -> None:
        """After a batch was settled: give back the keys of what has ended, and keep those of what will come again."""
        for pending in batch:
            held = pending.held
            if held is None or pending.key is None:
                continue
            if held.early:
                held.early = False
                continue
            is_lost = pending.settlement.tag in lost
            if is_lost and pending.newer_tags:
                continue  # it is settled once more, under its newer tag
            # What follows from it may have come here already, under the same key: that is another.
            if self.held.get(pending.key) is held:
                del self.held[pending.key]
            if is_lost or held.given_back:
                continue
            if _ends(held, pending.settlement):
                self._do(Release(held.mark.key, held.id))
            else:
                delay_s = _delay_s(held, pending.settlement, self._app.time_source.time())
                self._do(Hold(held.mark.key, held.id, held.mark.expires_s + delay_s))

    def settled_otherwise(self, key: Key | None) -> None:
        """Give back the key of a message that was parked because it could not be settled."""
        held = self.held.pop(key, None) if key is not None else None
        if held is not None:
            self._do(Release(held.mark.key, held.id))

    # -- loops --------------------------------------------------------------------------------------------------------

    async def answer(self) -> None:
        """Ask about what has arrived, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._arrivals:
                arrivals, self._arrivals = self._arrivals, []
                self.room.set()
                epoch = self._epoch
                steps = [self._arrive(held) for _, held, _ in arrivals]
                answers = None if self._away else await self._apply(steps, ASK_S)
                if epoch != self._epoch:
                    continue  # the lease was lost meanwhile
                for (entry, held, judge), answer in zip(arrivals, answers or [RUN] * len(arrivals), strict=True):
                    held.is_asked = False
                    # If it has come once more meanwhile, that one stands there, and both are judged: who takes them on makes one of them.
                    self.held.setdefault(entry.key, held)
                    if answer.verdict == "run":
                        held.runs = held.mark.until == "done"
                        held.given_back = not held.runs and answers is not None
                    judge(entry, answer)

    async def keep(self) -> None:
        """Give back what has ended and keep what runs, until cancelled."""
        renew_at = time.monotonic() + self._hold_s / 3
        while True:
            if self._away:
                await asyncio.sleep(AGAIN_S)
            elif not self._steps:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(renew_at - time.monotonic() if self.held else None):
                        await self._to_do.wait()
            self._to_do.clear()
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + self._hold_s / 3
                # Only what is still ours: to hold a key that another worker has given back would take it anew.
                self._steps += [
                    Hold(held.mark.key, held.id, self._hold_s, anew=True)
                    for key, held in self.held.items()
                    if held.runs and key in self._entries
                ]
            steps, self._steps = self._steps, []
            if steps and await self._apply(steps, self._app.settings.publish_timeout_s) is None:
                self._steps = [*steps, *self._steps][-STEPS_MAX:]
            if not self._steps:
                self._away = False
                self._idle.set()

    async def flush(self) -> None:
        """Wait until everything that has ended is given back."""
        await self._idle.wait()

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _arrive(self, held: _Held) -> Arrive:
        mark = held.mark
        return Arrive(mark.key, held.id, mark.until, mark.on_conflict, self._hold_s, mark.expires_s, mark.window_s)

    def _do(self, step: Step) -> None:
        self._steps.append(step)
        self._idle.clear()
        self._to_do.set()

    async def _apply(self, steps: Sequence[Step], timeout_s: float) -> list[Answer] | None:
        """Make the steps; None when the store is away."""
        if not steps:
            return []
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, "celeriac-unique")
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._make, list(steps), timeout_s)
        except CeleriacError as error:
            if not self._away:
                logger.warning("unique tasks run unchecked, their keys are given back later: %s", error)
            self._away = True
            self._idle.clear()
            self._to_do.set()
            return None
        except Exception:  # a defect; what one message brought about must not stop a worker, nor come again for ever
            logger.exception("unique tasks run unchecked, their keys are held until their time is over")
            return [RUN] * len(steps)

    def _make(self, steps: Sequence[Step], timeout_s: float) -> list[Answer]:
        return unique_store(self._app, steps[0].key.rpartition(":")[0]).apply(steps, timeout_s)


def _ends(held: _Held, settlement: Settlement) -> bool:
    """Tell whether a settlement is the end of the call, and not of one of its runs only."""
    match settlement.verdict:
        case Dead():
            return True
        case Ack():
            return not _goes_on(held, settlement.publish)
    return False


def _goes_on(held: _Held, follow_ups: Iterable[Message]) -> bool:
    return any(message.id == held.id for message in follow_ups)


def _pass_on(held: _Held, follow_ups: Iterable[Message]) -> None:
    """Mark what takes the place of a call under its id, such as by `self.replace`: it goes on holding the key."""
    for message in follow_ups:
        if message.id == held.id:
            message.headers.setdefault(UNIQUE, _as_header(held.mark))


def _as_header(mark: Mark) -> dict[str, Any]:
    return {name: getattr(mark, name) for name in mark.__struct_fields__}


def _delay_s(held: _Held, settlement: Settlement, now: float) -> float:
    delays = [message.not_before for message in settlement.publish if message.id == held.id and message.not_before]
    return max(0.0, max(delays, default=0.0) - now)
