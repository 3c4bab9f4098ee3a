"""Where clients and workers meet for what they have to agree on: the broker itself, where it can keep counts."""

from __future__ import annotations

from typing import Final

from celeriac.core.settings import Settings
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

CAPABLE: Final = frozenset({"redis", "rediss", "unix", "redis+socket", "sentinel", "rediscluster", "sqlite", "memory"})
"""Schemes of what can keep the counts and keys of limits and of unique tasks."""


def coordination_url(settings: Settings, broker_url: str, wanted_for: str) -> str:
    """Return the URL where `wanted_for` (words for the error) is agreed on: `coordination_url`, else the broker's.

    Raises `ImproperlyConfigured` for a broker that cannot keep counts when no other place is named.
    """
    url = settings.coordination_url or broker_url
    if scheme(url) not in CAPABLE:
        raise ImproperlyConfigured(
            f"{wanted_for} needs a place to keep counts, which {mask(url)} has not: set coordination_url to a Redis,"
            " as in coordination_url='redis://localhost:6379/1'"
        )
    return url
