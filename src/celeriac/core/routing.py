"""Which queue a task goes to."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured


class Route(Struct, frozen=True):
    """Where a call goes unless it says otherwise itself."""

    queue: str
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None


ROUTE_OPTIONS: Final = frozenset(Route.__struct_fields__)


def find_route(task_name: str, task_queue: str | None, settings: Settings) -> Route:
    """Return the way of a task: its own `queue` option, else its entry in `task_routes`, else the default queue.

    In `task_routes` the exact name comes first, then the first glob that matches.  Raises `ImproperlyConfigured` for an
    entry that is neither a queue's name nor a dict of options.
    """
    if task_queue is not None:
        return Route(task_queue)
    entry = _find_entry(task_name, settings.task_routes)
    if entry is None:
        return Route(settings.task_default_queue)
    if isinstance(entry, str):
        return Route(entry)
    if not isinstance(entry, Mapping) or not entry.keys() <= ROUTE_OPTIONS:
        raise ImproperlyConfigured(
            f"task_routes: the entry for task {task_name!r} is {entry!r}; give the name of a queue, or a dict with some of"
            f" {', '.join(Route.__struct_fields__)}"
        )
    return Route(**{"queue": settings.task_default_queue, **entry})


def _find_entry(task_name: str, routes: Mapping[str, Any]) -> Any:
    if task_name in routes:
        return routes[task_name]
    for pattern, entry in routes.items():
        if fnmatchcase(task_name, pattern):
            return entry
    return None
