"""Where results stand in Redis: the backend stores them there, and so does the broker when both are one server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celeriac.core.effects import Record
from celeriac.transports.redis.batches import word_batches
from celeriac.transports.redis.options import flag_option, text_option
from celeriac.transports.redis.protocol import Word


class ResultKeys:
    """The result backend's keys; those of results are also its channels."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Read the backend's transport options. Raises `ImproperlyConfigured`."""
        prefix = text_option(options, "global_keyprefix", "")
        if prefix and not prefix.endswith((":", "_", "-", ".")):
            prefix += "_"  # as Celery does
        self._head = f"{prefix}celery-task-meta-"
        self.group_head = f"{prefix}celery-taskset-meta-"
        """What the keys of every group and chord begin with."""
        self.open_chords = f"{prefix}celeriac-chords"
        """The key of the chords that are open."""
        self.keeps_order = flag_option(options, "result_chord_ordered", default=True)
        """The parts of a chord stand by their index, not as they came."""

    def task(self, task_id: str) -> str:
        """Return the key, and channel, of a task's result."""
        return self._head + task_id

    def group(self, group_id: str) -> str:
        """Return the key of a group's document."""
        return self.group_head + group_id

    def parts(self, group_id: str) -> str:
        """Return the key of a chord's parts."""
        return f"{self.group_head}{group_id}.j"

    def task_id(self, channel: bytes) -> str:
        """Return the task's id in the name of a channel."""
        return channel.decode()[len(self._head) :]


def record_words(keys: ResultKeys, record: Record) -> list[Word]:
    """Return a record as the scripts `settle` and `store` take it: key, seconds it is kept (0: for ever), document."""
    return [keys.task(record.id), kept_s(record.expires_s), record.payload]


def record_batches(keys: ResultKeys, records: Iterable[Record]) -> Iterator[list[Word]]:
    """Yield ARGV of `store` for some records at a time."""
    return word_batches(record_words(keys, record) for record in records)


def kept_s(expires_s: float | None) -> int:
    """Return for how many whole seconds something is kept, as scripts take it; 0: for ever."""
    return 0 if expires_s is None else max(math.ceil(expires_s), 1)
