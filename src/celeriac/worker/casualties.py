"""What becomes of the tasks that a dead executor ran."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from celeriac.core.effects import ACK, Dead, Follows
from celeriac.core.headers import CRASHES
from celeriac.core.outcome import Crashed, Joined, Revoked
from celeriac.core.retry import crash_delay_s

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.entry import Entry
    from celeriac.worker.events.tasks import TaskEvents
    from celeriac.worker.pool import Death
    from celeriac.worker.settler import Settler

logger = logging.getLogger("celeriac.worker")


class Casualties:
    """Duties: 1. count a crash against the task that ran, and only against it; 2. have those concluded that have crashed too often, were
    to end, or must not run twice; 3. see to it that no conclusion ends executors for ever.
    """

    def __init__(self, app: Celeriac, settler: Settler, events: TaskEvents, drop: Callable[[Entry], bool]) -> None:
        """`drop` takes a task out of what this worker has."""
        self._settings = app.settings
        self._time = app.time_source.time
        self._settler = settler
        self._events = events
        self._drop = drop

    def judge(self, death: Death) -> list[Entry]:
        """Return what executors are to be given next of what ran there: those first that have only to be concluded."""
        handle = death.handle
        back: list[Entry] = []
        for entry in death.running:
            entry.kill_at = math.inf
            if entry.concluding and (handle.killed_for is entry or not handle.killed):
                goes_on = self._may_conclude_again(entry, hung=handle.killed_for is entry)
            else:
                if handle.killed and entry.acknowledged and entry.ending is None:
                    # Acknowledged as it began, so that it runs once at most.
                    reason = "its executor was ended because of another task"
                    entry.ending = Crashed(reason, entry.crashes, parked=False)
                is_no_fault = handle.killed or isinstance(entry.ending, Revoked)
                goes_on = is_no_fault or self._must_be_concluded(entry, death)
            if goes_on:
                back.append(entry)
        # Neighbours of who was killed run again, uncounted.
        return sorted(back, key=lambda entry: entry.ending is None)

    def _must_be_concluded(self, entry: Entry, death: Death) -> bool:
        """Count a crash against the message that ran; False when it is sent anew, to be tried again later."""
        how = f"killed by signal {-death.code}" if death.code < 0 else f"exit code {death.code}"
        what = f"task {entry.message.task}[{entry.message.id}]"
        crashes = entry.crashes + 1
        limit = self._settings.task_crash_limit
        policy = entry.policy
        runs_again = policy.reject_on_worker_lost and policy.acks_late and not policy.retry_on_worker_lost
        logger.error("%s: its executor (pid %d) died, %s; crash %d of %d", what, death.handle.pid, how, crashes, limit)
        if crashes >= limit or not runs_again:
            entry.crashes = crashes
            entry.ending = Crashed(f"its executor died {crashes} times, at last {how}", crashes, parked=runs_again)
            return True
        again = replace(
            entry.message,
            headers={**entry.message.headers, CRASHES: crashes},
            not_before=self._time() + crash_delay_s(crashes),
        )
        self._drop(entry)
        self._settler.settle(entry, ACK, Follows([again]))
        return False

    def _may_conclude_again(self, entry: Entry, *, hung: bool) -> bool:
        """Tell whether a task whose conclusion has ended an executor is concluded once more, or else park it unopened.

        An accident is followed by another try; what may be a handler or a listener of the program, because it hung or happens again and
        again, by one without them: there is a result to be stored, or a chord's body to be sent.
        """
        entry.conclusions += 1
        limit = max(2, self._settings.task_crash_limit)
        again, entry.quiet = entry.conclusions < limit, entry.quiet or hung or entry.conclusions >= limit - 1
        logger.error("task %s[%s]: its executor ended while it concluded the task", *entry.names)
        if not again and isinstance(chord := entry.ending, Joined) and not chord.problem:
            # What ends executors may be in the parts: unopened, the chord can still be told to have failed.
            problem = f"concluding it has ended {entry.conclusions} executors"
            entry.ending = Joined(chord.group_id, [], body=chord.body, problem=problem)
            return True
        if not again:
            ending = entry.ending
            self._drop(entry)
            reason = ending.reason if isinstance(ending, Crashed) else f"it can't be concluded: {ending}"
            if not isinstance(ending, Joined):  # whose own end was told before
                self._events.given_up(entry, reason)
            self._settler.settle(entry, Dead(reason))
        return again
