"""Exchanges in Redis: Celery's sets of bindings and our own tables of fanouts, read and written. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.names import readable
from celeriac.core.message import Message
from celeriac.core.queues import Queue, QueueTable
from celeriac.core.routing import is_match
from celeriac.transports.redis.protocol import Word

PERMANENT: Final = b""
"""In a table of a fanout: the queue is nobody's own."""
_TOPIC_WORDS: Final = {"*": r"[^\.]+", "#": ".*?"}


class Routed(Struct):
    """What becomes of messages that an exchange was to route."""

    messages: list[Message] = field(default_factory=list)
    """One for each queue, beside those that had one already."""
    announced: list[tuple[str, Message]] = field(default_factory=list)
    """Channel and message, for Celery's workers, which hear a fanout by subscription."""
    unroutable: list[Message] = field(default_factory=list)


def lookups(keys: Keys, messages: Iterable[Message]) -> tuple[list[str], list[Sequence[Word]]]:
    """Return the exchanges that messages without a queue name, and the commands that ask for them, 3 each; leases last."""
    exchanges = list(dict.fromkeys(message.exchange for message in messages if not message.queue))
    commands: list[Sequence[Word]] = []
    for exchange in exchanges:
        commands += (
            ["SMEMBERS", keys.binding_table(exchange)],
            ["HGET", keys.exchanges, exchange],
            ["HGETALL", keys.fanout(exchange)],
        )
    if exchanges:
        commands.append(["ZRANGEBYSCORE", keys.workers, "(0", "+inf"])
    return exchanges, commands


def route(
    keys: Keys,
    db: int,
    table: QueueTable,
    messages: Sequence[Message],
    exchanges: Sequence[str],
    replies: Sequence[Any],
) -> Routed:
    """Return the messages, those without a queue multiplied for every queue that their exchange has for them."""
    leases = frozenset(replies[-1])
    found: dict[str, tuple[bytes | None, list[bytes], Mapping[bytes, bytes]]] = {}
    for number, exchange in enumerate(exchanges):
        members, kind, fanout = replies[3 * number : 3 * number + 3]
        pairs = fanout if isinstance(fanout, Mapping) else dict(zip(fanout[::2], fanout[1::2], strict=True))
        found[exchange] = kind, list(members), pairs
    routed = Routed()
    for message in messages:
        if message.queue:
            routed.messages.append(message)
            continue
        kind, members, fanout = found[message.exchange]
        known = table.type_of(message.exchange) or (kind.decode() if kind else None)
        key = message.routing_key or ""
        if known == "fanout":
            hearing = readable(queue for queue, lease in fanout.items() if lease == PERMANENT or lease in leases)
            routed.messages += (replace(message, queue=queue) for queue in hearing)
            routed.announced.append((keys.channel(db, message.exchange, key), message))
            continue
        queues = {queue for bound, queue in _matches(keys, known, members, key) if bound}
        # What the program declares and nobody has made known yet holds as well.
        queues |= {
            declared.name
            for declared in table.bound_to(message.exchange)
            for way, pattern in declared.ways
            if way.name == message.exchange and is_match(way.type, pattern, key)
        }
        if not queues:
            routed.unroutable.append(message)
        routed.messages += (replace(message, queue=queue) for queue in sorted(queues))
    return routed


def _matches(keys: Keys, kind: str | None, members: Iterable[bytes], routing_key: str) -> Iterable[tuple[bool, str]]:
    for member in readable(members):
        bound_key, pattern, queue = ([*member.split(keys.separator), "", ""])[:3]
        # Who declared it in Celery has not told us the type: only topics have a pattern.
        yield is_match(kind or ("topic" if pattern else "direct"), bound_key, routing_key), queue


def declarations(keys: Keys, queue: Queue) -> list[tuple[str, str, str]]:
    """Return key, field (empty for sets) and value of all that makes a declared queue known."""
    found: list[tuple[str, str, str]] = []
    for exchange, key in queue.ways:
        found.append((keys.exchanges, exchange.name, exchange.type))
        if queue.is_broadcast:
            continue
        if exchange.type == "fanout":
            found += ((keys.fanouts, "", exchange.name), (keys.fanout(exchange.name), queue.name, ""))
        pattern = topic_pattern(key) if exchange.type == "topic" else ""
        member = keys.separator.join((key, pattern, queue.name))
        found.append((keys.binding_table(exchange.name), "", member))
        if not queue.expires:
            found.append((keys.permanent_binding_table(exchange.name), "", member))
    return found


def private_declarations(keys: Keys, exchange: str, key: str, queue: str, lease: str) -> list[tuple[str, str, str]]:
    """Return the same for a worker's own queue of a broadcast.

    Celery's senders that have not declared the exchange themselves take it for a direct one: so the queue stands there, too.
    """
    return [
        (keys.exchanges, exchange, "fanout"),
        (keys.fanouts, "", exchange),
        (keys.fanout(exchange), queue, lease),
        (keys.binding_table(exchange), "", keys.separator.join((key, "", queue))),
    ]


def topic_pattern(routing_key: str) -> str:
    """Return the expression that stands beside a topic's key in Celery's set, for its senders."""
    words = (_TOPIC_WORDS.get(word) or _escaped(word) for word in routing_key.split("."))
    return "^" + r"\.".join(words) + "$"


def _escaped(word: str) -> str:
    return "".join(char if char.isalnum() or char in "*#" else f"\\{char}" for char in word)
