"""What a scheduler knows: the entries, and the board on which what was sent is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.beat.entry import ScheduleEntry, read_entries, read_entry
from celeriac.beat.places import find_place, open_board
from celeriac.beat.state import read_state, state_field
from celeriac.beat.stored import StoredEntries
from celeriac.core.boards import Board

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class EntryBook:
    """Duties: 1. read the entries of settings and code; 2. find those on the board, which were added at run time; 3. open the board.

    `given`: entries in place of those of settings and code.  Raises `ImproperlyConfigured` for an entry that can't be.
    """

    def __init__(self, app: Celeriac, given: Mapping[str, Any] | None = None, *, lazy: bool = False) -> None:
        self.app = app
        self.place = find_place(app)
        self._given = given
        self._entries: dict[str, ScheduleEntry] | None = None
        self._stored = StoredEntries(app)
        self._board: Board | None = None
        if not lazy:
            self.setup_schedule()

    def setup_schedule(self) -> None:
        """Read the entries. Raises `ImproperlyConfigured`."""
        if self._given is not None:
            self._entries = read_entries(self.app, self._given, "code")
            return
        entries = read_entries(self.app, self.app.settings.beat_schedule, "settings")
        self._entries = entries | read_entries(self.app, self.app.periodic_tasks, "code")

    def own_entries(self) -> Mapping[str, ScheduleEntry]:
        """Return the entries that are known without the board, as they are now."""
        if self._entries is None:
            self.setup_schedule()
        return self._entries or {}

    @property
    def schedule(self) -> dict[str, ScheduleEntry]:
        """All entries by name, with what is remembered of them; asks the board."""
        texts = self.board.read(self.app.settings.publish_timeout_s)
        found = dict(self.entries(texts))
        for name, entry in found.items():
            state = read_state(texts.get(state_field(name), ""))
            if state is not None:
                entry.last_run_at, entry.total_run_count = state.last_tick, state.runs
        return found

    def entries(self, texts: Mapping[str, str]) -> Mapping[str, ScheduleEntry]:
        """Return all entries; `texts` is what stands on the board. One that was added at run time stands before one of its name."""
        return {**self.own_entries(), **self._stored.read(texts)}

    def add(self, **given: Any) -> ScheduleEntry:
        """Add an entry to this scheduler: `name`, and what `beat_schedule` takes. Raises `ImproperlyConfigured`."""
        name = given.pop("name")
        entry = read_entry(self.app, name, given, "code")
        self._entries = {**self.own_entries(), name: entry}
        return entry

    def update_from_dict(self, given: Mapping[str, Any]) -> None:
        """Add entries to this scheduler. Raises `ImproperlyConfigured`."""
        self._entries = {**self.own_entries(), **read_entries(self.app, given, "code")}

    @property
    def board(self) -> Board:
        """Where schedulers agree."""
        if self._board is None:
            self._board = open_board(self.app, self.place)
        return self._board

    def cautions(self) -> list[str]:
        """Return what a person should know before it runs, a line for each."""
        found = [
            f"schedule entry {entry.name!r}: this app knows no task {entry.task!r}; it is sent all the same, for whoever knows it"
            for entry in self.own_entries().values()
            if entry.task not in self.app.tasks
        ]
        if self.place.is_makeshift:
            found.append(
                f"ticks are remembered in {self.place.shown}: schedulers on other machines don't see it, and would send them, too;"
                " to run more than one, set coordination_url or beat_store_url"
            )
        return found

    @property
    def info(self) -> str:
        """Where the schedule is kept, for people."""
        return f"    . db -> {self.place.shown}"

    def close(self) -> None:
        """Close the connections; idempotent, and a later look connects again."""
        board, self._board = self._board, None
        if board is not None:
            board.close()
