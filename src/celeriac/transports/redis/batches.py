"""Many things for Redis at once, in calls that do not keep it busy for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from celeriac.transports.redis.protocol import Word

KEYS_AT_ONCE: Final = 100
"""Of commands that read so many documents."""
_ITEMS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024

T = TypeVar("T")


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the values, so many at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def word_batches(items: Iterable[list[Word]]) -> Iterator[list[Word]]:
    """Yield the words of as many items as one call of a script shall have."""
    words: list[Word] = []
    count = size = 0
    for item in items:
        item_size = sum([len(word) for word in item if isinstance(word, bytes)])
        if count and (count >= _ITEMS_AT_ONCE or size + item_size > _BYTES_AT_ONCE):
            yield words
            words, count, size = [], 0, 0
        words += item
        count += 1
        size += item_size
    if words:
        yield words
