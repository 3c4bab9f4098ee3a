"""What brokers have in common about declared queues: names, private queues of broadcasts, and what only RabbitMQ can do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from celeriac.core.message import Message
from celeriac.core.queues import QueueTable, private_queue, public_queue
from celeriac.exceptions import Unroutable

logger = logging.getLogger("celeriac.brokers")

RABBITS_OWN: Final = ("expires", "message_ttl", "max_length", "max_length_bytes", "exclusive")
_said: set[tuple[str, str]] = set()


def own_names(names: Iterable[str], table: QueueTable, owner: str) -> list[str]:
    """Return the queues that a consumer reads for the names it was given.

    An alias stands for its queue.  A broadcast is the owner's private queue, and the one of its own name: there come dead
    letters that are retried, which one worker runs.
    """
    found: dict[str, None] = {}
    for name in names:
        declared = table.get(name)
        if declared is not None and declared.is_broadcast:
            found[private_queue(declared.name, owner)] = None
        found[declared.name if declared is not None else name] = None
    return list(found)


def broadcasts(names: Iterable[str], table: QueueTable, owner: str) -> list[tuple[str, str, str]]:
    """Return exchange, key and private queue for each broadcast among the names."""
    found = []
    for name in names:
        declared = table.get(name)
        if declared is not None and declared.is_broadcast:
            queue = private_queue(declared.name, owner)
            found += [(exchange.name, key or table.default_routing_key, queue) for exchange, key in declared.ways]
    return found


def own_limits(concurrency: Mapping[str, int], table: QueueTable) -> dict[str, int]:
    """Return the most claims of each queue by its public name."""
    return {declared.name if (declared := table.get(name)) else name: most for name, most in concurrency.items()}


def rooms(queues: Sequence[str], limits: Mapping[str, int], held: Iterable[str]) -> dict[str, int]:
    """Return for each limited queue how many more may be claimed; `held`: the queue of each claim that there is."""
    if not limits:
        return {}
    count: dict[str, int] = {}
    for queue in held:
        count[queue] = count.get(queue, 0) + 1
    return {
        queue: max(0, limits[public] - count.get(queue, 0))
        for queue in queues
        if (public := public_queue(queue)) in limits
    }


def unroutable(messages: Sequence[Message]) -> Unroutable:
    """Return the error for messages that no queue was bound for."""
    first = messages[0]
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return Unroutable(
        f"task {first.task}[{first.id}]{more} was not sent: no queue is bound to exchange {first.exchange!r} for routing key"
        f" {first.routing_key!r}; declare one in task_queues, or start a worker that does",
        [message.id for message in messages],
    )


def say_what_is_unheeded(names: Iterable[str], table: QueueTable, broker: str) -> None:
    """Log, once a process, the options of declared queues that only RabbitMQ heeds."""
    for name in names:
        declared = table.get(name)
        options = [option for option in RABBITS_OWN if declared is not None and getattr(declared, option)]
        if options and (name, broker) not in _said:
            _said.add((name, broker))
            logger.warning("queue %r: %s has no %s; only RabbitMQ does that", name, broker, ", ".join(options))
