"""Where the schedulers of a program meet: the board on which they agree, and whether the broker itself keeps it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from celeriac.core.boards import Board
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

_REDIS: Final = frozenset({"redis", "rediss", "unix", "redis+socket", "sentinel", "rediscluster"})
_SQL: Final = "db"


class Place(Struct, frozen=True):
    """A store of schedules."""

    url: str
    name: str
    """Of the board."""
    is_broker: bool
    """The broker keeps it, so that a tick is claimed and sent in one step."""
    is_makeshift: bool = False
    """It is a file because nothing else was there: schedulers on other machines don't see it."""

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return mask(self.url)


def find_place(app: Celeriac) -> Place:
    """Return where an app's schedulers meet. Raises `ImproperlyConfigured` for a `beat_store_url` that can't be it."""
    settings, broker_url = app.settings, app.locations.broker
    name = f"schedule:{settings.beat_namespace or app.main or 'celeriac'}"
    chosen = settings.beat_store_url
    if chosen:
        if not _can_keep(chosen):
            raise ImproperlyConfigured(
                f"beat_store_url={mask(chosen)!r} can't keep a schedule: name a Redis, a SQLite file (sqlite:///path) or a database"
                " (db+postgresql://...)"
            )
        return Place(chosen, name, chosen == broker_url)
    for url in (settings.coordination_url, broker_url, app.locations.backend):
        # What is in memory is the broker's own; nobody else could see it.
        if url and _can_keep(url) and (url == broker_url or _kind(url) != "memory"):
            return Place(url, name, url == broker_url)
    path = os.path.abspath(f"{settings.beat_schedule_filename}.sqlite")
    return Place(f"sqlite:///{path}", name, is_broker=False, is_makeshift=True)


def open_board(app: Celeriac, place: Place) -> Board:
    """Return the board of a place; nothing is connected yet. Raises `ImproperlyConfigured`."""
    kind = _kind(place.url)
    if kind in _REDIS:
        from celeriac.coordination.board_redis import RedisBoard

        return RedisBoard(place.url, place.name, app.settings)
    if kind == "sqlite":
        from celeriac.coordination.board_sqlite import SqliteBoard

        return SqliteBoard(place.url, place.name)
    if kind == "memory":
        from celeriac.brokers.embedded.memory import MemoryBroker
        from celeriac.brokers.embedded.memory_boards import MemoryBoard

        broker = app.broker
        if not isinstance(broker, MemoryBroker):
            raise ImproperlyConfigured("a schedule in memory:// belongs to the memory broker: set beat_store_url")
        return MemoryBoard(broker.boards, place.name)
    return _sql_board(place)


def _sql_board(place: Place) -> Board:
    try:
        from celeriac.backends.sqlalchemy.board import SqlBoard
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{place.shown} needs the library SQLAlchemy: pip install 'celeriac[sqlalchemy]'"
        ) from error
    return SqlBoard(place.url, place.name)


def _can_keep(url: str) -> bool:
    return _kind(url) in (*_REDIS, _SQL, "sqlite", "memory")


def _kind(url: str) -> str:
    found = scheme(url)
    return _SQL if url.startswith("db+") else found
