"""Looking into Redis and tidying it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from celeriac.brokers.redis.housekeeping import reset_counts
from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.names import readable
from celeriac.brokers.redis.outgoing import declare_arguments, unpack_texts
from celeriac.brokers.redis.settlement import list_of
from celeriac.brokers.redis.withdrawing import withdraw_delayed
from celeriac.core.headers import CRASHES, LOSSES
from celeriac.core.ids import born_at
from celeriac.core.message import DeadLetter, Message, QueueDepth, Revocation
from celeriac.core.ports import Conclude
from celeriac.core.queues import PRIVATE_MARK, QueueTable
from celeriac.core.revoking import Sought
from celeriac.core.settings import Settings
from celeriac.exceptions import BadMessage
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.errors import broker_errors
from celeriac.transports.redis.protocol import Word
from celeriac.wire import redis_envelope

_CALL_S: Final = 10.0
_DEFAULT_EXCHANGE: Final = "celery"
_LETTERS_AT_ONCE: Final = 100


class RedisAdmin:
    """Looks into a Redis broker and tidies it. Blocking; each step has a deadline of 10 s."""

    def __init__(self, address: Address, keys: Keys, settings: Settings, queues: QueueTable) -> None:
        self._keys = keys
        self._queues = queues
        self._pool = Pool(address, settings.broker_connection_timeout)
        self._errors = broker_errors(address)

    def declare(self, queues: Collection[str]) -> None:
        """Make queues known, to us and to Celery's senders; a Redis queue needs nothing else. Idempotent."""
        with self._errors:
            keys, arguments = declare_arguments(self._keys, queues, self._queues)
            self._run("declare", keys, *arguments)

    def queues(self) -> list[str]:
        """Return the queues that one of us has used, and those that Celery has bound to its default exchange."""
        with self._errors:
            ours, celerys = self._ask(
                ["SMEMBERS", self._keys.queues], ["SMEMBERS", self._keys.binding_table(_DEFAULT_EXCHANGE)]
            )
        separator = self._keys.separator.encode()
        names = {*ours, *(member.rpartition(separator)[2] for member in celerys)}
        return sorted(queue for queue in readable(names) if PRIVATE_MARK not in queue)

    def depths(self, queues: Collection[str]) -> list[QueueDepth]:
        """Count what waits in each queue. The age is that of the oldest among the next of each priority."""
        names = list(dict.fromkeys(queues))
        lists = {queue: self._keys.lists(queue) for queue in names}
        commands: list[list[Word]] = [["TIME"], ["ZRANGE", self._keys.workers, 0, -1]]
        commands += (["LLEN", key] for queue in names for key in lists[queue])
        commands += (["LINDEX", key, -1] for queue in names for key in lists[queue])
        commands += (["ZCARD", self._keys.delayed(queue)] for queue in names)
        commands += (["HLEN", self._keys.dead(queue)] for queue in names)
        with self._errors:
            (seconds, microseconds), leases, *counts = self._ask(*commands)
            claimed = self._claimed(leases)
        now = int(seconds) + int(microseconds) / 1e6
        answers = iter(counts)
        ready = {queue: sum(next(answers) for _ in lists[queue]) for queue in names}
        oldest = {queue: self._oldest_age_s([next(answers) for _ in lists[queue]], queue, now) for queue in names}
        delayed = {queue: next(answers) for queue in names}
        dead = {queue: next(answers) for queue in names}
        return [
            QueueDepth(queue, ready[queue], delayed[queue], claimed.get(queue, 0), dead[queue], oldest[queue])
            for queue in names
        ]

    def purge(self, queue: str) -> int:
        """Delete what is ready and delayed in a queue, and return how many messages there were."""
        with self._errors:
            return int(self._run("purge", [self._keys.delayed(queue), *self._keys.lists(queue)]))

    # -- dead letters ------------------------------------------------------------------------------------------------

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return the parked messages of a queue, newest first, at most `limit`."""
        letters: list[DeadLetter] = []
        with self._errors:
            (found,) = self._ask(["ZREVRANGE", self._keys.dead_times(queue), 0, max(limit, 0) - 1, "WITHSCORES"])
            times = [(letter[0], letter[1]) for letter in found] if limit > 0 else []
            for start in range(0, len(times), _LETTERS_AT_ONCE):
                some = times[start : start + _LETTERS_AT_ONCE]
                (packs,) = self._ask(["HMGET", self._keys.dead(queue), *(letter_id for letter_id, _ in some)])
                for (letter_id, parked_at), packed in zip(some, packs, strict=True):
                    if packed is not None:
                        _, reason, envelope = unpack_texts(packed)
                        text = reason.decode(errors="replace")
                        message = _readable(envelope, queue)
                        letters.append(DeadLetter(letter_id.decode(), queue, text, parked_at, message, envelope))
        return letters

    def dead_retry(self, queue: str, ids: Collection[str]) -> int:
        """Put parked messages back to the head of their queue, their counts reset; return how many."""
        taken = 0
        names = list(ids)
        with self._errors:
            for start in range(0, len(names), _LETTERS_AT_ONCE):
                some = names[start : start + _LETTERS_AT_ONCE]
                (packs,) = self._ask(["HMGET", self._keys.dead(queue), *some])
                arguments: list[Word] = []
                for letter_id, packed in zip(some, packs, strict=True):
                    if packed is not None:
                        list_key, _, envelope = unpack_texts(packed)
                        # A worker's own queue may be gone: one of those that hear the broadcast runs it.
                        private = PRIVATE_MARK.encode() in list_key
                        back_to = self._keys.list_for(queue, 0) if private else list_key
                        arguments += (letter_id, back_to, reset_counts(envelope, (CRASHES, LOSSES)))
                taken += self._unpark(queue, arguments)
        return taken

    def dead_purge(self, queue: str, ids: Collection[str]) -> int:
        """Delete parked messages and return how many there were."""
        with self._errors:
            return self._unpark(queue, [word for letter_id in ids for word in (letter_id, "", "")])

    def _unpark(self, queue: str, arguments: Sequence[Word]) -> int:
        if not arguments:
            return 0
        return int(self._run("unpark", [self._keys.dead(queue), self._keys.dead_times(queue)], *arguments))

    # -- the rest ----------------------------------------------------------------------------------------------------

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations where every worker finds them. Idempotent."""
        if not revocations:
            return
        keys = [self._keys.revoked, self._keys.revoked_news, self._keys.revoked_ends]
        arguments: list[Word] = []
        for revocation in revocations:
            arguments += (revocation.id, repr(revocation.expires_at), msgspec.json.encode(revocation))
        with self._errors:
            self._run("revoke", keys, *arguments)

    def withdraw_delayed(self, revocations: Sequence[Revocation], conclude: Conclude, timeout_s: float) -> int:
        """Take what is revoked out of its delay; see `Admin.withdraw_delayed`."""
        with self._errors:
            until = time.monotonic() + timeout_s
            return withdraw_delayed(self._pool, self._keys, Sought.by(revocations), conclude, until)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._pool.close()

    def _claimed(self, leases: Sequence[bytes]) -> dict[str, int]:
        """Count the claims of each queue: over all leases, which are as few as workers, and hold little each."""
        if not readable(leases):
            return {}
        count: dict[str, int] = {}
        for tags in self._ask(*(["HKEYS", self._keys.claims(lease)] for lease in readable(leases))):
            for tag in readable(tags):
                queue = self._keys.queue_of(list_of(tag))
                count[queue] = count.get(queue, 0) + 1
        return count

    def _oldest_age_s(self, next_ones: Sequence[bytes | None], queue: str, now: float) -> float | None:
        ages = [now - born for envelope in next_ones if envelope and (born := _born_at(envelope)) is not None]
        return max(0.0, *ages) if ages else None

    def _ask(self, *commands: Sequence[Word]) -> list[Any]:
        return self._pool.ask(*commands, deadline=time.monotonic() + _CALL_S)

    def _run(self, script_name: str, keys: Sequence[str], *arguments: Word) -> Any:
        return self._pool.run(script_name, keys, *arguments, deadline=time.monotonic() + _CALL_S)


class _Tagged(msgspec.Struct):
    properties: dict[str, Any]


def _born_at(envelope: bytes) -> float | None:
    try:
        tag = msgspec.json.decode(envelope, type=_Tagged).properties.get("delivery_tag")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return born_at(tag) if isinstance(tag, str) else None


def _readable(envelope: bytes, queue: str) -> Message | None:
    try:
        return redis_envelope.decode(envelope, queue)
    except BadMessage:
        return None
