"""How many process executors a worker has, by what there is to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.core.message import QueueDepth
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.worker.crew import Crew
from celeriac.worker.dispatch import Dispatch

logger = logging.getLogger("celeriac.worker")


class Load(Struct, frozen=True):
    """What there is to do at one moment."""

    busy: int
    """Executors that run a task."""
    waiting: int
    """Messages that the worker has claimed and no executor has begun."""
    late: int = 0
    """Messages in the broker that have waited there for longer than they should."""


class Scale:
    """The decision, without a clock: grow at once, shrink when fewer have been enough for a while."""

    def __init__(self, keepalive_s: float) -> None:
        self._keepalive_s = keepalive_s
        self._needed_at: float | None = None
        """When all that there are were last needed."""
        self._peak = 0
        """Most that were needed since."""

    def decide(self, now: float, current: int, least: int, most: int, load: Load) -> int:
        """Return how many executors there should be instead of `current`; `now` is in monotonic seconds.

        As many as there are tasks to run. What is late in the broker doubles them at most, for it says how much more there is to do
        and not for how long.
        """
        needed = load.busy + load.waiting
        if load.late:
            needed = max(needed, current + min(load.late, max(current, 1)))
        needed = max(least, min(most, needed))
        if needed >= current or current > most:
            self._needed_at, self._peak = now, 0
            return needed
        self._peak = max(self._peak, needed)
        if self._needed_at is None or now - self._needed_at < self._keepalive_s:
            self._needed_at = now if self._needed_at is None else self._needed_at
            return current
        fewer, self._needed_at, self._peak = self._peak, now, 0
        return fewer


def late(depths: Sequence[QueueDepth], target_delay_s: float) -> int:
    """Count the messages in queues whose next one has waited for longer than the target; all where the broker can't tell its age."""
    return sum(depth.ready for depth in depths if depth.oldest_age_s is None or depth.oldest_age_s > target_delay_s)


class Autoscaler:
    """Duties: 1. look at the load from time to time; 2. ask the broker how late it is, but only while every executor is busy and there
    may be more of them; 3. have the crew grow or shrink.
    """

    def __init__(
        self,
        app: Celeriac,
        queues: Callable[[], Sequence[str]],
        crew: Crew,
        dispatch: Dispatch,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues` names those consumed at that moment; `crew` has its limits already. Raises `ImproperlyConfigured` for a keepalive in the environment that is no number."""
        self._app = app
        self._queues = queues
        self._crew = crew
        self._dispatch = dispatch
        self._monotonic = monotonic
        self._scale = Scale(keepalive_s(app.settings.worker_autoscale_keepalive_s))
        self._asked_at = float("-inf")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._app.settings.worker_autoscale_look_s)
            await self._look()

    async def _look(self) -> None:
        busy, waiting = self._dispatch.load(self._crew.kind)
        now, limits = self._monotonic(), self._crew.limits
        if limits is None:
            return
        settings = self._app.settings
        behind = 0
        if busy >= self._crew.size < limits.most and now - self._asked_at >= settings.worker_autoscale_ask_s:
            self._asked_at = now
            behind = await asyncio.to_thread(self._late, self._queues())
        count = self._scale.decide(now, self._crew.size, limits.least, limits.most, Load(busy, waiting, behind))
        self._crew.resize(count)

    def _late(self, queues: Sequence[str]) -> int:
        """Ask the broker; 0 when it does not answer."""
        try:
            with contextlib.closing(self._app.broker.admin()) as admin:
                return late(admin.depths(queues), self._app.settings.worker_autoscale_target_delay_s)
        except OperationalError as error:
            logger.debug("autoscale: the broker does not tell how much waits: %s", error)
            return 0


def keepalive_s(default: float) -> float:
    """Return what Celery's variable says, for which Celery has no setting; else the default. Raises `ImproperlyConfigured`."""
    text = os.environ.get("AUTOSCALE_KEEPALIVE")
    try:
        return float(text) if text else default
    except ValueError:
        raise ImproperlyConfigured(
            f"AUTOSCALE_KEEPALIVE in the environment is {text!r}: give seconds, as in 30"
        ) from None
