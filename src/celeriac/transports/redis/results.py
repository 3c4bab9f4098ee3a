"""Where results stand in Redis: the backend stores them there, and so does the broker when both are one server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from celeriac.core.effects import Record
from celeriac.transports.redis.options import text_option
from celeriac.transports.redis.protocol import Word


class ResultKeys:
    """The result backend's keys, which are also its channels."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Read `global_keyprefix` of the backend's transport options."""
        prefix = text_option(options, "global_keyprefix", "")
        if prefix and not prefix.endswith((":", "_", "-", ".")):
            prefix += "_"  # as Celery does
        self._head = f"{prefix}celery-task-meta-"

    def task(self, task_id: str) -> str:
        """Return the key, and channel, of a task's result."""
        return self._head + task_id

    def task_id(self, channel: bytes) -> str:
        """Return the task's id in the name of a channel."""
        return channel.decode()[len(self._head) :]


def record_words(keys: ResultKeys, record: Record) -> list[Word]:
    """Return a record as the scripts `settle` and `store` take it: key, seconds it is kept (0: for ever), document."""
    keep_s = 0 if record.expires_s is None else max(math.ceil(record.expires_s), 1)
    return [keys.task(record.id), keep_s, record.payload]
