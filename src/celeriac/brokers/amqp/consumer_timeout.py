"""RabbitMQ's `consumer_timeout`: how its versions let a worker hold a message for longer. Pure.

Up to 4.2 a channel is closed whose oldest message is not acknowledged in time: claims are secured against that, see `Lane`.
From 4.3 on a quorum queue takes such a message back, unless its consumer has said how long it may take; classic queues don't care,
and may refuse to be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

ARGUMENT: Final = "x-consumer-timeout"
CONSUMER_ARGUMENTS: Final[Mapping[str, Any]] = {ARGUMENT: 10 * 365 * 86_400_000}
"""Milliseconds: as good as never."""
_FIRST_WITH_ARGUMENT: Final = (4, 3)
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_TIMEOUT_MS: Final = re.compile(r"timed out.*?(\d+) ms", re.IGNORECASE | re.DOTALL)


def must_secure(server: Mapping[str, Any]) -> bool:
    """Tell by a server's properties whether claims are to be secured there.

    False also for other products that speak AMQP: nothing is known of their transactions.
    """
    version = _version(server)
    return version is not None and version < _FIRST_WITH_ARGUMENT


def takes_argument(server: Mapping[str, Any]) -> bool:
    """Tell by a server's properties whether a consumer of a quorum queue can say how long it may take."""
    version = _version(server)
    return version is not None and version >= _FIRST_WITH_ARGUMENT


def _version(server: Mapping[str, Any]) -> tuple[int, int] | None:
    found = _VERSION.match(str(server.get("version", "")))
    if server.get("product") != "RabbitMQ" or found is None:
        return None
    return int(found[1]), int(found[2])


def told_s(text: str) -> float | None:
    """Return the timeout in seconds that RabbitMQ names as it closes a channel, None when it was closed for something else."""
    found = _TIMEOUT_MS.search(text)
    return int(found[1]) / 1000 if found is not None else None
