"""Result backends: where results wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.core.ports import Backend
    from celeriac.core.settings import Settings

_DATABASES: Final = frozenset({"postgresql", "mysql", "mariadb"})
_KNOWN: Final = "redis://, rediss://, sentinel://, rediscluster://, db+postgresql://, db+mysql://, db+sqlite:///, rpc://, django-db, sqlite:///, memory:// or disabled://"


def open_backend(url: str, settings: Settings, clock: Callable[[], float] = time.time) -> Backend:
    """Return the result backend behind `url`; nothing is connected yet.

    `clock` returns Unix seconds, for the backend that lives in this process; all others have a clock of their own.  A scheme that is
    none of ours is looked for among the entry points `celeriac.result_backends` of installed distributions: the name of each is a
    scheme, its object is called as `(url, settings, clock)` and returns a `core.ports.Backend`.

    Raises `ImproperlyConfigured` for an unknown scheme, and when the library that the scheme needs is not installed.
    """
    kind = scheme(url) or url.rstrip("/:")
    match kind:
        case "redis" | "rediss" | "unix" | "redis+socket" | "sentinel" | "rediscluster":
            try:
                from celeriac.backends.redis import RedisBackend
            except ModuleNotFoundError as error:
                raise ImproperlyConfigured(
                    f"{mask(url)} needs the package {error.name!r}: pip install 'celeriac[redis]'"
                ) from error
            return RedisBackend(url, settings)
        case "rpc":
            from celeriac.backends.rpc import RpcBackend

            return RpcBackend(settings)
        case "sqlite":
            from celeriac.backends.sqlite import SqliteBackend

            return SqliteBackend(url, settings)
        case "memory" | "cache+memory":
            from celeriac.backends.memory import MemoryBackend

            return MemoryBackend(url, settings, clock)
        case "disabled":
            from celeriac.backends.disabled import DisabledBackend

            return DisabledBackend()
    if kind.startswith(("db+", "database+")):
        try:
            from celeriac.backends.sqlalchemy import DatabaseBackend
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(
                f"{mask(url)} needs the package {error.name!r}: pip install 'celeriac[sqlalchemy]'"
            ) from error
        return DatabaseBackend(url, settings)
    from celeriac.backends import others  # looking for entry points takes a while to import

    other = others.open_own(kind, url, settings, clock) or others.open_other(kind, url, settings, clock)
    if other is not None:
        return other
    if kind in _DATABASES:
        why = f"needs db+ before it, as in Celery: db+{kind}://user:password@host/database"
    elif others.celery_has(kind):
        why = f"belongs to a package made for Celery's classes, which offers nothing in the entry points {others.GROUP!r}; use {_KNOWN}"
    else:
        why = f"has no known scheme; use {_KNOWN}"
    raise ImproperlyConfigured(f"result backend {mask(url)!r} {why}")
