"""Result backends: where results wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.core.ports import Backend
    from celeriac.core.settings import Settings


def open_backend(url: str, settings: Settings) -> Backend:
    """Return the result backend behind `url`; nothing is connected yet.

    Raises `ImproperlyConfigured` for an unknown scheme, and when the library that the scheme needs is not installed.
    """
    match scheme(url) or url.rstrip("/:"):
        case "redis" | "rediss":
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

            return MemoryBackend(url, settings)
        case "disabled":
            from celeriac.backends.disabled import DisabledBackend

            return DisabledBackend()
    raise ImproperlyConfigured(
        f"result backend {mask(url)!r} has no known scheme; use redis://, rediss://, rpc://, sqlite:///, memory:// or disabled://"
    )
