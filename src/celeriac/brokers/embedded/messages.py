"""The table of messages: publishing, claiming, settling. Each function is a part of the caller's transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import inf
from typing import Any, Final

from msgspec import Struct

from celeriac.brokers.declaring import unroutable
from celeriac.brokers.embedded import exchanges, stored
from celeriac.core.effects import Ack, Dead, Lost, Requeue, Settlement, Verdict
from celeriac.core.message import Delayed, Delivery, Message
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.workflow import Completed
from celeriac.exceptions import BadMessage
from celeriac.transports.sqlite import chords, results
from celeriac.transports.sqlite.results import EXPIRED_PER_SWEEP, chunks, marks
from celeriac.transports.sqlite.schema import CLAIMED, DEAD, DELAYED, READY

MOST_URGENT: Final = 0
LEAST_URGENT: Final = 255
DUE_PER_TRANSACTION: Final = 500

Tag = tuple[int, int]
"""A row's id and the number of its claim, which together no other claim ever has."""

_OURS: Final = f"id = ? AND claim = ? AND owner = ? AND state = {CLAIMED}"


class Waiting(Struct):
    """What a claim would find."""

    ready: bool
    next_due: float | None
    """Unix seconds at which the next delayed message of any queue is due."""


def publish(connection: sqlite3.Connection, messages: Iterable[Message], now: float) -> None:
    """Insert the messages, and the queues that do not exist."""
    rows = []
    for message in messages:
        delayed = message.not_before is not None and message.not_before > now
        priority = min(max(message.priority, MOST_URGENT), LEAST_URGENT)
        state, due = (DELAYED, message.not_before) if delayed else (READY, inf)
        rows.append((message.queue, state, priority, due, now, stored.losses_of(message), stored.encode(message)))
    declare(connection, {row[0] for row in rows})
    connection.executemany(
        "INSERT INTO messages (queue, state, priority, due, published_at, losses, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def declare(connection: sqlite3.Connection, queues: Iterable[str]) -> None:
    """Create the queues that do not exist."""
    connection.executemany("INSERT OR IGNORE INTO queues (name) VALUES (?)", [(queue,) for queue in queues])


def look(connection: sqlite3.Connection, queues: Sequence[str]) -> Waiting:
    """Say what a claim would find, without taking it."""
    (ready,) = connection.execute(
        f"SELECT EXISTS (SELECT 1 FROM messages WHERE state = {READY} AND queue IN ({marks(queues)}))", tuple(queues)
    ).fetchone()
    return Waiting(bool(ready), next_due(connection))


def upcoming(connection: sqlite3.Connection, queues: Sequence[str], limit: int) -> list[Message]:
    """Return the messages of these queues that are due first, of those that are delayed."""
    rows = connection.execute(
        f"SELECT due, payload FROM messages WHERE state = {DELAYED} AND queue IN ({marks(queues)}) ORDER BY due LIMIT ?",
        (*queues, limit),
    )
    found = []
    for due, payload in rows:
        with contextlib.suppress(BadMessage):
            message = stored.decode(payload)
            message.not_before = due
            found.append(message)
    return found


def next_due(connection: sqlite3.Connection) -> float | None:
    """Return when the next delayed message is due, in Unix seconds."""
    row = connection.execute(f"SELECT due FROM messages WHERE state = {DELAYED} ORDER BY due LIMIT 1").fetchone()
    return row[0] if row else None


def release_due(connection: sqlite3.Connection, now: float) -> None:
    """Make ready what is due, the longest due first and so many at a time that nobody has to wait for it."""
    connection.execute(
        f"UPDATE messages SET state = {READY} WHERE id IN"
        f" (SELECT id FROM messages WHERE state = {DELAYED} AND due <= ? ORDER BY due LIMIT {DUE_PER_TRANSACTION})",
        (now,),
    )


def hasten(connection: sqlite3.Connection, delayed: Iterable[Delayed]) -> int:
    """Make delayed messages ready; return how many were found."""
    found = 0
    for one in delayed:
        rows = connection.execute(
            f"SELECT id, payload FROM messages WHERE state = {DELAYED} AND due = ? AND queue = ?", (one.due, one.queue)
        ).fetchall()
        for row_id, payload in rows:
            if stored.id_of(payload) == one.task_id:
                connection.execute(f"UPDATE messages SET state = {READY} WHERE id = ?", (row_id,))
                found += 1
    return found


def held_by(connection: sqlite3.Connection, owner: str) -> list[str]:
    """Return the queue of each claim of the owner."""
    return [
        queue
        for (queue,) in connection.execute(
            f"SELECT queue FROM messages WHERE state = {CLAIMED} AND owner = ?", (owner,)
        )
    ]


def claim(
    connection: sqlite3.Connection,
    owner: str,
    queues: Sequence[str],
    limit: int,
    room: Mapping[str, int],
    max_bytes: int,
) -> list[Delivery]:
    """Give up to `limit` ready messages to the owner: by priority, and within one priority queue by queue in turns.

    `room`: most of some queues.  What is larger than `max_bytes` is given unread.
    """
    candidates: list[tuple[int, int, int, int]] = []
    for turn, queue in enumerate(queues):
        found = connection.execute(
            f"SELECT priority, id FROM messages WHERE state = {READY} AND queue = ? ORDER BY priority, due, id LIMIT ?",
            (queue, min(limit, room.get(queue, limit))),
        )
        for _, same in groupby(found.fetchall(), key=lambda row: row[0]):
            candidates += ((priority, place, turn, row_id) for place, (priority, row_id) in enumerate(same))
    candidates.sort()
    chosen = [candidate[-1] for candidate in candidates[:limit]]
    claimed: dict[int, Delivery] = {}
    for some in chunks(chosen):
        rows = connection.execute(
            f"UPDATE messages SET state = {CLAIMED}, owner = ?, claim = claim + 1 WHERE id IN ({marks(some)})"
            " RETURNING id, claim, queue, losses, length(payload), CASE WHEN length(payload) <= ? THEN payload END",
            (owner, *some, max_bytes),
        )
        claimed |= {row[0]: _delivery(*row) for row in rows}
    return [claimed[row_id] for row_id in chosen]  # as chosen: RETURNING has no order


def settle(
    connection: sqlite3.Connection,
    owner: str,
    batch: Iterable[Settlement],
    now: float,
    table: QueueTable,
    *,
    keep_records: bool,
) -> list[Lost | Completed]:
    """Apply each settlement whose message is still the owner's; return the others, of which nothing is applied.

    One that completes a chord has no effect but on the chord, unless that is among those it closes.
    """
    answers: list[Lost | Completed] = []
    for settlement in batch:
        if keep_records and settlement.parts and _is_ours(connection, owner, settlement.tag):
            completed = _join(connection, settlement, now)
            if completed is not None:
                answers.append(completed)
                continue
        if settlement.publish:
            settlement = _routed(connection, settlement, table)
        if not _end(connection, owner, settlement, now):
            answers.append(Lost(settlement.tag))
            continue
        if settlement.publish:
            publish(connection, settlement.publish, now)
        if keep_records:
            results.store(connection, settlement.records, now)
            chords.close(connection, settlement.closes, now)
    return answers


def give_back(connection: sqlite3.Connection, owner: str, tags: Iterable[Tag]) -> None:
    """Make claims ready again, unchanged and uncounted, as far as they are still the owner's."""
    connection.executemany(
        f"UPDATE messages SET state = {READY}, owner = NULL WHERE {_OURS}", [(*tag, owner) for tag in tags]
    )


def give_back_all(connection: sqlite3.Connection, owner: str) -> None:
    """Make all claims of the owner ready again, unchanged and uncounted."""
    connection.execute(
        f"UPDATE messages SET state = {READY}, owner = NULL WHERE state = {CLAIMED} AND owner = ?", (owner,)
    )


def take_over(connection: sqlite3.Connection, loss_limit: int, now: float) -> None:
    """Make ready, and count, every claim whose owner has no lease; park those that went down too often."""
    ownerless = f"state = {CLAIMED} AND owner NOT IN (SELECT owner FROM workers)"
    connection.execute(
        f"UPDATE messages SET state = {DEAD}, owner = NULL, losses = losses + 1, parked_at = ?,"
        " reason = 'went down with its worker ' || (losses + 1) || ' times (task_loss_limit)'"
        f" WHERE {ownerless} AND losses + 1 >= ?",
        (now, loss_limit),
    )
    connection.execute(f"UPDATE messages SET state = {READY}, owner = NULL, losses = losses + 1 WHERE {ownerless}")


def expire_dead(connection: sqlite3.Connection, parked_before: float) -> None:
    """Delete messages parked before that Unix time, so many at a time that nobody has to wait for it."""
    connection.execute(
        f"DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE state = {DEAD} AND parked_at < ?"
        f" ORDER BY parked_at LIMIT {EXPIRED_PER_SWEEP})",
        (parked_before,),
    )


def _join(connection: sqlite3.Connection, settlement: Settlement, now: float) -> Completed | None:
    """Add the parts; say which chord the message has to finish before anything else can be done with it."""
    finishes = chords.join(connection, settlement.parts, now)
    for part, is_finisher in zip(settlement.parts, finishes, strict=True):
        if is_finisher and part.group_id not in settlement.closes:
            return Completed(settlement.tag, part.group_id)
    return None


def _routed(connection: sqlite3.Connection, settlement: Settlement, table: QueueTable) -> Settlement:
    """Give each follow-up its queues.

    Where there is none the message is parked, and closes no chord: it can be retried, and then is the finisher again.
    """
    routed = exchanges.route(connection, settlement.publish, table)
    if routed.unroutable:
        dead = Dead(f"its follow-up cannot be sent: {unroutable(routed.unroutable)}")
        return Settlement(settlement.tag, dead, records=settlement.records)
    return Settlement(settlement.tag, settlement.verdict, routed.messages, settlement.records, closes=settlement.closes)


def _is_ours(connection: sqlite3.Connection, owner: str, tag: Any) -> bool:
    if not _is_tag(tag):
        return False
    found = connection.execute(f"SELECT 1 FROM messages WHERE {_OURS}", (*tag, owner))
    return found.fetchone() is not None


def _end(connection: sqlite3.Connection, owner: str, settlement: Settlement, now: float) -> bool:
    if not _is_tag(settlement.tag):
        return False
    statement, values = _ending(settlement.verdict, now)
    ended = connection.execute(f"{statement} WHERE {_OURS}", (*values, *settlement.tag, owner)).rowcount == 1
    if ended and isinstance(settlement.verdict, Dead):
        _make_public(connection, settlement.tag[0])
    return ended


def _make_public(connection: sqlite3.Connection, row_id: int) -> None:
    """Move a dead letter of a worker's own queue to the broadcast's: the worker may be gone when somebody looks."""
    (queue,) = connection.execute("SELECT queue FROM messages WHERE id = ?", (row_id,)).fetchone()
    public = public_queue(queue)
    if public != queue:
        declare(connection, [public])
        connection.execute(
            "INSERT INTO messages (queue, state, priority, due, published_at, claim, losses, reason, parked_at, payload)"
            " SELECT ?, state, priority, due, published_at, claim, losses, reason, parked_at, payload FROM messages"
            " WHERE id = ?",
            (public, row_id),
        )
        connection.execute("DELETE FROM messages WHERE id = ?", (row_id,))


def _ending(verdict: Verdict, now: float) -> tuple[str, tuple[object, ...]]:
    match verdict:
        case Ack():
            return "DELETE FROM messages", ()
        case Requeue():
            return f"UPDATE messages SET state = {READY}, owner = NULL", ()
        case Dead(reason):
            return f"UPDATE messages SET state = {DEAD}, owner = NULL, reason = ?, parked_at = ?", (reason, now)


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, tuple) and len(tag) == 2 and all(isinstance(part, int) for part in tag)


def _delivery(row_id: int, claim_number: int, queue: str, losses: int, size: int, payload: bytes | None) -> Delivery:
    tag: Tag = (row_id, claim_number)
    if payload is None:
        problem = f"MessageTooLarge: it has {size} bytes, far more than task_message_max_bytes allows"
        return Delivery(tag, queue, None, problem, losses=losses)
    try:
        return Delivery(tag, queue, stored.decode(payload), losses=losses)
    except BadMessage as error:
        return Delivery(tag, queue, None, str(error), payload, losses)
