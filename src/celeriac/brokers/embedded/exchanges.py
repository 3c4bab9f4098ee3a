"""Exchanges of the embedded brokers: which queues a message goes to that names none, and the table of bindings in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac.core.message import Message
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.routing import is_match
from celeriac.transports.sqlite.results import marks
from celeriac.transports.sqlite.schema import DELAYED, READY


class Bound(Struct, frozen=True):
    """One way into a queue."""

    exchange: str
    kind: str
    routing_key: str
    queue: str
    owner: str = ""
    """The worker with whose lease it ends; empty: none."""


class Multiplied(Struct):
    """What becomes of messages that an exchange was to route."""

    messages: list[Message] = field(default_factory=list)
    unroutable: list[Message] = field(default_factory=list)


def ways_of(
    names: Iterable[str], table: QueueTable, broadcasts: Iterable[tuple[str, str, str]], owner: str
) -> list[Bound]:
    """Return the bindings of declared queues, and those of a worker's own queues of broadcasts."""
    found = [Bound(exchange, "fanout", key, queue, owner) for exchange, key, queue in broadcasts]
    for name in names:
        declared = table.get(name)
        if declared is not None and not declared.is_broadcast:
            found += [Bound(exchange.name, exchange.type, key, declared.name) for exchange, key in declared.ways]
    return found


def multiply(
    messages: Sequence[Message],
    table: QueueTable,
    bound_to: Callable[[str], Iterable[Bound]],
    is_alive: Callable[[str], bool],
) -> Multiplied:
    """Return the messages, those without a queue multiplied for every queue that their exchange has for them."""
    result = Multiplied()
    for message in messages:
        if message.queue:
            result.messages.append(message)
            continue
        key = message.routing_key or ""
        ways = list(bound_to(message.exchange))
        # What the program declares and nobody has made known yet holds as well.
        ways += ways_of([declared.name for declared in table.bound_to(message.exchange)], table, (), "")
        queues = {
            way.queue
            for way in ways
            if way.exchange == message.exchange
            and is_match(way.kind, way.routing_key, key)
            and (not way.owner or is_alive(way.owner))
        }
        result.messages += (replace(message, queue=queue) for queue in sorted(queues))
        if not queues and "fanout" not in {table.type_of(message.exchange), *(way.kind for way in ways)}:
            result.unroutable.append(message)
    return result


# -- the table in the file; each function is a part of the caller's transaction -----------------------------------------

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS bindings (       -- made by whoever needs it first: most files never do
    exchange TEXT NOT NULL,
    kind TEXT NOT NULL,                     -- direct, topic or fanout
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    owner TEXT NOT NULL,                    -- the worker with whose lease it ends; empty: none
    PRIMARY KEY (exchange, routing_key, queue)
) WITHOUT ROWID
"""
_OWNERLESS: Final = "owner <> '' AND owner NOT IN (SELECT owner FROM workers)"


def bind(connection: sqlite3.Connection, ways: Iterable[Bound]) -> None:
    """Keep bindings. Idempotent."""
    connection.execute(_TABLE)
    connection.executemany(
        "INSERT OR REPLACE INTO bindings (exchange, kind, routing_key, queue, owner) VALUES (?, ?, ?, ?, ?)",
        [(way.exchange, way.kind, way.routing_key, way.queue, way.owner) for way in ways],
    )


def route(connection: sqlite3.Connection, messages: Sequence[Message], table: QueueTable) -> Multiplied:
    """As `multiply`, by the table."""
    if all(message.queue for message in messages):
        return Multiplied(list(messages))
    connection.execute(_TABLE)
    alive = {owner for (owner,) in connection.execute("SELECT owner FROM workers")}

    def bound_to(exchange: str) -> list[Bound]:
        rows = connection.execute(
            "SELECT exchange, kind, routing_key, queue, owner FROM bindings WHERE exchange = ?", (exchange,)
        )
        return [Bound(*row) for row in rows]

    return multiply(messages, table, bound_to, alive.__contains__)


def forget_ownerless(connection: sqlite3.Connection) -> None:
    """Drop the queues that went with a lease which has ended, and what is ready in them: it was meant for that worker alone."""
    connection.execute(_TABLE)
    queues = [queue for (queue,) in connection.execute(f"SELECT queue FROM bindings WHERE {_OWNERLESS}")]
    if queues:
        connection.execute(
            f"DELETE FROM messages WHERE state IN ({READY}, {DELAYED}) AND queue IN ({marks(queues)})", tuple(queues)
        )
        connection.execute(
            f"DELETE FROM queues WHERE claimed = 0 AND dead = 0 AND name IN ({marks(queues)})", tuple(queues)
        )
        connection.execute(f"DELETE FROM bindings WHERE {_OWNERLESS}")


def is_private(queue: str) -> bool:
    """Whether a queue is a worker's own one of a broadcast."""
    return public_queue(queue) != queue
