"""The SQLite broker's admin: counting, listing, tidying."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import TypeVar

from celeriac.brokers.declaring import own_names
from celeriac.brokers.embedded import exchanges, messages, stored, withdrawing, workers
from celeriac.core.message import DeadLetter, QueueDepth, Revocation
from celeriac.core.ports import Conclude
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.revoking import Sought
from celeriac.core.settings import Settings
from celeriac.exceptions import BadMessage, BrokerUnavailable
from celeriac.transports.sqlite.results import chunks, marks
from celeriac.transports.sqlite.schema import DEAD, DELAYED, READY
from celeriac.transports.sqlite.shared import SharedDatabase

T = TypeVar("T")


class SqliteAdmin:
    """Looks into the file and tidies it. Blocking; every call raises `BrokerUnavailable` if the file cannot be used."""

    def __init__(self, path: str, settings: Settings, queues: QueueTable) -> None:
        self._queues = queues
        self._database = SharedDatabase(path, BrokerUnavailable)
        self._timeout_s = settings.publish_timeout_s

    def declare(self, queues: Collection[str]) -> None:
        """Create the queues that do not exist. Idempotent."""

        def work(connection: sqlite3.Connection) -> None:
            messages.declare(connection, [public_queue(queue) for queue in own_names(queues, self._queues, "")])
            ways = exchanges.ways_of(queues, self._queues, (), "")
            if ways:
                exchanges.bind(connection, ways)

        self._write(work)

    def queues(self) -> list[str]:
        """Name all queues, by name."""
        return self._read(
            lambda connection: [
                name
                for (name,) in connection.execute("SELECT name FROM queues ORDER BY name")
                if not exchanges.is_private(name)
            ]
        )

    def depths(self, queues: Collection[str]) -> list[QueueDepth]:
        """Count what waits in each queue; all counts are of the same moment."""
        now = time.time()
        return self._read(lambda connection: [_depth(connection, queue, now) for queue in queues])

    def purge(self, queue: str) -> int:
        """Delete what is ready and delayed in a queue and return how many there were."""

        def delete(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute(f"DELETE FROM messages WHERE state = {state} AND queue = ?", (queue,)).rowcount
                for state in (READY, DELAYED)
            )

        return self._write(delete)

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return the parked messages of a queue, newest first, at most `limit`."""

        def select(connection: sqlite3.Connection) -> list[DeadLetter]:
            rows = connection.execute(
                f"SELECT id, queue, reason, parked_at, payload FROM messages WHERE state = {DEAD} AND queue = ?"
                " ORDER BY parked_at DESC, id DESC LIMIT ?",
                (queue, limit),
            )
            return [_letter(*row) for row in rows]

        return self._read(select)

    def dead_retry(self, queue: str, ids: Collection[str]) -> int:
        """Put parked messages back to their old place, before all that was published later; return how many."""

        def revive(connection: sqlite3.Connection) -> int:
            revived = 0
            for some in chunks(_row_ids(ids)):
                rows = connection.execute(
                    f"SELECT id, payload FROM messages WHERE state = {DEAD} AND queue = ? AND id IN ({marks(some)})",
                    (queue, *some),
                ).fetchall()
                connection.executemany(
                    f"UPDATE messages SET state = {READY}, losses = 0, reason = NULL, parked_at = NULL, payload = ?"
                    " WHERE id = ?",
                    [(stored.reset(payload), row_id) for row_id, payload in rows],
                )
                revived += len(rows)
            return revived

        return self._write(revive)

    def dead_purge(self, queue: str, ids: Collection[str]) -> int:
        """Delete parked messages and return how many there were."""

        def delete(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute(
                    f"DELETE FROM messages WHERE state = {DEAD} AND queue = ? AND id IN ({marks(some)})", (queue, *some)
                ).rowcount
                for some in chunks(_row_ids(ids))
            )

        return self._write(delete)

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations where every worker finds them. Idempotent."""
        self._write(lambda connection: workers.revoke(connection, revocations))

    def withdraw_delayed(self, revocations: Sequence[Revocation], conclude: Conclude, timeout_s: float) -> int:
        """Take what is revoked out of its delay; see `Admin.withdraw_delayed`."""
        sought, until = Sought.by(revocations), time.monotonic() + timeout_s
        after = taken = 0
        while time.monotonic() < until:
            after, found = self._read(
                lambda connection, start=after: withdrawing.find_delayed(connection, sought, start)  # type: ignore[misc]
            )
            if found:
                instead = conclude([message for _, message in found])
                replacements = [(row, message) for (row, _), message in zip(found, instead, strict=True)]
                taken += self._write(
                    lambda connection, these=replacements: withdrawing.replace_delayed(connection, these)  # type: ignore[misc]
                )
            if not after:
                break
        return taken

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._database.write(work, self._timeout_s)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._database.read(work, self._timeout_s)


def _depth(connection: sqlite3.Connection, queue: str, now: float) -> QueueDepth:
    counts = connection.execute("SELECT ready, delayed, claimed, dead FROM queues WHERE name = ?", (queue,)).fetchone()
    if counts is None:
        return QueueDepth(queue, 0, 0, 0, 0)
    first = connection.execute(
        f"SELECT due, published_at FROM messages WHERE state = {READY} AND queue = ? ORDER BY priority, due, id LIMIT 1",
        (queue,),
    ).fetchone()
    waits_since = None if first is None else first[1] if first[0] == inf else first[0]
    ready, delayed, claimed, dead = counts
    oldest_age_s = None if waits_since is None else max(0.0, now - waits_since)
    return QueueDepth(queue, ready, delayed, claimed, dead, oldest_age_s)


def _letter(row_id: int, queue: str, reason: str, parked_at: float, payload: bytes) -> DeadLetter:
    try:
        return DeadLetter(str(row_id), queue, reason, parked_at, stored.decode(payload))
    except BadMessage:
        return DeadLetter(str(row_id), queue, reason, parked_at, None, payload)


def _row_ids(ids: Iterable[str]) -> list[int]:
    """Return the ids as numbers; what is none is no id of ours."""
    return [int(letter_id) for letter_id in ids if letter_id.isdecimal() and len(letter_id) < 19]
