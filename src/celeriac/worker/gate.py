"""The gate: messages of limited tasks pass it when they may run, and go back into the broker's delay when they may not yet."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from celeriac.client.app import Celeriac
from celeriac.client.clock import SYSTEM_TIME
from celeriac.client.task_limits import TaskLimits
from celeriac.coordination.limits_memory import MemoryLimits
from celeriac.core.effects import ACK, Follows
from celeriac.core.headers import LOSSES, SLOT, to_timestamp
from celeriac.core.limits import Answer, Hold, Question, Terms
from celeriac.core.outcome import Revoked
from celeriac.core.ports import Consumer
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.entry import Entry
from celeriac.worker.limits import LimitBook, hold_of, open_shared_limits, question_of
from celeriac.worker.link import Link
from celeriac.worker.permits import Permits
from celeriac.worker.settler import Settler

NEAR_S: Final = 0.25
NEAR_COARSE_S: Final = 1.5
"""So long a message waits here for its start, instead of in the broker; longer where that counts whole seconds."""
LATE_S: Final = 0.02
"""A start that was promised may be so late, or a quarter of its interval."""
LEAD_S: Final = 0.1
LEAD_COARSE_S: Final = 1.0
"""So much before its start a message is to come back from the broker."""
AWAY_S: Final = 2.0
"""How long messages are delayed when nobody can say whether they may run, and the pause before giving permits back again."""
ASKED_AT_ONCE: Final = 500
HERE_MAX: Final = 2000
"""With so many messages at the gate nothing more is claimed."""
FLUSH_S: Final = 2.0
"""How long a stopping worker tries to give permits back; what is left goes with its lease."""


class _Case(Struct, eq=False):
    """A message at the gate."""

    entry: Entry
    limits: TaskLimits
    expires_at: float | None
    """Unix seconds."""
    timer: asyncio.TimerHandle | None = None
    hold: Hold | None = None
    promised_at: float = 0.0
    """When it was to start, by the loop's clock."""
    was_late: bool = False
    """It has missed a start that was promised."""


