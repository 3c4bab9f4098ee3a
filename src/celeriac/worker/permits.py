"""A worker's dealings with the store that limits are agreed on in: asking, giving back, waking, and keeping its lease there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from celeriac.coordination.limits import LimitStore
from celeriac.core.limits import Answer, Hold, Question, Terms
from celeriac.core.message import Delayed
from celeriac.core.ports import Consumer
from celeriac.core.urls import mask
from celeriac.exceptions import OperationalError
from celeriac.worker.limits import hold_of
from celeriac.worker.link import Link

logger = logging.getLogger("celeriac.worker")

WATCHED_MAX: Final = 1000
"""So many lines this worker looks after."""
WATCHED_S: Final = 120.0
"""So long after it last saw somebody there."""


class Permits:
    """Duties: 1. put questions to the store; 2. know which permits runs hold here, and give them back; 3. wake in the broker who
    got one; 4. keep the lease under which they are held; 5. say once that the store is away, and once that it is back.

    What is to be told to the store is collected, `changed` is called, and `tell` tells it.
    """

    def __init__(
        self, store: LimitStore, owner: str, consumer: Consumer, link: Link, changed: Callable[[], None]
    ) -> None:
        self._store = store
        self._owner = owner
        self._consumer = consumer
        self._link = link
        self._changed = changed
        self._holds: dict[Hold, None] = {}
        """Permits of runs that have not ended."""
        self._watched: dict[str, tuple[int, float]] = {}
        """Lines to look after: key -> how many permits, and when somebody was last seen there (monotonic seconds)."""
        self._freed: list[Hold] = []
        self._parked: list[Hold] = []
        self._quitted: list[Hold] = []
        self._has_asked = False
        self._away = False
        self._closing = False

    # -- what happens here --------------------------------------------------------------------------------------------

    def hold(self, question: Question) -> Hold:
        """Note that the store has given a permit."""
        hold = hold_of(question)
        self._holds[hold] = None
        self.watch(hold)
        return hold

    def free(self, hold: Hold) -> None:
        """Give a permit back; idempotent."""
        if hold in self._holds:
            del self._holds[hold]
            self._freed.append(hold)
            self._changed()

    def free_all(self) -> None:
        """Give all permits back."""
        for hold in list(self._holds):
            self.free(hold)

    def disown(self, question: Question) -> None:
        """Give back what the store may have given without anybody here who wants it."""
        if question.permits_key is not None:
            self._freed.append(hold_of(question))
            self._changed()

    def watch(self, place: Hold) -> None:
        """Look after a line that somebody stands in."""
        if len(self._watched) < WATCHED_MAX or place.key in self._watched:
            self._watched[place.key] = place.permits, time.monotonic()

    def park(self, place: Hold) -> None:
        """Note that a message which waits for a permit has reached the broker's delay.

        Whoever gave one back before that has looked for it there in vain.
        """
        self._parked.append(place)
        self._changed()

    def quit(self, place: Hold) -> None:
        """Give up a place in a line."""
        self._quitted.append(place)
        self._changed()

    # -- what the store is told ---------------------------------------------------------------------------------------

    async def tell(self) -> bool:
        """Tell the store what has happened; False when that has to be tried again, and nothing may be asked before."""
        freed, self._freed = self._freed, []
        parked, self._parked = self._parked, []
        quitted, self._quitted = self._quitted, []
        woken: list[Delayed] = []
        for told, operation in (
            (freed, lambda: self._store.free(self._owner, freed)),
            (parked, lambda: self._store.parked(parked)),
            (quitted, lambda: self._store.quit(quitted)),
        ):
            answer = await self._call(operation, concerned=True) if told else []
            if answer is None:
                # All of it once more: each can be said twice.
                self._freed, self._parked = freed + self._freed, parked + self._parked
                self._quitted = quitted + self._quitted
                return False
            woken += answer
        await self._bring_forward(woken)
        return True

    async def ask(self, questions: Sequence[Question], terms: Terms, asked_at: float) -> list[Answer] | None:
        """Return the store's answers, None when it is away; `asked_at` in Unix seconds."""
        self._has_asked = True
        given = await self._call(lambda: self._store.ask(self._owner, questions, terms, asked_at), concerned=True)
        if given is None:
            for question in questions:  # it may have said yes without our hearing it
                self.disown(question)
            return None
        answers: list[Answer] = given[0]
        await self._bring_forward(given[1])
        return answers

    async def renew(self) -> dict[str, str] | None:
        """Renew the lease and look after lines, if there is any need; return the rates set at run time, None if not known."""
        if not (self._holds or self._watched):
            rates: dict[str, str] | None = await self._call(self._store.rates, concerned=False)
            return rates
        now = time.monotonic()
        self._watched = {key: line for key, line in self._watched.items() if line[1] > now - WATCHED_S}
        self._watched |= {hold.key: (hold.permits, now) for hold in self._holds}
        watched = {key: permits for key, (permits, _) in self._watched.items()}
        renewal = await self._call(
            lambda: self._store.renew(self._owner, list(self._holds), watched), concerned=bool(self._holds)
        )
        if renewal is None:
            return None
        await self._bring_forward(renewal.woken)
        told: dict[str, str] = renewal.rates
        return told

    async def close(self) -> None:
        """Leave the store and close the connection; idempotent."""
        self._closing = True
        if self._has_asked:
            await self._call(lambda: self._store.leave(self._owner), concerned=False)
        await self._store.close()

    async def _bring_forward(self, woken: Sequence[Delayed]) -> None:
        if woken and self._consumer.hastens:
            await self._link.call(lambda: self._consumer.hasten(woken))

    async def _call(self, operation: Callable[[], Any], *, concerned: bool) -> Any:
        """Ask the store; None when it is away, of which the log tells once if a task is `concerned`."""
        try:
            answer = await operation()
        except OperationalError as error:
            if concerned and not self._away and not self._closing:
                self._away = True
                logger.error("limits can't be agreed on, tasks that have some wait: %s", mask(str(error)))
            return None
        if self._away:
            self._away = False
            logger.warning("limits can be agreed on again")
        return answer
