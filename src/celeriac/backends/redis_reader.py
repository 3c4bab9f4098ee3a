"""The Redis result backend's side for clients."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from celeriac.core.effects import Record
from celeriac.core.workflow import ChordOpening, ChordState, Collected
from celeriac.transports.redis import chords
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.batches import KEYS_AT_ONCE, slices
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import backend_errors
from celeriac.transports.redis.protocol import Word
from celeriac.transports.redis.results import ResultKeys, kept_s, record_batches

_CALL_S: Final = 5.0
_FETCHED_AT_ONCE: Final = 10_000
_FORGOTTEN_AT_ONCE: Final = 1000


class RedisResultReader:
    """Reads and writes results for clients. Thread-safe, fork-safe, blocking; each step has a deadline of 5 s.

    Every operation raises `BackendUnavailable`.
    """

    def __init__(
        self, address: Address, keys: ResultKeys, connect_timeout_s: float, durability: Durability | None = None
    ) -> None:
        """`durability`: how secure what is written must be; what is not in time raises `BackendUnavailable`, though it was written."""
        self._keys = keys
        self._chord_keys = [keys.open_chords]
        self._pool = Pool(address, connect_timeout_s, durability)
        self._errors = backend_errors(address)

    # -- results -----------------------------------------------------------------------------------------------------

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        answers: list[bytes | None] = []
        for many in slices(ids, _FETCHED_AT_ONCE):
            # Several commands in one round trip: no other client waits for more than one of them.
            for documents in self._ask(*(["MGET", *map(self._keys.task, some)] for some in slices(many, KEYS_AT_ONCE))):
                answers += documents
        return {task_id: found for task_id, found in zip(ids, answers, strict=True) if found is not None}

    def store(self, records: Sequence[Record]) -> None:
        """Store records; a stored SUCCESS stays. Idempotent."""
        for words in record_batches(self._keys, records):
            self._run("store", [], words, durably=True)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        for some in slices(ids, _FORGOTTEN_AT_ONCE):
            self._ask(["UNLINK", *map(self._keys.task, some)])

    # -- groups ------------------------------------------------------------------------------------------------------

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group. Idempotent."""
        expiry: list[Word] = [] if expires_s is None else ["EX", kept_s(expires_s)]
        self._ask(["SET", self._keys.group(group_id), payload, *expiry], durably=True)

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group."""
        found: bytes | None
        (found,) = self._ask(["GET", self._keys.group(group_id)])
        return found

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group, not its results. Idempotent."""
        self._ask(["UNLINK", self._keys.group(group_id)])

    # -- chords ------------------------------------------------------------------------------------------------------

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        for words in chords.opening_batches(self._keys, openings):
            self._run("open_chords", self._chord_keys, words, durably=True)

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""
        words = chords.extension_words(self._keys, group_id, member_id, expires_s)
        self._run("extend_chord", self._chord_keys, words, durably=True)

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest; with `group_ids` only these.

        Celery's workers do not say when they add a part: of that it is known when one of us has looked.
        """
        told: list[Any] = []
        if group_ids is None:
            told = self._run("chords", self._chord_keys, chords.oldest_words(self._keys, limit))
        else:
            for some in slices(group_ids, KEYS_AT_ONCE):
                told += self._run("chords", self._chord_keys, chords.named_words(self._keys, some))
        return chords.chord_states(told, limit)

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        kind, structure = self._ask(["TYPE", self._keys.parts(group_id)], ["GET", self._keys.group(group_id)])
        parts: list[bytes] = []
        while True:
            (page,) = self._ask(chords.page_of_parts(self._keys, group_id, kind, len(parts)))
            parts += page
            if len(page) < chords.PARTS_AT_ONCE:
                return Collected(parts, structure)

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        for some in slices(group_ids, KEYS_AT_ONCE):
            self._run("close_chords", self._chord_keys, chords.closing_words(self._keys, some))

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()

    def _ask(self, *commands: Sequence[Word], durably: bool = False) -> list[Any]:
        with self._errors:
            return self._pool.ask(*commands, deadline=time.monotonic() + _CALL_S, durably=durably)

    def _run(self, script: str, keys: Sequence[str], words: Sequence[Word], durably: bool = False) -> Any:
        with self._errors:
            return self._pool.run(script, keys, *words, deadline=time.monotonic() + _CALL_S, durably=durably)
