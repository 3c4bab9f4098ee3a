"""The scheduler: looks which ticks are due, and has each of them sent once."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from celeriac.beat.book import EntryBook
from celeriac.beat.due import is_over, last_of
from celeriac.beat.entry import ScheduleEntry, in_utc
from celeriac.beat.sending import Seen, TickSender
from celeriac.beat.state import (
    State,
    moment,
    names_with_state,
    read_state,
    state_field,
    write_state,
)
from celeriac.core.boards import Move
from celeriac.core.schedules import ticks
from celeriac.exceptions import CoordinationUnavailable, OperationalError, SchedulingError, Unroutable

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

LOOK_EVERY_S: Final = 5.0
"""So soon changes that others make to the store are seen, unless `beat_max_loop_interval` says otherwise."""
TIDY_EVERY_S: Final = 86_400.0
AHEAD_S: Final = 60.0
"""So far clocks may be apart before it is told."""
RETRY_S: Final = 1.0
"""After this long an entry is looked at again that could not be."""
NEVER: Final = float("inf")


class Waiting(Struct, frozen=True):
    """What was decided about an entry, in this state: nothing before a certain time."""

    entry: ScheduleEntry
    text: str
    since: float
    until: float


class Due(Struct, frozen=True):
    """A tick that is being sent."""

    seen: Seen
    tick: datetime
    gap_s: float | None
    """Seconds to the next one."""


class Scheduler(EntryBook):
    """Duties: 1. know the entries: of the settings, of the code, and those that were added at run time; 2. decide which ticks are due;
    3. have each sent once, whoever else does the same; 4. do with missed ones what their entry wants; 5. forget what is no longer there.

    Any number of them may run at once.  One thread at a time uses one.  Subclasses take entries from elsewhere (`setup_schedule`,
    `own_entries`, `note_sent`).

    Args:
        app: its settings and clock hold.
        max_interval: most seconds between two looks.
        schedule: entries in place of those of settings and code, as in `beat_schedule`.
        lazy: do not read the entries before they are needed.

    Raises `ImproperlyConfigured` for an entry that can't be.
    """

    def __init__(
        self,
        app: Celeriac,
        schedule: Mapping[str, Any] | None = None,
        max_interval: float | None = None,
        *,
        lazy: bool = False,
        **_options: Any,
    ) -> None:
        super().__init__(app, schedule, lazy=lazy)
        self.max_interval = max_interval or app.settings.beat_max_loop_interval or LOOK_EVERY_S
        self._sender: TickSender | None = None
        self._owner = str(uuid.uuid4())
        self._waiting: dict[str, Waiting] = {}
        self._due: Due | None = None
        self._tidy_at = 0.0
        self._complained: set[str] = set()

    def note_sent(self, entry: ScheduleEntry, state: State) -> None:
        """Hear that this scheduler has sent a tick."""

    # -- looking ------------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Look once and send what is due; return the seconds until it wants to look again. Blocking.

        Raises `OperationalError` when broker or store is away: nothing is lost, look again later.
        """
        now = self.app.time_source.time()
        texts = self.board.read(self.app.settings.publish_timeout_s)
        entries = self.entries(texts)
        next_at = now + self.max_interval
        for entry in entries.values():
            next_at = min(next_at, self._look_at(entry, texts.get(state_field(entry.name)), now))
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY_S
            self._tidy(texts, entries, now)
        return max(0.0, next_at - self.app.time_source.time())

    def _look_at(self, entry: ScheduleEntry, text: str | None, now: float) -> float:
        """Do what is to be done for an entry and return when (Unix seconds) to look again."""
        waiting = self._waiting.get(entry.name)
        # All that is decided follows from these two and the time, which may have been put back.
        if (
            waiting is not None
            and waiting.entry is entry
            and waiting.text == text
            and waiting.since <= now < waiting.until
        ):
            return waiting.until
        until = self._look_anew_at(entry, text, now)
        if text is not None:
            self._waiting[entry.name] = Waiting(entry, text, now, until)
        return until

    def _look_anew_at(self, entry: ScheduleEntry, text: str | None, now: float) -> float:
        state = read_state(text) if text is not None else None
        try:
            if text is None or state is None:
                self._begin(entry, text, now)
                return now
            return self._judge(Seen(entry, text, state, now))
        except Unroutable as error:  # all has been done, but for the message
            self._complain(entry, error)
            return now
        except CoordinationUnavailable as error:  # it may be that of unique tasks: the others need not wait for it
            self._complain(entry, error)
            return now + RETRY_S
        except OperationalError:
            raise
        except Exception as error:  # of one entry: the others must go on
            self._complain(entry, error)
            if state is not None and text is not None:
                with contextlib.suppress(Exception):  # its schedule itself may be what is broken
                    self._give_up(Seen(entry, text, state, now))
            return now + RETRY_S

    def _judge(self, seen: Seen) -> float:
        entry, state, now = seen.entry, seen.state, seen.now
        if state.claim is not None:
            if state.claim.by != self._owner and state.claim.until > now:
                return state.claim.until
            return self._send(seen, moment(state.claim.tick))
        if is_over(entry, state, now):
            return NEVER
        if state.last > now + AHEAD_S:
            self._warn_of_clocks(entry, state)
        if entry.begins is not None and in_utc(entry.begins).timestamp() > now:
            return in_utc(entry.begins).timestamp()
        cadence = entry.cadence(self.app.timezone)
        found = ticks.look(entry.name, cadence, last_of(entry, state), moment(now), entry.rule(self.app))
        match found:
            case ticks.Wait(until):
                return NEVER if until is None else until.timestamp()
            case ticks.Send(tick) if entry.enabled and not state.paused:
                return self._send(seen, tick)
            case ticks.Send(tick):
                self.sender.skip(seen, tick)
                return now
        logger.warning("schedule entry %r: what was due until %s is too late and left out", entry.name, found.until)
        self.sender.skip(seen, found.until)
        return now

    def _send(self, seen: Seen, tick: datetime) -> float:
        following = seen.entry.cadence(self.app.timezone).next_after(tick)
        gap_s = None if following is None else (following - tick).total_seconds()
        self._due = Due(seen, tick, gap_s)
        try:
            self.apply_entry(seen.entry)
            if self._due is not None:  # whoever wraps it did not let it through
                self.sender.skip(seen, tick)
        finally:
            self._due = None
        return seen.now  # there may be more, and what is next depends on the state, which is new

    def _begin(self, entry: ScheduleEntry, text: str | None, now: float) -> None:
        """Note when an entry was first seen: from then on it has ticks."""
        last = now if entry.known_last is None else in_utc(entry.known_last).timestamp()
        state = State(last=last, runs=entry.total_run_count)
        self.board.write([Move(state_field(entry.name), text, write_state(state))], self.app.settings.publish_timeout_s)

    def _warn_of_clocks(self, entry: ScheduleEntry, state: State) -> None:
        if entry.name not in self._complained:
            self._complained.add(entry.name)
            logger.error(
                "schedule entry %r had its latest tick at %s, which is still to come: the clock of a scheduler is, or was, wrong."
                " It is silent until then; to have it go on, correct the clock, then pause and resume it",
                entry.name,
                state.last_tick,
            )

    def _give_up(self, seen: Seen) -> None:
        """Leave out a tick that can't be sent, so that it is not tried for ever."""
        cadence = seen.entry.cadence(self.app.timezone)
        due = cadence.latest_until(last_of(seen.entry, seen.state), moment(seen.now))
        if due is not None:
            self.sender.skip(seen, due)

    def _complain(self, entry: ScheduleEntry, error: Exception) -> None:
        if entry.name not in self._complained:
            self._complained.add(entry.name)
            logger.error("schedule entry %r: %s: %s", entry.name, type(error).__name__, error, exc_info=error)

    def _tidy(self, texts: Mapping[str, str], entries: Mapping[str, ScheduleEntry], now: float) -> None:
        """Forget entries that have long been gone, and keep those that are there, and the board, from being forgotten.

        Schedulers of one name need not have the same entries: one may be of the program's last release, or read other settings.
        """
        self._waiting = {name: waiting for name, waiting in self._waiting.items() if name in entries}
        moves = []
        for name in names_with_state(texts):
            field, state = state_field(name), read_state(texts[state_field(name)])
            if name in entries:
                if state is not None and state.kept_at <= now - TIDY_EVERY_S:
                    moves.append(Move(field, texts[field], write_state(state.known_at(now))))
            elif state is None or state.kept_at < now - self.app.settings.beat_forget_s:
                moves.append(Move(field, texts[field], None))
        self.board.write(moves, self.app.settings.publish_timeout_s)

    # -- connections --------------------------------------------------------------------------------------------------

    @property
    def sender(self) -> TickSender:
        """What sends."""
        if self._sender is None:
            self._sender = TickSender(self.app, self.place, self.board, self._owner)
        return self._sender

    def sync(self) -> None:
        """Do nothing: each tick is remembered as it is sent. Celery's name."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send an entry's task: the tick that is due, or, called from outside, one that is not of the schedule.

        Subclasses, and tools that were written for Celery, wrap it to add to `entry.options` what is to be sent along; it is also called for a
        tick that another scheduler turns out to have sent.  A tick that they do not let through is left out.  `producer` is accepted for
        Celery's sake.  Raises `SchedulingError`, called from outside.
        """
        due, self._due = self._due, None
        if due is not None:
            after = self.sender.send(due.seen, due.tick, due.gap_s)
            if after is not None:
                self._complained.discard(entry.name)
                self.note_sent(entry, after)
            return
        from celeriac.beat.operations import send_now

        try:
            send_now(self.app, entry)
        except Exception as error:
            raise SchedulingError(f"couldn't apply scheduled task {entry.name}: {error}") from error

    def close(self) -> None:
        """Close the connections; idempotent, and a later look connects again."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()
        super().close()
