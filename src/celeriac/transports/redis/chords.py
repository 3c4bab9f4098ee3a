"""Chords as the scripts take them and tell of them; the backend counts them, and so does the broker when both are one server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from celeriac.core.workflow import ChordOpening, ChordState, Part
from celeriac.transports.redis.batches import word_batches
from celeriac.transports.redis.protocol import Word
from celeriac.transports.redis.results import ResultKeys, kept_s

PARTS_AT_ONCE: Final = 1000
_GONE_AT_ONCE: Final = 1000
"""Chords that are found to be over while open ones are looked for."""


def opening_batches(keys: ResultKeys, openings: Iterable[ChordOpening]) -> Iterator[list[Word]]:
    """Yield ARGV of `open_chords` for some openings at a time."""
    for batch in word_batches(map(_opening_words, openings)):
        yield [keys.group_head, *batch]


def join_batches(keys: ResultKeys, parts: Iterable[Part]) -> Iterator[list[Word]]:
    """Yield ARGV of `join` for some parts at a time."""
    for batch in word_batches(map(part_words, parts)):
        yield [keys.group_head, int(keys.keeps_order), *batch]


def part_words(part: Part) -> list[Word]:
    """Return a part as `join` and `settle` take it: group id, member id, place, seconds it is kept, the part, body."""
    place = "+inf" if part.index is None else part.index
    return [part.group_id, part.member_id, place, kept_s(part.expires_s), part.payload, part.body]


def _opening_words(opening: ChordOpening) -> list[Word]:
    return [opening.group_id, opening.size, kept_s(opening.expires_s), opening.body]


def extension_words(keys: ResultKeys, group_id: str, member_id: str, expires_s: float | None) -> list[Word]:
    """Return ARGV of `extend_chord`."""
    return [keys.group_head, group_id, member_id, kept_s(expires_s)]


def closing_words(keys: ResultKeys, group_ids: Sequence[str]) -> list[Word]:
    """Return ARGV of `close_chords`."""
    return [keys.group_head, *group_ids]


def oldest_words(keys: ResultKeys, limit: int) -> list[Word]:
    """Return ARGV of `chords` for those that have seen no progress for longest."""
    return [keys.group_head, limit, limit + _GONE_AT_ONCE]


def named_words(keys: ResultKeys, group_ids: Sequence[str]) -> list[Word]:
    """Return ARGV of `chords` for those named."""
    return [keys.group_head, 0, 0, *group_ids]


def chord_states(told: list[list[Any]], limit: int) -> list[ChordState]:
    """Return what `chords` tells, in order of progress."""
    states = [
        ChordState(group.decode(), None if size == b"" else int(size), ended, float(since), bool(claimed), body)
        for group, size, ended, since, claimed, body in told
    ]
    return sorted(states, key=lambda state: state.updated_at)[:limit]


def page_of_parts(keys: ResultKeys, group_id: str, kind: bytes, start: int) -> list[Word]:
    """Return the command that reads some parts; `kind` is the type of their key."""
    command = "LRANGE" if kind == b"list" else "ZRANGE"
    return [command, keys.parts(group_id), start, start + PARTS_AT_ONCE - 1]
