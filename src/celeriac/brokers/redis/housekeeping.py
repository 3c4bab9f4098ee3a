"""What any worker does for all: due delays, workers that are gone, and what is too old to be kept."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.names import divide, readable
from celeriac.brokers.redis.settlement import Settling, claim_number
from celeriac.brokers.sizes import envelope_max_bytes
from celeriac.core.headers import LOSSES
from celeriac.core.policy import LOSSES_BEYOND
from celeriac.core.settings import Settings
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.protocol import Word

logger = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
_EXPIRE_EVERY_S: Final = 30.0
_DUE_AT_ONCE: Final = 1000
_LEASES_AT_ONCE: Final = 100
_CLAIMS_AT_ONCE: Final = 20
"""Of up to a megabyte each; so many are read, counted and given back in one step."""
_EXPIRED_AT_ONCE: Final = 1000
_REMOVED_AT_ONCE: Final = 1000


class Housekeeping:
    """Keeps the house, in steps of which each leaves it in order; any number of workers may do it at once.

    1. Moves delayed messages that are due, of every queue that one of us has used.
    2. Fences leases that have run out and gives their claims back to the heads of their queues, each loss counted;
       a message that was lost too often is parked.
    3. Drops dead letters and revocations that are over.
    """

    def __init__(self, keys: Keys, settings: Settings, settling: Settling) -> None:
        self._keys = keys
        self._settling = settling
        self._loss_limit = settings.task_loss_limit + LOSSES_BEYOND
        self._envelope_max_bytes = envelope_max_bytes(settings)
        self._keep_dead_s = settings.dead_letter_expires_s
        self._take_over_from = 0.0
        self._expire_from = 0.0
        self._told_of: set[str] = set()
        """Keys in which something was found that is no name."""

    def hold_back(self, for_s: float) -> None:
        """Take over nothing for some seconds: after an outage, the living must be able to renew their leases first."""
        self._take_over_from = max(self._take_over_from, time.monotonic() + for_s)

    async def run(self, connection: Connection) -> float:
        """Do what is to be done now; returns the seconds until it wants to be called again."""
        scripts = connection.scripts
        found = await connection.call("SMEMBERS", self._keys.queues)
        queues = await self._names(connection, "SREM", self._keys.queues, found)
        due_s = PAUSE_S
        if queues:
            delayed = [self._keys.delayed(queue) for queue in queues]
            due_s = float(await connection.run_surely(scripts.due, delayed, _DUE_AT_ONCE))
        now = time.monotonic()
        if now >= self._take_over_from:
            fenced = await connection.run_surely(scripts.fence, [self._keys.workers], _LEASES_AT_ONCE)
            for lease in await self._names(connection, "ZREM", self._keys.workers, fenced):
                await self._take_over(connection, lease)
        if now >= self._expire_from:
            self._expire_from = now + _EXPIRE_EVERY_S
            await self._expire(connection, queues)
        return min(PAUSE_S, due_s)

    async def _names(self, connection: Connection, remove: str, key: str, found: Sequence[bytes]) -> list[str]:
        """Return the names among what was found in a key; take out what is none, because no worker can do anything with it."""
        names, others = divide(found)
        if others:
            if key not in self._told_of:
                self._told_of.add(key)
                logger.warning(
                    "%s in Redis has %d names that are no UTF-8, such as %r: they are taken out; whoever else writes to these"
                    " keys should stop",
                    key,
                    len(others),
                    others[0],
                )
            await connection.call(remove, key, *others[:_REMOVED_AT_ONCE])
        return names

    async def _take_over(self, connection: Connection, lease: str) -> None:
        """Give back what was claimed under a fenced lease.

        Dying on the way does no harm: the lease stands there until all is given back, for the next worker to find.
        Doing it twice at once does none either: each claim is given back by whoever removes it.
        """
        claims = self._keys.claims(lease)
        tags = [tag.decode() for tag in await connection.call("HKEYS", claims)]
        tags.sort(key=claim_number, reverse=True)  # the first claimed is given back last, and is the next again
        returned = 0
        for start in range(0, len(tags), _CLAIMS_AT_ONCE):
            some = tags[start : start + _CLAIMS_AT_ONCE]
            arguments: list[Word] = []
            found = 0
            for tag, envelope in await connection.small_fields(claims, some, self._envelope_max_bytes):
                arguments += self._after_loss(tag, envelope)
                found += 1
            if found:
                keys = [claims, self._keys.queues]
                script = connection.scripts.settle
                lost = await connection.run_surely(script, keys, *self._settling.head, *arguments)
                returned += found - len(lost)
        await connection.run_surely(connection.scripts.leave, [self._keys.workers, claims], lease)
        await self.end_broadcasts(connection, lease)
        logger.warning("worker %s has given no sign of life: took over its %d messages", lease, returned)

    async def end_broadcasts(self, connection: Connection, lease: str) -> None:
        """Drop the queues that went with a lease, and what is in them: it was meant for that worker alone."""
        fanouts = await connection.call("SMEMBERS", self._keys.fanouts)
        for exchange in await self._names(connection, "SREM", self._keys.fanouts, fanouts):
            table = self._keys.fanout(exchange)
            pairs = await connection.call("HGETALL", table)
            found = pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
            for queue in readable(name for name, own in found.items() if own == lease.encode()):
                await connection.call("HDEL", table, queue)
                await connection.call("SREM", self._keys.queues, queue)
                bindings = self._keys.binding_table(exchange)
                members = [m for m in await connection.call("SMEMBERS", bindings) if m.endswith(queue.encode())]
                if members:
                    await connection.call("SREM", bindings, *members)
                await connection.call("UNLINK", self._keys.delayed(queue), *self._keys.lists(queue))

    def _after_loss(self, tag: str, envelope: bytes | int) -> list[Word]:
        if isinstance(envelope, int):  # too large to be looked at: it will be parked by whoever claims it
            return self._settling.returned(tag)
        counted, losses = count_loss(envelope)
        if losses >= self._loss_limit:
            reason = f"went down with a whole worker {losses} times, more than the limit (task_loss_limit)"
            return self._settling.parked(tag, reason, time.time())
        return self._settling.returned(tag, counted)

    async def _expire(self, connection: Connection, queues: list[str]) -> None:
        keys = [self._keys.revoked, self._keys.revoked_news, self._keys.revoked_ends]
        for queue in queues:
            keys += (self._keys.dead(queue), self._keys.dead_times(queue))
        await connection.run_surely(connection.scripts.expire, keys, self._keep_dead_s, _EXPIRED_AT_ONCE)


def count_loss(envelope: bytes) -> tuple[bytes, int]:
    """Return the envelope with one loss more in its headers, and the number; unchanged and 0 if it cannot be read.

    It is marked as redelivered, too, in the way of Celery's transport.
    """
    try:
        document: Any = json.loads(envelope.decode())  # of bytes it would guess the encoding
        headers, properties = document["headers"], document["properties"]
        losses = headers.get(LOSSES, 0) + 1
        headers[LOSSES] = losses
        headers["redelivered"] = True
        if isinstance(where := properties.get("delivery_info"), dict):
            where["redelivered"] = True
        return json.dumps(document).encode(), losses
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return envelope, 0  # whoever claims it finds out why, and parks it


def reset_counts(envelope: bytes, names: tuple[str, ...]) -> bytes:
    """Return the envelope without these headers; unchanged if it cannot be read."""
    try:
        document: Any = json.loads(envelope.decode())  # of bytes it would guess the encoding
        for name in names:
            document["headers"].pop(name, None)
        return json.dumps(document).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return envelope
