"""Keys of unique tasks in Redis: each step is one run of a script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celeriac.core.settings import Settings
from celeriac.core.unique import Answer, Arrive, Hold, Release, Step, Take, Undo
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.errors import ReplyError, Translator
from celeriac.transports.redis.options import text_option
from celeriac.transports.redis.protocol import Word, pack_all, raise_errors
from celeriac.transports.redis.scripts import Script


class RedisUniqueStore:
    """Holds the keys in a Redis server (6.2 or newer), by its clock. Thread-safe, fork-safe, blocking."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        address = parse_address(url, settings.broker_transport_options)
        prefix = text_option(key_options(url, settings.broker_transport_options), "global_keyprefix", "")
        self._head = f"{prefix}celeriac:unique:"
        self._pool = Pool(address, settings.broker_connection_timeout)
        self._errors = Translator(address, CoordinationUnavailable)
        self._script: Script | None = None

    def apply(self, steps: Sequence[Step], timeout_s: float) -> list[Answer]:
        """See `UniqueStore.apply`; they are one round trip.

        Raises `OperationalError` when Redis refuses us.
        """
        if not steps:
            return []
        deadline = time.monotonic() + timeout_s
        with self._errors:
            script = self._loaded(deadline)
            replies = self._run(["EVALSHA", script.sha], steps, deadline)
            if any(isinstance(reply, ReplyError) and reply.code == "NOSCRIPT" for reply in replies):
                # A server that does not know the script has made none of the steps, or only the last ones.
                replies = self._run(["EVAL", script.source], steps, deadline)
            raise_errors(replies)
        return [Answer(verdict.decode(), about.decode()) for verdict, about in replies]

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()

    def _run(self, head: Sequence[Word], steps: Sequence[Step], deadline: float) -> list[Any]:
        commands = [[*head, 1, self._head + step.key, *_words(step)] for step in steps]
        return self._pool.call(pack_all(commands), len(commands), deadline)

    def _loaded(self, deadline: float) -> Script:
        if self._script is None:
            self._script = self._pool.script("unique", deadline)
        return self._script


def _words(step: Step) -> list[Word]:
    match step:
        case Take():
            return ["take", step.id, repr(step.hold_s), repr(step.window_s), step.on_conflict]
        case Undo():
            return ["undo", step.id, step.replaced]
        case Arrive():
            times = (repr(step.hold_s), repr(step.wait_s), repr(step.window_s))
            return ["arrive", step.id, step.until, step.on_conflict, *times]
        case Hold():
            return ["hold", step.id, repr(step.hold_s), int(step.exactly), int(step.anew)]
        case Release():
            return ["release", step.id]
