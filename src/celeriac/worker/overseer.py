"""What only the core can see of a running task: that its time is over, or that it was revoked."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from celeriac.core.message import Revocation
from celeriac.core.outcome import Revoked, TimedOut
from celeriac.core.revoking import ids_of
from celeriac.core.states import FAILURE
from celeriac.worker.termination import terminate

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.dispatch import Dispatch
    from celeriac.worker.entry import Entry
    from celeriac.worker.executor.frames import Done
    from celeriac.worker.handle import Handle
    from celeriac.worker.pool import Pool
    from celeriac.worker.revocations import Revocations

logger = logging.getLogger("celeriac.worker")


class Overseer:
    """Duties: 1. end tasks that are over their hard time limit; 2. end or mark those that are revoked; 3. end executors whose task did
    not end when told.
    """

    def __init__(
        self,
        app: Celeriac,
        pool: Pool,
        dispatch: Dispatch,
        entries: Mapping[tuple[str, int], Entry],
        revocations: Revocations,
        pump: Callable[[], None],
    ) -> None:
        """`entries`: everything this worker has claimed; `pump` is called when what was marked may be concluded."""
        self._settings = app.settings
        self._clock = app.time_source
        self._pool = pool
        self._dispatch = dispatch
        self._entries = entries
        self._revocations = revocations
        self._pump = pump

    # -- time limits --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """End what is over its time."""
        now = self._clock.monotonic()
        for handle in self._pool.handles:
            if handle.killed_for is None:
                self._enforce_limits(handle, now)

    def _enforce_limits(self, handle: Handle, now: float) -> None:
        for entry in handle.running.values():
            limit_s = entry.time_limit_s
            if now > entry.kill_at:
                logger.warning("task %s[%s] did not end when told, so its executor is killed", *entry.names)
                self._kill_for(handle, entry)
                return
            if limit_s is None:
                continue
            if entry.ending is None and now - entry.started_at > limit_s:
                entry.ending = TimedOut(limit_s)
                self._kill_for(handle, entry)
                return
            if entry.concluding and now - entry.started_at > max(limit_s, self._settings.task_cancel_grace_s):
                self._kill_for(handle, entry)  # a handler of the program hangs
                return

    def _kill_for(self, handle: Handle, entry: Entry) -> None:
        """End an executor because of one task; its neighbours are given out again, uncounted."""
        handle.killed_for = entry
        handle.kill()

    # -- revocations --------------------------------------------------------------------------------------------------

    def revoke(self, revocations: Sequence[Revocation]) -> list[Entry]:
        """Have none of these tasks run, and end those that are to be terminated; return those of them that run."""
        self._revocations.add(revocations, self._clock.time())
        news = {revocation.id: revocation for revocation in revocations}
        meant: dict[Entry, Revocation] = {}
        for entry in self._entries.values():
            for one in ids_of(entry.message.headers):
                if one in news and not (entry in meant and meant[entry].terminate):
                    meant[entry] = news[one]
        if not meant:
            return []
        self._dispatch.recall()  # what waits in an executor can be marked only where no executor has it
        running: set[Entry] = set()
        for handle in self._pool.handles:
            running.update(handle.running.values())
            self._terminate(handle, meant)
        for entry in meant:
            if entry not in running and entry.ending is None:
                entry.ending = Revoked("revoked")
        self._pump()
        return [entry for entry in meant if entry in running]

    def revoked_ids(self) -> list[str]:
        """Return the ids of revoked tasks, oldest first."""
        return self._revocations.task_ids(self._clock.time())

    def _terminate(self, handle: Handle, meant: Mapping[Entry, Revocation]) -> None:
        kill_at = self._clock.monotonic() + self._settings.task_cancel_grace_s
        for number, entry in list(handle.running.items()):
            revocation = meant.get(entry)
            if revocation is not None and revocation.terminate:
                terminate(
                    handle, number, entry, revocation, kill_at=kill_at, send=self._pool.send, kill_for=self._kill_for
                )

    def survived(self, handle: Handle, entry: Entry, done: Done) -> bool:
        """Note the end of a task that was told to end; False when it did not finish in its own right, and counts as revoked."""
        entry.kill_at = math.inf
        if handle.killed:
            handle.kill()  # it did not die of its signal, but is not to run anything else
        return done.follows is None or not any(record.state == FAILURE for record in done.follows.records)
