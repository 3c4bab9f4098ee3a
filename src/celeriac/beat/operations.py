"""What a person does to a schedule at run time: look at it, pause, add, remove, run now. Each is one move on the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from celeriac.beat.calls import call_of
from celeriac.beat.choosing import make_scheduler
from celeriac.beat.due import next_tick
from celeriac.beat.entry import ScheduleEntry
from celeriac.beat.state import State, entry_field, moment, read_state, state_field, write_state
from celeriac.beat.stored import write_stored
from celeriac.client import unique
from celeriac.core.boards import Move
from celeriac.core.schedules.ticks import due_at
from celeriac.exceptions import SchedulingError
from celeriac.schedules import crontab

if TYPE_CHECKING:
    from celeriac.beat.scheduler import Scheduler
    from celeriac.client.app import Celeriac

TRIES = 20
"""So often a move is tried anew, when others change the same entry meanwhile."""


class Line(Struct, frozen=True):
    """An entry, what is remembered of it, and when it comes next."""

    entry: ScheduleEntry
    state: State | None
    next_at: datetime | None

    @property
    def is_on(self) -> bool:
        """Whether it is sent."""
        return self.entry.enabled and not (self.state is not None and self.state.paused)


class Schedule:
    """A program's schedule, as its schedulers see it. Blocking; raises `OperationalError` when the store is away.

    Not thread-safe; close it, or use it as a context manager.
    """

    def __init__(self, app: Celeriac) -> None:
        """Raises `ImproperlyConfigured` for an entry that can't be."""
        self._app = app
        self._scheduler: Scheduler = make_scheduler(app)
        self._timeout_s = app.settings.publish_timeout_s

    @property
    def shown_place(self) -> str:
        """Where it is kept."""
        return self._scheduler.place.shown

    def lines(self) -> list[Line]:
        """Return all entries, by name."""
        texts = self._texts()
        return [self._line(entry, texts) for _, entry in sorted(self._scheduler.entries(texts).items())]

    def coming(self, name: str) -> Iterator[datetime]:
        """Yield when an entry is due next, in its own time zone, without end if it has none. Raises `SchedulingError`."""
        line = self._line(self._entry(name), self._texts())
        entry, zone = line.entry, self.zone_of(line.entry)
        tick = self._begin(line)
        while tick is not None:
            yield due_at(name, tick, entry.rule(self._app).jitter_s).astimezone(zone)
            tick = entry.cadence(self._app.timezone).next_after(tick)

    def zone_of(self, entry: ScheduleEntry) -> tzinfo:
        """Return the zone whose clocks an entry is read by."""
        own = entry.schedule.own_zone if isinstance(entry.schedule, crontab) else None
        return own or self._app.timezone

    def run(self, name: str) -> str:
        """Send an entry's task now and return the task id; its schedule goes on unchanged. Raises `SchedulingError`."""
        return send_now(self._app, self._entry(name))

    def pause(self, name: str) -> bool:
        """Stop sending an entry, until `resume`; False: it was paused. Raises `SchedulingError`."""
        return self._change(name, lambda state: None if state.paused else replace(state, paused=True))

    def resume(self, name: str) -> bool:
        """Send an entry again from now on; False: it was not paused. Raises `SchedulingError`."""
        now = self._app.time_source.time()

        def resumed(state: State) -> State | None:
            return replace(state, paused=False, last=now) if state.paused else None

        return self._change(name, resumed)

    def add(self, name: str, given: dict[str, Any], *, replacing: bool = False) -> None:
        """Keep an entry in the store: `given` as in `beat_schedule`. All schedulers see it within some seconds.

        Raises `ImproperlyConfigured` for one that can't be, `SchedulingError` if there is one of this name and not `replacing`.
        """
        texts = self._texts()
        if not replacing and name in self._scheduler.entries(texts):
            raise SchedulingError(f"there is a schedule entry {name!r} already; to replace it, say so (--replace)")
        self._write(Move(entry_field(name), texts.get(entry_field(name)), write_stored(self._app, name, given)), name)

    def remove(self, name: str) -> None:
        """Take an entry that was added out of the store. Raises `SchedulingError` for one that is not there, or of the settings."""
        texts = self._texts()
        text = texts.get(entry_field(name))
        if text is None:
            source = self._entry(name).source
            raise SchedulingError(f"schedule entry {name!r} comes from the {source}: remove it there, or pause it")
        self._write(Move(entry_field(name), text, None), name)
        state = texts.get(state_field(name))
        if state is not None and name not in self._scheduler.own_entries():
            self._scheduler.board.write([Move(state_field(name), state, None)], self._timeout_s)

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._scheduler.close()

    def __enter__(self) -> Schedule:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _texts(self) -> Mapping[str, str]:
        return self._scheduler.board.read(self._timeout_s)

    def _entry(self, name: str) -> ScheduleEntry:
        entries = self._scheduler.entries(self._texts())
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise SchedulingError(f"there is no schedule entry {name!r}; there are: {known}")
        return entries[name]

    def _line(self, entry: ScheduleEntry, texts: Mapping[str, str]) -> Line:
        state = read_state(texts.get(state_field(entry.name), ""))
        line = Line(entry, state, None)
        tick = self._begin(line) if line.is_on else None
        next_at = None if tick is None else due_at(entry.name, tick, entry.rule(self._app).jitter_s)
        return replace(line, next_at=None if next_at is None else next_at.astimezone(self.zone_of(entry)))

    def _begin(self, line: Line) -> datetime | None:
        """Return the next tick of an entry."""
        return next_tick(self._app, line.entry, line.state)

    def _change(self, name: str, change: Callable[[State], State | None]) -> bool:
        self._entry(name)
        for _ in range(TRIES):
            text = self._texts().get(state_field(name))
            state = read_state(text or "") or State(last=moment(self._app.time_source.time()).timestamp())
            changed = change(state)
            if changed is None:
                return False
            move = Move(state_field(name), text, write_state(changed))
            if self._scheduler.board.write([move], self._timeout_s)[0]:
                return True
        raise SchedulingError(f"schedule entry {name!r} is being changed all the time; try again")

    def _write(self, move: Move, name: str) -> None:
        if not self._scheduler.board.write([move], self._timeout_s)[0]:
            raise SchedulingError(
                f"schedule entry {name!r} was changed by somebody else at the same time; look, and try again"
            )


def send_now(app: Celeriac, entry: ScheduleEntry) -> str:
    """Send an entry's task, whatever its schedule says, and return the task id. Raises as `Task.apply_async`."""
    call = call_of(app, entry, None, None)
    if call.take is not None:
        return unique.send(app, call.message, call.take, call.options).id
    app.sender.publish(call.message, call.options)
    return call.message.id
