"""Settlements as arguments of the script `settle`, in batches that do not keep Redis busy for long."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import envelopes, is_delayed
from celeriac.core.effects import Ack, Dead, Requeue, Settlement
from celeriac.core.ids import uuid7
from celeriac.core.message import Message
from celeriac.transports.redis.protocol import Word
from celeriac.transports.redis.results import ResultKeys, record_words

_MAX_SETTLEMENTS: Final = 500
_MAX_BYTES: Final = 4 * 1024 * 1024


class ResultPlace(Struct, frozen=True):
    """Where a settlement stores results, when they are kept by the same server."""

    db: int
    keys: ResultKeys


class Settling:
    """Writes settlements down for the script."""

    def __init__(self, keys: Keys, broker_db: int, results: ResultPlace | None, keep_dead_s: float) -> None:
        self._keys = keys
        self._results = results
        self._head: tuple[Word, ...] = (results.db, broker_db) if results else ("", "")
        self._head += (math.ceil(keep_dead_s),)

    def batches(self, settlements: Iterable[Settlement], now: float) -> Iterator[tuple[list[str], list[Word]]]:
        """Yield the tags of a batch, and the script's ARGV for it. Raises `EncodeError` for a bad follow-up."""
        tags: list[str] = []
        arguments: list[Word] = [*self._head]
        size = 0
        for settlement in settlements:
            words = self._words(settlement, now)
            words_size = sum([len(word) for word in words if isinstance(word, bytes)])
            if tags and (len(tags) >= _MAX_SETTLEMENTS or size + words_size > _MAX_BYTES):
                yield tags, arguments
                tags, arguments, size = [], [*self._head], 0
            tags.append(settlement.tag)
            arguments += words
            size += words_size
        if tags:
            yield tags, arguments

    def returned(self, tag: str, envelope: bytes = b"") -> list[Word]:
        """Return the words that give a claim back, with another envelope if one is given."""
        return [tag, "R", envelope, 0, 0]

    def parked(self, tag: str, reason: str, now: float) -> list[Word]:
        """Return the words that park a claim."""
        return [tag, *self._parking(tag, reason, now), 0, 0]

    @property
    def head(self) -> tuple[Word, ...]:
        """What stands before the settlements in ARGV."""
        return self._head

    def _words(self, settlement: Settlement, now: float) -> list[Word]:
        words: list[Word] = [settlement.tag]
        match settlement.verdict:
            case Ack():
                words.append("A")
            case Requeue():
                words += ("R", b"")
            case Dead(reason):
                words += self._parking(settlement.tag, reason, now)
        follow_ups = settlement.publish
        words.append(len(follow_ups))
        if follow_ups:
            for message, envelope in envelopes(follow_ups, now):
                words += self._follow_up(message, envelope, now)
        records = settlement.records if self._results is not None else []
        words.append(len(records))
        for record in records:
            assert self._results is not None
            words += record_words(self._results.keys, record)
        return words

    def _parking(self, tag: str, reason: str, now: float) -> list[Word]:
        queue = self._keys.queue_of(list_of(tag))
        return ["D", self._keys.dead(queue), self._keys.dead_times(queue), uuid7(now, os.urandom(10)), reason]

    def _follow_up(self, message: Message, envelope: bytes, now: float) -> list[Word]:
        queue = message.queue
        words: list[Word] = [self._keys.list_for(queue, message.priority), envelope, queue]
        if is_delayed(message, now):
            words += (self._keys.delayed(queue), repr(message.not_before))
        else:
            words += ("", "")
        return words


def list_of(tag: str) -> str:
    """Return the list from which a claim with this tag came."""
    return tag.partition("|")[2]


def claim_number(tag: str) -> int:
    """Return the place of a claim in the order of claims under its lease."""
    return int(tag.partition("|")[0])
