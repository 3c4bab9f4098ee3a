"""Waiting in the broker: Celery's native delayed delivery, which both can declare and use.

28 levels.  A message waits at level n, 2^n seconds long, if bit n of its delay is set, and passes on to level n - 1; behind level
0 the exchange `celery_delayed_delivery` hands it to its queue.  The bits stand in the routing key, most significant first.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

LEVELS: Final = 28
MAX_DELAY_S: Final = 2**LEVELS - 1
DELIVERY_EXCHANGE: Final = "celery_delayed_delivery"
_PREFIX: Final = re.compile(r"^(?:[01]\.){28}")


def level_name(level: int) -> str:
    """Name the exchange and the queue of a level."""
    return f"celery_delayed_{level}"


FIRST_EXCHANGE: Final = level_name(LEVELS - 1)


def level_arguments(level: int, queue_type: str = "quorum") -> dict[str, Any]:
    """Return the arguments of a level's queue, as Celery gives them."""
    # A classic queue may lose a message between two levels when a node dies.
    strategy = {"x-dead-letter-strategy": "at-least-once"} if queue_type == "quorum" else {}
    return {
        "x-queue-type": queue_type,
        "x-overflow": "reject-publish",
        "x-message-ttl": 2**level * 1000,
        "x-dead-letter-exchange": level_name(level - 1) if level else DELIVERY_EXCHANGE,
        **strategy,
    }


def wait_pattern(level: int) -> str:
    """Return the pattern of what waits at a level."""
    return "*." * (LEVELS - 1 - level) + "1.#"


def pass_pattern(level: int) -> str:
    """Return the pattern of what passes a level without waiting."""
    return "*." * (LEVELS - 1 - level) + "0.#"


def queue_pattern(queue: str) -> str:
    """Return the pattern that brings a queue its messages after their wait.

    Not `#.<queue>` as Celery's exchanges have it: that would hand what is meant for `a.mail` to the queue `mail` as well.
    """
    return "*." * LEVELS + queue


def seconds(delay_s: float) -> int:
    """Return the whole seconds to wait, so that nothing comes early; 0: no waiting at all."""
    return min(math.ceil(delay_s), MAX_DELAY_S) if delay_s > 0 else 0


def routing_key(delay_s: int, queue: str) -> str:
    """Return the routing key under which a message waits for its queue."""
    return ".".join(f"{delay_s:0{LEVELS}b}") + "." + queue


def without_delay(key: str) -> str:
    """Return a routing key without what an earlier wait put before it."""
    while (shorter := _PREFIX.sub("", key, count=1)) != key:
        key = shorter
    return key
