"""Changing a running worker's executors: more, fewer, or all of them anew."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.entry import Entry
from celeriac.worker.pool import Pool

logger = logging.getLogger("celeriac.worker")


class Limits(Struct, frozen=True):
    """Between which numbers of executors a worker chooses itself."""

    least: int
    most: int

    def including(self, count: int) -> Limits:
        """Return them widened, so that an operator's choice is not undone at once."""
        return Limits(min(self.least, count), max(self.most, count))


class Crew:
    """Duties: 1. have more or fewer process executors; 2. have all executors anew, with the app imported anew.

    What executors had not begun goes to others at once; what they run ends first.  Use it in the core's own thread.
    """

    def __init__(self, pool: Pool, put_back: Callable[[Iterable[Entry]], None], pump: Callable[[], None]) -> None:
        """`put_back` is given what is to be given out again, `pump` gives it out."""
        self._pool = pool
        self._put_back = put_back
        self._pump = pump
        self.kind: Final = "process"
        """The kind of executor of which there may be more or fewer; the others have their slots from their start."""
        self.limits: Limits | None = None
        """None: nobody but an operator changes their number."""
        self._renewing: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """How many process executors are wanted."""
        return self._pool.size(self.kind)

    def grow(self, n: int = 1) -> None:
        """Have `n` more process executors. Raises `ValueError` when tasks run in threads or coroutines only, or `n` is below 1."""
        self._check(n)
        self._choose(self.size + n)

    def shrink(self, n: int = 1) -> None:
        """Have `n` fewer process executors: idle ones end now, a busy one after what it runs.

        Raises `ValueError` when none would be left, when tasks run in threads or coroutines only, or when `n` is below 1.
        """
        self._check(n)
        if n >= self.size:
            raise ValueError(f"can't take {n} of {self.size} process executors away: one has to stay")
        self._choose(self.size - n)

    def autoscale(self, most: int | None = None, least: int | None = None) -> Limits:
        """Change the limits between which the worker chooses the number itself, and return them.

        One executor stays, where 0 are asked for.  Raises `ValueError` when the worker does not choose (no `--autoscale`), or when the
        limits contradict each other.
        """
        if self.limits is None:
            raise ValueError("Autoscale not enabled")
        limits = Limits(
            self.limits.least if least is None else max(1, least), self.limits.most if most is None else most
        )
        check_limits(limits)
        self.limits = limits
        self.resize(max(limits.least, min(limits.most, self.size)))
        return limits

    def resize(self, count: int) -> None:
        """Have `count` process executors, whatever the limits say."""
        before = self.size
        if count == before:
            return
        self._put_back(self._pool.resize(self.kind, count))
        logger.info("process executors: %d instead of %d", count, before)
        self._pump()

    def restart(self, modules: Sequence[str] = ()) -> None:
        """Begin to replace all executors by new ones that import the app anew, and do not wait for it.

        Running tasks end first.  When the app can't be imported any more, the old ones stay and the log says why; likewise for
        executors that are threads of the worker's own process.  Asked for again meanwhile: it is done once.  The core itself keeps the
        app as it was imported at its start: other options of a task, such as its executor or `acks_late`, need a new worker.

        `modules` may name what the app imports anyway.  Raises `ValueError` for any other: no name from a message is ever imported.
        """
        unknown = [name for name in modules if name not in sys.modules]
        if unknown:
            raise ValueError(
                f"the app does not import {', '.join(unknown)}; name it in the setting `imports` and start anew"
            )
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="celeriac-renew")

    async def close(self) -> None:
        """Stop replacing."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _renew(self) -> None:
        logger.info("importing the app anew, for new executors")
        try:
            self._put_back(await self._pool.renew())
        except ImproperlyConfigured as error:
            logger.error("the executors stay as they are: %s", error)
            return
        except Exception:  # a defect, but no reason not to go on with those that there are
            logger.exception("replacing the executors failed")
            return
        logger.info("all executors are replaced; those that are busy end after their task")
        self._pump()

    def _choose(self, count: int) -> None:
        if self.limits is not None:
            self.limits = self.limits.including(count)
        self.resize(count)

    def _check(self, n: int) -> None:
        if not self.size:
            raise ValueError(
                f"this worker has no process executors, and {' and '.join(self._pool.kinds)} have their slots from their start:"
                " start it anew with other --threads or --async"
            )
        if n < 1:
            raise ValueError(f"{n} is no number of executors: give 1 or more")


def check_limits(limits: Limits) -> None:
    """Raise `ValueError` for limits that contradict each other."""
    if not 1 <= limits.least <= limits.most:
        raise ValueError(
            f"autoscale between {limits.least} and {limits.most} executors: the smaller number has to be at least 1, and not above the"
            " other"
        )
