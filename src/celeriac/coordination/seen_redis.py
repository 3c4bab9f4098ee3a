"""Marks of completed messages in Redis: one key each, which Redis itself forgets in time."""

from __future__ import annotations

import math
import time
from collections.abc import Collection

from celeriac.core.settings import Settings
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.errors import Translator
from celeriac.transports.redis.options import text_option
from celeriac.transports.redis.protocol import pack_all, raise_errors


class RedisSeenStore:
    """Thread-safe, fork-safe, blocking."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        options = settings.broker_transport_options
        address = parse_address(url, options)
        self._head = f"{text_option(key_options(url, options), 'global_keyprefix', '')}celeriac:seen:"
        self._pool = Pool(address, settings.broker_connection_timeout)
        self._errors = Translator(address, CoordinationUnavailable)

    def seen(self, marks: Collection[str], timeout_s: float) -> set[str]:
        """See `SeenStore.seen`; one round trip."""
        if not marks:
            return set()
        with self._errors:
            replies = self._run([["EXISTS", self._head + mark] for mark in marks], timeout_s)
        return {mark for mark, found in zip(marks, replies, strict=True) if found}

    def remember(self, marks: Collection[str], kept_s: float, timeout_s: float) -> None:
        """See `SeenStore.remember`; one round trip."""
        if not marks:
            return
        with self._errors:
            self._run([["SET", self._head + mark, b"", "EX", math.ceil(kept_s)] for mark in marks], timeout_s)

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()

    def _run(self, commands: list[list[str | bytes | int]], timeout_s: float) -> list[object]:
        replies = self._pool.call(pack_all(commands), len(commands), time.monotonic() + timeout_s)
        raise_errors(replies)
        return replies
