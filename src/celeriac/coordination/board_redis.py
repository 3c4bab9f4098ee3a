"""A board in Redis: one hash."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from celeriac.core.boards import BOARD_KEPT_S, Move
from celeriac.core.settings import Settings
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.boards import board_key, move_words
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.errors import Translator
from celeriac.transports.redis.options import text_option
from celeriac.transports.redis.protocol import Word


class RedisBoard:
    """Keeps a board in a Redis server (6.2 or newer). Thread-safe, fork-safe, blocking; see `Board`."""

    def __init__(self, url: str, name: str, settings: Settings) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        address = parse_address(url, settings.broker_transport_options)
        options = key_options(url, settings.broker_transport_options)
        self._key = board_key(text_option(options, "global_keyprefix", ""), name)
        self._pool = Pool(address, settings.broker_connection_timeout)
        self._errors = Translator(address, CoordinationUnavailable)

    def read(self, timeout_s: float) -> Mapping[str, str]:
        """See `Board.read`."""
        with self._errors:
            (found,) = self._pool.ask(["HGETALL", self._key], deadline=time.monotonic() + timeout_s)
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return {field.decode(): text.decode() for field, text in pairs}

    def write(self, moves: Sequence[Move], timeout_s: float) -> list[bool]:
        """See `Board.write`; all the moves are one step."""
        words: list[Word] = [BOARD_KEPT_S]
        for move in moves:
            words += move_words(move)
        with self._errors:
            answers = self._pool.run("board", [self._key], *words, deadline=time.monotonic() + timeout_s)
        return [answer == 1 for answer in answers]

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()