class Gate:
    """Duties: 1. find out, in batches and beside the intake, which messages of limited tasks may run and when; 2. let those pass
    whose time has come, and put the others into the broker's delay; 3. have permits given back when runs have ended, whatever
    the end; 4. hear of rates set at run time.

    Messages here hold no slot of an executor.  When the store is away, limited tasks wait and all others go on.
    """

    def __init__(
        self,
        app: Celeriac,
        owner: str,
        consumer: Consumer,
        link: Link,
        dispatch: Dispatch,
        settler: Settler,
        entries: Mapping[tuple[str, int], Entry],
        drop: Callable[[Entry], bool],
    ) -> None:
        """`entries`: everything this worker has claimed; `drop` takes one out of it, and tells whether it was there.

        Raises `ImproperlyConfigured` for limits that nobody keeps.
        """
        settings = app.settings
        self._clock = app.time_source
        self._consumer = consumer
        self._dispatch = dispatch
        self._settler = settler
        self._entries = entries
        self._drop = drop
        self._heartbeat_s = settings.worker_heartbeat_s
        store = open_shared_limits(app)
        self._permits = Permits(store, owner, consumer, link, self._wake) if store is not None else None
        self._own = MemoryLimits(settings.worker_lease_s, self._clock.time)
        self.book = LimitBook(app)
        """The limits that hold."""
        near_s, lead_s = (NEAR_S, LEAD_S) if consumer.hastens else (NEAR_COARSE_S, LEAD_COARSE_S)
        if app.time_source is not SYSTEM_TIME:
            near_s = lead_s = 0.0  # a clock that a test moves: only the broker knows when its time has come
        self._terms = Terms(near_s, settings.task_rate_limit_horizon_s, consumer.hastens)
        self._lead_s = lead_s
        self._here: dict[Entry, _Case] = {}
        self._asking: list[_Case] = []
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.room = asyncio.Event()
        """Clear while too much waits here."""
        self.room.set()

    # -- messages -----------------------------------------------------------------------------------------------------

    def takes(self, entry: Entry) -> bool:
        """Take a message whose task is limited; False when it is not, or has only to be concluded."""
        limits = self.book.limits_for(entry.message)
        if limits is None or (limits.of_group and self._permits is None):
            return False
        if entry.ending is not None:
            self._leave_line(entry, limits)
            return False
        expires_at = to_timestamp(entry.message.headers.get("expires"), "expires")
        case = self._here[entry] = _Case(entry, limits, expires_at)
        if len(self._here) >= HERE_MAX:
            self.room.clear()
        self._ask(case)
        return True

    def _leave_line(self, entry: Entry, limits: TaskLimits) -> None:
        """Give up the place of a message that only has to be concluded, and may have waited for a permit before."""
        if limits.max_concurrency is not None and SLOT in entry.message.headers:
            question = question_of(entry.message, limits, shared=True)
            if question is not None and self._permits is not None:
                self._permits.quit(hold_of(question))

    def drain(self) -> list[Entry]:
        """Take everything back that waits here."""
        entries = list(self._here)
        for entry in entries:
            self._remove(entry)
        return entries

    def drop_all(self) -> None:
        """Forget everything: the lease is lost, and what ran is ended."""
        self.drain()
        if self._permits is not None:
            self._permits.free_all()

    def _ask(self, case: _Case) -> None:
        case.timer = None
        self._asking.append(case)
        self._wake()

    def _remove(self, entry: Entry) -> None:
        case = self._here.pop(entry, None)
        if case is not None:
            if case.timer is not None:
                case.timer.cancel()
            self._let_go(case)
        if len(self._here) < HERE_MAX:
            self.room.set()

    def _let_go(self, case: _Case) -> None:
        if case.hold is not None and self._permits is not None:
            self._permits.free(case.hold)
            case.hold = None

    def _is_here(self, case: _Case) -> bool:
        """Tell whether a message is still to be judged; what was lost or revoked or has expired meanwhile is not."""
        entry = case.entry
        if self._here.get(entry) is not case:
            return False
        if self._entries.get(entry.key) is not entry:
            self._remove(entry)
            return False
        if entry.ending is None and case.expires_at is not None and case.expires_at <= self._clock.time():
            entry.ending = Revoked("expired")
        if entry.ending is not None:
            self._leave_line(entry, case.limits)
            self._remove(entry)
            self._dispatch.add(entry)
            return False
        return True

    def _judge(self, case: _Case, question: Question, answer: Answer) -> None:
        entry = case.entry
        entry.message.headers.pop(SLOT, None)
        if answer.starts:
            if answer.after_s > 0:
                loop = asyncio.get_running_loop()
                case.promised_at = loop.time() + answer.after_s
                case.timer = loop.call_at(case.promised_at, self._start_if_in_time, case)
            else:
                self._start(case)
        elif answer.due is not None and (answer.after_s > self._terms.near_s or len(self._here) > HERE_MAX // 2):
            self._wait_for_permit(case, question, answer.due, answer.slot)
        elif answer.due is not None:  # one of the next, where nobody can be woken, or of those that are about to expire
            entry.message.headers[SLOT] = answer.slot or 0.0
            case.timer = asyncio.get_running_loop().call_later(answer.after_s, self._ask, case)
        elif answer.slot is not None and answer.after_s <= self._terms.near_s:
            entry.message.headers[SLOT] = answer.slot
            self._let_go(case)  # when the rate of this worker's own says later: a permit is for who runs
            pause_s = max(0.0, answer.after_s - self._lead_s)
            case.timer = asyncio.get_running_loop().call_later(pause_s, self._ask, case)
        else:
            lead_s = self._lead_s if answer.slot is not None else 0.0
            self._put_off(case, self._brokers_time() + answer.after_s - lead_s, answer.slot)

    def _start_if_in_time(self, case: _Case) -> None:
        """Let a message pass, unless this process stood still for so long that it would come too close to the next; once."""
        late_s = asyncio.get_running_loop().time() - case.promised_at
        interval_s = case.limits.interval_s
        if case.was_late or interval_s is None or late_s <= max(LATE_S, interval_s / 4):
            self._start(case)
        elif self._is_here(case):
            case.was_late = True
            self._let_go(case)
            case.entry.message.headers[SLOT] = self._clock.time()
            self._ask(case)

    def _start(self, case: _Case) -> None:
        """Let a message pass: its time has come."""
        if not self._is_here(case):
            return
        entry, hold = case.entry, case.hold
        case.hold = None
        self._remove(entry)
        if hold is not None and (permits := self._permits) is not None:
            entry.on_settled = lambda: permits.free(hold)
        entry.held_since = self._clock.monotonic()
        self._dispatch.add(entry)
        self._dispatch.pump()

    def _wait_for_permit(self, case: _Case, question: Question, due: float, slot: float | None) -> None:
        permits, place = self._permits, hold_of(question)
        assert permits is not None
        permits.watch(place)
        if self._terms.wakes:
            case.entry.on_settled = lambda: permits.park(place)
        self._put_off(case, due, slot)

    def _put_off(self, case: _Case, not_before: float, slot: float | None) -> None:
        """Put a message into the broker's delay; there it is exactly what it was, but for its mark."""
        entry = case.entry
        self._remove(entry)
        if not self._drop(entry):
            return
        message = entry.message
        if case.expires_at is not None:
            not_before = min(not_before, case.expires_at + self._consumer.ahead_s)
        headers = {**message.headers, SLOT: slot or 0.0}
        if entry.delivery.losses:
            headers[LOSSES] = max(entry.delivery.losses, headers.get(LOSSES, 0))
        self._settler.settle(entry, ACK, Follows([replace(message, headers=headers, not_before=not_before)]))

    # -- finding out --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._work.set()
        self._idle.clear()

    async def run(self) -> None:
        """Tell, ask and judge, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            # A permit that could not be given back yet must not be taken meanwhile: it would be given back then.
            told = self._permits is None or await self._permits.tell()
            asking, self._asking = self._asking[:ASKED_AT_ONCE], self._asking[ASKED_AT_ONCE:]
            await self._find_out([case for case in asking if self._is_here(case)], answered=told)
            self._dispatch.pump()
            if not told:
                asyncio.get_running_loop().call_later(AWAY_S, self._work.set)
            elif self._asking:
                self._work.set()
            elif not self._work.is_set():
                self._idle.set()

    async def keep(self) -> None:
        """Renew the lease of what is held and hear of rates, until cancelled."""
        while True:
            await self.renew()
            await asyncio.sleep(self._heartbeat_s)

    async def renew(self) -> None:
        """Say that this worker lives, and hear what is new; also once before anything is claimed."""
        rates = await self._permits.renew() if self._permits is not None else None
        if rates is not None:
            self.book.take_rates(rates)

    async def flush(self) -> None:
        """Give back what has ended, as far as that is possible soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._idle.wait()

    async def close(self) -> None:
        """Leave the store and close the connection; idempotent."""
        if self._permits is not None:
            await self._permits.close()

    async def _find_out(self, cases: Sequence[_Case], *, answered: bool) -> None:
        """Judge messages; not `answered`: the shared store is not asked, its messages wait."""
        own: list[_Case] = []
        asked: list[tuple[_Case, Question]] = []
        for case in cases:
            question = question_of(case.entry.message, case.limits, shared=True)
            if question is None:
                own.append(case)
            else:
                asked.append((case, question))
        if asked:
            own += await self._ask_shared(asked, answered=answered)
        if own:
            await self._ask_own(own)

    async def _ask_shared(self, asked: Sequence[tuple[_Case, Question]], *, answered: bool) -> list[_Case]:
        """Judge by the store that workers share; return those who may start by it, and have a rate of this worker's own."""
        permits = self._permits
        assert permits is not None
        questions = [question for _, question in asked]
        for question in questions:
            if question.expires_at is not None:
                question.expires_at += self._consumer.ahead_s
        answers = await permits.ask(questions, self._terms, self._brokers_time()) if answered else None
        if answers is None:
            for case, question in asked:
                if self._is_here(case):
                    self._put_off(case, self._brokers_time() + AWAY_S * random.uniform(0.5, 1.5), question.slot)
            return []
        rest = []
        for (case, question), answer in zip(asked, answers, strict=True):
            if not self._is_here(case):  # it was lost or revoked while we asked
                if answer.starts:
                    permits.disown(question)
                continue
            if answer.starts and question.permits_key is not None:
                case.hold = permits.hold(question)
            if answer.starts and question_of(case.entry.message, case.limits, shared=False) is not None:
                rest.append(case)
            else:
                self._judge(case, question, answer)
        return rest

    def _brokers_time(self) -> float:
        """Return the time by which the broker ends delays: by ours, if that is behind, what waits would come back at once, for ever."""
        return self._clock.time() + self._consumer.ahead_s

    async def _ask_own(self, cases: Sequence[_Case]) -> None:
        """Judge by the rates of this worker's own."""
        asked = [(case, question_of(case.entry.message, case.limits, shared=False)) for case in cases]
        questions = [question for _, question in asked if question is not None]
        answers, _ = await self._own.ask("", questions, self._terms, self._clock.time())
        for (case, question), answer in zip(asked, answers, strict=True):
            if question is not None and self._is_here(case):
                self._judge(case, question, answer)
