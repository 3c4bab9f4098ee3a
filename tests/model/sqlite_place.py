"""SQLite by a clock of the test's own, a look at all that stands in its tables, and what is other there than on Redis."""

from __future__ import annotations

import sqlite3
from math import inf
from pathlib import Path
from typing import Any

import pytest

from celeriac.backends import sqlite_reader
from celeriac.brokers.embedded import sqlite, sqlite_admin, sqlite_consumer, stored
from celeriac.core.message import Delivery
from celeriac.transports.sqlite.schema import CLAIMED, DEAD, DELAYED, READY
from tests.model.book import Book, Counted
from tests.model.clock import SetClock

TABLES = ("messages", "queues", "workers", "revocations", "results", "chords", "chord_parts", "chord_additions")
PRIORITIES = (0, 9)


class SqliteClock(SetClock):
    """The time for all who work with the file, in whole seconds."""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have them go by this clock."""
        for module in (sqlite, sqlite_admin, sqlite_consumer, sqlite_reader):
            patch.setattr(module, "time", self)


class SqlitePlace:
    """Looks into the tables of one file. A list is what is ready with one priority."""

    fences = False

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self.lists = [str(priority) for priority in PRIORITIES]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def clear(self) -> None:
        """Empty the tables."""
        for table in TABLES:
            self._connection.execute(f"DELETE FROM {table}")

    def list_for(self, priority: int) -> str:
        """Return the list for a priority."""
        return str(priority)

    def list_of(self, delivery: Delivery) -> str:
        """Return the list from which a message was claimed."""
        assert delivery.message is not None
        return self.list_for(delivery.message.priority)

    def fence(self) -> None:
        """Taking over is one step here."""
        raise NotImplementedError

    def seen(self) -> dict[str, Any]:
        """Return where every message is, with its losses; the last of a list is next."""
        ask = self._connection.execute
        ready: dict[str, list[Counted]] = {}
        claims: dict[str, dict[tuple[int, int], Counted]] = {}
        delayed: list[tuple[float, str]] = []
        parked: list[str] = []
        for row, claim, state, priority, due, losses, owner, payload in ask(
            "SELECT id, claim, state, priority, due, losses, owner, payload FROM messages ORDER BY due DESC, id DESC"
        ):
            task_id = stored.id_of(payload)
            assert task_id is not None
            match state:
                case _ if state == READY:
                    ready.setdefault(str(priority), []).append((task_id, losses))
                case _ if state == CLAIMED:
                    claims.setdefault(owner, {})[row, claim] = task_id, losses
                case _ if state == DELAYED:
                    delayed.append((due, task_id))
                case _:
                    assert state == DEAD
                    parked.append(task_id)
        return {
            "leases": dict(ask("SELECT owner, lease_until FROM workers").fetchall()),
            "ready": ready,
            "delayed": sorted(delayed),
            "claims": claims,
            "parked": sorted(parked),
        }


class SqliteBook(Book):
    """The model of this broker.

    A message has one place in its queue for all its life: by when it was due, if it was delayed, then by age.  A lease lasts until
    another worker strikes it out, in the same step in which it takes over.
    """

    def __init__(self, lease_s: int, loss_limit: int) -> None:
        super().__init__(lease_s, loss_limit)
        self._places: dict[str, tuple[float, int]] = {}

    def publish(self, task_id: str, name: str, due: float | None = None) -> None:
        """Take a message in, behind all that were published before it."""
        self._places[task_id] = (inf if due is None else due), len(self._places)
        super().publish(task_id, name, due)

    def in_force(self, lease: str) -> bool:
        """Tell whether nobody has struck a lease out."""
        return lease in self.leases

    def claim(self, lease: str, names: list[str], limit: int) -> list[tuple[str, str]]:
        """Take messages; what is due becomes ready whether there is a lease or not."""
        self.move_due()
        return super().claim(lease, names, limit)

    def _put(self, name: str, counted: Counted, *, at_head: bool) -> None:
        there = self.ready.setdefault(name, [])
        there.append(counted)
        there.sort(key=lambda one: self._places[one[0]], reverse=True)

    def _return(self, lease: str, tag: Any, task_id: str, losses: int) -> None:
        self._put(self._claimed_from[lease, tag], (task_id, losses), at_head=True)

    def _run_out(self, by: str) -> list[str]:
        return [lease for lease, end in self.leases.items() if end < self.now and lease != by]
