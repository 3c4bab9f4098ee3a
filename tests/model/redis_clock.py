"""Redis by a clock of the test's own: the scripts with a `now()` that reads a key, and a look at all that stands in the keys."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from typing import Any, Final

import msgspec
import pytest

from celeriac.brokers.redis import housekeeping, outgoing
from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import unpack_texts
from celeriac.core.headers import LOSSES
from celeriac.core.message import Delivery, Message
from celeriac.transports.redis import blocking, connection
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.scripts import Script, Scripts, load_scripts
from celeriac.wire import redis_envelope
from tests.model.clock import SetClock

NOW_KEY: Final = "test:now"
_REAL: Final = """
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
"""
_CONTROLLED: Final = f"\n  return tonumber(redis.call('GET', '{NOW_KEY}'))\n"
AHEAD_S: Final = 1_000_000
"""So far in the future the clock begins, so that nothing which is delayed by it is due for those who read another."""


@cache
def controlled_scripts(version: tuple[int, ...]) -> Scripts:
    """Return the scripts with the clock replaced, and nothing else."""
    scripts = load_scripts(version)

    def replaced(script: Script) -> Script:
        text = script.source.decode()
        assert text.count(_REAL) == 1, "library.lua reads the time in another way than this test replaces"
        source = text.replace(_REAL, _CONTROLLED).encode()
        return Script(script.name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())

    return Scripts(**{name: replaced(script) for name, script in msgspec.structs.asdict(scripts).items()})


class Clock(SetClock):
    """The time for Redis' scripts and for the housekeeping of workers, in whole seconds."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._place = RedisPlace(url, ())

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have scripts and housekeeping go by this clock."""
        for module in (connection, blocking, outgoing):
            patch.setattr(module, "load_scripts", controlled_scripts)
        patch.setattr(housekeeping, "time", self)

    def set(self, now: int) -> None:
        """Make it so late."""
        super().set(now)
        self._place.ask(["SET", NOW_KEY, now])

    def close(self) -> None:
        """Close the connection."""
        self._place.close()


class RedisPlace:
    """Looks into the keys of one database."""

    fences = True

    def __init__(self, url: str, queues: tuple[str, ...]) -> None:
        self.keys = Keys({})
        self.lists = [name for queue in queues for name in self.keys.lists(queue)]
        self._queues = queues
        self._pool = Pool(parse_address(url), 5.0)

    def ask(self, *commands: Any) -> list[Any]:
        """Return the replies to commands."""
        return self._pool.ask(*commands, deadline=time.monotonic() + 10.0)

    def clear(self) -> None:
        """Empty the database."""
        self.ask(["FLUSHDB"])

    def list_for(self, priority: int) -> str:
        """Return the list for a priority of the one queue."""
        (queue,) = self._queues
        return self.keys.list_for(queue, priority)

    def list_of(self, delivery: Delivery) -> str:
        """Return the list from which a message was claimed, as its tag tells."""
        name: str = delivery.tag.partition("|")[2]
        return name

    def fence(self) -> None:
        """Fence the leases that have run out, and do nothing more about them."""
        self._pool.run("fence", [self.keys.workers], 100, deadline=time.monotonic() + 10.0)

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def message(self, envelope: bytes) -> Message:
        """Return what stands in an envelope."""
        return redis_envelope.decode(envelope, "")

    def seen(self) -> dict[str, Any]:
        """Return where every message is, with its losses; the last of a list is next."""
        keys = self.keys
        lists = self.lists
        leases, *ready = self.ask(
            ["ZRANGE", keys.workers, 0, -1, "WITHSCORES"], *(["LRANGE", name, 0, -1] for name in lists)
        )
        ends = {pair[0].decode(): float(pair[1]) for pair in leases}
        delayed: list[tuple[float, str]] = []
        parked: list[str] = []
        for queue in self._queues:
            waiting, dead = self.ask(["ZRANGE", keys.delayed(queue), 0, -1, "WITHSCORES"], ["HVALS", keys.dead(queue)])
            delayed += ((float(due), self.message(unpack_texts(one)[1]).id) for one, due in waiting)
            parked += (self.message(unpack_texts(one)[2]).id for one in dead)
        (stray,) = self.ask(["KEYS", f"{keys.claims('*')}"])
        claims = {}
        for key in stray:
            (tags,) = self.ask(["HGETALL", key])
            lease = key.decode().removeprefix(keys.claims(""))
            pairs = tags.items() if isinstance(tags, dict) else zip(tags[::2], tags[1::2], strict=True)
            claims[lease] = {tag.decode(): self._counted(envelope) for tag, envelope in pairs}
        return {
            "leases": ends,
            "ready": {
                name: [self._counted(one) for one in found] for name, found in zip(lists, ready, strict=True) if found
            },
            "delayed": sorted(delayed),
            "claims": claims,
            "parked": sorted(parked),
        }

    def _counted(self, envelope: bytes) -> tuple[str, int]:
        message = self.message(envelope)
        return message.id, message.headers.get(LOSSES, 0)
